//! The judges: is what clients were told and nodes did consistent?
//!
//! Rule: a judge never trusts another's verdict; the witness check believes the order the server
//! reports and proves it, the black-box search ignores it. Must never: accept what it could not
//! decide without saying so.

pub mod blackbox;
pub mod forgetting;
pub mod invariants;
pub mod leases;
pub mod ledger;
pub mod once;
pub mod watching;
pub mod witness;

use std::fmt;

/// What is wrong, in one paragraph a developer can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise is broken.
    pub promise: &'static str,
    /// How.
    pub evidence: String,
}

impl Violation {
    /// A broken promise with its evidence.
    #[must_use]
    pub fn new(promise: &'static str, evidence: impl Into<String>) -> Violation {
        Violation { promise, evidence: evidence.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.evidence)
    }
}
