//! The page as a whole: everything a node tells Prometheus, in one order.
//!
//! Rule: what could not be asked in time is left out and `kvorum_scrape_complete` is 0; a zero is
//! never made up. Must never: wait.

use super::{Metrics, page::Page, raft};
use crate::{handle::View, report::Report, watch::WatchReport, world::Usage};
use kvorum_core::raft::Instant;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, prometheus_text, text},
    registry::{Registry, Unit},
};
use std::{fmt, sync::Arc};

/// How the page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// A queue between HTTP and the driver.
pub use crate::report::QueueReport as Waiting;

/// Everything that one page shows.
#[derive(Debug)]
pub struct Scrape {
    /// The time of the scrape.
    pub now: Instant,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// What everybody may see of the node.
    pub view: Arc<View>,
    /// What the driver said, if it answered.
    pub report: Option<Report>,
    /// The watches.
    pub watch: WatchReport,
    /// The queues that are not the driver's.
    pub queues: Vec<Waiting>,
    /// What the process uses, if the world knows.
    pub usage: Option<Usage>,
}

impl Format {
    /// Its `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => prometheus_text::CONTENT_TYPE,
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Scrape {
    /// The page.
    ///
    /// # Errors
    /// None that can happen: it is written to memory.
    pub fn page(self, format: Format) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut page = String::with_capacity(32 << 10);
        match format {
            Format::Prometheus => prometheus_text::encode(&mut page, &registry)?,
            Format::OpenMetrics => text::encode(&mut page, &registry)?,
        }
        Ok(page)
    }

    fn node(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        page.info("kvorum_build", "The version of kvorum", &version)?;
        let id = self.view.me.id.0.to_string();
        let cluster = self.view.cluster.map_or(String::new(), |id| format!("{id:016x}"));
        let labels =
            [("node_id", self.view.me.name.as_str()), ("id", &id), ("cluster_id", &cluster)];
        page.info("kvorum_node", "This node's name, incarnation and cluster", &labels)?;
        page.gauge(
            "kvorum_durable",
            "1 if data is kept on disk, 0 if it is kept in memory",
            u64::from(self.view.durable),
        )?;
        page.gauge(
            "kvorum_scrape_complete",
            "1 if the node's driver answered this scrape in time; otherwise the families that only \
             it knows are missing",
            u64::from(self.report.is_some()),
        )
    }

    fn process(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        page.gauge_of(
            &Unit::Seconds,
            "process_start_time",
            "When the process started, since 1970",
            self.metrics.started_ms as f64 / 1000.0,
        )?;
        let Some(usage) = self.usage else { return Ok(()) };
        page.counter_of(
            &Unit::Seconds,
            "process_cpu",
            "Processor time used, user and system",
            usage.cpu_seconds,
        )?;
        page.gauge_of(
            &Unit::Bytes,
            "process_resident_memory",
            "Memory in use",
            usage.resident_bytes,
        )?;
        page.gauge_of(
            &Unit::Bytes,
            "process_virtual_memory",
            "Address space in use",
            usage.virtual_bytes,
        )?;
        page.gauge("process_open_fds", "Open file descriptors", usage.open_fds)?;
        page.gauge("process_max_fds", "File descriptors that may be open", usage.max_fds)
    }

    fn log(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let log = &self.metrics.log;
        page.histogram(
            Some(&Unit::Seconds),
            "kvorum_disk_fsync",
            "Time of one write to the log with its fsync",
            &log.sync,
        )?;
        page.gauge_of(
            &Unit::Seconds,
            "kvorum_disk_fsync_recent_p99",
            "The 99th percentile of kvorum_disk_fsync over the last full 30 seconds of writing",
            log.recent_p99.get() as f64 * 1e-6,
        )?;
        page.gauge(
            "kvorum_disk_slow",
            "1 while that percentile is over 100 ms: elections are possible",
            log.slow.get(),
        )?;
        page.histogram(None, "kvorum_log_batch_entries", "Entries of one write", &log.batch)?;
        page.counter_of(
            &Unit::Bytes,
            "kvorum_log_written",
            "Bytes of entries written to the log",
            log.bytes.get(),
        )?;
        page.gauge_of(
            &Unit::Bytes,
            "kvorum_log_disk",
            "Bytes of the log's files; 0 in memory",
            log.disk_bytes.get(),
        )
    }

    fn state(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let state = &self.metrics.state;
        page.histogram(
            Some(&Unit::Seconds),
            "kvorum_state_apply",
            "Time to apply and store one batch of entries",
            &state.apply,
        )?;
        page.histogram(None, "kvorum_state_batch_entries", "Entries of one batch", &state.batch)?;
        page.counter("kvorum_state_queries", "Queries answered", state.queries.get())?;
        page.counter(
            "kvorum_state_checkpoints",
            "Times that the state was made durable",
            state.checkpoints.get(),
        )?;
        page.gauge_of(
            &Unit::Bytes,
            "kvorum_state_disk",
            "Bytes of the tables on the disk at the last checkpoint; 0 in memory",
            state.disk_bytes.get(),
        )?;
        page.counter_of(
            &Unit::Bytes,
            "kvorum_snapshot_sent",
            "Bytes of snapshots handed out for peers",
            state.snapshot_sent.get(),
        )?;
        page.counter_of(
            &Unit::Bytes,
            "kvorum_snapshot_received",
            "Bytes of snapshots taken in",
            state.snapshot_received.get(),
        )?;
        page.gauge_of(
            &Unit::Bytes,
            "kvorum_snapshot_staged",
            "Bytes held of the snapshot that is being received",
            state.snapshot_staged.get(),
        )?;
        page.counter("kvorum_snapshot_installed", "Snapshots installed", state.installed.get())?;
        page.counter(
            "kvorum_snapshot_failures",
            "Snapshot transfers that had to begin anew",
            state.snapshot_failures.get(),
        )
    }

    fn store(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        page.counter(
            "kvorum_leases_ended",
            "Leases that expired or were revoked",
            self.metrics.state.leases_ended.get(),
        )?;
        let Some(status) = self.metrics.store.get() else { return Ok(()) };
        page.gauge("kvorum_store_revision", "The revision", status.revision)?;
        page.gauge(
            "kvorum_store_compacted_revision",
            "The oldest revision that can be read; 0: all can",
            status.compacted,
        )?;
        page.gauge("kvorum_store_keys", "Keys", status.keys)?;
        page.gauge("kvorum_leases", "Leases", status.leases)?;
        let bytes = [
            ([("part", "live")], status.live_bytes),
            ([("part", "history")], status.bytes.saturating_sub(status.live_bytes)),
        ];
        page.gauges(
            Some(&Unit::Bytes),
            "kvorum_store",
            "Bytes stored: keys and values as they are now (live), and what compaction will free or \
             keeps for repeats (history)",
            bytes,
        )?;
        page.gauge_of(
            &Unit::Bytes,
            "kvorum_store_quota",
            "Bytes that may be stored; 0: no limit",
            status.settings.quota_bytes,
        )?;
        let forecast = self.metrics.store.forecast(self.now);
        page.gauges(
            Some(&Unit::Seconds),
            "kvorum_store_quota_forecast",
            "Time until the quota is used up at the growth of the last ten minutes; absent without \
             a quota or without growth",
            forecast.map(|seconds| ([("basis", "10m")], seconds)),
        )
    }

    fn watches(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let watch = &self.watch;
        page.gauge("kvorum_watches", "Watches and long polls open", watch.open)?;
        page.gauge(
            "kvorum_watches_lagging",
            "Of those, the ones with something to be told that they have not taken yet",
            watch.lagging,
        )?;
        page.gauge_of(
            &Unit::Bytes,
            "kvorum_watch_queue",
            "Bytes that wait for watches, each counted as often as somebody waits for it",
            watch.held_bytes,
        )?;
        page.counter("kvorum_watch_events", "Changes told to watches", watch.events)?;
        page.counter(
            "kvorum_watch_fell_behind",
            "Times that a watch was too slow for its queue and read on from the store",
            watch.fell_behind,
        )?;
        page.counter(
            "kvorum_watch_cut",
            "Watches ended by this node with an error, because they took nothing for \
             KVORUM_WATCH_PATIENCE, or what they need is compacted",
            watch.cut,
        )
    }

    fn waiting(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let driver = self.report.iter().flat_map(|report| &report.queues);
        let all: Vec<&Waiting> = self.queues.iter().chain(driver).collect();
        page.gauges(
            None,
            "kvorum_queue_depth",
            "What waits in each bounded queue",
            all.iter().map(|queue| ([("queue", queue.name)], queue.depth)),
        )?;
        page.gauges(
            None,
            "kvorum_queue_limit",
            "The bound of each queue",
            all.iter().map(|queue| ([("queue", queue.name)], queue.limit)),
        )
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let page = &mut Page(&mut encoder);
        self.node(page)?;
        self.process(page)?;
        self.metrics.http.show(page)?;
        raft::counted(page, &self.metrics.driver)?;
        if let Some(report) = &self.report {
            raft::standing(page, report, &self.view)?;
            raft::peers(page, report)?;
            raft::transport(page, &report.transport)?;
        }
        self.log(page)?;
        self.state(page)?;
        self.store(page)?;
        self.watches(page)?;
        self.waiting(page)
    }
}
