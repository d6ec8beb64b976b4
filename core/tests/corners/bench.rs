//! One node alone, in the states that the tests begin with.

use bytes::Bytes;
use kvorum_core::raft::{
    AppendOutcome, Chain, Change, Config, Entry, EntryId, Envelope, Event, Index, Instant, Message,
    NodeId, Output, Payload, Raft, Refused, Restored, RoleName, SnapshotEvent, SnapshotMeta, Term,
    Write,
};

pub const NOW: Instant = Instant(0);

pub const SELF: NodeId = NodeId(1);

pub const LEADER: NodeId = NodeId(2);

/// A node that is a cluster of its own, leads it, and has applied its first entry.
pub fn sole(config: Config) -> Raft {
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

pub fn confirm(raft: &mut Raft, write: Write) {
    raft.handle(NOW, Event::Written(write.durable().written));
}

pub fn applied(raft: &mut Raft, index: u64) {
    raft.handle(NOW, Event::Applied { index: Index(index), digests: Vec::new() });
}

/// Proposes commands of so many bytes; they are written.
pub fn propose(raft: &mut Raft, sizes: &[usize]) -> Result<(), Refused> {
    let commands = sizes.iter().map(|&size| Bytes::from(vec![0; size])).collect();
    raft.propose(NOW, commands)?;
    let write = raft.poll(NOW).write.expect("a write of the entries");
    confirm(raft, write);
    Ok(())
}

/// What is handed to the state machine now.
pub fn handed(raft: &mut Raft) -> Vec<u64> {
    raft.poll(NOW).committed.iter().map(|entry| entry.index().0).collect()
}

/// Bytes that a command of this length counts for.
pub fn size_of(length: usize) -> u64 {
    let id = EntryId { index: Index(1), term: Term(1) };
    Entry::new(Chain::START, id, Payload::Command(Bytes::from(vec![0; length]))).size()
}

/// A disk with which `SELF` and `LEADER` are a cluster.
pub fn two() -> Restored {
    let mut disk = Restored::default();
    let ids = [SELF, LEADER];
    disk.base.membership.voters = ids.into();
    disk.base.membership.contexts = ids.into_iter().map(|id| (id, Bytes::new())).collect();
    disk
}

pub fn hear(raft: &mut Raft, now: Instant, message: Message) {
    let envelope = Envelope { from: LEADER, to: SELF, epoch: 0, term: Term(1), message };
    raft.handle(now, Event::Received(envelope));
}

/// A leader of two, of whose log the other one has nothing.
pub fn leader(config: Config) -> Raft {
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

pub fn offer(raft: &mut Raft, count: usize) -> Result<u64, Refused> {
    let commands = vec![Bytes::from(vec![0; 10]); count];
    raft.propose(Instant(1 << 40), commands).map(|range| range.end().0)
}

/// A follower hears an append of commands of so many bytes after what it has.
pub fn append(raft: &mut Raft, sizes: &[usize]) {
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

/// What the state machine says it can restart from.
pub fn durable(raft: &mut Raft, index: u64, chain: Chain) {
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

pub const LIMIT: u64 = 1 << 62;

pub const LEARNER: NodeId = NodeId(3);

/// `message` of the learner, in the leader's term.
pub fn learner_says(raft: &mut Raft, now: Instant, message: Message) {
    let (term, epoch) = (raft.status().vote.term, raft.status().membership.epoch);
    let envelope = Envelope { from: LEARNER, to: SELF, epoch, term, message };
    raft.handle(now, Event::Received(envelope));
}

/// A leader of two that has committed its first entry, and then added a learner.
pub fn leader_with_a_learner(now: Instant) -> Raft {
    let mut raft = leader(Config::default());
    let write = raft.poll(now).write.expect("the first entry");
    raft.handle(now, Event::Written(write.durable().written));
    let outcome = AppendOutcome::Matched { last: Index(1) };
    hear(&mut raft, now, Message::AppendReply { outcome, sequence: 0 });
    let add = vec![(LEARNER, Bytes::new())];
    raft.change_membership(now, Index(1), Change { add, ..Change::default() }).unwrap();
    let write = raft.poll(now).write.expect("the change");
    raft.handle(now, Event::Written(write.durable().written));
    raft
}
