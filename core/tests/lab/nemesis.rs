//! The faults: at random times, and right after a node has done something delicate.
//!
//! Rule: whatever happens, the cluster stays *able* to recover: no disk is wiped whose loss could
//! take the last quorum away. Must never: strike after the heal.

use crate::check::{Seen, View, Violation, is_quorum};
use crate::disk::Disk;
use crate::lab::{Happening, Lab, look};
use crate::machine::Machine;
use crate::node::{Input, nothing_seen};
use crate::plan::Heal;
use crate::planted::{ODD, Planted};
use kvorum_core::raft::{Event, Membership, NodeId, Payload};
use std::collections::BTreeSet;

/// Something delicate that a node has just done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Voted,
    Elected,
    Acked,
    Committed,
    Proposed,
    Truncated,
    Installed,
    Reconfigured,
    Transfer,
}

impl Lab {
    /// Sets the first fault of each kind.
    pub fn schedule_faults(&mut self) {
        for fault in [
            Happening::Crash,
            Happening::PowerCut,
            Happening::Partition,
            Happening::Pause,
            Happening::Wipe,
        ] {
            self.again(fault);
        }
        self.again(Happening::Administrator);
        self.again(Happening::Handover);
        if self.plan.noise {
            self.again(Happening::Noise);
        }
    }

    /// The next fault of a kind.
    pub fn again(&mut self, fault: Happening) {
        let election = self.plan.election();
        let founding = self.plan.grow || !self.plan.config.promote_learners;
        let mean = match fault {
            Happening::Crash => self.plan.crash,
            Happening::PowerCut => self.plan.power_cut,
            Happening::Partition => self.plan.partition,
            Happening::Pause => self.plan.pause,
            Happening::Wipe => self.plan.wipe,
            Happening::Administrator if self.plan.churn == 0 && founding => election,
            Happening::Administrator => self.plan.churn,
            Happening::Handover => self.plan.transfer,
            Happening::Noise => election / 4,
            _ => 0,
        };
        if mean > 0 && self.healed_at.is_none() {
            let delay = self.nemesis.between(mean / 2, mean + mean / 2);
            self.after(delay, fault);
        }
    }

    fn any_slot(&mut self) -> usize {
        self.nemesis.below(self.nodes.len())
    }

    /// A fault strikes.
    pub fn fault(&mut self, fault: &Happening) -> Result<(), Violation> {
        if let Happening::Rejoin { epoch } = fault {
            if *epoch == self.partition_epoch && self.healed_at.is_none() {
                self.net.heal();
                self.trace.note(self.now, || "⚡ links are whole again".to_owned());
            }
            return Ok(());
        }
        if self.healed_at.is_some() {
            return Ok(());
        }
        match fault {
            Happening::Crash => {
                let slot = self.any_slot();
                self.crash(slot)?;
            }
            Happening::PowerCut => self.power_cut()?,
            Happening::Partition => self.partition(),
            Happening::Pause => {
                let slot = self.any_slot();
                self.pause(slot);
            }
            Happening::Wipe => {
                let slot = self.any_slot();
                self.wipe(slot)?;
            }
            Happening::Noise => self.noise(),
            _ => {}
        }
        self.again(fault.clone());
        Ok(())
    }

    fn crash(&mut self, slot: usize) -> Result<(), Violation> {
        let under_way = self.nodes[slot].disk.queue.len();
        let kept = match self.nemesis.below(10) {
            0..5 => 0,
            5..8 => under_way,
            _ => self.nemesis.below(under_way + 1),
        };
        let state = self.nemesis.below(4);
        self.take_down(slot, kept, state)?;
        let delay = self.nemesis.between(0, 4 * self.plan.election());
        self.after(delay, Happening::Start { slot });
        self.cover("crash");
        Ok(())
    }

    fn power_cut(&mut self) -> Result<(), Violation> {
        for slot in 0..self.nodes.len() {
            self.crash(slot)?;
        }
        self.cover("power cut of all");
        Ok(())
    }

    fn pause(&mut self, slot: usize) {
        let span = self.nemesis.between(self.plan.election() / 2, 4 * self.plan.election());
        let until = self.now + span;
        self.nodes[slot].paused_until = until;
        self.trace.note(self.now, || format!("{} ⚡ paused", self.nodes[slot].name));
        self.cover("pause");
    }

    fn partition(&mut self) {
        let mut slots: Vec<usize> = (0..self.nodes.len()).collect();
        self.nemesis.shuffle(&mut slots);
        let size = self.nemesis.between(1, (slots.len() as u64 / 2).max(1));
        let group = slots[..usize::try_from(size).expect("small")].to_vec();
        self.net.heal();
        match self.nemesis.below(5) {
            0 | 1 => self.net.cut_off(&group, false, false),
            2 => self.net.cut_off(&group, true, false),
            3 => self.net.cut_off(&group, false, true),
            _ => self.net.bridge(&slots),
        }
        self.trace.note(self.now, || format!("⚡ links around {group:?} are cut"));
        self.rejoin_later();
    }

    fn rejoin_later(&mut self) {
        self.cover("partition");
        self.partition_epoch += 1;
        let (epoch, span) =
            (self.partition_epoch, self.nemesis.between(1, 8) * self.plan.election());
        self.after(span, Happening::Rejoin { epoch });
    }

    fn noise(&mut self) {
        let (slot, other) = (self.any_slot(), self.any_slot());
        let id = self.nodes[other].id;
        match self.nemesis.below(3) {
            0 | 1 => self.give(slot, Input::EarlyDeadline),
            _ => self.give(slot, Input::Event(Event::Unreachable(id))),
        }
    }

    /// A delicate moment: strike, perhaps.
    pub fn moment(&mut self, slot: usize, moment: Moment) {
        let rare = match moment {
            Moment::Acked | Moment::Committed | Moment::Proposed => 8,
            Moment::Voted | Moment::Elected | Moment::Truncated | Moment::Transfer => 1,
            Moment::Installed | Moment::Reconfigured => 1,
        };
        if self.healed_at.is_none()
            && self.plan.traps > 0
            && self.trap.chance(1_000.min(10 * self.plan.traps / rare))
        {
            let life = self.nodes[slot].life;
            self.trace.note(self.now, || format!("{} ⚡ trap: {moment:?}", self.nodes[slot].name));
            self.cover("trap");
            self.after(0, Happening::Strike { slot, life });
        }
    }

    /// A trap closes.
    pub fn strike(&mut self, slot: usize) -> Result<(), Violation> {
        if self.healed_at.is_some() {
            return Ok(());
        }
        match self.trap.below(8) {
            0..3 => self.crash(slot)?,
            3 => self.pause(slot),
            4 => self.power_cut()?,
            5 => {
                let span = self.trap.between(1, 4) * self.plan.election();
                self.nodes[slot].disk_busy_until = self.now + span;
            }
            6 => {
                self.net.cut_off(&[slot], false, false);
                self.rejoin_later();
            }
            _ => {
                let hears = self.trap.chance(500);
                self.net.cut_off(&[slot], hears, !hears);
                self.rejoin_later();
            }
        }
        Ok(())
    }

    /// The configurations that are or may come into force: the last committed one and everything
    /// after it on any node.
    pub fn in_force(&self) -> Vec<Membership> {
        let last = self.checks.facts.last();
        let mut all = vec![self.checks.facts.membership.clone()];
        for node in &self.nodes {
            for log in [&node.disk.shadow, &node.disk.durable] {
                for entry in log.entries.iter().rev().take_while(|entry| entry.id.index > last) {
                    if let Payload::Membership(membership) = &entry.payload {
                        all.push(membership.clone());
                    }
                }
            }
        }
        all
    }

    /// Whether `membership` keeps a quorum without `without`, even if every dead learner gets a vote.
    pub fn viable(&self, membership: &Membership, without: &BTreeSet<NodeId>) -> bool {
        let gone = |id: &NodeId| self.dead.contains(id) || without.contains(id);
        let learners = membership.learners.iter().filter(|id| gone(id)).count();
        [&membership.voters, &membership.outgoing].iter().all(|half| {
            half.is_empty()
                || half.iter().filter(|id| !gone(id)).count() > (half.len() + learners) / 2
        })
    }

    /// Whether the cluster can live without these slots for ever.
    pub fn spares(&self, slots: &[usize]) -> bool {
        let without: BTreeSet<NodeId> = slots.iter().map(|slot| self.nodes[*slot].id).collect();
        self.in_force().iter().all(|membership| self.viable(membership, &without))
    }

    /// The disk in `slot` is lost; a new incarnation comes up there.
    pub fn wipe(&mut self, slot: usize) -> Result<(), Violation> {
        if !self.spares(&[slot]) {
            return Ok(());
        }
        self.take_down(slot, 0, 0)?;
        look!(self, slot, Seen::Down)?;
        let (old, incarnation) = (self.nodes[slot].id, self.nodes[slot].incarnation + 1);
        self.trace.note(self.now, || format!("{} ⚡ wiped", self.nodes[slot].name));
        if self.plan.plants(crate::planted::Planted::Amnesia) {
            self.nodes[slot].disk = Disk::default();
            self.nodes[slot].machine = Machine::default();
            self.after(self.plan.election(), Happening::Start { slot });
            return Ok(());
        }
        self.dead.insert(old);
        let node = &self.nodes[slot];
        self.graves.insert(old, node.disk.durable.recovered(&node.machine.durable.meta));
        let life = self.nodes[slot].life;
        let mut node = self.fresh(slot, incarnation);
        node.life = life;
        node.glance = nothing_seen(node.id);
        self.nodes[slot] = node;
        let delay = self.nemesis.between(0, self.plan.election());
        self.after(delay, Happening::Start { slot });
        self.cover("disk wiped");
        Ok(())
    }

    /// The chaos is over.
    pub fn heal(&mut self) -> Result<(), Violation> {
        self.healed_at = Some(self.now);
        self.net.heal();
        self.net.calm = true;
        self.trace.note(self.now, || format!("everything heals, as {:?}", self.plan.heal));
        for slot in 0..self.nodes.len() {
            self.nodes[slot].paused_until = 0;
            let life = self.nodes[slot].life;
            if self.nodes[slot].up() {
                self.after(0, Happening::Wake { slot, life });
            }
            self.bring_up(slot)?;
        }
        self.majority = (0..self.nodes.len()).collect();
        let mut order = self.majority.clone();
        self.nemesis.shuffle(&mut order);
        if self.plan.plants(Planted::OneOddMachine) {
            order.sort_by_key(|slot| *slot != ODD);
        }
        self.leave_out(&order);
        self.after(self.plan.election() / 2, Happening::Judge);
        Ok(())
    }

    /// What stays broken for good, always a part that the rest can do without.
    fn leave_out(&mut self, order: &[usize]) {
        let mut minority: Vec<usize> = Vec::new();
        let most = if self.plan.heal == Heal::DiskStall { 1 } else { 3 };
        for slot in order {
            minority.push(*slot);
            if minority.len() > most || !self.spares(&minority) {
                minority.pop();
            }
        }
        match self.plan.heal {
            Heal::Full => return,
            Heal::MinorityCut => self.net.cut_off(&minority, false, false),
            Heal::MinorityDeaf => self.net.cut_off(&minority, false, true),
            Heal::MinorityMute => self.net.cut_off(&minority, true, false),
            Heal::Bridge => {
                let left: Vec<usize> = order[..order.len() / 2].to_vec();
                let right: Vec<usize> = order.iter().skip(order.len() / 2 + 1).copied().collect();
                if !self.spares(&left) || !self.spares(&right) {
                    self.plan.heal = Heal::Full;
                    return;
                }
                self.net.bridge(order);
                minority.clear();
            }
            Heal::DiskStall => {
                for slot in &minority {
                    self.nodes[*slot].disk_stalled = true;
                }
            }
        }
        if minority.is_empty() && self.plan.heal != Heal::Bridge {
            self.plan.heal = Heal::Full;
        }
        self.majority.retain(|slot| !minority.contains(slot));
        self.cover("recovery with a part still broken");
    }

    /// The last act: power fails everywhere, and everything committed must still be there.
    pub fn afterwards(&mut self) -> Result<(), Violation> {
        for slot in 0..self.nodes.len() {
            self.take_down(slot, 0, 0)?;
            self.bring_up(slot)?;
        }
        let Some(last) = self.checks.facts.committed.last().copied() else { return Ok(()) };
        let held = |id: NodeId| {
            self.graves.get(&id).is_some_and(|grave| grave.covers(last.id))
                || self.nodes.iter().any(|node| node.id == id && node.disk.durable.covers(last.id))
        };
        // A leader may have committed by a configuration that went with the power, before it was on
        // any disk (§4.1: in force from the moment it is appended). Whoever leads next needs a
        // quorum, and must meet somebody there who has the entry.
        let in_force = self.in_force();
        if in_force.iter().all(|membership| !is_quorum(membership, |id| !held(id))) {
            return Ok(());
        }
        Err(crate::lab::broken(
            "committed outlives a power cut",
            format!("after a power cut, {} is not on a quorum of {in_force:?}", last.id),
        ))
    }
}
