//! Jobs on their way to a lane.
//!
//! Rule: the driver never waits for a lane: what does not fit in the lane's queue stays here, and
//! while anything does, no new requests are taken in. Bounded by what Raft's windows allow to be
//! under way. Must never: change the order of jobs.

use crate::report::QueueReport;
use std::collections::VecDeque;
use tokio::sync::mpsc::{self, error::TrySendError};

/// The driver's end of a lane.
#[derive(Debug)]
pub struct Outbox<J> {
    lane: mpsc::Sender<J>,
    waiting: VecDeque<J>,
}

impl<J> Outbox<J> {
    /// An empty outbox for `lane`.
    pub fn new(lane: mpsc::Sender<J>) -> Outbox<J> {
        Outbox { lane, waiting: VecDeque::new() }
    }

    /// Sends now, or keeps for later.
    pub fn push(&mut self, job: J) {
        self.waiting.push_back(job);
        self.flush();
    }

    /// Sends what is kept, as far as it fits. Call when the lane has finished something.
    pub fn flush(&mut self) {
        while let Some(job) = self.waiting.pop_front() {
            match self.lane.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job)) => {
                    self.waiting.push_front(job);
                    break;
                }
                // The lane ended after a failure it has reported; the driver ends on that report.
                Err(TrySendError::Closed(_)) => self.waiting.clear(),
            }
        }
    }

    /// How much waits for the lane, in its queue and here.
    pub fn report(&self, name: &'static str) -> QueueReport {
        let limit = self.lane.max_capacity();
        QueueReport { name, depth: limit - self.lane.capacity() + self.waiting.len(), limit }
    }

    /// Whether the lane is behind.
    pub fn is_backed_up(&self) -> bool {
        !self.waiting.is_empty()
    }
}
