//! Changing the members of the cluster.
//!
//! Rule: a configuration is in force from its append; the configuration is a function of the base
//! and the log prefix, so truncation reverts it (§4.1). Must never: allow two uncommitted changes.

use super::types::NodeId;
use alloc::vec::Vec;
use bytes::Bytes;

/// What to change, in one step. More than one voter in or out goes through a joint configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Change {
    /// New members, as learners, with their contexts; for a known member: its new context.
    pub add: Vec<(NodeId, Bytes)>,
    /// Learners that become voters.
    pub promote: Vec<NodeId>,
    /// Members that go.
    pub remove: Vec<NodeId>,
}
