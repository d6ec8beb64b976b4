//! Nodes with their disks, clocks and state machines, and the network between them.

use crate::{
    disk::Disk,
    machine::Jobs,
    notation::{Words, membership},
};
use kvorum_core::raft::*;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
    time::Duration,
};

/// One node: alive or not, with its disk and the writes on their way there.
#[derive(Default)]
pub struct Node {
    pub raft: Option<Raft>,
    pub disk: Disk,
    pub writes: VecDeque<Write>,
    pub jobs: Jobs,
    /// Its clock is ahead of the world's by so many nanoseconds.
    pub ahead: i128,
    lives: u64,
    /// What was last said of it.
    pub said: Option<Changed>,
    /// It has shown evidence and does nothing any more.
    pub stopped: bool,
}

/// Everything a script moves.
#[derive(Default)]
pub struct World {
    pub now: Instant,
    pub config: Config,
    /// Entries in memory after a start; all by default.
    pub cached: Option<usize>,
    /// Whether state machines give digests.
    pub digests: bool,
    pub nodes: BTreeMap<NodeId, Node>,
    /// The chain of every entry that was ever on a disk or on its way there.
    pub chains: BTreeMap<EntryId, Chain>,
    pub network: VecDeque<Envelope>,
    pub copies: BTreeMap<String, Envelope>,
    pub backups: BTreeMap<String, Disk>,
    /// Links that lose everything.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Nothing is polled before the next command.
    pub together: bool,
    /// Only what matters from outside is said.
    pub quiet: bool,
    /// What happened since the last `---`.
    pub output: String,
}

impl World {
    pub fn add(&mut self, id: NodeId, members: Membership) {
        let base = SnapshotMeta { membership: members, ..SnapshotMeta::default() };
        let disk = Disk { applied: base.clone(), base, ..Disk::default() };
        self.nodes.insert(id, Node { disk, ..Node::default() });
    }

    pub fn cluster(&mut self, voters: &[NodeId], learners: &[NodeId]) {
        let members = membership(voters, learners);
        for id in members.contexts.keys() {
            self.add(*id, members.clone());
        }
    }

    /// `disk n1 …`: what is on a disk before the node starts.
    pub fn set_disk(&mut self, words: &Words) {
        let id = words.node(1);
        let node = self.nodes.get_mut(&id).unwrap_or_else(|| panic!("{id} has a disk"));
        node.disk.set(words, &mut self.chains);
        self.chains.extend(node.disk.log.iter().map(|entry| (entry.id, entry.chain)));
    }

    pub fn start(&mut self, id: NodeId) {
        let (cached, now) = (self.cached.unwrap_or(usize::MAX), self.clock(id));
        let config = self.config.clone();
        let node = self.node(id);
        node.lives += 1;
        let seed = id.0.wrapping_mul(1000).wrapping_add(node.lives);
        let restored = node.disk.restored(cached);
        match Raft::restore(id, config, restored, seed, now) {
            Ok(raft) => {
                let status = raft.status();
                node.said = Some(Changed {
                    role: status.role,
                    leader: status.leader,
                    term: status.vote.term,
                    membership_index: status.membership_index,
                });
                node.raft = Some(raft);
            }
            Err(corrupt) => writeln!(self.output, "{id} does not start: {}", corrupt.0).unwrap(),
        }
    }

    /// The first `written` of the writes under way reach the disk, the others are lost.
    pub fn crash(&mut self, id: NodeId, written: usize) {
        let node = self.node(id);
        node.raft = None;
        node.said = None;
        node.stopped = false;
        node.jobs = Jobs::default();
        let kept = written.min(node.writes.len());
        for write in std::mem::take(&mut node.writes).into_iter().take(kept) {
            node.disk.write(&write);
        }
    }

    pub fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).unwrap_or_else(|| panic!("{id} has a disk"))
    }

    pub fn raft(&mut self, id: NodeId) -> &mut Raft {
        self.node(id).raft.as_mut().unwrap_or_else(|| panic!("{id} runs"))
    }

    /// What the node's clock shows.
    pub fn clock(&self, id: NodeId) -> Instant {
        let ahead = self.nodes.get(&id).map_or(0, |node| node.ahead);
        Instant((i128::from(self.now.0) + ahead).clamp(0, i128::from(u64::MAX)) as u64)
    }

    pub fn handle(&mut self, id: NodeId, event: Event) {
        let now = self.clock(id);
        if let Some(raft) = self.nodes.get_mut(&id).and_then(|node| node.raft.as_mut()) {
            raft.handle(now, event);
        }
    }

    /// The node's next deadline as the world's clock will show it.
    pub fn deadline(&self, id: NodeId) -> Option<Instant> {
        let node = self.nodes.get(&id)?;
        let local = node.raft.as_ref()?.deadline();
        if local.0 == u64::MAX {
            return None;
        }
        let at = (i128::from(local.0) - node.ahead).clamp(0, i128::from(u64::MAX));
        Some(Instant(at as u64))
    }

    pub fn next_deadline(&self) -> Option<(Instant, NodeId)> {
        self.nodes.keys().filter_map(|&id| Some((self.deadline(id)?, id))).min()
    }

    /// The node's next deadlines pass, up to the one that makes it act on its own behalf.
    pub fn timeout(&mut self, id: NodeId) {
        let before = self.raft(id).status().role;
        for _ in 0..1000 {
            self.now = self.now.max(self.deadline(id).expect("it runs"));
            self.handle(id, Event::Deadline);
            let acted = self.raft(id).status().role != before || before == RoleName::PreCandidate;
            self.drain();
            if acted {
                return;
            }
        }
        panic!("{id} never acts");
    }

    /// The node times out until it leads; everything is delivered.
    pub fn elect(&mut self, id: NodeId) {
        for _ in 0..5 {
            self.timeout(id);
            self.deliver_all();
            if self.raft(id).status().role == RoleName::Leader {
                return;
            }
        }
        panic!("{id} is not elected");
    }

    /// Fires every deadline up to `end`, with what follows from it.
    fn pass(&mut self, end: Instant, follow: fn(&mut World)) {
        for fired in 0.. {
            let due = self.next_deadline().filter(|(at, _)| *at <= end);
            let Some((at, id)) = due else { return };
            assert!(fired < 100_000, "{id} wants to be woken without end");
            self.now = self.now.max(at);
            self.handle(id, Event::Deadline);
            follow(self);
        }
    }

    pub fn wait(&mut self, milliseconds: u64) {
        let end = self.now.after(Duration::from_millis(milliseconds));
        self.pass(end, World::drain);
        self.now = end;
    }

    /// Time passes while disks and network work at once.
    pub fn go_on(&mut self, milliseconds: u64) {
        let end = self.now.after(Duration::from_millis(milliseconds));
        let loud = std::mem::replace(&mut self.quiet, true);
        self.deliver_all();
        self.pass(end, World::deliver_all);
        self.quiet = loud;
        self.now = end;
    }

    pub fn sync(&mut self, id: NodeId, count: usize) {
        for _ in 0..count {
            let node = self.node(id);
            let Some(write) = node.writes.pop_front() else { break };
            node.disk.write(&write);
            let durable = write.durable();
            self.network.extend(durable.messages);
            self.handle(id, Event::Written(durable.written));
            self.drain();
        }
    }

    /// Everything is delivered and written until nothing happens. A disk that is held stays so.
    pub fn deliver_all(&mut self) {
        let loud = std::mem::replace(&mut self.quiet, true);
        for round in 0.. {
            assert!(round < 1000, "never settles");
            self.drain();
            let held = |node: &Node| node.writes.is_empty() || node.jobs.holds_writes();
            if self.network.is_empty() && self.nodes.values().all(held) {
                break;
            }
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                if !self.nodes[&id].jobs.holds_writes() {
                    self.sync(id, usize::MAX);
                }
            }
            let arriving = std::mem::take(&mut self.network);
            arriving.into_iter().for_each(|envelope| self.arrive(envelope));
        }
        self.quiet = loud;
    }

    /// Polls all nodes until none has anything to do; the state machine works at once, the disk and
    /// the network do not.
    pub fn drain(&mut self) {
        while !self.together {
            let mut idle = true;
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                let now = self.clock(id);
                let Some(raft) = self.nodes.get_mut(&id).and_then(|node| node.raft.as_mut()) else {
                    continue;
                };
                let output = raft.poll(now);
                assert!(raft.poll(now).is_empty(), "silent: {id} has said everything at once");
                idle &= output.is_empty();
                self.carry_out(id, output);
            }
            if idle {
                return;
            }
        }
    }

    fn carry_out(&mut self, id: NodeId, output: Output) {
        self.say_output(id, &output);
        let Output { write, messages, committed, log_reads, snapshots, .. } = output;
        self.network.extend(messages);
        let appended = write.iter().flat_map(|write| &write.append);
        self.chains.extend(appended.map(|entry| (entry.id, entry.chain)));
        self.node(id).writes.extend(write);
        self.work(id, committed, log_reads, snapshots);
    }
}
