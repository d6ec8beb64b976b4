//! What a run is like: the seed decides everything.
//!
//! Rule: a swarm: every seed has its own size, limits, load and mix of faults, extremes included.
//! Must never: depend on anything but the seed.

use crate::{
    client::Proxy,
    cluster::ClusterPlan,
    nemesis::{ALL, Fault, NemesisPlan},
    rng::Rng,
    workload::registers::WorkloadPlan,
};
use kvorum_core::raft;
use std::time::Duration;

/// Everything a run is decided by, besides the seed's random streams.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The cluster.
    pub cluster: ClusterPlan,
    /// The clients.
    pub workload: WorkloadPlan,
    /// The trouble.
    pub nemesis: NemesisPlan,
    /// The cluster's settings.
    pub settings: Settings,
    /// How long the trouble lasts.
    pub storm: Duration,
    /// What is changed so that the judges must object.
    pub canary: Option<Canary>,
}

/// A planted bug, at the boundary: the product is as shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canary {
    /// The disks report syncs and do nothing.
    LyingDisks,
    /// A client is told an old value.
    StaleRead,
    /// A proxy says `applied: no` of a write whose outcome it does not know.
    UnknownIsNo,
    /// Reads are served from any node's state without asking the leader.
    LocalReads,
    /// Something stands between the clients and the cluster.
    Proxy(Proxy),
    /// All clocks run fast, and nobody is told.
    FastClocks,
}

/// What the cluster is told about space and history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes that may be stored; 0: any.
    pub quota: u64,
    /// Milliseconds for which history is kept at least.
    pub keep_ms: u64,
    /// Revisions that are kept at least.
    pub revisions: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { quota: 0, keep_ms: 600_000, revisions: 10_000 }
    }
}

impl Plan {
    /// The plan of a seed: a swarm over cluster sizes, limits, loads and faults.
    #[must_use]
    pub fn of(seed: u64) -> Plan {
        let mut rng = Rng::stream(seed, "plan", 0);
        let disks = rng.chance(0.7);
        let mut raft = raft::Config {
            election_timeout: Duration::from_millis(*rng.pick(&[150, 300, 500])),
            heartbeat_interval: Duration::from_millis(*rng.pick(&[20, 50])),
            ..raft::Config::default()
        };
        if rng.chance(0.4) {
            raft.max_append_entries = *rng.pick(&[1, 2, 7]);
            raft.max_inflight_appends = *rng.pick(&[1, 3, 16]);
        }
        let mut checkpoint_bytes = 1 << 20;
        if rng.chance(0.5) {
            // Snapshots and compaction all the time.
            raft.keep_entries = *rng.pick(&[0, 5, 50]);
            raft.compact_after_bytes = *rng.pick(&[500, 5_000]);
            raft.cache_bytes = *rng.pick(&[0, 2_000, 1 << 20]);
            raft.snapshot_chunk_bytes = *rng.pick(&[64, 1_000, 1 << 20]);
            checkpoint_bytes = *rng.pick(&[500, 4_000]);
        }
        let faults: Vec<Fault> = ALL
            .into_iter()
            .filter(|fault| fault.suits(disks))
            .filter(|_| rng.chance(0.4))
            .collect();
        Plan {
            settings: Settings::default(),
            cluster: ClusterPlan {
                nodes: *rng.pick(&[3, 3, 3, 4, 5]),
                disks,
                raft,
                checkpoint_bytes,
                segment_bytes: *rng.pick(&[64 << 10, 256 << 10]),
            },
            workload: WorkloadPlan {
                clients: *rng.pick(&[2, 4, 8]),
                keys: *rng.pick(&[1, 3, 6]),
                think: 0..*rng.pick(&[20_000_000, 100_000_000]),
                patience: 1_000_000_000..6_000_000_000,
                shoppers: *rng.pick(&[1, 2, 4]),
                watchers: *rng.pick(&[1, 2, 4]),
                holders: *rng.pick(&[0, 1, 3]),
            },
            nemesis: NemesisPlan {
                faults,
                pause: 0..*rng.pick(&[100_000_000, 400_000_000, 1_500_000_000]),
                length: 50_000_000..*rng.pick(&[400_000_000, 2_000_000_000, 6_000_000_000]),
                overlap: *rng.pick(&[1, 2, 4]),
            },
            storm: Duration::from_secs(20),
            canary: None,
        }
    }
}
