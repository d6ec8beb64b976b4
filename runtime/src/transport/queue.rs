//! What waits to be sent to one peer.
//!
//! Rule: bounded by count and bytes; what does not fit is dropped and counted, since Raft repeats
//! itself. Small messages overtake snapshot chunks, so that a transfer never stands before a
//! heartbeat. Must never: block the sender.

use bytes::BytesMut;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Most bytes handed to one write.
const BATCH_BYTES: usize = 256 << 10;

/// A bounded queue of encoded frames with two lanes.
#[derive(Debug)]
pub struct Queue {
    inner: Mutex<Lanes>,
    filled: Notify,
    max_messages: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Lanes {
    first: VecDeque<BytesMut>,
    bulk: VecDeque<BytesMut>,
    bytes: usize,
    dropped: u64,
}

impl Queue {
    /// An empty queue with these bounds.
    pub fn new(max_messages: usize, max_bytes: usize) -> Queue {
        let inner = Mutex::new(Lanes::default());
        Queue { inner, filled: Notify::new(), max_messages, max_bytes }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a frame, or drops it. `bulk` frames wait behind all others.
    pub fn push(&self, frame: BytesMut, bulk: bool) -> bool {
        {
            let mut lanes = self.lanes();
            let count = lanes.first.len() + lanes.bulk.len();
            if count >= self.max_messages || lanes.bytes + frame.len() > self.max_bytes {
                lanes.dropped += 1;
                return false;
            }
            lanes.bytes += frame.len();
            let lane = if bulk { &mut lanes.bulk } else { &mut lanes.first };
            lane.push_back(frame);
        }
        self.filled.notify_one();
        true
    }

    /// Waits until there is something, and takes a batch of it as one run of bytes.
    pub async fn batch(&self) -> BytesMut {
        loop {
            let filled = self.filled.notified();
            if let Some(batch) = self.try_batch() {
                return batch;
            }
            filled.await;
        }
    }

    fn try_batch(&self) -> Option<BytesMut> {
        let mut lanes = self.lanes();
        let mut batch = lanes.first.pop_front().or_else(|| lanes.bulk.pop_front())?;
        lanes.bytes -= batch.len();
        while batch.len() < BATCH_BYTES
            && let Some(next) = lanes.first.pop_front()
        {
            lanes.bytes -= next.len();
            batch.extend_from_slice(&next);
        }
        Some(batch)
    }

    /// Drops everything: what waited for a lost connection is stale.
    pub fn clear(&self) {
        let mut lanes = self.lanes();
        lanes.first.clear();
        lanes.bulk.clear();
        lanes.bytes = 0;
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        let lanes = self.lanes();
        lanes.first.is_empty() && lanes.bulk.is_empty()
    }

    /// How many frames were dropped.
    pub fn dropped(&self) -> u64 {
        self.lanes().dropped
    }
}
