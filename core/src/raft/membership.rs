//! Changing the members of the cluster (§4).
//!
//! Rule: a configuration is in force from its append; the configuration is a function of the base
//! and the log prefix, so truncation reverts it (§4.1). One change at a time: the next is accepted
//! once the last is committed and the leader has committed an entry of its own term (Ongaro 2015).
//! A change of one voter is direct; a change of more goes through a joint configuration, which
//! whoever leads leaves as soon as it is committed (§4.3). Must never: allow two uncommitted
//! changes, act on a view of the members that is out of date, or end without voters.

use super::{
    output::SnapshotRequest,
    progress::Peer,
    quorum,
    raft::Raft,
    refused::Refused,
    role::Role,
    types::{EntryId, Index, Instant, Membership, NodeId, Payload},
};
use alloc::{collections::BTreeSet, vec::Vec};
use bytes::Bytes;

/// Bytes of the largest configuration that a change may lead to, as `Entry::size` counts: every node
/// keeps each one that its log retains, and looks through it for every majority.
pub(super) const MAX_MEMBERSHIP_BYTES: u64 = 1 << 20;

/// What to change, in one step. More than one voter in or out goes through a joint configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Change {
    /// New members, as learners, with their contexts; for a known member: its new context.
    pub add: Vec<(NodeId, Bytes)>,
    /// Learners that become voters.
    pub promote: Vec<NodeId>,
    /// Voters that become learners, and stay learners until they are promoted by request.
    pub demote: Vec<NodeId>,
    /// Members that go.
    pub remove: Vec<NodeId>,
}

impl Membership {
    /// This configuration after `change`; joint if more than one voter comes or goes.
    ///
    /// # Errors
    /// `NotMember` for somebody the change cannot be done to, `NoVoters`.
    pub fn after(&self, change: &Change) -> Result<Membership, Refused> {
        let mut next = self.clone();
        for (id, context) in &change.add {
            if next.contexts.insert(*id, context.clone()).is_none() {
                next.learners.insert(*id);
            }
        }
        for id in &change.promote {
            if !next.learners.remove(id) {
                return Err(Refused::NotMember);
            }
            next.demoted.remove(id);
            next.voters.insert(*id);
        }
        for id in &change.demote {
            if change.promote.contains(id) || !next.voters.remove(id) {
                return Err(Refused::NotMember);
            }
            next.demoted.insert(*id);
            next.learners.insert(*id);
        }
        let touched = |id| {
            change.promote.contains(id)
                || change.demote.contains(id)
                || change.add.iter().any(|(added, _)| added == id)
        };
        for id in &change.remove {
            if touched(id) || !(next.voters.remove(id) || next.learners.remove(id)) {
                return Err(Refused::NotMember);
            }
        }
        if next.voters.is_empty() {
            return Err(Refused::NoVoters);
        }
        if self.voters.symmetric_difference(&next.voters).count() > 1 {
            next.outgoing = self.voters.clone();
            // Who still counts in the old half is a learner only once that half is left.
            next.learners.retain(|id| !self.voters.contains(id));
        }
        next.forget_strangers();
        Ok(next)
    }

    /// Whether the sets fit together: every member has one context, and a learner is nothing else.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let mut members = self.voters.iter().chain(&self.outgoing).chain(&self.learners);
        members.all(|id| self.contexts.contains_key(id))
            && self.contexts.keys().all(|&id| self.contains(id))
            && self.learners.iter().all(|&learner| !self.is_voter(learner))
            && self.demoted.iter().all(|id| {
                !self.voters.contains(id)
                    && (self.learners.contains(id) || self.outgoing.contains(id))
            })
    }

    /// The configuration that a joint one leads to.
    #[must_use]
    pub fn left(&self) -> Membership {
        let mut next = self.clone();
        next.outgoing = BTreeSet::new();
        next.learners.extend(&next.demoted);
        next.forget_strangers();
        next
    }

    fn forget_strangers(&mut self) {
        let Membership { epoch: _, voters, outgoing, learners, demoted, contexts } = self;
        demoted.retain(|id| outgoing.contains(id) || learners.contains(id));
        contexts
            .retain(|id, _| voters.contains(id) || outgoing.contains(id) || learners.contains(id));
    }
}

impl Raft {
    /// See `Raft::change_membership`.
    pub(super) fn append_change(
        &mut self,
        base: Index,
        change: Change,
    ) -> Result<EntryId, Refused> {
        let known = self.leader();
        let Role::Leader(leader) = &self.role else {
            return Err(Refused::NotLeader { leader: known });
        };
        let current = self.log.membership_index();
        if leader.transfer.is_some() {
            return Err(Refused::Transferring);
        }
        if !self.own_term_committed() {
            return Err(Refused::NotReady);
        }
        if base != current {
            return Err(Refused::StaleBase { current });
        }
        if !self.may_change_membership() {
            return Err(Refused::ChangePending);
        }
        let next = Payload::Membership(self.log.membership().after(&change)?);
        if next.size() > MAX_MEMBERSHIP_BYTES {
            return Err(Refused::TooLarge);
        }
        Ok(self.append_own(next))
    }

    /// Whether the last change is over.
    pub(super) fn may_change_membership(&self) -> bool {
        self.own_term_committed()
            && self.log.membership_index() <= self.commit
            && !self.log.membership().is_joint()
    }

    /// The leader's peers are the members other than itself, from the append on.
    pub(super) fn sync_peers(&mut self) {
        let next = self.log.last().index.next();
        let members: Vec<NodeId> =
            self.log.membership().members().filter(|&id| id != self.id).collect();
        let Role::Leader(leader) = &mut self.role else { return };
        let gone: Vec<NodeId> =
            leader.peers.keys().copied().filter(|id| members.binary_search(id).is_err()).collect();
        for peer in gone {
            let removed = leader.peers.remove(&peer);
            if removed.is_some_and(|removed| removed.pins_snapshot()) {
                self.snapshots.push(SnapshotRequest::Close { peer });
            }
        }
        for id in members {
            let new = || Peer::new(next, self.now);
            leader.peers.entry(id).or_insert_with(new);
        }
    }

    /// What follows from a committed configuration. Part of `poll`. Says whether it changed the
    /// members; they change again only once that is committed.
    pub(super) fn drive_membership(&mut self) -> bool {
        let before = self.log.membership_index();
        if self.own_term_committed() && self.log.membership_index() <= self.commit {
            if self.log.membership().is_joint() {
                let left = self.log.membership().left();
                self.append_own(Payload::Membership(left));
            } else if !self.log.membership().is_voter(self.id) {
                self.retire();
            }
        }
        self.promote_caught_up();
        self.log.membership_index() != before
    }

    /// Whether a majority of voters answers (of both halves): promotion must not risk it.
    pub(super) fn quorum_answers(&self) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let heard = quorum::reached(self.log.membership(), |id| {
            if id == self.id { self.now.0 } else { leader.peers.get(&id).map_or(0, |p| p.heard.0) }
        });
        self.now.since(Instant(heard)) < self.config.election_timeout
    }
}
