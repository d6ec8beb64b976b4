//! One node: the shipped `Raft`, the lab's model disk, and a state machine that is a list.
//!
//! Rule: a node with an input gives one node and what it sends, whatever else the world holds; the
//! disk and the restart are the lab's. Must never: look at another node, or act by itself.

#[path = "../lab/disk.rs"]
#[allow(dead_code)] // The lab uses all of it.
pub mod disk;

use crate::{
    planted::Planted,
    rules::{Broken, Rule},
    setup::Setup,
};
use bytes::Bytes;
use disk::{Disk, Image};
use kvorum_core::raft::{
    Entry, Envelope, Event, Evidence, Instant, Message, NodeId, Output, Payload, Raft, RoleName,
    SnapshotEvent, SnapshotMeta, SnapshotRequest, Write,
};

/// What every clock shows, except while an election time-out passes.
pub const NOW: Instant = Instant(1 << 20);

/// What can happen to one node. Messages are named by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input<M> {
    /// A message arrives.
    Receive(M),
    /// An election time-out passes: a follower or candidate campaigns, a leader resigns.
    Tick,
    /// The leader's heartbeat is due.
    Beat,
    /// The oldest write under way is on the disk.
    Written,
    /// A crash that leaves this many of the writes under way on the disk, and a start.
    Crash(u8),
    /// What is asked for by a client, numbered.
    Propose(u8),
    /// The change of the members of this number.
    Change(u8),
    /// Leadership is to go to this node.
    Transfer(u8),
    /// The state machine makes its state durable.
    Checkpoint,
    /// The runtime asks what is to be done; only when `Setup::polls` is its own step.
    Poll,
}

/// What the state machine has applied, from the first entry on, and what of it is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Machine {
    history: Vec<(u8, u8)>,
    at: SnapshotMeta,
    durable: (usize, SnapshotMeta),
    staged: Vec<u8>,
}

/// One node between two inputs.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub raft: Raft,
    pub disk: Disk,
    pub machine: Machine,
    /// How often it has started.
    pub life: u8,
    /// What its clock shows: `NOW`, unless nobody has put it into canonical form.
    clock: Instant,
}

/// What an input led to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Effects {
    pub sent: Vec<Envelope>,
    pub committed: Vec<Entry>,
    /// What stands out, for stories and for `Sight`s.
    pub truncated: bool,
    pub installed: bool,
    pub handed_over: bool,
    pub lost_writes: bool,
    pub evidence: Option<Evidence>,
    /// A rule that the node or its disk broke by itself.
    pub broken: Option<Broken>,
}

impl Machine {
    fn apply(&mut self, entry: &Entry) {
        if let Payload::Membership(membership) = &entry.payload {
            self.at.membership = membership.clone();
            self.at.membership_index = entry.id.index;
        }
        self.history.push(applied_form(entry));
        self.at.last = entry.id;
        self.at.chain = entry.chain;
    }

    fn stream(&self) -> Bytes {
        self.history.iter().flat_map(|&(term, what)| [term, what]).collect()
    }

    fn install(&mut self, meta: &SnapshotMeta) {
        self.history = self.staged.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        self.staged.clear();
        self.at = meta.clone();
        self.durable = (self.history.len(), meta.clone());
    }

    /// What a crash leaves of it.
    fn crash(&mut self) {
        self.history.truncate(self.durable.0);
        self.at = self.durable.1.clone();
        self.staged.clear();
    }

    /// What was applied, from the first entry on.
    pub fn history(&self) -> &[(u8, u8)] {
        &self.history
    }
}

impl Node {
    /// A node at its first start, from what its disk holds.
    pub fn first(setup: &Setup, id: NodeId) -> Node {
        let image = Image { base: setup.base_of(id), ..Image::default() };
        let disk = Disk::holding(image);
        let raft = start(setup, id, &disk, &Machine::default());
        let mut node = Node { raft, disk, machine: Machine::default(), life: 1, clock: NOW };
        node.drain(setup, &mut Effects::default());
        node.settled()
    }

    /// The same node once more, for another future.
    pub fn fork(&self) -> Node {
        let (raft, queue) = self.raft.fork(&self.disk.queue);
        let Disk { durable, shadow, .. } = &self.disk;
        let disk = Disk { durable: durable.clone(), shadow: shadow.clone(), queue: queue.into() };
        Node { raft, disk, machine: self.machine.clone(), life: self.life, clock: self.clock }
    }

    /// Whether `input` can mean anything now.
    pub fn takes<M>(&self, setup: &Setup, input: &Input<M>) -> bool {
        match input {
            Input::Beat => self.raft.deadline() <= self.clock,
            Input::Written => !self.disk.queue.is_empty(),
            Input::Crash(kept) => usize::from(*kept) <= self.disk.queue.len(),
            Input::Checkpoint => self.machine.at.last.index > self.machine.durable.1.last.index,
            Input::Poll => setup.polls_apart,
            Input::Receive(_)
            | Input::Tick
            | Input::Propose(_)
            | Input::Change(_)
            | Input::Transfer(_) => true,
        }
    }

    /// What `input` makes of this node.
    pub fn step(mut self, setup: &Setup, input: &Input<&Envelope>) -> (Node, Effects) {
        let effects = self.act(setup, input);
        (self.settled(), effects)
    }

    /// Does `input`, and leaves the node with its past.
    pub fn act(&mut self, setup: &Setup, input: &Input<&Envelope>) -> Effects {
        let mut effects = Effects::default();
        let before = self.raft.status().commit;
        let mut reborn = false;
        match *input {
            Input::Receive(envelope) => {
                let envelope = Planted::on_the_wire(setup.planted, self, envelope.clone());
                let asked = envelope.message == Message::TimeoutNow;
                self.raft.handle(self.clock, Event::Received(envelope));
                effects.handed_over = asked && self.raft.status().role == RoleName::Candidate;
            }
            Input::Tick => {
                self.clock.0 += 1;
                self.raft.handle(self.clock, Event::Deadline);
            }
            Input::Beat => self.raft.handle(self.clock, Event::Deadline),
            Input::Written => self.complete(&mut effects, setup),
            Input::Crash(kept) => {
                self.crash(setup, usize::from(kept), &mut effects);
                reborn = true;
            }
            Input::Propose(number) => {
                let command = Bytes::copy_from_slice(&[b'a' + number]);
                let _refused = self.raft.propose(self.clock, vec![command]);
            }
            Input::Change(number) => {
                let base = self.raft.status().membership_index;
                let change = setup.changes[usize::from(number)].clone();
                let _refused = self.raft.change_membership(self.clock, base, change);
            }
            Input::Transfer(to) => {
                let to = NodeId(u64::from(to));
                let _refused = self.raft.transfer_leadership(self.clock, Some(to));
            }
            Input::Checkpoint => {
                self.machine.durable = (self.machine.history.len(), self.machine.at.clone());
                let meta = self.machine.at.clone();
                self.raft.handle(self.clock, Event::Snapshot(SnapshotEvent::Durable { meta }));
            }
            Input::Poll => {}
        }
        if !setup.polls_apart || matches!(input, Input::Poll) {
            self.drain(setup, &mut effects);
        }
        if effects.evidence.is_none() {
            self.raft.check_invariants();
        }
        if !reborn && self.raft.status().commit < before {
            let what = format!("the commit index went back from {before}");
            effects.broken = Some((Rule::CommitMonotone, what));
        }
        effects
    }

    /// Does what `poll` says until it says nothing more.
    fn drain(&mut self, setup: &Setup, effects: &mut Effects) {
        for _ in 0..64 {
            let output = self.raft.poll(self.clock);
            if output.is_empty() {
                return;
            }
            self.obey(setup, output, effects);
        }
        effects.broken = Some((Rule::Invariants, "poll never falls silent".to_string()));
    }

    fn obey(&mut self, setup: &Setup, output: Output, effects: &mut Effects) {
        effects.sent.extend(output.messages);
        effects.evidence = effects.evidence.take().or(output.fatal);
        if let Some(write) = output.write {
            effects.truncated |= write.truncate_from.is_some();
            if setup.planted == Some(Planted::SentBeforeDurable) {
                let (_, copy) = self.raft.fork([&write]);
                let early = copy.into_iter().flat_map(|write| write.durable().messages);
                effects.sent.extend(early);
            }
            if let Err(what) = self.disk.submit(write) {
                effects.broken = Some((Rule::Invariants, what));
            }
        }
        if let Some(last) = output.committed.last() {
            let last = last.id.index;
            output.committed.iter().for_each(|entry| self.machine.apply(entry));
            effects.committed.extend(output.committed);
            self.raft.handle(self.clock, Event::Applied { index: last, digests: Vec::new() });
        }
        for request in output.log_reads {
            let (from, end) = (request.range.start, request.range.end);
            let entries = self.disk.read(from, end, request.max_bytes, false);
            self.raft.handle(self.clock, Event::LogRead { request, entries });
        }
        for request in output.snapshots {
            self.snapshot(request, effects);
        }
        while setup.sync_at_once && !self.disk.queue.is_empty() {
            self.complete(effects, setup);
        }
    }

    fn snapshot(&mut self, request: SnapshotRequest, effects: &mut Effects) {
        let event = match request {
            SnapshotRequest::Read { peer, offset, .. } => {
                let (meta, all) = (self.machine.at.clone(), self.machine.stream());
                let start = usize::try_from(offset).expect("small").min(all.len());
                SnapshotEvent::ChunkRead {
                    peer,
                    meta,
                    offset,
                    data: all.slice(start..),
                    last: true,
                }
            }
            SnapshotRequest::Close { .. } => return,
            SnapshotRequest::Store { meta, offset, data, .. } => {
                self.machine.staged.truncate(usize::try_from(offset).expect("small"));
                self.machine.staged.extend_from_slice(&data);
                let end = self.machine.staged.len() as u64;
                SnapshotEvent::ChunkStored { last: meta.last, end }
            }
            SnapshotRequest::Install { meta, .. } => {
                self.machine.install(&meta);
                effects.installed = true;
                SnapshotEvent::Installed { meta }
            }
        };
        self.raft.handle(self.clock, Event::Snapshot(event));
    }

    /// The oldest write is on the disk; what waited for it leaves.
    fn complete(&mut self, effects: &mut Effects, setup: &Setup) {
        let Some(write) = self.disk.queue.front() else { return };
        if let Some(broken) = self.forbidden(write) {
            effects.broken = Some(broken);
        }
        let Some(write) = self.disk.complete() else { return };
        let durable = write.durable();
        if setup.planted != Some(Planted::SentBeforeDurable) {
            effects.sent.extend(durable.messages);
        }
        self.raft.handle(self.clock, Event::Written(durable.written));
    }

    /// What no write may do to a disk: change a vote within its term, go back in terms, or take
    /// away what is applied.
    fn forbidden(&self, write: &Write) -> Option<Broken> {
        let held = self.disk.durable.vote;
        if let Some(vote) = write.vote {
            let changed = held.voted_for.is_some() && held.voted_for != vote.voted_for;
            if vote.term < held.term || (vote.term == held.term && changed) {
                let what = format!("the disk held {held}, then {vote}");
                return Some((Rule::OneDurableVote, what));
            }
        }
        let applied = self.machine.at.last.index;
        let replaced = write.base.as_ref().is_some_and(|base| base.last.index >= applied);
        let from = write.truncate_from.filter(|from| *from <= applied && !replaced)?;
        let what = format!("what is applied up to {applied} is truncated from {from}");
        Some((Rule::StateMachineSafety, what))
    }

    fn crash(&mut self, setup: &Setup, kept: usize, effects: &mut Effects) {
        effects.lost_writes = kept < self.disk.queue.len();
        self.disk.crash(kept);
        self.machine.crash();
        Planted::at_start(setup.planted, &mut self.disk);
        let image = self.disk.durable.recovered(&self.machine.at);
        self.disk = Disk::holding(image);
        self.raft = start(setup, self.raft.status().id, &self.disk, &self.machine);
        self.clock = NOW;
        self.life += 1;
    }

    /// In canonical form, so that nodes that will behave alike are equal.
    pub fn settled(mut self) -> Node {
        let writes = self.disk.queue.make_contiguous();
        self.raft = self.raft.canonical(NOW, writes);
        self.clock = NOW;
        self
    }

    /// The log as this node goes by it.
    pub fn log(&self) -> &Image {
        &self.disk.shadow
    }
}

fn start(setup: &Setup, id: NodeId, disk: &Disk, machine: &Machine) -> Raft {
    let applied = machine.at.last.index.max(disk.durable.base.last.index);
    let restored = disk.durable.restored(applied, usize::MAX);
    Raft::restore(id, setup.config(), restored, 0, NOW).expect("a disk that fits together")
}

/// What a state machine keeps of an entry: the term, and what it says.
pub fn applied_form(entry: &Entry) -> (u8, u8) {
    let term = u8::try_from(entry.id.term.0).expect("a short run");
    let what = match &entry.payload {
        Payload::Noop => 0,
        Payload::Membership(_) => 1,
        Payload::Command(bytes) => bytes[0],
    };
    (term, what)
}
