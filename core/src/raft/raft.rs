//! The node: `handle` what happens, ask with requests, `poll` what must be done.

use super::*;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::RangeInclusive;

/// One node of one Raft group.
#[derive(Debug, Clone)]
pub struct Raft {
    _id: NodeId,
}

impl Raft {
    /// Rebuilds a node from what its disk holds. Touches nothing else.
    ///
    /// # Errors
    /// `Corrupt` names what in `restored` does not fit together.
    pub fn restore(
        _id: NodeId,
        _config: Config,
        _restored: Restored,
        _seed: u64,
        _now: Instant,
    ) -> Result<Raft, Corrupt> {
        todo!()
    }

    /// Something happened. Never refused, never panics on what a peer sent.
    pub fn handle(&mut self, _now: Instant, _event: Event) {
        todo!()
    }

    /// Appends commands to the log, all or none, in order; returns their indexes. Their term is
    /// `self.status().vote.term`.
    ///
    /// # Errors
    /// `NotLeader`, `Overloaded`, `Transferring`, `TooLarge`: certainly not proposed.
    pub fn propose(
        &mut self,
        _now: Instant,
        _commands: Vec<Bytes>,
    ) -> Result<RangeInclusive<Index>, Refused> {
        todo!()
    }

    /// Asks for an index that is at least every commit acknowledged before this call; works on
    /// followers too. The answer comes as `ReadReady`.
    ///
    /// # Errors
    /// `NotLeader { leader: None }` when there is nobody to ask, `Overloaded`.
    pub fn read(&mut self, _now: Instant, _id: ReadId) -> Result<(), Refused> {
        todo!()
    }

    /// Changes the members. `base` is `Status::membership_index` as the caller saw it.
    ///
    /// # Errors
    /// `NotLeader`, `StaleBase`, `ChangePending`, `NotReady`, `NotMember`, `NoVoters`, …
    pub fn change_membership(
        &mut self,
        _now: Instant,
        _base: Index,
        _change: Change,
    ) -> Result<EntryId, Refused> {
        todo!()
    }

    /// Hands leadership to `to` (or to the voter that is furthest along). Ends, one way or the
    /// other, within an election timeout.
    ///
    /// # Errors
    /// `NotLeader`, `NotMember`, `Transferring`.
    pub fn transfer_leadership(
        &mut self,
        _now: Instant,
        _to: Option<NodeId>,
    ) -> Result<NodeId, Refused> {
        todo!()
    }

    /// Everything that must now be done. Empty when there is nothing to do.
    pub fn poll(&mut self, _now: Instant) -> Output {
        todo!()
    }

    /// When `Event::Deadline` is due, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        todo!()
    }

    /// The node at a glance.
    #[must_use]
    pub fn status(&self) -> Status<'_> {
        todo!()
    }

    /// How each peer stands; empty unless this node leads.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> + '_ {
        core::iter::empty()
    }
}

/// What a cluster is born with: the log of a node that elects itself (a membership of one at
/// base index 0, term 0).
impl Restored {
    /// The first member of a new cluster.
    #[must_use]
    pub fn bootstrap(id: NodeId, context: Bytes) -> Restored {
        let mut restored = Restored::default();
        restored.base.membership = Membership::sole(id, context);
        restored
    }
}
