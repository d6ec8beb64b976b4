//! Handing leadership over (§3.10).
//!
//! Rule: new proposals are refused until the target has everything, then it is told to campaign at
//! once. A transfer always ends: the target wins, or an election time-out passes and this node leads
//! on (or, if it is no longer a voter, follows). Must never: go to a non-voter, or leave the flag set.

use super::{
    message::Message,
    raft::Raft,
    refused::Refused,
    role::Role,
    timer::Timer,
    types::{Index, NodeId},
};

/// A transfer under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transfer {
    /// Who is to lead.
    pub to: NodeId,
    /// It was told to campaign.
    pub told: bool,
    /// This node is no longer a voter: it steps down in any case.
    pub retiring: bool,
}

impl Raft {
    /// See `Raft::transfer_leadership`.
    pub(super) fn begin_transfer(&mut self, to: Option<NodeId>) -> Result<NodeId, Refused> {
        let known = self.leader();
        let best = self.furthest_voter();
        let Role::Leader(leader) = &mut self.role else {
            return Err(Refused::NotLeader { leader: known });
        };
        if leader.transfer.is_some() {
            return Err(Refused::Transferring);
        }
        let to = to.or(best).ok_or(Refused::NotMember)?;
        if to == self.id || !self.log.membership().voters.contains(&to) {
            return Err(Refused::NotMember);
        }
        leader.transfer = Some(Transfer { to, told: false, retiring: false });
        self.timers.set(Timer::Transfer, self.now.after(self.config.election_timeout));
        Ok(to)
    }

    /// The removal of this leader is committed: it hands over and steps down (§4.2.2).
    pub(super) fn retire(&mut self) {
        let to = self.furthest_voter();
        let until = self.now.after(self.config.election_timeout);
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(transfer) = &mut leader.transfer {
            transfer.retiring = true;
        } else if let Some(to) = to {
            leader.transfer = Some(Transfer { to, told: false, retiring: true });
            self.timers.set(Timer::Transfer, until);
        } else {
            self.become_follower(self.vote.term, None);
        }
    }

    /// The voter that answers and holds most.
    fn furthest_voter(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        let voters = &self.log.membership().voters;
        let alive = |heard| self.now.since(heard) < self.config.election_timeout;
        let candidates = leader.peers.iter().filter(|(id, _)| voters.contains(id));
        candidates.max_by_key(|(_, peer)| (alive(peer.heard), peer.matched)).map(|(&id, _)| id)
    }

    /// Tells the target as soon as it has everything. Part of `poll`.
    pub(super) fn drive_transfer(&mut self) {
        let last = self.log.last().index;
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        if !self.log.membership().voters.contains(&transfer.to) {
            return self.end_transfer();
        }
        let matched = leader.peers.get(&transfer.to).map_or(Index::ZERO, |peer| peer.matched);
        if transfer.told || matched < last {
            return;
        }
        transfer.told = true;
        let (to, retiring) = (transfer.to, transfer.retiring);
        self.send(to, Message::TimeoutNow);
        if retiring {
            self.become_follower(self.vote.term, None);
        }
    }

    /// The time is over, or the target is gone.
    pub(super) fn end_transfer(&mut self) {
        self.timers.clear(Timer::Transfer);
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.transfer.take().is_some_and(|transfer| transfer.retiring) {
            self.become_follower(self.vote.term, None);
        }
    }
}
