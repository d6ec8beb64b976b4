//! A node at a glance, for operators, metrics and checkers. Borrowed; allocates nothing.
//!
//! Rule: reading it changes nothing. Must never: be decided upon by the protocol itself.

use super::{
    chain::Chain,
    config::Config,
    output::RoleName,
    raft::Raft,
    refused::{Ignored, Refusal},
    role::Role,
    types::{EntryId, Index, Instant, Membership, NodeId, Term, Vote},
};
use alloc::collections::BTreeMap;

/// A node at a glance.
#[derive(Debug, Clone, Copy)]
pub struct Status<'a> {
    /// This node.
    pub id: NodeId,
    /// Its role.
    pub role: RoleName,
    /// Term and vote.
    pub vote: Vote,
    /// The leader it knows of.
    pub leader: Option<NodeId>,
    /// The log begins after this.
    pub base: EntryId,
    /// The last entry.
    pub last: EntryId,
    /// What stands for the whole log up to there.
    pub chain: Chain,
    /// The last entry that is on this node's disk.
    pub written: Index,
    /// The last entry known to be committed.
    pub commit: Index,
    /// The last entry the state machine has applied.
    pub applied: Index,
    /// The configuration in force.
    pub membership: &'a Membership,
    /// The entry that set it.
    pub membership_index: Index,
    /// Whether the leader has committed an entry of its own term (and so may change members).
    pub own_term_committed: bool,
    /// As a leader: how often the voters' states differed without a majority for any of them.
    pub unproven_divergences: u64,
    /// How many messages were ignored, by reason.
    pub ignored: &'a BTreeMap<Ignored, u64>,
    /// How many requests were refused, by reason.
    pub refused: &'a BTreeMap<Refusal, u64>,
}

/// How one peer stands, as its leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub id: NodeId,
    /// The last entry known to be durable there.
    pub matched: Index,
    /// Which kind of progress: "probe", "replicate" or "snapshot".
    pub state: &'static str,
    /// Whether it answered within the last election timeout.
    pub active: bool,
    /// When it last answered anything.
    pub heard: Instant,
    /// Appends under way to it, and bytes of entries in them.
    pub inflight: (usize, u64),
    /// Bytes of the snapshot under way to it that it holds; 0 when none is.
    pub snapshot_bytes: u64,
    /// The leader's term when this was seen.
    pub term: Term,
}

impl Raft {
    /// The node at a glance.
    #[must_use]
    pub fn status(&self) -> Status<'_> {
        Status {
            id: self.id,
            role: self.role.name(),
            vote: self.vote,
            leader: self.leader(),
            base: self.log.base(),
            last: self.log.last(),
            chain: self.log.last_chain(),
            written: self.log.written(),
            commit: self.commit,
            applied: self.apply.applied,
            membership: self.log.membership(),
            membership_index: self.log.membership_index(),
            own_term_committed: self.own_term_committed(),
            unproven_divergences: self.unproven_divergences,
            ignored: &self.ignored,
            refused: &self.refused,
        }
    }

    /// The limits and periods it runs with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How each peer stands; empty unless this node leads.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> + '_ {
        let peers = match &self.role {
            Role::Leader(leader) => Some(&leader.peers),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => None,
        };
        peers.into_iter().flatten().map(|(&id, peer)| PeerStatus {
            id,
            matched: peer.matched,
            state: peer.state_name(),
            active: self.now.since(peer.heard) < self.config.election_timeout,
            heard: peer.heard,
            inflight: peer.held(),
            snapshot_bytes: peer.snapshot_bytes(),
            term: self.vote.term,
        })
    }

    /// Which entry stands at `index`, the log's base included; `None` outside the log.
    #[must_use]
    pub fn entry_id(&self, index: super::types::Index) -> Option<EntryId> {
        self.log.id_at(index)
    }
}
