//! `handle` is total: whatever arrives, in whatever role, with whatever the disk does, nothing
//! panics, every invariant holds (`check_invariants` runs after each event in debug builds), and
//! nothing grows beyond its bound.

use bytes::Bytes;
use kvorum_core::raft::*;
use quickcheck::{Arbitrary, Gen, QuickCheck};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
};

mod arbitrary;

/// One thing that happens to the node under test.
#[derive(Debug, Clone)]
enum Step {
    Receive(Envelope),
    Deadline,
    Poll,
    WriteDone,
    SnapshotDone(bool),
    Unreachable(NodeId),
    Propose(u8),
    Read,
    Change(Change),
    Transfer(Option<NodeId>),
    Durable,
}

/// Small numbers meet what is there; a few enormous ones meet the arithmetic.
fn number(g: &mut Gen) -> u64 {
    match u8::arbitrary(g) {
        0 => u64::MAX - u64::from(u8::arbitrary(g) % 3),
        1 => 1 << 62,
        n => u64::from(n % 7),
    }
}

fn node(g: &mut Gen) -> NodeId {
    NodeId(1 + u64::from(u8::arbitrary(g) % 4))
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Step {
        match u8::arbitrary(g) % 24 {
            0 => Step::Deadline,
            1..=4 => Step::Poll,
            5..=6 => Step::WriteDone,
            7 => Step::SnapshotDone(bool::arbitrary(g)),
            8 => Step::Unreachable(node(g)),
            9 => Step::Propose(u8::arbitrary(g) % 3),
            10 => Step::Read,
            11 => Step::Change(Change {
                add: bool::arbitrary(g).then(|| (node(g), Bytes::new())).into_iter().collect(),
                promote: bool::arbitrary(g).then(|| node(g)).into_iter().collect(),
                demote: bool::arbitrary(g).then(|| node(g)).into_iter().collect(),
                remove: bool::arbitrary(g).then(|| node(g)).into_iter().collect(),
            }),
            12 => Step::Transfer(bool::arbitrary(g).then(|| node(g))),
            13 => Step::Durable,
            _ => {
                let term = number(g);
                let message = arbitrary::message(g, number);
                let leads = matches!(
                    message,
                    Message::Append { .. }
                        | Message::Heartbeat { .. }
                        | Message::InstallSnapshot { .. }
                        | Message::TimeoutNow
                );
                // One leader per term, mostly: two would stop the node, and the test with it.
                let from =
                    if leads && u8::arbitrary(g) > 0 { NodeId(2 + term % 3) } else { node(g) };
                let to = if u8::arbitrary(g) == 0 { node(g) } else { NodeId(1) };
                Step::Receive(Envelope { from, to, epoch: 0, term: Term(term), message })
            }
        }
    }
}

/// The node with just enough around it to keep the runtime's side of the contract.
struct Bench {
    raft: Raft,
    now: Instant,
    writes: VecDeque<Write>,
    snapshots: VecDeque<SnapshotRequest>,
    applied: EntryId,
    /// Of every entry that was ever written here.
    chains: BTreeMap<EntryId, Chain>,
    asked: u64,
    answered: u64,
}

impl Bench {
    fn of(voters: u64, leads: bool) -> Bench {
        let ids = || (1..=voters).map(NodeId);
        let membership = Membership {
            voters: ids().collect(),
            contexts: ids().map(|id| (id, Bytes::new())).collect(),
            ..Membership::default()
        };
        let mut restored = Restored::default();
        restored.base.membership = membership;
        let config = Config {
            compact_after_bytes: 1,
            keep_entries: 1,
            max_pending_reads: 8,
            max_uncommitted_bytes: 256,
            cache_bytes: 128,
            ..Config::default()
        };
        let raft = Raft::restore(NodeId(1), config, restored, 7, Instant(0)).unwrap();
        let mut bench = Bench {
            raft,
            now: Instant(0),
            writes: VecDeque::new(),
            snapshots: VecDeque::new(),
            applied: EntryId::default(),
            chains: BTreeMap::from([(EntryId::default(), Chain::START)]),
            asked: 0,
            answered: 0,
        };
        if leads {
            bench.win();
        }
        bench
    }

    /// Everybody votes for it.
    fn win(&mut self) {
        for granted in
            [Message::PreVoteReply { granted: true }, Message::VoteReply { granted: true }]
        {
            if granted == (Message::PreVoteReply { granted: true }) {
                self.step(Step::Deadline);
            }
            for from in 2..=5 {
                let envelope = Envelope {
                    from: NodeId(from),
                    to: NodeId(1),
                    epoch: 0,
                    term: Term(1),
                    message: granted.clone(),
                };
                self.step(Step::Receive(envelope));
            }
            self.step(Step::Poll);
            self.step(Step::WriteDone);
        }
    }

    fn step(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Receive(mut envelope) => {
                // Mostly a leader speaks of the history it shares with this node.
                let odd = matches!(&envelope.message,
                    Message::Append { prev_chain, .. } if prev_chain.0.is_multiple_of(16));
                if !odd {
                    arbitrary::relink(&mut envelope.message, |id| self.chains.get(&id).copied());
                }
                self.raft.handle(now, Event::Received(envelope));
            }
            Step::Deadline => {
                if self.raft.deadline() < Instant(u64::MAX) {
                    self.now = self.now.max(self.raft.deadline());
                }
                self.raft.handle(self.now, Event::Deadline);
            }
            Step::Poll => self.poll(),
            Step::WriteDone => {
                if let Some(write) = self.writes.pop_front() {
                    let written = write.durable().written;
                    self.raft.handle(now, Event::Written(written));
                }
            }
            Step::SnapshotDone(well) => self.answer_snapshot(well),
            Step::Unreachable(node) => self.raft.handle(now, Event::Unreachable(node)),
            Step::Propose(count) => {
                let commands = vec![Bytes::from_static(b"command"); usize::from(count)];
                let _ = self.raft.propose(now, commands);
            }
            Step::Read => {
                if self.raft.read(now, ReadId(self.asked)).is_ok() {
                    self.asked += 1;
                }
            }
            Step::Change(change) => {
                let base = self.raft.status().membership_index;
                let _ = self.raft.change_membership(now, base, change);
            }
            Step::Transfer(to) => {
                let _ = self.raft.transfer_leadership(now, to);
            }
            Step::Durable => {
                let meta = self.meta();
                self.raft.handle(now, Event::Snapshot(SnapshotEvent::Durable { meta }));
            }
        }
    }

    fn meta(&self) -> SnapshotMeta {
        let (last, chain) = (self.applied, self.chains[&self.applied]);
        SnapshotMeta { last, chain, ..SnapshotMeta::default() }
    }

    fn take(&mut self, write: Option<Write>) {
        if let Some(write) = write {
            self.chains.extend(write.append.iter().map(|entry| (entry.id, entry.chain)));
            self.chains.extend(write.base.iter().map(|base| (base.last, base.chain)));
            self.writes.push_back(write);
        }
    }

    fn poll(&mut self) {
        let output = self.raft.poll(self.now);
        self.take(output.write);
        self.snapshots.extend(output.snapshots);
        self.answered += output.reads.len() as u64;
        if let Some(last) = output.committed.last() {
            assert_eq!(output.committed[0].index(), self.applied.index.next(), "in order");
            self.applied = last.id;
            self.raft.handle(self.now, Event::Applied { index: last.index(), digests: Vec::new() });
        }
        for request in output.log_reads {
            // What was ever asked for and is gone: an empty answer, except for committed entries,
            // which this bench keeps none of; it never forgets what the core still needs.
            if request.reader != LogReader::Apply {
                let entries = Vec::new();
                self.raft.handle(self.now, Event::LogRead { request, entries });
            }
        }
        let again = self.raft.poll(self.now);
        assert!(again.log_reads.iter().all(|read| read.reader != LogReader::Apply));
        self.take(again.write);
        self.snapshots.extend(again.snapshots);
        self.answered += again.reads.len() as u64;
        if let Some(last) = again.committed.last() {
            self.applied = last.id;
            self.raft.handle(self.now, Event::Applied { index: last.index(), digests: Vec::new() });
        }
    }

    fn answer_snapshot(&mut self, well: bool) {
        let Some(request) = self.snapshots.pop_front() else { return };
        let event = match request {
            SnapshotRequest::Close { .. } => return,
            SnapshotRequest::Read { peer, .. } if !well => SnapshotEvent::Failed { peer },
            SnapshotRequest::Store { from, .. } | SnapshotRequest::Install { from, .. }
                if !well =>
            {
                SnapshotEvent::Failed { peer: from }
            }
            SnapshotRequest::Read { peer, offset, .. } => SnapshotEvent::ChunkRead {
                peer,
                meta: self.meta(),
                offset,
                data: Bytes::from_static(b"chunk"),
                last: offset > 0,
            },
            SnapshotRequest::Store { meta, offset, data, .. } => {
                SnapshotEvent::ChunkStored { last: meta.last, end: offset + data.len() as u64 }
            }
            SnapshotRequest::Install { meta, .. } => {
                self.applied = meta.last;
                self.chains.insert(meta.last, meta.chain);
                SnapshotEvent::Installed { meta }
            }
        };
        self.raft.handle(self.now, Event::Snapshot(event));
    }
}

thread_local! {
    /// Which roles were met, with something committed, with something compacted.
    static SEEN: RefCell<BTreeSet<(RoleName, bool, bool)>> = const { RefCell::new(BTreeSet::new()) };
}

fn nothing_breaks(voters: u8, leads: bool, steps: Vec<Step>) -> bool {
    let mut bench = Bench::of(1 + u64::from(voters % 4), leads);
    for step in steps {
        bench.step(step);
        bench.raft.check_invariants();
        let status = bench.raft.status();
        let what = (status.role, status.commit > Index::ZERO, status.base.index > Index::ZERO);
        SEEN.with_borrow_mut(|seen| seen.insert(what));
        let pending = bench.asked - bench.answered;
        assert!(pending <= 64, "reads wait within their bound");
    }
    true
}

#[test]
fn whatever_arrives_nothing_panics_and_every_invariant_holds() {
    QuickCheck::new().tests(3_000).quickcheck(nothing_breaks as fn(u8, bool, Vec<Step>) -> bool);
}

#[test]
fn a_poll_after_a_poll_is_empty_whatever_arrived() {
    fn silent(voters: u8, leads: bool, steps: Vec<Step>) -> bool {
        let mut bench = Bench::of(1 + u64::from(voters % 4), leads);
        for step in steps {
            bench.step(step);
            let mut clone = bench.raft.clone();
            let _ = clone.poll(bench.now);
            assert!(clone.poll(bench.now).is_empty(), "the second poll has nothing to do");
        }
        true
    }
    QuickCheck::new().tests(1_000).quickcheck(silent as fn(u8, bool, Vec<Step>) -> bool);
}

#[test]
fn every_accepted_read_is_answered_once_whatever_arrives() {
    fn answered(voters: u8, leads: bool, steps: Vec<Step>) -> bool {
        let mut bench = Bench::of(1 + u64::from(voters % 4), leads);
        for step in steps {
            bench.step(step);
        }
        let fatal = |bench: &Bench| bench.raft.deadline() == Instant(u64::MAX);
        for _ in 0..200 {
            bench.step(Step::Poll);
            bench.step(Step::Deadline);
        }
        bench.step(Step::Poll);
        assert!(bench.answered == bench.asked || fatal(&bench), "each exactly once");
        true
    }
    QuickCheck::new().tests(300).quickcheck(answered as fn(u8, bool, Vec<Step>) -> bool);
}
