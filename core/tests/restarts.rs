//! What a start makes of a disk: contradictions that are named, and sizes that can only be guessed.

use bytes::Bytes;
use kvorum_core::raft::{
    Chain, Config, Entry, EntryId, Envelope, Event, Index, Instant, Membership, Message, NodeId,
    Payload, Raft, Restored, SnapshotEvent, SnapshotMeta, StagedSnapshot, StreamDigest, Term, Vote,
};

const NOW: Instant = Instant(0);
const SELF: NodeId = NodeId(1);

/// A sole voter's disk with ten entries of one term, the last `cached` of them in memory.
fn disk(cached: usize) -> Restored {
    let mut disk = Restored::bootstrap(SELF, Bytes::new());
    let mut entries = Vec::new();
    let mut chain = Chain::START;
    for index in 1..=10 {
        let id = EntryId { index: Index(index), term: Term(1) };
        let entry = Entry::new(chain, id, Payload::Command(Bytes::from_static(&[0; 68])));
        chain = entry.chain;
        entries.push(entry);
    }
    disk.vote = Vote { term: Term(1), voted_for: Some(SELF) };
    disk.runs = vec![entries[0].id];
    disk.last = entries[9].id;
    disk.chain = chain;
    disk.tail = entries.split_off(10 - cached);
    disk
}

fn starts(disk: Restored) -> bool {
    Raft::restore(SELF, Config::default(), disk, 1, NOW).is_ok()
}

fn changed(cached: usize, change: impl FnOnce(&mut Restored)) -> bool {
    let mut disk = disk(cached);
    change(&mut disk);
    starts(disk)
}

#[test]
fn cached_entries_are_the_end_of_the_log_and_follow_from_each_other() {
    assert!([0, 1, 2, 10].into_iter().all(|cached| starts(disk(cached))));
    assert!(!changed(2, |disk| drop(disk.tail.pop())));
    assert!(!changed(3, |disk| drop(disk.tail.remove(1))));
    assert!(!changed(2, |disk| disk.tail[1].id.term = Term(2)));
    // The chain is right, and known of nobody before: the term alone is wrong.
    assert!(!changed(2, |disk| disk.tail[0].id.term = Term(2)));
    // Of one more than there is: it would lie before the log begins.
    assert!(!changed(10, |disk| {
        let first = EntryId { index: Index(0), term: Term(0) };
        disk.tail.insert(0, Entry::new(Chain::START, first, Payload::Noop));
    }));
    // The right ids, another history.
    let other = Payload::Command(Bytes::from_static(b"other"));
    for at in 0..2 {
        let other = other.clone();
        assert!(!changed(2, |disk| {
            let entry = &disk.tail[at];
            disk.tail[at] = Entry::new(Chain(7), entry.id, other);
        }));
    }
    assert!(!changed(10, |disk| disk.tail[0] = Entry::new(Chain(7), disk.tail[0].id, other)));
}

#[test]
fn configurations_lie_in_the_log_in_order() {
    let set = |indexes: &[u64]| {
        let one = || Membership::sole(SELF, Bytes::new());
        let all: Vec<_> = indexes.iter().map(|&index| (Index(index), one())).collect();
        changed(0, |disk| disk.memberships = all)
    };
    assert!(set(&[1]) && set(&[10]) && set(&[3, 4]));
    assert!(!set(&[0]) && !set(&[11]) && !set(&[4, 4]) && !set(&[4, 3]));
}

/// Where the log begins after the state machine can restart from entry `to`.
fn compacted(cached: usize, to: u64, config: Config) -> u64 {
    let mut restored = disk(cached);
    (restored.applied, restored.commit_hint) = (Index(to), Index(to));
    let mut chain = Chain::START;
    for entry in &disk(10).tail[..usize::try_from(to).unwrap()] {
        chain = chain.then(entry.id, &entry.payload);
    }
    let mut raft = Raft::restore(SELF, config, restored, 1, NOW).expect("a sound disk");
    let last = EntryId { index: Index(to), term: Term(1) };
    let membership = raft.status().membership.clone();
    let meta = SnapshotMeta { last, chain, membership, membership_index: Index(0) };
    raft.handle(NOW, Event::Snapshot(SnapshotEvent::Durable { meta }));
    drop(raft.poll(NOW));
    raft.status().base.index.0
}

#[test]
fn what_old_entries_weigh_is_estimated_from_those_in_memory() {
    let after = |bytes| Config { compact_after_bytes: bytes, keep_entries: 0, ..Config::default() };
    // Eight entries that are not in memory, of a hundred bytes like the two that are.
    assert_eq!(compacted(2, 8, after(800)), 8);
    assert_eq!(compacted(2, 8, after(801)), 0);
    // Nothing is in memory: they count for the least that an entry can weigh.
    assert_eq!(compacted(0, 10, after(10 * 32)), 10);
    assert_eq!(compacted(0, 10, after(10 * 32 + 1)), 0);
}

#[test]
fn numbers_out_of_range_do_not_start() {
    const LIMIT: u64 = 1 << 62;
    let at = |index, term| {
        let mut disk = Restored::bootstrap(SELF, Bytes::new());
        disk.vote.term = Term(term);
        disk.base.last = EntryId { index: Index(index), term: Term(1) };
        (disk.last, disk.applied) = (disk.base.last, Index(index));
        starts(disk)
    };
    assert!(at(LIMIT - 1, LIMIT - 1));
    assert!(!at(LIMIT, 1));
    assert!(!at(1, LIMIT));
}

/// Whether a node that has staged a part of a snapshot of this entry says so to its leader.
fn told(index: u64, change: impl FnOnce(&mut SnapshotMeta)) -> bool {
    let mut disk = disk(0);
    let leader = NodeId(2);
    disk.base.membership.voters.insert(leader);
    disk.base.membership.contexts.insert(leader, Bytes::new());
    disk.applied = Index(2);
    let last = EntryId { index: Index(index), term: Term(1) };
    let (membership, membership_index) = (disk.base.membership.clone(), Index(0));
    let mut meta = SnapshotMeta { last, chain: Chain(7), membership, membership_index };
    change(&mut meta);
    disk.staged = Some(StagedSnapshot { meta, end: 3, digest: StreamDigest(9) });
    let mut raft = Raft::restore(SELF, Config::default(), disk, 1, NOW).expect("a sound disk");
    let message = Message::Heartbeat { commit: Index(2), sequence: 0, compare: None, proven: None };
    let envelope = Envelope { from: leader, to: SELF, epoch: 1, term: Term(1), message };
    raft.handle(NOW, Event::Received(envelope));
    let said = raft.poll(NOW).messages;
    let staged = |message: &Message| matches!(message, Message::HeartbeatReply { staged, .. } if staged.is_some());
    said.iter().any(|envelope| staged(&envelope.message))
}

#[test]
fn what_is_staged_of_a_snapshot_is_kept_over_a_restart_if_it_is_of_use() {
    assert!(told(11, |_| {}));
    assert!(!told(10, |_| {}), "the log holds that entry");
    assert!(!told(2, |_| {}), "the state is there");
    assert!(!told(11, |meta| meta.membership.contexts.clear()), "it contradicts itself");
}
