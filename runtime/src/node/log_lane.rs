//! The worker of a node that writes the log.
//!
//! Rule: everything that is queued is written with one sync, in order, and reported after it. Must
//! never: report a write before its fsync has returned, or go on after a failure.

use super::{disk_watch::DiskWatch, lanes::Done};
use crate::{
    metrics::Metrics,
    storage::{LogStore, StorageError},
};
use kvorum_core::raft::{Instant, LogRead, Write};
use std::sync::Arc;
use tokio::sync::mpsc;

/// A job for the log's lane.
#[derive(Debug)]
pub enum LogJob {
    /// Make this durable.
    Write(Box<Write>),
    /// Read these entries.
    Read(LogRead),
}

/// The log lane's work.
pub fn log_lane(
    log: Box<dyn LogStore>,
    clock: impl Fn() -> Instant + Send,
    metrics: Arc<Metrics>,
    done: mpsc::UnboundedSender<Done>,
) -> impl FnMut(&mut Vec<LogJob>) + Send {
    let mut log = Measured { log, watch: DiskWatch::new(clock()), clock, metrics };
    let mut failed = false;
    move |jobs| {
        let mut writes = Vec::new();
        for job in jobs.drain(..) {
            if failed {
                return;
            }
            match job {
                LogJob::Write(write) => writes.push(*write),
                LogJob::Read(request) => {
                    failed = !flush(&mut log, &mut writes, &done);
                    if !failed {
                        failed = !report(&done, log.log.read(&request), |entries| Done::LogRead {
                            request,
                            entries,
                        });
                    }
                }
            }
        }
        failed = failed || !flush(&mut log, &mut writes, &done);
    }
}

/// The log with what is counted of it.
struct Measured<C> {
    log: Box<dyn LogStore>,
    watch: DiskWatch,
    clock: C,
    metrics: Arc<Metrics>,
}

impl<C: Fn() -> Instant> Measured<C> {
    fn write(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        let began = (self.clock)();
        let written = self.log.write(writes);
        let now = (self.clock)();
        let counted = &self.metrics.log;
        let entries = writes.iter().flat_map(|write| &write.append);
        let (count, bytes) =
            entries.fold((0, 0), |(count, bytes), entry| (count + 1, bytes + entry.size()));
        counted.sync.observe_time(now.since(began));
        counted.batch.observe(count);
        counted.bytes.add(bytes);
        counted.disk_bytes.set(self.log.disk_bytes());
        self.watch.note(now, now.since(began), counted);
        written
    }
}

/// Writes everything collected with one sync. `false` when the store failed.
fn flush<C: Fn() -> Instant>(
    log: &mut Measured<C>,
    writes: &mut Vec<Write>,
    done: &mpsc::UnboundedSender<Done>,
) -> bool {
    if writes.is_empty() {
        return true;
    }
    let result = log.write(writes);
    let writes = std::mem::take(writes);
    report(done, result, |()| Done::Durable(writes.into_iter().map(Write::durable).collect()))
}

/// Sends the outcome of a job; `false` when it failed.
fn report<T>(
    done: &mpsc::UnboundedSender<Done>,
    result: Result<T, StorageError>,
    success: impl FnOnce(T) -> Done,
) -> bool {
    let ok = result.is_ok();
    // A driver that is gone needs no reports.
    let _ = done.send(result.map_or_else(Done::Failed, success));
    ok
}
