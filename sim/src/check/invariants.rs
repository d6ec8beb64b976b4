//! What must hold among the nodes at every moment, told by the nodes themselves.
//!
//! Rule: at most one leader per term (Raft §5.2), and all replicas that have applied the same index
//! have the same state (§5.4.3). Must never: compare states at different indexes.

use super::Violation;
use std::collections::BTreeMap;

/// Two leaders in one term.
pub const ELECTION_SAFETY: &str = "election safety";
/// Two states at one index.
pub const STATE_MACHINE_SAFETY: &str = "state machine safety";

/// Watches all nodes of one cluster.
#[derive(Debug, Clone, Default)]
pub struct Invariants {
    leaders: BTreeMap<u64, String>,
    digests: BTreeMap<u64, (String, String)>,
    compared: u64,
}

impl Invariants {
    /// `node` leads `term`.
    ///
    /// # Errors
    /// Another node has led it.
    pub fn leads(&mut self, node: &str, term: u64) -> Result<(), Violation> {
        let leader = self.leaders.entry(term).or_insert_with(|| node.to_owned());
        if leader == node {
            return Ok(());
        }
        Err(Violation::new(
            ELECTION_SAFETY,
            format!("{leader} and {node} are both leader of term {term}"),
        ))
    }

    /// `node`'s state has this digest after index `index`.
    ///
    /// # Errors
    /// Another node's is different there.
    pub fn applied(&mut self, node: &str, index: u64, digest: &str) -> Result<(), Violation> {
        let (other, known) =
            self.digests.entry(index).or_insert_with(|| (node.to_owned(), digest.to_owned()));
        self.compared += u64::from(other != node);
        if known == digest {
            return Ok(());
        }
        Err(Violation::new(
            STATE_MACHINE_SAFETY,
            format!("at index {index} {other} has the state {known} and {node} {digest}"),
        ))
    }

    /// How many terms had a leader.
    #[must_use]
    pub fn terms(&self) -> usize {
        self.leaders.len()
    }

    /// How many states were compared with another node's.
    #[must_use]
    pub fn compared(&self) -> u64 {
        self.compared
    }
}
