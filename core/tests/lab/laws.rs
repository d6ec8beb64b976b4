//! The laws of the core as properties: replay, batching, total.
//!
//! Rule: one node against an environment that keeps the runtime's part of the contract and nothing
//! else; peers may say anything at all. Must never: answer for the disk what the disk does not hold.

use crate::disk::{Disk, Image};
use crate::rng::{Purpose, Rng};
use bytes::{Bytes, BytesMut};
use kvorum_core::raft::{
    AppendOutcome, Change, Config, Entry, EntryId, Envelope, Event, Index, Instant, LogRead,
    Membership, Message, NodeId, Payload, Raft, ReadId, Restored, SnapshotEvent, SnapshotMeta,
    SnapshotRequest, StateReport, Term,
};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use std::collections::VecDeque;
use std::time::Duration;

/// Members of every little cluster here; the node under test is one of them.
const IDS: [u64; 5] = [0, 1, 2, 7, u64::MAX];
const ME: NodeId = NodeId(1);

/// Something that happens to the node under test.
#[derive(Clone, Debug)]
enum Action {
    Wait(u16),
    Deadline,
    Message(Envelope),
    Sync,
    Work,
    Propose(u8),
    Read,
    Change(Change),
    Transfer(Option<NodeId>),
    Unreachable(NodeId),
    Poll,
    Restart,
}

fn pick<T: Clone>(g: &mut Gen, options: &[T]) -> T {
    g.choose(options).expect("options exist").clone()
}

fn small(g: &mut Gen) -> u64 {
    match u8::arbitrary(g) {
        255 => u64::MAX,
        254 => u64::MAX - 1,
        n => u64::from(n % 12),
    }
}

fn node(g: &mut Gen) -> NodeId {
    NodeId(pick(g, &IDS))
}

fn term(g: &mut Gen) -> Term {
    Term(u64::from(u8::arbitrary(g) % 6))
}

fn id(g: &mut Gen) -> EntryId {
    EntryId { term: term(g), index: Index(small(g)) }
}

fn membership(g: &mut Gen) -> Membership {
    let mut m = Membership::default();
    for id in IDS.map(NodeId) {
        let context = Bytes::from_static(b"m");
        match u8::arbitrary(g) % 8 {
            0..3 => m.voters.insert(id),
            3 => m.learners.insert(id),
            4 => m.outgoing.insert(id),
            _ => continue,
        };
        // Now and then a member without a context, which no honest peer has.
        if !u8::arbitrary(g).is_multiple_of(16) {
            m.contexts.insert(id, context);
        }
    }
    m
}

fn entries(g: &mut Gen, prev: EntryId) -> Vec<Entry> {
    let count = usize::arbitrary(g) % 5;
    let honest = !u8::arbitrary(g).is_multiple_of(4);
    let mut last = prev;
    (0..count)
        .map(|_| {
            let next = EntryId {
                term: Term(last.term.0 + u64::from(bool::arbitrary(g))),
                index: Index(last.index.0.wrapping_add(1)),
            };
            last = if honest { next } else { id(g) };
            let payload = match u8::arbitrary(g) % 5 {
                0 => Payload::Noop,
                1 => Payload::Membership(membership(g)),
                _ => Payload::Command(Bytes::from(Vec::<u8>::arbitrary(g))),
            };
            Entry { id: last, payload }
        })
        .collect()
}

fn meta(g: &mut Gen) -> SnapshotMeta {
    SnapshotMeta { last: id(g), membership: membership(g), membership_index: Index(small(g)) }
}

fn message(g: &mut Gen) -> Message {
    let (sequence, granted) = (small(g), bool::arbitrary(g));
    match u8::arbitrary(g) % 18 {
        0 => Message::PreVote { last: id(g) },
        1 => Message::PreVoteReply { granted },
        2 => Message::RequestVote { last: id(g), transfer: bool::arbitrary(g) },
        3 | 4 => Message::VoteReply { granted },
        5..9 => {
            let prev = id(g);
            Message::Append { prev, entries: entries(g, prev), commit: Index(small(g)), sequence }
        }
        9 => Message::AppendReply {
            outcome: AppendOutcome::Matched { last: Index(small(g)) },
            sequence,
        },
        10 => Message::AppendReply {
            outcome: AppendOutcome::Rejected { prev: id(g), hint: id(g) },
            sequence,
        },
        11 => Message::Heartbeat {
            commit: Index(small(g)),
            sequence,
            compare: granted.then(|| Index(small(g))),
            proven: None,
        },
        12 => Message::HeartbeatReply {
            sequence,
            state: granted.then(|| StateReport { index: Index(small(g)), digest: Some(small(g)) }),
        },
        13 => {
            let data = Bytes::from(Vec::<u8>::arbitrary(g));
            Message::InstallSnapshot {
                meta: meta(g),
                offset: small(g),
                data,
                last: bool::arbitrary(g),
                sequence,
            }
        }
        14 => Message::SnapshotReply { last: id(g), end: small(g), installed: granted, sequence },
        15 => Message::TimeoutNow,
        16 => Message::ReadIndex { id: ReadId(small(g)) },
        _ => Message::ReadIndexReply {
            id: ReadId(small(g)),
            index: granted.then(|| Index(small(g))),
        },
    }
}

fn envelope(g: &mut Gen) -> Envelope {
    let to = if u8::arbitrary(g).is_multiple_of(16) { node(g) } else { ME };
    let term = match u8::arbitrary(g) {
        255 => Term(u64::MAX),
        _ => term(g),
    };
    Envelope { from: node(g), to, term, message: message(g) }
}

impl Arbitrary for Action {
    fn arbitrary(g: &mut Gen) -> Action {
        match u8::arbitrary(g) % 32 {
            0 | 1 => Action::Wait(u16::arbitrary(g) % 400),
            2..5 => Action::Deadline,
            5..17 => Action::Message(envelope(g)),
            17..21 => Action::Sync,
            21..24 => Action::Work,
            24 => Action::Propose(u8::arbitrary(g)),
            25 => Action::Read,
            26 => Action::Change(Change {
                add: vec![(node(g), Bytes::from_static(b"m"))],
                promote: if bool::arbitrary(g) { vec![node(g)] } else { Vec::new() },
                remove: if bool::arbitrary(g) { vec![node(g)] } else { Vec::new() },
            }),
            27 => Action::Transfer(bool::arbitrary(g).then(|| node(g))),
            28 => Action::Unreachable(node(g)),
            29 | 30 => Action::Poll,
            _ => Action::Restart,
        }
    }
}

fn config() -> Config {
    Config {
        election_timeout: Duration::from_millis(100),
        heartbeat_interval: Duration::from_millis(20),
        max_append_entries: 2,
        max_inflight_appends: 2,
        cache_bytes: 100,
        max_apply_bytes: 200,
        max_pending_reads: 4,
        snapshot_chunk_bytes: 8,
        compact_after_bytes: 64,
        keep_entries: 1,
        ..Config::default()
    }
}

/// The node under test and its honest surroundings.
struct Bench {
    raft: Raft,
    disk: Disk,
    state: SnapshotMeta,
    handed: VecDeque<Entry>,
    reads: VecDeque<LogRead>,
    snapshots: VecDeque<SnapshotRequest>,
    now: u64,
    life: u64,
    next_read: u64,
    stopped: bool,
    said: Vec<String>,
}

impl Bench {
    fn new(founders: usize) -> Bench {
        let mut base = Restored::bootstrap(ME, Bytes::from_static(b"m")).base;
        for id in IDS.iter().take(founders).map(|id| NodeId(*id)) {
            base.membership.voters.insert(id);
            base.membership.contexts.insert(id, Bytes::from_static(b"m"));
        }
        let disk = Disk::holding(Image { base: base.clone(), ..Image::default() });
        Bench {
            raft: restore(&disk.durable, &base, 0),
            disk,
            state: base,
            handed: VecDeque::new(),
            reads: VecDeque::new(),
            snapshots: VecDeque::new(),
            now: 0,
            life: 0,
            next_read: 0,
            stopped: false,
            said: Vec::new(),
        }
    }

    fn at(&self) -> Instant {
        Instant(self.now)
    }

    fn act(&mut self, action: &Action) {
        if self.stopped {
            return;
        }
        let now = self.at();
        match action.clone() {
            Action::Wait(ms) => self.now += u64::from(ms) * 1_000_000,
            Action::Deadline => {
                self.now = self.now.max(self.raft.deadline().0.min(self.now + 1_000_000_000));
                self.raft.handle(self.at(), Event::Deadline);
            }
            Action::Message(envelope) => self.raft.handle(now, Event::Received(envelope)),
            Action::Sync => self.sync(),
            Action::Work => self.work(),
            Action::Propose(n) => {
                let _ = self.raft.propose(now, vec![Bytes::from(vec![n; usize::from(n % 9)])]);
            }
            Action::Read => {
                self.next_read += 1;
                let _ = self.raft.read(now, ReadId(self.next_read));
            }
            Action::Change(change) => {
                let base = self.raft.status().membership_index;
                let _ = self.raft.change_membership(now, base, change);
            }
            Action::Transfer(to) => {
                let _ = self.raft.transfer_leadership(now, to);
            }
            Action::Unreachable(node) => self.raft.handle(now, Event::Unreachable(node)),
            Action::Poll => self.poll(),
            Action::Restart => self.restart(),
        }
    }

    fn poll(&mut self) {
        let output = self.raft.poll(self.at());
        self.said.push(format!("{output:?}"));
        assert!(self.raft.poll(self.at()).is_empty(), "poll after poll is empty");
        self.stopped |= output.fatal.is_some();
        if let Some(write) = output.write {
            self.disk.submit(write).expect("the core keeps the promises of a write");
        }
        self.handed.extend(output.committed);
        self.reads.extend(output.log_reads);
        self.snapshots.extend(output.snapshots);
    }

    fn sync(&mut self) {
        self.poll();
        if self.stopped {
            return;
        }
        if let Some(write) = self.disk.complete() {
            self.raft.handle(self.at(), Event::Written(write.durable().written));
        }
    }

    fn work(&mut self) {
        self.poll();
        if self.stopped {
            return;
        }
        let now = self.at();
        if let Some(request) = self.reads.pop_front() {
            let entries =
                self.disk.read(request.range.start, request.range.end, request.max_bytes, false);
            self.raft.handle(now, Event::LogRead { request, entries });
        }
        if let Some(entry) = self.handed.pop_front() {
            assert_eq!(
                entry.id.index,
                self.state.last.index.next(),
                "entries come one after another"
            );
            self.state.last = entry.id;
            if let Payload::Membership(membership) = &entry.payload {
                self.state.membership = membership.clone();
                self.state.membership_index = entry.id.index;
            }
            self.raft.handle(now, Event::Applied { index: entry.id.index, digests: vec![0] });
            self.raft
                .handle(now, Event::Snapshot(SnapshotEvent::Durable { meta: self.state.clone() }));
        } else if let Some(request) = self.snapshots.pop_front() {
            self.snapshot(request);
        }
    }

    fn snapshot(&mut self, request: SnapshotRequest) {
        let event = match request {
            SnapshotRequest::Read { peer, offset, .. } => {
                let (meta, data) = (self.state.clone(), Bytes::from_static(b"rows"));
                SnapshotEvent::ChunkRead { peer, meta, offset, data, last: offset > 8 }
            }
            SnapshotRequest::Close { .. } => return,
            SnapshotRequest::Store { meta, offset, data, .. } => SnapshotEvent::ChunkStored {
                last: meta.last,
                end: offset.saturating_add(data.len() as u64),
            },
            SnapshotRequest::Install { meta, from } if meta.last.index <= self.state.last.index => {
                SnapshotEvent::Failed { peer: from }
            }
            SnapshotRequest::Install { meta, .. } => {
                self.state = meta.clone();
                SnapshotEvent::Installed { meta }
            }
        };
        self.raft.handle(self.at(), Event::Snapshot(event));
    }

    fn restart(&mut self) {
        self.disk.crash(0);
        let image = self.disk.durable.recovered(&self.state);
        self.disk = Disk::holding(image);
        self.life += 1;
        self.raft = restore(&self.disk.durable, &self.state, self.life);
        self.handed.clear();
        self.reads.clear();
        self.snapshots.clear();
    }
}

fn restore(image: &Image, state: &SnapshotMeta, life: u64) -> Raft {
    let restored = image.restored(state.last.index, 2);
    Raft::restore(ME, config(), restored, life, Instant(0)).expect("a disk that was never damaged")
}

fn checked(tests: u64) -> QuickCheck {
    QuickCheck::new().tests(tests).rng(Gen::from_size_and_seed(80, 0x1abe))
}

#[test]
fn total_whatever_peers_say_in_whatever_state_nothing_panics() {
    fn holds(founders: u8, actions: Vec<Action>) -> bool {
        let mut bench = Bench::new(usize::from(founders % 5));
        actions.iter().for_each(|action| bench.act(action));
        true
    }
    checked(4_000).quickcheck(holds as fn(u8, Vec<Action>) -> bool);
}

#[test]
fn total_whatever_bytes_arrive_nothing_panics() {
    fn holds(noise: Vec<u8>, flips: Vec<u16>, actions: Vec<Action>) -> bool {
        let mut bench = Bench::new(3);
        if let Ok(envelope) = Envelope::decode(Bytes::from(noise)) {
            bench.act(&Action::Message(envelope));
        }
        for action in &actions {
            let Action::Message(envelope) = action else {
                bench.act(action);
                continue;
            };
            let mut bytes = BytesMut::new();
            envelope.encode(&mut bytes);
            let length = bytes.len();
            for flip in &flips {
                bytes[usize::from(*flip) % length] ^= 1 << (flip % 8);
            }
            if let Ok(envelope) = Envelope::decode(bytes.freeze()) {
                bench.act(&Action::Message(envelope));
            }
        }
        true
    }
    checked(1_000).quickcheck(holds as fn(Vec<u8>, Vec<u16>, Vec<Action>) -> bool);
}

#[test]
fn replay_the_same_past_says_the_same() {
    fn holds(founders: u8, actions: Vec<Action>) -> bool {
        let said = || {
            let mut bench = Bench::new(usize::from(founders % 5));
            actions.iter().for_each(|action| bench.act(action));
            bench.poll();
            bench.said
        };
        said() == said()
    }
    checked(300).quickcheck(holds as fn(u8, Vec<Action>) -> bool);
}

/// Three nodes on a perfect network; how often each is polled is the only thing that varies.
struct Calm {
    nodes: Vec<(Raft, Disk, Vec<Entry>)>,
    inbox: Vec<VecDeque<Event>>,
    now: u64,
    polls: Rng,
}

impl Calm {
    fn new(polls: u64) -> Calm {
        let ids = [NodeId(0), NodeId(1), NodeId(u64::MAX)];
        let mut base = SnapshotMeta::default();
        base.membership.voters.extend(ids);
        base.membership.contexts.extend(ids.map(|id| (id, Bytes::new())));
        let image = Image { base, ..Image::default() };
        let node = |id| {
            let raft =
                Raft::restore(id, config(), image.restored(Index::ZERO, 0), id.0, Instant(0));
            (raft.expect("a new node"), Disk::holding(image.clone()), Vec::new())
        };
        Calm {
            nodes: ids.map(node).into(),
            inbox: vec![VecDeque::new(); ids.len()],
            now: 0,
            polls: Rng::stream(polls, Purpose::Node, 0, 0),
        }
    }

    fn leader(&self) -> Option<usize> {
        self.nodes.iter().position(|(raft, ..)| raft.status().own_term_committed)
    }

    /// Runs until nothing moves but time.
    fn quiesce(&mut self) {
        loop {
            for at in 0..self.nodes.len() {
                let batch = self.polls.between(1, 6);
                for _ in 0..batch {
                    let Some(event) = self.inbox[at].pop_front() else { break };
                    self.nodes[at].0.handle(Instant(self.now), event);
                }
                self.poll(at);
            }
            if self.inbox.iter().all(VecDeque::is_empty) {
                return;
            }
        }
    }

    fn poll(&mut self, at: usize) {
        let (raft, disk, applied) = &mut self.nodes[at];
        let output = raft.poll(Instant(self.now));
        assert_eq!(output.fatal, None);
        let mut messages = output.messages;
        if let Some(write) = output.write {
            disk.submit(write).expect("the core keeps the promises of a write");
            let durable = disk.complete().expect("a write").durable();
            messages.extend(durable.messages);
            self.inbox[at].push_back(Event::Written(durable.written));
        }
        for request in output.log_reads {
            let entries =
                disk.read(request.range.start, request.range.end, request.max_bytes, false);
            self.inbox[at].push_back(Event::LogRead { request, entries });
        }
        if let Some(last) = output.committed.last() {
            self.inbox[at].push_back(Event::Applied { index: last.id.index, digests: Vec::new() });
        }
        applied.extend(output.committed);
        for envelope in messages {
            let to = self.nodes.iter().position(|(raft, ..)| raft.status().id == envelope.to);
            self.inbox[to.expect("a member")].push_back(Event::Received(envelope));
        }
    }

    fn pass(&mut self) {
        let next = self.nodes.iter().map(|(raft, ..)| raft.deadline().0).min().unwrap_or_default();
        self.now = self.now.max(next);
        for (at, (raft, ..)) in self.nodes.iter().enumerate() {
            if raft.deadline().0 <= self.now {
                self.inbox[at].push_back(Event::Deadline);
            }
        }
        self.quiesce();
    }
}

/// What each of three nodes has applied in the end, polled as `polls` says.
fn calm_run(polls: u64, commands: &[(bool, u8)]) -> Vec<Vec<Payload>> {
    let mut calm = Calm::new(polls);
    while calm.leader().is_none() {
        calm.pass();
    }
    for (pause, n) in commands {
        let leader = calm.leader().expect("nothing can depose it");
        let now = Instant(calm.now);
        let command = Bytes::from(vec![*n; usize::from(n % 40)]);
        calm.nodes[leader].0.propose(now, vec![command]).expect("there is room");
        if *pause {
            calm.quiesce();
        }
    }
    calm.quiesce();
    for _ in 0..40 {
        calm.pass();
    }
    let commands = |applied: &Vec<Entry>| {
        applied
            .iter()
            .map(|entry| entry.payload.clone())
            .filter(|p| matches!(p, Payload::Command(_)))
            .collect()
    };
    calm.nodes.iter().map(|(_, _, applied)| commands(applied)).collect()
}

#[test]
fn batching_how_often_a_node_is_polled_changes_nothing_in_the_end() {
    fn holds(commands: Vec<(bool, u8)>, polls: (u64, u64)) -> bool {
        let wanted: Vec<Payload> = commands
            .iter()
            .map(|(_, n)| Payload::Command(Bytes::from(vec![*n; usize::from(n % 40)])))
            .collect();
        let one = calm_run(polls.0, &commands);
        one == calm_run(polls.1, &commands) && one.iter().all(|applied| *applied == wanted)
    }
    checked(100).quickcheck(holds as fn(Vec<(bool, u8)>, (u64, u64)) -> bool);
}
