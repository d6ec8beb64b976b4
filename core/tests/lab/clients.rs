//! Those who want something: clients that write and read, and an administrator.
//!
//! Rule: a client asks whoever claims to lead, and sometimes anybody; the administrator never asks
//! for what would take the last quorum away. Must never: know more than a client could.

use crate::check::Violation;
use crate::lab::{Happening, Lab};
use crate::node::{Input, Wish};
use bytes::Bytes;
use kvorum_core::raft::{Change, Membership, NodeId};
use std::collections::BTreeSet;

/// Commands a run commits at most before the heal; what is tiny in a plan must be able to catch up.
const MOST_ENTRIES: usize = 500;

impl Lab {
    /// Slots whose node says that it leads.
    fn claimants(&self) -> Vec<usize> {
        self.nodes.iter().filter(|node| node.leads()).map(|node| node.slot).collect()
    }

    fn commands(&mut self, most: u64) -> Vec<Bytes> {
        let count = self.client.between(1, most);
        (0..count)
            .map(|_| {
                self.next_value += 1;
                let mut command = self.next_value.to_le_bytes().to_vec();
                let padding = self.client.between(0, self.plan.padding);
                command.resize(command.len() + usize::try_from(padding).expect("small"), 7);
                Bytes::from(command)
            })
            .collect()
    }

    /// A client does something.
    pub fn clients(&mut self) {
        let (low, high) = self.plan.client_us;
        let mut delay = 1_000 * self.client.between(low, high);
        if self.healed_at.is_some() {
            // One after another: a tiny limit on pending reads is no obstacle then.
            delay = self.plan.election() / 7;
            let id = self.read_id();
            let slot = usize::try_from(id.0).expect("small") % self.nodes.len();
            self.give(slot, Input::Read { id });
            for slot in self.claimants() {
                if self.late_success().is_none() {
                    let commands = self.commands(1);
                    self.give(slot, Input::Propose { commands });
                }
            }
        } else {
            let claimants = self.claimants();
            let slot = if claimants.is_empty() || self.client.chance(200) {
                self.client.below(self.nodes.len())
            } else {
                self.client.pick(&claimants)
            };
            if self.client.chance(self.plan.reads) {
                let id = self.read_id();
                self.give(slot, Input::Read { id });
            } else if self.accepted.len() < MOST_ENTRIES {
                let commands = self.commands(self.plan.burst);
                self.give(slot, Input::Propose { commands });
            }
        }
        self.after(delay, Happening::Client);
    }

    /// Hands leadership to somebody.
    pub fn handover(&mut self) {
        let claimants = self.claimants();
        if let Some(slot) = claimants.first().copied() {
            let to = if self.admin.chance(300) {
                None
            } else {
                let other = self.admin.below(self.nodes.len());
                Some(self.nodes[other].id)
            };
            self.give(slot, Input::Transfer(to));
        }
        self.again(Happening::Handover);
    }

    /// The administrator changes the members.
    pub fn administrate(&mut self) -> Result<(), Violation> {
        if self.healed_at.is_some() {
            return Ok(());
        }
        let claimants = self.claimants();
        if !claimants.is_empty() {
            let slot = self.admin.pick(&claimants);
            let membership = self.nodes[slot].disk.shadow.membership().1.clone();
            let founding = self.plan.grow && membership.voters.len() < self.plan.voters;
            let change = self.wish(&membership, founding);
            let stale = self.admin.chance(50);
            if change != Change::default() {
                self.give(slot, Input::Change(Wish { change, stale }));
            }
            if self.admin.chance(200) {
                self.recycle(&membership)?;
            }
        }
        self.again(Happening::Administrator);
        Ok(())
    }

    /// A removed machine comes back blank.
    fn recycle(&mut self, membership: &Membership) -> Result<(), Violation> {
        let zombie = self.nodes.iter().find(|node| {
            !membership.contains(node.id) && !node.disk.durable.membership().1.contexts.is_empty()
        });
        match zombie.map(|node| node.slot) {
            Some(slot) if self.plan.churn > 0 => self.wipe(slot),
            _ => Ok(()),
        }
    }

    fn wish(&mut self, membership: &Membership, founding: bool) -> Change {
        let context = Bytes::from_static(b"a machine");
        let outside: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(|node| !membership.contains(node.id))
            .map(|node| node.id)
            .collect();
        let learners: Vec<NodeId> = membership.learners.iter().copied().collect();
        let members: Vec<NodeId> = membership.members().collect();
        let mut change = Change::default();
        if founding || self.plan.churn == 0 {
            change.add.extend(outside.first().filter(|_| founding).map(|id| (*id, context)));
            if !self.plan.config.promote_learners {
                change.promote.extend(learners.first());
            }
            return change;
        }
        match self.admin.below(8) {
            0..3 => change.add.extend(outside.first().map(|id| (*id, context))),
            3 => change.remove.push(self.admin.pick(&members)),
            4 => change.promote.extend(learners.first()),
            5 => {
                let dead = members.iter().find(|id| self.dead.contains(id));
                change.remove.extend(dead);
                change.add.extend(outside.iter().map(|id| (*id, context.clone())));
            }
            6 => {
                let voters: Vec<NodeId> = membership.voters.iter().copied().collect();
                change.demote.push(self.admin.pick(&voters));
            }
            _ => {
                change.promote = learners;
                change.remove.extend(members.iter().filter(|id| membership.is_voter(**id)).take(2));
                change.add.extend(outside.first().map(|id| (*id, context)));
            }
        }
        change
    }

    /// Whether a cluster could live with `change`, and on the way there.
    pub fn is_wise(&self, slot: usize, change: &Change) -> bool {
        let now = self.nodes[slot].disk.shadow.membership().1;
        let mut next = now.clone();
        for (id, context) in &change.add {
            next.contexts.insert(*id, context.clone());
            if !next.is_voter(*id) {
                next.learners.insert(*id);
            }
        }
        for id in &change.promote {
            if next.learners.remove(id) {
                next.voters.insert(*id);
            }
        }
        for id in change.demote.iter().chain(&change.remove) {
            next.voters.remove(id);
            next.learners.remove(id);
        }
        next.outgoing = now.voters.clone();
        let nobody = BTreeSet::new();
        !next.voters.is_empty() && self.viable(&next, &nobody) && self.viable(now, &nobody)
    }

    /// Every proposal that was taken, and whose entry is committed, says what was proposed.
    pub fn proposals_kept(&self) -> Result<(), String> {
        for accepted in &self.accepted {
            let Some(committed) = self.checks.facts.at(accepted.index) else { continue };
            if committed.id.term == accepted.term && committed.digest != accepted.digest {
                return Err(format!("{} is not what was proposed there", committed.id));
            }
        }
        Ok(())
    }

    /// Whether something that was proposed after the heal is committed, and at which index.
    pub fn late_success(&self) -> Option<kvorum_core::raft::Index> {
        let done = |accepted: &&crate::lab::Accepted| {
            let committed = self.checks.facts.at(accepted.index);
            accepted.late && committed.is_some_and(|c| c.id.term == accepted.term)
        };
        self.accepted.iter().rev().find(done).map(|accepted| accepted.index)
    }
}
