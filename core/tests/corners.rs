//! What no script can say: events in an order, or with a content, that the scripts' machine never
//! has, and bounds that are met exactly. One node alone, through the public surface.

use bytes::Bytes;
use kvorum_core::raft::{
    AppendOutcome, Chain, Change, Config, Entry, EntryId, Envelope, Event, Evidence, Full, Ignored,
    Index, Instant, Membership, Message, NodeId, Output, Payload, Raft, Refused, Restored,
    RoleName, SnapshotEvent, SnapshotMeta, StreamDigest, Term, Write,
};

const NOW: Instant = Instant(0);
const SELF: NodeId = NodeId(1);
const LEADER: NodeId = NodeId(2);

/// A node that is a cluster of its own, leads it, and has applied its first entry.
fn sole(config: Config) -> Raft {
    let disk = Restored::bootstrap(SELF, Bytes::new());
    let mut raft = Raft::restore(SELF, config, disk, 1, NOW).expect("a sound disk");
    raft.handle(NOW, Event::Deadline);
    loop {
        let Output { write, committed, .. } = raft.poll(NOW);
        if write.is_none() && committed.is_empty() {
            break;
        }
        write.into_iter().for_each(|write| confirm(&mut raft, write));
        if let Some(last) = committed.last() {
            applied(&mut raft, last.index().0);
        }
    }
    assert_eq!(raft.status().applied, Index(1));
    raft
}

fn confirm(raft: &mut Raft, write: Write) {
    raft.handle(NOW, Event::Written(write.durable().written));
}

fn applied(raft: &mut Raft, index: u64) {
    raft.handle(NOW, Event::Applied { index: Index(index), digests: Vec::new() });
}

/// Proposes commands of so many bytes; they are written.
fn propose(raft: &mut Raft, sizes: &[usize]) -> Result<(), Refused> {
    let commands = sizes.iter().map(|&size| Bytes::from(vec![0; size])).collect();
    raft.propose(NOW, commands)?;
    let write = raft.poll(NOW).write.expect("a write of the entries");
    confirm(raft, write);
    Ok(())
}

/// What is handed to the state machine now.
fn handed(raft: &mut Raft) -> Vec<u64> {
    raft.poll(NOW).committed.iter().map(|entry| entry.index().0).collect()
}

/// Bytes that a command of this length counts for.
fn size_of(length: usize) -> u64 {
    let id = EntryId { index: Index(1), term: Term(1) };
    Entry::new(Chain::START, id, Payload::Command(Bytes::from(vec![0; length]))).size()
}

#[test]
fn as_much_is_handed_out_as_may_be_outstanding_and_no_more() {
    let three = 3 * size_of(10);
    let mut raft = sole(Config { max_apply_bytes: three, ..Config::default() });
    propose(&mut raft, &[10, 10, 10, 10]).unwrap();
    assert_eq!(handed(&mut raft), [2, 3, 4], "three fill the bound exactly");
    // Part of a batch frees nothing; the whole of it does.
    applied(&mut raft, 3);
    assert_eq!(handed(&mut raft), [0; 0]);
    applied(&mut raft, 4);
    assert_eq!(handed(&mut raft), [5]);
}

/// A disk with which `SELF` and `LEADER` are a cluster.
fn two() -> Restored {
    let mut disk = Restored::default();
    let ids = [SELF, LEADER];
    disk.base.membership.voters = ids.into();
    disk.base.membership.contexts = ids.into_iter().map(|id| (id, Bytes::new())).collect();
    disk
}

fn hear(raft: &mut Raft, now: Instant, message: Message) {
    let envelope = Envelope { from: LEADER, to: SELF, epoch: 0, term: Term(1), message };
    raft.handle(now, Event::Received(envelope));
}

/// A leader of two, of whose log the other one has nothing.
fn leader(config: Config) -> Raft {
    let now = Instant(1 << 40);
    let mut raft = Raft::restore(SELF, config, two(), 1, NOW).expect("a sound disk");
    raft.handle(now, Event::Deadline);
    hear(&mut raft, now, Message::PreVoteReply { granted: true });
    let write = raft.poll(now).write.expect("its vote");
    raft.handle(now, Event::Written(write.durable().written));
    hear(&mut raft, now, Message::VoteReply { granted: true });
    assert_eq!(raft.status().role, RoleName::Leader);
    raft
}

fn offer(raft: &mut Raft, count: usize) -> Result<u64, Refused> {
    let commands = vec![Bytes::from(vec![0; 10]); count];
    raft.propose(Instant(1 << 40), commands).map(|range| range.end().0)
}

#[test]
fn proposals_fill_what_may_be_uncommitted_exactly() {
    let bytes = Config { max_uncommitted_bytes: 2 * size_of(10), ..Config::default() };
    let mut raft = leader(bytes);
    assert_eq!([offer(&mut raft, 1), offer(&mut raft, 1)], [Ok(2), Ok(3)]);
    assert_eq!(offer(&mut raft, 1), Err(Refused::Overloaded(Full::UncommittedBytes)));
    // The leader's own first entry counts among the entries.
    let mut raft = leader(Config { max_uncommitted_entries: 3, ..Config::default() });
    assert_eq!([offer(&mut raft, 1), offer(&mut raft, 1)], [Ok(2), Ok(3)]);
    assert_eq!(offer(&mut raft, 1), Err(Refused::Overloaded(Full::UncommittedEntries)));
}

#[test]
fn a_proposal_counts_until_the_last_of_it_is_committed() {
    let mut raft = leader(Config { max_uncommitted_bytes: 3 * size_of(10), ..Config::default() });
    assert_eq!(offer(&mut raft, 3), Ok(4));
    let now = Instant(1 << 40);
    let write = raft.poll(now).write.expect("the entries");
    raft.handle(now, Event::Written(write.durable().written));
    let acknowledge = |raft: &mut Raft, last| {
        let outcome = AppendOutcome::Matched { last: Index(last) };
        hear(raft, now, Message::AppendReply { outcome, sequence: 0 });
    };
    acknowledge(&mut raft, 3);
    assert_eq!(raft.status().commit, Index(3));
    assert_eq!(offer(&mut raft, 1), Err(Refused::Overloaded(Full::UncommittedBytes)));
    acknowledge(&mut raft, 4);
    assert_eq!(offer(&mut raft, 1), Ok(5));
}

/// A follower hears an append of commands of so many bytes after what it has.
fn append(raft: &mut Raft, sizes: &[usize]) {
    let status = raft.status();
    let (prev, prev_chain) = (status.last, status.chain);
    let (mut id, mut chain) = (prev, prev_chain);
    let mut entries = Vec::new();
    for &size in sizes {
        id = EntryId { index: id.index.next(), term: Term(1) };
        entries.push(Entry::new(chain, id, Payload::Command(Bytes::from(vec![0; size]))));
        chain = entries.last().map_or(chain, |entry| entry.chain);
    }
    let commit = Index::ZERO;
    hear(raft, NOW, Message::Append { prev, prev_chain, entries, commit, sequence: 0 });
}

#[test]
fn a_slow_disk_may_fall_behind_by_its_bound_exactly() {
    let (max_uncommitted_bytes, max_inflight_bytes) = (2 * size_of(10), size_of(10));
    let config = Config { max_uncommitted_bytes, max_inflight_bytes, ..Config::default() };
    let mut raft = Raft::restore(SELF, config, two(), 1, NOW).expect("a sound disk");
    append(&mut raft, &[10, 10, 10]);
    append(&mut raft, &[10]);
    assert_eq!(raft.status().last.index, Index(4));
    append(&mut raft, &[10]);
    assert_eq!(raft.status().last.index, Index(4));
    assert_eq!(raft.status().ignored.get(&Ignored::Busy), Some(&1));
}

#[test]
fn a_disk_that_stands_still_is_given_so_many_writes_and_no_more() {
    const WRITES: usize = 4096;
    let mut raft = Raft::restore(SELF, Config::default(), two(), 1, NOW).expect("a sound disk");
    append(&mut raft, &[10]);
    // A leader that hears nothing asks again and again. Each answer waits for a write.
    let mut writes = Vec::new();
    for _ in 0..2 * WRITES {
        append(&mut raft, &[]);
        writes.extend(raft.poll(NOW).write);
    }
    assert_eq!(writes.len(), WRITES);
    assert_eq!(raft.status().ignored.get(&Ignored::Busy), Some(&(WRITES as u64)));
    // When the disk gets on, so does the node.
    confirm(&mut raft, writes.remove(0));
    append(&mut raft, &[10]);
    assert_eq!(raft.status().last.index, Index(2));
}

#[test]
fn a_configuration_has_a_largest_size() {
    let mut raft = sole(Config::default());
    let base = raft.status().membership_index;
    let members = |count: u64| {
        let add = (0..count).map(|id| (NodeId(100 + id), Bytes::new())).collect();
        Change { add, ..Change::default() }
    };
    // 32 bytes for each member, this node among them.
    let most = (1 << 20) / 32 - 1;
    let refused = raft.change_membership(NOW, base, members(most + 1));
    assert_eq!(refused, Err(Refused::TooLarge));
    assert_eq!(raft.status().membership_index, base);
    assert!(raft.change_membership(NOW, base, members(most)).is_ok());
}

#[test]
fn a_state_machine_may_lag_by_its_bound_exactly() {
    let config = Config { max_apply_lag_entries: 2, ..Config::default() };
    let mut raft = sole(config);
    for _ in 0..3 {
        propose(&mut raft, &[10]).unwrap();
    }
    assert_eq!(propose(&mut raft, &[10]), Err(Refused::Overloaded(Full::Apply)));
    handed(&mut raft);
    applied(&mut raft, 2);
    assert_eq!(propose(&mut raft, &[10]), Ok(()));
}

#[test]
fn a_command_may_be_as_large_as_the_bound() {
    let mut raft = sole(Config { max_entry_bytes: 10, ..Config::default() });
    assert_eq!(propose(&mut raft, &[10]), Ok(()));
    assert_eq!(propose(&mut raft, &[11]), Err(Refused::TooLarge));
}

/// What the state machine says it can restart from.
fn durable(raft: &mut Raft, index: u64, chain: Chain) {
    let last = raft.entry_id(Index(index)).expect("it is in the log");
    let status = raft.status();
    let meta = SnapshotMeta {
        last,
        chain,
        membership: status.membership.clone(),
        membership_index: status.membership_index,
    };
    raft.handle(NOW, Event::Snapshot(SnapshotEvent::Durable { meta }));
}

#[test]
fn the_log_waits_for_the_word_that_its_state_is_applied() {
    let config = Config { compact_after_bytes: 1, keep_entries: 0, ..Config::default() };
    let mut raft = sole(config);
    propose(&mut raft, &[10]).unwrap();
    assert_eq!(handed(&mut raft), [2]);
    // The state machine is quick: its state of 2 is durable before it says that it has applied 2.
    let chain = raft.status().chain;
    durable(&mut raft, 2, chain);
    assert!(raft.poll(NOW).write.is_none());
    applied(&mut raft, 2);
    let write = raft.poll(NOW).write.expect("the base moves");
    assert_eq!(write.base.map(|base| base.last.index), Some(Index(2)));
}

#[test]
fn a_state_of_another_history_stops_the_node() {
    let mut raft = sole(Config { compact_after_bytes: 1, keep_entries: 0, ..Config::default() });
    propose(&mut raft, &[10]).unwrap();
    handed(&mut raft);
    applied(&mut raft, 2);
    durable(&mut raft, 2, Chain(7));
    let found = raft.poll(NOW).fatal;
    assert!(matches!(found, Some(Evidence::DiskChanged { found: Chain(7), .. })), "{found:?}");
}

const LIMIT: u64 = 1 << 62;

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

#[test]
fn the_largest_term_is_one_below_the_limit() {
    let hears = |term| {
        let mut raft = Raft::restore(SELF, Config::default(), two(), 1, NOW).expect("sound");
        let message =
            Message::Heartbeat { commit: Index::ZERO, sequence: 0, compare: None, proven: None };
        let envelope = Envelope { from: LEADER, to: SELF, epoch: 0, term: Term(term), message };
        raft.handle(NOW, Event::Received(envelope));
        raft.status().vote.term
    };
    assert_eq!(hears(LIMIT - 1), Term(LIMIT - 1));
    assert_eq!(hears(LIMIT), Term(0));
}

#[test]
fn a_learner_that_was_too_slow_ten_times_rests_ten_election_timeouts() {
    const LEARNER: NodeId = NodeId(3);
    let config = Config::default();
    let timeout = u64::try_from(config.election_timeout.as_nanos()).unwrap();
    let mut raft = sole(config);
    let add = vec![(LEARNER, Bytes::new())];
    raft.change_membership(NOW, Index(1), Change { add, ..Change::default() }).unwrap();
    let mut now = NOW;
    let work = |raft: &mut Raft, now: Instant| {
        while let Some(write) = raft.poll(now).write {
            raft.handle(now, Event::Written(write.durable().written));
        }
        raft.status().membership.is_voter(LEARNER)
    };
    let acknowledge = |raft: &mut Raft, now: Instant, last| {
        let outcome = AppendOutcome::Matched { last };
        let message = Message::AppendReply { outcome, sequence: 0 };
        let (term, epoch) = (raft.status().vote.term, raft.status().membership.epoch);
        let envelope = Envelope { from: LEARNER, to: SELF, epoch, term, message };
        raft.handle(now, Event::Received(envelope));
    };
    assert!(!work(&mut raft, now));
    for _ in 0..10 {
        // What the round was for arrives late, and there is more by then.
        let target = raft.status().last.index;
        now = Instant(now.0 + timeout);
        raft.propose(now, vec![Bytes::from_static(b"x")]).unwrap();
        acknowledge(&mut raft, now, target);
        assert!(!work(&mut raft, now));
    }
    // It has everything now, and is not looked at for a while.
    let all = raft.status().last.index;
    let rested = Instant(now.0 + 10 * timeout);
    for moment in [now, Instant(rested.0 - 1)] {
        acknowledge(&mut raft, moment, all);
        assert!(!work(&mut raft, moment), "at {moment}");
    }
    acknowledge(&mut raft, rested, all);
    assert!(work(&mut raft, rested));
}
