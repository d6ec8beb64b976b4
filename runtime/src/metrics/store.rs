//! What the state machine last said of itself, and how long the quota will last.
//!
//! Rule: replaced by the state machine's lane after every batch, before anybody is answered, so that
//! who asks after a write sees what it made. Must never: make a reader wait for the lane.

use kvorum_core::{kv::Status, raft::Instant};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Samples of the size are at least this far apart …
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// … and so many are kept: the growth of the last ten minutes.
const SAMPLES: usize = 60;

/// The figures.
#[derive(Debug, Default)]
pub struct StoreFigures(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    status: Option<Status>,
    samples: VecDeque<(Instant, u64)>,
}

impl StoreFigures {
    /// The state machine stands so.
    pub fn set(&self, now: Instant, status: Status) {
        let mut inner = self.lock();
        inner.status = Some(status);
        if inner.samples.back().is_none_or(|(last, _)| now.since(*last) >= SAMPLE_EVERY) {
            if inner.samples.len() == SAMPLES {
                inner.samples.pop_front();
            }
            inner.samples.push_back((now, status.bytes));
        }
    }

    /// What it last said; nothing before a store is open.
    #[must_use]
    pub fn get(&self) -> Option<Status> {
        self.lock().status
    }

    /// Seconds until the quota is used up at the growth of the last ten minutes. `None` without a
    /// quota, without growth, or before ten seconds of it were seen.
    #[must_use]
    pub fn forecast(&self, now: Instant) -> Option<u64> {
        let inner = self.lock();
        let status = inner.status?;
        let &(since, before) = inner.samples.front()?;
        let passed = now.since(since);
        let quota = status.settings.quota_bytes;
        if quota == 0 || passed < SAMPLE_EVERY {
            return None;
        }
        let grown = status.bytes.checked_sub(before).filter(|grown| *grown > 0)?;
        let left = u128::from(quota.saturating_sub(status.bytes));
        u64::try_from(left * passed.as_millis() / u128::from(grown) / 1000).ok()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
