//! When an entry is committed (§5.3, §5.4.2).
//!
//! Rule: an entry of the leader's *own term* that is durable on a quorum is committed, and with it
//! everything before it. Must never: count an entry of an earlier term (Figure 8), a learner, or the
//! leader's own log beyond what its disk holds; or go backwards.
//!
//! | leader's log | durable on 2 of 3 up to | term | commit |
//! |---|---|---|---|
//! | 1@1 2@2 | 2 | 4 | unchanged: 2@2 is of an older term |
//! | 1@1 2@2 3@4 | 3 | 4 | 3, and with it 2 |

use super::{quorum, raft::Raft, role::Role, types::Index};

impl Raft {
    /// Whether the leader has committed an entry of its own term.
    pub(super) fn own_term_committed(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if self.commit >= leader.first)
    }

    /// Looks whether a quorum has moved on.
    pub(super) fn advance_commit(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let written = self.log.written();
        let reached = quorum::reached(self.log.membership(), |id| {
            if id == self.id {
                written.0
            } else {
                leader.peers.get(&id).map_or(0, |peer| peer.matched.0)
            }
        });
        let reached = Index(reached).min(self.log.last().index);
        if reached <= self.commit || self.log.term_at(reached) != Some(self.vote.term) {
            return;
        }
        self.commit = reached;
        while let Some(&(last, bytes)) = leader.proposed.front() {
            if last > reached {
                break;
            }
            leader.proposed.pop_front();
            leader.proposed_bytes -= bytes;
        }
    }
}
