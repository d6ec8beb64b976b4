//! The cluster clock as a node reads it between commands.
//!
//! Rule: every node lets its own monotonic clock run on from the latest time it has seen in the
//! applied state, and stamps with that what it proposes when it leads. A command was stamped before
//! it was applied here, so this reading is never ahead of the one the stamping leader has (beyond
//! the drift of the two machines), and behind it by no more than the fastest command took: a
//! change of leaders neither shortens a lease nor lengthens it. What counts is the leader that
//! stamped last: one that has lost count (it was restarted) is behind its predecessors, and whoever
//! went on with theirs would end its leases early. Must never: look at a date; be ahead of the
//! last leader; go back while this node leads.

/// A node's reading of the cluster clock. All times are in milliseconds; `local_ms` is the node's
/// monotonic clock, from any origin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClusterClock {
    /// How far the cluster clock is ahead of the local one.
    ahead_ms: Option<i128>,
    /// The term of the leader whose clock this is.
    term: u64,
}

impl ClusterClock {
    /// Learns that the applied state's clock (`kv::clock_ms`) stands at `clock_ms`, now, and that
    /// the last command applied is of `term`. Call it after every batch with a command in it, and
    /// after a restart or an installed snapshot. A new leader's clock takes the place of the one
    /// before.
    pub fn observe(&mut self, term: u64, clock_ms: u64, local_ms: u64) {
        let ahead_ms = i128::from(clock_ms) - i128::from(local_ms);
        let known = self.ahead_ms.filter(|_| term <= self.term);
        self.ahead_ms = Some(known.map_or(ahead_ms, |known| known.max(ahead_ms)));
        self.term = self.term.max(term);
    }

    /// This node leads `term` and has applied, and observed, everything of the terms before: from
    /// now on its reading is the one that counts. Call it before anything is stamped in the term.
    pub fn lead(&mut self, term: u64) {
        self.term = self.term.max(term);
    }

    /// The cluster clock, for `Command::time_ms` and for what is left of leases.
    #[must_use]
    pub fn now(&self, local_ms: u64) -> u64 {
        let now = i128::from(local_ms) + self.ahead_ms.unwrap_or(-i128::from(local_ms));
        u64::try_from(now.max(0)).unwrap_or(u64::MAX)
    }
}
