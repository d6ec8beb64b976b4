//! Why a node stops for good.
//!
//! Rule: one line that names the cause, the place and the cure, and a kind that the binary turns
//! into an exit code. Must never: be swallowed; a node that met one does not go on.

use crate::storage::StorageError;
use kvorum_core::raft::Evidence;
use std::fmt;

/// Why a node stopped, or could not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fatal {
    /// What sort of cause.
    pub kind: FatalKind,
    /// One line: cause, place, cure.
    pub message: String,
}

/// The sorts of causes, for exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FatalKind {
    /// A port cannot be bound, or a name cannot be resolved here.
    Bind,
    /// The cluster refused this node.
    Refused,
    /// The data directory is in use.
    Locked,
    /// The data directory belongs to another node or format.
    Foreign,
    /// The data is damaged, or this node's history contradicts the cluster's.
    Data,
    /// The disk failed.
    Io,
}

impl Fatal {
    /// A cause with its line.
    pub fn new(kind: FatalKind, message: impl Into<String>) -> Fatal {
        Fatal { kind, message: message.into() }
    }
}

impl From<StorageError> for Fatal {
    fn from(error: StorageError) -> Fatal {
        let kind = match error {
            StorageError::Locked(_) => FatalKind::Locked,
            StorageError::Foreign(_) => FatalKind::Foreign,
            StorageError::Corrupt(_) | StorageError::Snapshot(_) => FatalKind::Data,
            StorageError::Io(_) => FatalKind::Io,
        };
        Fatal::new(kind, error.to_string())
    }
}

impl From<Evidence> for Fatal {
    fn from(evidence: Evidence) -> Fatal {
        let what = match evidence {
            Evidence::StateDiverged { .. } => "this node's data differs from the majority's",
            _ => "this node's log contradicts the cluster's",
        };
        let message = format!(
            "{what}: {evidence}; keep its data directory for analysis and rejoin with an empty one"
        );
        Fatal::new(FatalKind::Data, message)
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fatal {}
