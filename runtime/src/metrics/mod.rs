//! What a node counts, and how it is told to Prometheus.
//!
//! Rule: one `Metrics` per node, so that nodes of one process (the simulator's) do not share
//! anything; what the core and the queues know is asked for at the scrape and costs nothing before.
//! Must never: take a lock or allocate on the way of a request, or have labels whose values a client
//! can choose.

pub mod cell;
mod families;
mod http;
mod names;
mod page;
mod raft;
mod store;

pub use self::{
    families::{Format, Scrape, Waiting},
    http::{HttpMetrics, InFlight},
    store::StoreFigures,
};

use self::cell::{Counter, Gauge, Histogram};

/// Everything one node counts.
#[derive(Debug)]
pub struct Metrics {
    /// When the process started, in milliseconds since 1970.
    pub started_ms: u64,
    /// Requests of clients.
    pub http: HttpMetrics,
    /// What the driver does.
    pub driver: DriverMetrics,
    /// The log's lane.
    pub log: LogMetrics,
    /// The state machine's lane.
    pub state: StateMetrics,
    /// What the state machine last said of itself.
    pub store: StoreFigures,
}

/// What the driver counts.
#[derive(Debug, Default)]
pub struct DriverMetrics {
    /// Commands appended to the log as the leader.
    pub proposals: Counter,
    /// Linearizable queries that asked for a confirmation.
    pub reads: Counter,
    /// Confirmations that were asked for; queries share them.
    pub read_rounds: Counter,
    /// Entries learnt to be committed.
    pub committed: Counter,
    /// Elections this node stood in.
    pub elections: Counter,
    /// Elections it won.
    pub elections_won: Counter,
    /// How often it began to follow another leader, or to lead.
    pub leader_changes: Counter,
}

/// What the log's lane counts.
#[derive(Debug)]
pub struct LogMetrics {
    /// Time of one write with its fsync, in microseconds.
    pub sync: Histogram,
    /// Entries of one write.
    pub batch: Histogram,
    /// Bytes of the entries written.
    pub bytes: Counter,
    /// Bytes of the log's files; 0 in memory.
    pub disk_bytes: Gauge,
    /// The 99th percentile of the last full window (`disk_watch::WINDOW`), in microseconds.
    pub recent_p99: Gauge,
    /// 1 while that is over the limit.
    pub slow: Gauge,
}

/// What the state machine's lane counts.
#[derive(Debug)]
pub struct StateMetrics {
    /// Time to apply and store one batch, in microseconds.
    pub apply: Histogram,
    /// Entries of one batch.
    pub batch: Histogram,
    /// Queries answered.
    pub queries: Counter,
    /// Leases that ended: expired or revoked.
    pub leases_ended: Counter,
    /// Bytes of snapshots handed out for peers.
    pub snapshot_sent: Counter,
    /// Bytes of snapshots taken in.
    pub snapshot_received: Counter,
    /// Bytes held of the snapshot that is being received.
    pub snapshot_staged: Gauge,
    /// Snapshots installed.
    pub installed: Counter,
    /// Transfers that had to begin anew.
    pub snapshot_failures: Counter,
    /// Times that the state was made durable.
    pub checkpoints: Counter,
    /// Bytes of the tables on the disk at the last checkpoint; 0 in memory.
    pub disk_bytes: Gauge,
}

impl Metrics {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(started_ms: u64) -> Metrics {
        Metrics {
            started_ms,
            http: HttpMetrics::default(),
            driver: DriverMetrics::default(),
            log: LogMetrics {
                sync: Histogram::of_times(),
                batch: Histogram::of_counts(),
                bytes: Counter::default(),
                disk_bytes: Gauge::default(),
                recent_p99: Gauge::default(),
                slow: Gauge::default(),
            },
            state: StateMetrics {
                apply: Histogram::of_times(),
                batch: Histogram::of_counts(),
                queries: Counter::default(),
                leases_ended: Counter::default(),
                snapshot_sent: Counter::default(),
                snapshot_received: Counter::default(),
                snapshot_staged: Gauge::default(),
                installed: Counter::default(),
                snapshot_failures: Counter::default(),
                checkpoints: Counter::default(),
                disk_bytes: Gauge::default(),
            },
            store: StoreFigures::default(),
        }
    }
}
