//! When a leader resigns by itself (§6.2).
//!
//! Rule: a leader that no quorum has answered for an election time-out is none any more, and says
//! so by falling silent; likewise one whose own disk has not finished a write for as long, or whose
//! state machine has not come on, because it can commit or answer nothing while its heartbeats keep
//! others from trying. Must never: leave a cut-off
//! leader serving, or resign when nobody else could lead.

use super::{quorum, raft::Raft, role::Role, timer::Timer, types::Instant};

impl Raft {
    /// Looks whether a quorum still answers, and when to look again.
    pub(super) fn check_quorum(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        let timeout = self.config.election_timeout;
        let heard = Instant(quorum::reached(self.log.membership(), |id| {
            if id == self.id {
                self.now.0
            } else {
                leader.peers.get(&id).map_or(0, |peer| peer.heard.0)
            }
        }));
        let disk = match self.log.writes.oldest() {
            Some(flight) if !self.is_sole_voter() => leader.disk_heard.max(flight.at),
            _ => self.now,
        };
        let apply = match self.apply.busy_since() {
            Some(since) if !self.is_sole_voter() => since.max(leader.began),
            _ => self.now,
        };
        let next = heard.min(disk).min(apply).after(timeout);
        if next <= self.now {
            self.become_follower(self.vote.term, None);
        } else {
            self.timers.set(Timer::CheckQuorum, next);
        }
    }
}
