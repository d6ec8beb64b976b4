//! Learners become voters by themselves once they have caught up (§4.2.1).
//!
//! Rule: catching up goes in rounds; a round replicates what the log held when it began. When a
//! round took less than an election time-out, the learner lags so little that counting it cannot
//! stop the cluster for longer than an election would. After ten rounds that took longer, it rests.
//! One promotion at a time. Must never: promote a node that does not answer, or one that was
//! demoted.

use super::{
    membership::Change,
    progress::{CatchUp, Peer, State},
    raft::Raft,
    role::Role,
    types::{Index, NodeId, Payload},
};
use alloc::vec;

/// Rounds of one attempt.
const MAX_ROUNDS: u32 = 10;
/// Election time-outs until the next attempt.
pub(super) const REST: u32 = 10;

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
            if !self.log.membership().is_learner(*id) || peer.matched == Index::ZERO {
                continue;
            }
            let (matched, catch_up) = (peer.matched, &mut peer.catch_up);
            let late = now.since(catch_up.since) >= timeout;
            if catch_up.rounds >= MAX_ROUNDS {
                // Too slow to be counted on, or the log grows too fast: later, from the start.
                if now.since(catch_up.since) < timeout * REST {
                    continue;
                }
                *catch_up = CatchUp { target: last, since: now, done: false, rounds: 0 };
            } else if catch_up.done && late && matched < catch_up.target {
                // It had caught up, and lags again.
                catch_up.done = false;
            }
            // A round that found nothing to do takes no time; then the learner has caught up.
            while !catch_up.done && catch_up.rounds < MAX_ROUNDS && matched >= catch_up.target {
                catch_up.done = now.since(catch_up.since) < timeout;
                catch_up.rounds = if catch_up.done { 0 } else { catch_up.rounds + 1 };
                catch_up.since = now;
                catch_up.target = last;
            }
            if catch_up.done && matched >= catch_up.target {
                catch_up.since = now;
                catch_up.target = last;
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
                && !self.log.membership().demoted.contains(id)
                && peer.catch_up.done
                && matches!(peer.state, State::Replicate { .. })
                && self.now.since(peer.heard) < self.config.election_timeout
        };
        leader.peers.iter().find(|(id, peer)| caught_up(id, peer)).map(|(&id, _)| id)
    }
}
