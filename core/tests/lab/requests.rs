//! What clients and the administrator ask of a node, and what it may answer.
//!
//! Rule: an accepted request is exactly what was asked; a refusal fits the node's role. Must never:
//! take a refusal for an accident.

use crate::check::{Seen, View, Violation};
use crate::lab::{Accepted, Lab, broken, look};
use crate::nemesis::Moment;
use crate::node::Wish;
use crate::planted::Planted;
use bytes::Bytes;
use kvorum_core::raft::{Index, Instant, Payload, ReadId, ReadReady, Refused};

impl Lab {
    pub fn propose(
        &mut self,
        slot: usize,
        now: Instant,
        commands: Vec<Bytes>,
    ) -> Result<(), Violation> {
        let (before, late) = (self.nodes[slot].glance, self.healed_at.is_some());
        let result = self.raft(slot).propose(now, commands.clone());
        let name = &self.nodes[slot].name;
        match result {
            Ok(range) => {
                let first = before.last.index.next();
                let last = Index(before.last.index.0 + commands.len() as u64);
                if !before.leads() || *range.start() != first || *range.end() != last {
                    return Err(broken(
                        "requests",
                        format!("{name} takes a proposal at {range:?} after {}", before.last),
                    ));
                }
                for (i, command) in commands.iter().enumerate() {
                    let digest = crate::machine::payload_digest(&Payload::Command(command.clone()));
                    let index = Index(first.0 + i as u64);
                    self.accepted.push(Accepted { index, term: before.term(), digest, late });
                }
                self.cover("proposal accepted");
                self.moment(slot, Moment::Proposed);
                Ok(())
            }
            Err(Refused::NotLeader { .. }) if before.leads() => {
                Err(broken("requests", format!("{name} leads and refuses as if it did not")))
            }
            Err(Refused::NotLeader { .. } | Refused::Overloaded(_) | Refused::Transferring) => {
                self.cover("proposal refused");
                Ok(())
            }
            Err(other) => Err(broken("requests", format!("{name} refuses a proposal: {other:?}"))),
        }
    }

    pub fn ask(&mut self, slot: usize, now: Instant, id: ReadId) -> Result<(), Violation> {
        if self.plan.plants(Planted::StaleRead) {
            let index = self.nodes[slot].glance.commit;
            look!(self, slot, Seen::ReadAsked { id })?;
            return look!(
                self,
                slot,
                Seen::ReadAnswered { ready: &ReadReady { id, result: Ok(index) } }
            );
        }
        match self.raft(slot).read(now, id) {
            Ok(()) => {
                self.nodes[slot].reads.insert(id, now);
                look!(self, slot, Seen::ReadAsked { id })
            }
            Err(Refused::NotLeader { leader: None } | Refused::Overloaded(_)) => {
                self.cover("read refused");
                Ok(())
            }
            Err(other) => Err(broken(
                "requests",
                format!("{} refuses a read: {other:?}", self.nodes[slot].name),
            )),
        }
    }

    pub fn change(&mut self, slot: usize, now: Instant, wish: &Wish) -> Result<(), Violation> {
        let glance = self.nodes[slot].glance;
        // After the heal, who is left out is decided: no more changes of quorums.
        if self.healed_at.is_some() || !self.is_wise(slot, &wish.change) {
            return Ok(());
        }
        let base =
            if wish.stale { glance.membership_index.next() } else { glance.membership_index };
        match self.raft(slot).change_membership(now, base, wish.change.clone()) {
            Ok(entry) => {
                if wish.stale || !glance.leads() || entry.index <= glance.last.index {
                    let what =
                        format!("{} takes a change as {entry}: {wish:?}", self.nodes[slot].name);
                    return Err(broken("requests", what));
                }
                self.cover("membership change accepted");
                self.moment(slot, Moment::Reconfigured);
            }
            Err(_) => self.cover("membership change refused"),
        }
        Ok(())
    }
}
