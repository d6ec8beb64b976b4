//! Saying something at most so often.

use kvorum_core::raft::Instant;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Between two of the same kind.
const PERIOD: Duration = Duration::from_secs(10);

/// Lets one through per period.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    last: Mutex<Option<Instant>>,
}

impl Throttle {
    /// Whether to say it now.
    pub(super) fn allow(&self, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.since(last) >= PERIOD);
        if due {
            *last = Some(now);
        }
        due
    }
}
