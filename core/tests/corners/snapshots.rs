//! Chunks that nobody asked for.

use crate::bench::{
    LEADER, LEARNER, LIMIT, NOW, SELF, durable, hear, leader, learner_says, sole, two,
};
use bytes::Bytes;
use kvorum_core::raft::{
    AppendOutcome, Chain, Change, Config, EntryId, Event, Evidence, Ignored, Index, Instant,
    Membership, Message, Payload, Raft, SnapshotEvent, SnapshotMeta, SnapshotRequest, Staged,
    StreamDigest, Term,
};

/// A chunk of a snapshot of entry 3, as its leader would send it.
fn chunk(change: impl FnOnce(&mut SnapshotMeta, &mut u64, &mut Bytes, &mut bool)) -> Message {
    let membership = two().base.membership;
    let last = EntryId { index: Index(3), term: Term(1) };
    let mut meta = SnapshotMeta { last, chain: Chain(7), membership, membership_index: Index(1) };
    let (mut offset, mut data, mut end) = (0, Bytes::from_static(b"abc"), false);
    change(&mut meta, &mut offset, &mut data, &mut end);
    let before = StreamDigest::default();
    Message::InstallSnapshot { meta, offset, data, before, last: end, sequence: 0 }
}

/// Whether a chunk is taken for something that no leader sends.
fn is_nonsense(message: Message) -> bool {
    let mut raft = Raft::restore(SELF, Config::default(), two(), 1, NOW).expect("a sound disk");
    hear(&mut raft, NOW, message);
    raft.status().ignored.contains_key(&Ignored::Nonsense)
}

#[test]
fn a_chunk_that_no_leader_sends_is_nonsense_for_each_reason_alone() {
    assert!(!is_nonsense(chunk(|_, _, _, _| {})));
    assert!(is_nonsense(chunk(|meta, _, _, _| meta.last.index = Index::ZERO)));
    assert!(is_nonsense(chunk(|meta, _, _, _| meta.last.index = Index(LIMIT))));
    assert!(!is_nonsense(chunk(|meta, _, _, _| meta.last.index = Index(LIMIT - 1))));
    assert!(is_nonsense(chunk(|meta, _, _, _| meta.last.term = Term(2))));
    assert!(is_nonsense(chunk(|meta, _, _, _| meta.membership_index = Index(4))));
    assert!(!is_nonsense(chunk(|meta, _, _, _| meta.membership_index = Index(3))));
    assert!(is_nonsense(chunk(|meta, _, _, _| meta.membership = Membership::default())));
    assert!(is_nonsense(chunk(|meta, _, _, _| meta.membership.contexts.clear())));
    assert!(is_nonsense(chunk(|_, offset, _, _| *offset = LIMIT - 3)));
    assert!(!is_nonsense(chunk(|_, offset, _, _| *offset = LIMIT - 4)));
    assert!(is_nonsense(chunk(|_, _, data, _| data.clear())));
    assert!(!is_nonsense(chunk(|_, _, data, last| {
        data.clear();
        *last = true;
    })));
    assert!(!is_nonsense(chunk(|_, _, _, last| *last = true)));
}

#[test]
fn a_snapshot_of_another_history_stops_its_leader() {
    let read = |chain| {
        let mut raft = sole(Config::default());
        let status = raft.status();
        let (last, membership) = (status.last, status.membership.clone());
        let chain = if chain { status.chain } else { Chain(7) };
        let meta = SnapshotMeta { last, chain, membership, membership_index: Index(1) };
        let (peer, data) = (LEADER, Bytes::from_static(b"abc"));
        let event = SnapshotEvent::ChunkRead { peer, meta, offset: 0, data, last: true };
        raft.handle(NOW, Event::Snapshot(event));
        raft.poll(NOW).fatal
    };
    assert_eq!(read(true), None);
    assert!(matches!(read(false), Some(Evidence::DiskChanged { found: Chain(7), .. })));
}

/// A leader that reads a snapshot for a learner, which said that it holds `staged`.
fn sending(staged: Option<Staged>) -> Raft {
    let now = Instant(1 << 40);
    let config = Config { compact_after_bytes: 1, keep_entries: 0, ..Config::default() };
    let mut raft = leader(config);
    let write = raft.poll(now).write.expect("the first entry");
    raft.handle(now, Event::Written(write.durable().written));
    let outcome = AppendOutcome::Matched { last: Index(1) };
    hear(&mut raft, now, Message::AppendReply { outcome, sequence: 0 });
    drop(raft.poll(now));
    raft.handle(now, Event::Applied { index: Index(1), digests: Vec::new() });
    let chain = raft.status().chain;
    durable(&mut raft, 1, chain);
    drop(raft.poll(now));
    assert_eq!(raft.status().base.index, Index(1));
    let add = vec![(LEARNER, Bytes::new())];
    raft.change_membership(now, Index(1), Change { add, ..Change::default() }).unwrap();
    drop(raft.poll(now));
    let outcome =
        AppendOutcome::Rejected { prev: raft.status().last, hint: EntryId::default(), staged };
    learner_says(&mut raft, now, Message::AppendReply { outcome, sequence: 0 });
    let asked = raft.poll(now).snapshots;
    assert!(matches!(asked[..], [SnapshotRequest::Read { .. }]), "{asked:?}");
    raft
}

/// What becomes of a chunk that was read: where it starts when it is sent; the snapshot is closed.
fn read(raft: &mut Raft, offset: u64, term: u64) -> (Option<u64>, bool) {
    let now = Instant(1 << 40);
    let status = raft.status();
    let last = EntryId { index: status.base.index, term: Term(term) };
    let (chain, membership) = (status.chain, two().base.membership);
    // The chain of the base: its only entry is the one it was durable at.
    let chain = if term == 1 { base_chain(raft) } else { chain };
    let meta = SnapshotMeta { last, chain, membership, membership_index: Index(1) };
    let data = Bytes::from_static(b"abc");
    let event = SnapshotEvent::ChunkRead { peer: LEARNER, meta, offset, data, last: false };
    raft.handle(now, Event::Snapshot(event));
    let output = raft.poll(now);
    assert_eq!(output.fatal, None);
    let sent = output.messages.iter().find_map(|envelope| match envelope.message {
        Message::InstallSnapshot { offset, .. } => Some(offset),
        _ => None,
    });
    (sent, output.snapshots.contains(&SnapshotRequest::Close { peer: LEARNER }))
}

/// The chain of a log of one entry: the configuration with which the cluster was born.
fn base_chain(raft: &Raft) -> Chain {
    let payload = Payload::Membership(two().base.membership);
    Chain::START.then(raft.status().base, &payload)
}

#[test]
fn a_chunk_is_sent_when_it_is_the_one_that_was_asked_for() {
    let staged = || {
        let last = EntryId { index: Index(1), term: Term(1) };
        Some(Staged { last, end: 5, digest: StreamDigest(9) })
    };
    // From the beginning.
    assert_eq!(read(&mut sending(None), 0, 1), (Some(0), false));
    assert_eq!(read(&mut sending(None), 3, 1), (None, false));
    // The rest of what the learner holds the beginning of, or afresh.
    assert_eq!(read(&mut sending(staged()), 5, 1), (Some(5), false));
    assert_eq!(read(&mut sending(staged()), 0, 1), (Some(0), false));
    assert_eq!(read(&mut sending(staged()), 3, 1), (None, false));
    // Of another entry than the log has there.
    assert_eq!(read(&mut sending(None), 0, 7), (None, true));
}

#[test]
fn a_chunk_is_stored_when_the_word_is_of_that_chunk() {
    let stored = |last: u64, end: u64| {
        let mut raft = Raft::restore(SELF, Config::default(), two(), 1, NOW).expect("sound");
        hear(&mut raft, NOW, chunk(|_, _, _, _| {}));
        drop(raft.poll(NOW));
        let last = EntryId { index: Index(last), term: Term(1) };
        raft.handle(NOW, Event::Snapshot(SnapshotEvent::ChunkStored { last, end }));
        raft.poll(NOW).messages.len()
    };
    assert_eq!([stored(3, 3), stored(3, 2), stored(4, 3)], [1, 0, 0]);
}
