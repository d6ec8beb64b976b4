//! A node at a glance, for operators, metrics and checkers. Borrowed; allocates nothing.
//!
//! Rule: reading it changes nothing. Must never: be decided upon by the protocol itself.

use super::{
    output::RoleName,
    refused::Ignored,
    types::{EntryId, Index, Membership, NodeId, Term, Vote},
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
    /// How many messages were ignored, by reason.
    pub ignored: &'a BTreeMap<Ignored, u64>,
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
    /// The leader's term when this was seen.
    pub term: Term,
}
