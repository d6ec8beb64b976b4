//! How a cluster is born, and how lives begin and end.
//!
//! Rule: a life begins with what the model disk and the state machine hold; a crash keeps a prefix of
//! the writes under way. Must never: carry anything else over.

use crate::check::{Glance, Seen, View};
use crate::cluster::{Cluster, Verdict, broken, look};
use crate::disk::{Disk, Image};
use crate::machine::{Machine, State};
use crate::node::{Node, nothing_seen};
use crate::planted::Planted;
use crate::rng::mix;
use crate::schedule::Schedule;
use crate::watch::Birth;
use bytes::Bytes;
use kvorum_core::raft::{NodeId, Raft, Restored, SnapshotMeta};

impl Cluster<'_> {
    /// Founders with one configuration, and blank nodes.
    pub fn populate(&mut self, schedule: &Schedule) {
        let founders: Vec<NodeId> =
            schedule.ids.iter().take(schedule.founders.max(1)).map(|id| NodeId(*id)).collect();
        let mut base: SnapshotMeta = Restored::bootstrap(founders[0], Bytes::new()).base;
        base.membership.voters.extend(&founders);
        base.membership.contexts.extend(founders.iter().map(|id| (*id, Bytes::from_static(b"m"))));
        self.checks.facts.membership = base.membership.clone();
        for (slot, id) in schedule.ids.iter().map(|id| NodeId(*id)).enumerate() {
            let (mut disk, mut machine) = (Disk::default(), Machine::default());
            if slot < founders.len() {
                disk = Disk::holding(Image { base: base.clone(), ..Image::default() });
                machine = Machine::starting(State { meta: base.clone(), ..State::default() });
            }
            let node = Node::new(id, disk, machine);
            self.names.insert(id, node.name.clone());
            self.nodes.push(node);
        }
    }

    /// Starts a node from what its disk holds.
    pub fn bring_up(&mut self, slot: usize) -> Verdict {
        if self.nodes[slot].up() {
            return Ok(());
        }
        let now = self.nodes[slot].local(self.now);
        let node = &mut self.nodes[slot];
        let applied = node.machine.state.meta.clone();
        let image = node.disk.durable.recovered(&applied);
        node.disk = Disk::holding(image.clone());
        node.life += 1;
        let cached = usize::try_from(node.life % 3).expect("small") * image.entries.len() / 2;
        let mut restored = image.restored(applied.last.index, cached);
        restored.staged = node.machine.staged();
        let (id, seed) = (node.id, mix(node.id.0, node.life));
        let birth = Birth { id, config: self.plan.config.clone(), restored, seed, now };
        self.watch.born(slot, &birth);
        let raft = match birth.clone().raft() {
            Ok(raft) => raft,
            // Peers that break log matching can leave it with two histories in one log.
            Err(_) if self.terms.hostile => {
                self.cover("node that refuses its own log");
                return Ok(());
            }
            Err(corrupt) => return Err(broken("restore", format!("{id}: {}", corrupt.0))),
        };
        let glance = Glance::of(&raft);
        let wait = self.next_wait();
        let node = &mut self.nodes[slot];
        node.raft = Some(raft);
        node.glance = glance;
        node.handled = 0;
        node.was_due = None;
        node.waits = wait;
        node.led_throughout = false;
        look!(self, slot, Seen::Restored { restored: &birth.restored, glance })
    }

    /// Takes a node down; `kept` of its writes under way survive.
    pub fn take_down(&mut self, slot: usize, kept: usize) -> Verdict {
        let rule = self.watch.rule();
        let Some(raft) = self.nodes[slot].raft.take() else { return Ok(()) };
        self.watch.ended(slot, &raft).map_err(|what| broken(rule, what))?;
        let node = &mut self.nodes[slot];
        let kept = kept % (node.disk.queue.len() + 1);
        let lost = kept < node.disk.queue.len();
        node.life += 1;
        node.glance = nothing_seen(node.id);
        node.reads.clear();
        node.log_reads.clear();
        node.disk.crash(kept);
        node.machine.crash(kept % 3);
        match self.terms.planted {
            Some(Planted::VoteLost) => node.disk.durable.vote.voted_for = None,
            Some(Planted::TailLost) => {
                node.disk.durable.entries.pop_back();
            }
            _ => {}
        }
        self.cover(if lost { "crash that lost writes" } else { "crash" });
        look!(self, slot, Seen::Down)
    }

    /// The run is over: what still lives ends, too.
    pub fn finish(&mut self) -> Verdict {
        let rule = self.watch.rule();
        for slot in 0..self.nodes.len() {
            if let Some(raft) = &self.nodes[slot].raft {
                self.watch.ended(slot, raft).map_err(|what| broken(rule, what))?;
            }
        }
        Ok(())
    }
}

impl Birth {
    /// The life itself.
    pub fn raft(self) -> Result<Raft, kvorum_core::raft::Corrupt> {
        Raft::restore(self.id, self.config, self.restored, self.seed, self.now)
    }
}
