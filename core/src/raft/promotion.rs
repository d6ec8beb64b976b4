//! Learners become voters by themselves once they have caught up (§4.2.1).
//!
//! Rule: catching up goes in rounds; a round replicates what the log held when it began. When a
//! round took less than an election time-out, the learner lags so little that counting it cannot
//! stop the cluster for longer than an election would. One promotion at a time. Must never: promote
//! a node that does not answer.

use super::{
    membership::Change,
    progress::{Peer, State},
    raft::Raft,
    role::Role,
    types::{NodeId, Payload},
};
use alloc::vec;

impl Raft {
    /// Promotes the first learner that has caught up. Part of `poll`.
    pub(super) fn promote_caught_up(&mut self) {
        self.turn_rounds();
        if !self.config.promote_learners
            || !self.may_change_membership()
            || !self.log.membership().is_voter(self.id)
            || !self.quorum_answers()
        {
            return;
        }
        let Some(id) = self.caught_up_learner() else { return };
        let change = Change { promote: vec![id], ..Change::default() };
        if let Ok(next) = self.log.membership().after(&change) {
            self.append_own(Payload::Membership(next));
        }
    }

    /// Ends rounds that are complete and begins the next ones.
    fn turn_rounds(&mut self) {
        let (now, last) = (self.now, self.log.last().index);
        let timeout = self.config.election_timeout;
        let Role::Leader(leader) = &mut self.role else { return };
        for (id, peer) in &mut leader.peers {
            if !self.log.membership().is_learner(*id) || peer.catch_up.done {
                continue;
            }
            // A round that found nothing to do takes no time; then the learner has caught up.
            while !peer.catch_up.done && peer.matched >= peer.catch_up.target {
                peer.catch_up.done = now.since(peer.catch_up.since) < timeout && peer.matched.0 > 0;
                peer.catch_up.since = now;
                peer.catch_up.target = last;
                if peer.matched.0 == 0 {
                    break;
                }
            }
        }
    }

    fn caught_up_learner(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        if leader.transfer.is_some() {
            return None;
        }
        let caught_up = |id: &NodeId, peer: &Peer| {
            self.log.membership().is_learner(*id)
                && peer.catch_up.done
                && matches!(peer.state, State::Replicate { .. })
                && self.now.since(peer.heard) < self.config.election_timeout
        };
        leader.peers.iter().find(|(id, peer)| caught_up(id, peer)).map(|(&id, _)| id)
    }
}
