//! The limits and periods of a node, and why each default is what it is.
//!
//! Rule: every window, queue and cache of the core is named here. Must never: be changed while the
//! node runs, or differ in meaning between nodes.

use core::time::Duration;

/// Limits and periods of one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Config {
    /// Without word from a leader for between one and two of these (drawn anew per attempt), a
    /// follower asks for an election; a leader without a quorum's answers for one resigns.
    /// Default 500 ms: ten heartbeats, so that one slow fsync or a scheduling hiccup is no outage.
    pub election_timeout: Duration,
    /// A leader that has nothing to send says so this often. Default 50 ms.
    pub heartbeat_interval: Duration,
    /// Largest command in bytes. Default 4 MiB (twice the largest HTTP request).
    pub max_entry_bytes: u64,
    /// Entries in one append. Default 1,024.
    pub max_append_entries: usize,
    /// Bytes of entries in one append (one entry always fits). Default 1 MiB.
    pub max_append_bytes: u64,
    /// Appends under way to one peer. Default 64.
    pub max_inflight_appends: usize,
    /// Bytes under way to one peer. Default 8 MiB.
    pub max_inflight_bytes: u64,
    /// Bytes of entries proposed and not yet committed; more is `Refused::Overloaded`.
    /// Default 64 MiB.
    pub max_uncommitted_bytes: u64,
    /// Entries proposed and not yet committed; likewise. Default 262,144.
    pub max_uncommitted_entries: u64,
    /// Bytes of entries committed and not yet applied by a leader's own state machine (roughly);
    /// beyond that it refuses proposals. Default 64 MiB.
    pub max_apply_lag_bytes: u64,
    /// Entries, likewise. Default 262,144.
    pub max_apply_lag_entries: u64,
    /// Terms that a log may hold runs of (16 bytes each) for its node to campaign. Default
    /// 1,048,576: so many elections between two compactions are a fault or an attack.
    pub max_term_runs: usize,
    /// Bytes of committed entries handed out and not yet applied. Default 16 MiB.
    pub max_apply_bytes: u64,
    /// Bytes of entries kept in memory for peers and apply; older ones are read from the disk.
    /// Default 64 MiB.
    pub cache_bytes: u64,
    /// A node's own reads waiting for confirmation; what peers forward is bounded by peer. Default
    /// 65,536.
    pub max_pending_reads: usize,
    /// Bytes of one snapshot chunk. Default 1 MiB.
    pub snapshot_chunk_bytes: u64,
    /// The log is compacted once this many bytes of it are covered by durable state.
    /// Default 64 MiB.
    pub compact_after_bytes: u64,
    /// Entries kept behind the durable state for followers that lag a little. Default 10,000.
    pub keep_entries: u64,
    /// Digests of the own state kept for comparison with other nodes. Default 4,096: more than are
    /// applied between a heartbeat's question and its arrival.
    pub max_digests: usize,
    /// A learner is promoted to voter by the leader when it has caught up (§4.2.1). Default true.
    pub promote_learners: bool,
}

impl Default for Config {
    fn default() -> Config {
        const MIB: u64 = 1 << 20;
        Config {
            election_timeout: Duration::from_millis(500),
            heartbeat_interval: Duration::from_millis(50),
            max_entry_bytes: 4 * MIB,
            max_append_entries: 1024,
            max_append_bytes: MIB,
            max_inflight_appends: 64,
            max_inflight_bytes: 8 * MIB,
            max_uncommitted_bytes: 64 * MIB,
            max_uncommitted_entries: 262_144,
            max_apply_lag_bytes: 64 * MIB,
            max_apply_lag_entries: 262_144,
            max_term_runs: 1 << 20,
            max_apply_bytes: 16 * MIB,
            cache_bytes: 64 * MIB,
            max_pending_reads: 65_536,
            snapshot_chunk_bytes: MIB,
            compact_after_bytes: 64 * MIB,
            keep_entries: 10_000,
            max_digests: 4096,
            promote_learners: true,
        }
    }
}
