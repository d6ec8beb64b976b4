//! The cluster clock as a node reads it between commands.
//!
//! Rule: every node lets its own monotonic clock run on from the latest time it has seen in the
//! applied state, and stamps with that what it proposes when it leads. A command was stamped before
//! it was applied here, so this reading is never ahead of the one the stamping leader has (beyond
//! the drift of the two machines), and behind it by no more than the fastest command took: a
//! change of leaders neither shortens a lease nor lengthens it. Must never: look at a date; go
//! back.

/// A node's reading of the cluster clock. All times are in milliseconds; `local_ms` is the node's
/// monotonic clock, from any origin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClusterClock {
    /// How far the cluster clock is ahead of the local one.
    ahead_ms: Option<i128>,
}

impl ClusterClock {
    /// Learns that the applied state's clock (`kv::clock_ms`) stands at `clock_ms`, now. Call it
    /// after every batch of commands applied, and after a restart or an installed snapshot.
    pub fn observe(&mut self, clock_ms: u64, local_ms: u64) {
        let ahead_ms = i128::from(clock_ms) - i128::from(local_ms);
        self.ahead_ms = Some(self.ahead_ms.map_or(ahead_ms, |known| known.max(ahead_ms)));
    }

    /// The cluster clock, for `Command::time_ms` and for what is left of leases.
    #[must_use]
    pub fn now(&self, local_ms: u64) -> u64 {
        let now = i128::from(local_ms) + self.ahead_ms.unwrap_or(-i128::from(local_ms));
        u64::try_from(now.max(0)).unwrap_or(u64::MAX)
    }
}
