//! How a life begins and ends.
//!
//! Rule: a life begins with what the model disk and the state machine hold and nothing else; a crash
//! keeps a prefix of the writes under way. Must never: carry anything else over.

use crate::check::{Glance, Seen, View, Violation};
use crate::disk::Disk;
use crate::lab::{Lab, broken, look};
use crate::node::nothing_seen;
use crate::planted::Planted;
use crate::rng::mix;
use kvorum_core::raft::{Ignored, Raft};

impl Lab {
    /// Starts the node in `slot` from its disk.
    pub fn bring_up(&mut self, slot: usize) -> Result<(), Violation> {
        if self.nodes[slot].up() {
            return Ok(());
        }
        let (seed, config, now) = (self.plan.seed, self.plan.config.clone(), self.now);
        Planted::at_start(self, slot);
        let node = &mut self.nodes[slot];
        let applied = node.machine.state.meta.clone();
        let image = node.disk.durable.recovered(&applied);
        if image.base.last.index > applied.last.index {
            let (base, applied) = (image.base.last, applied.last);
            let what = format!(
                "{}: the log begins after {base}, its state machine ends at {applied}",
                node.name
            );
            return Err(broken("compaction", what));
        }
        node.life += 1;
        node.disk = Disk::holding(image.clone());
        let cached = node.rng.below(image.entries.len() + 1);
        let mut restored = image.restored(applied.last.index, cached);
        restored.staged = node.machine.staged();
        if self.plan.plants(Planted::MembershipForgotten) {
            restored.memberships.pop();
        }
        let life_seed = mix(mix(seed, node.id.0), node.life);
        let raft = Raft::restore(node.id, config, restored.clone(), life_seed, node.local(now))
            .map_err(|corrupt| broken("restore", format!("{}: {}", node.name, corrupt.0)))?;
        let glance = Glance::of(&raft);
        node.raft = Some(raft);
        node.glance = glance;
        node.inbox.clear();
        node.awake = false;
        node.armed = None;
        node.paused_until = 0;
        node.machine_busy = false;
        node.led_throughout = false;
        self.trace.note(now, || {
            format!(
                "{} starts: last={} base={} applied={} vote={:?}",
                self.nodes[slot].name, glance.last, glance.base, glance.applied, glance.vote
            )
        });
        look!(self, slot, Seen::Restored { restored: &restored, glance })?;
        self.rouse(slot);
        Ok(())
    }

    /// Takes a node down; `kept` of its writes under way survive, and `state` picks the commit that
    /// its state machine comes back with.
    pub fn take_down(&mut self, slot: usize, kept: usize, state: usize) -> Result<(), Violation> {
        if !self.nodes[slot].up() {
            return Ok(());
        }
        self.trace.note(self.now, || {
            format!(
                "{} ⚡ down, {kept} of {} writes kept",
                self.nodes[slot].name,
                self.nodes[slot].disk.queue.len()
            )
        });
        if kept < self.nodes[slot].disk.queue.len() {
            self.cover("crash that lost writes");
        }
        let ignored = self.raft(slot).status().ignored;
        if ignored.contains_key(&Ignored::Corrupt) {
            self.cover("damaged message ignored");
        }
        let node = &mut self.nodes[slot];
        node.raft = None;
        node.life += 1;
        node.glance = nothing_seen(node.id);
        node.inbox.clear();
        node.reads.clear();
        node.disk.crash(kept);
        node.disk_busy_until = 0;
        node.receipt_at = 0;
        node.syncing = 0;
        node.machine.crash(state);
        look!(self, slot, Seen::Down)
    }
}
