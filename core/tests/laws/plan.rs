//! What the shared checkers ask of a plan.
//!
//! Rule: sizes and limits only. Must never: decide anything.

use kvorum_core::raft::Config;

/// Commands of one proposal, and bytes of each beyond its value, at most.
pub const BURST: u64 = 4;
pub const PADDING: u64 = 24;

/// The sizes of a run.
pub struct Plan {
    pub config: Config,
    pub burst: u64,
    pub padding: u64,
}

impl Plan {
    pub fn new(config: Config) -> Plan {
        Plan { config, burst: BURST, padding: PADDING }
    }

    /// The election timeout in nanoseconds.
    pub fn election(&self) -> u64 {
        u64::try_from(self.config.election_timeout.as_nanos()).expect("a short timeout")
    }
}
