//! What waits for one peer.
//!
//! Rule: bounded by messages and by bytes; what does not fit is the newest and is dropped, because
//! Raft repeats itself. Two lanes: small messages overtake log entries and snapshot chunks, and
//! bulk may fill only three quarters, so that a heartbeat always finds room. Within a lane the
//! order is kept. Must never: block a sender.

use kvorum_core::raft::{Entry, Envelope, Message};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// A bounded queue with one consumer.
#[derive(Debug)]
pub struct Queue {
    lanes: Mutex<Lanes>,
    ready: Notify,
    max_messages: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Lanes {
    prompt: VecDeque<Envelope>,
    bulk: VecDeque<Envelope>,
    bytes: usize,
}

/// The queue had no room: the message is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Queue {
    /// An empty queue with these bounds.
    #[must_use]
    pub fn new(max_messages: usize, max_bytes: usize) -> Queue {
        Queue { lanes: Mutex::default(), ready: Notify::new(), max_messages, max_bytes }
    }

    /// Appends a message.
    ///
    /// # Errors
    /// `Full` when it does not fit. A message larger than the bound fits an empty queue.
    pub fn push(&self, envelope: Envelope) -> Result<(), Full> {
        let weight = weight(&envelope);
        let bulk = is_bulk(&envelope.message);
        let mut lanes = self.lock();
        let share = |bound: usize| if bulk { bound - bound / 4 } else { bound };
        let waiting = lanes.prompt.len() + lanes.bulk.len();
        let fits = waiting < share(self.max_messages)
            && lanes.bytes.saturating_add(weight) <= share(self.max_bytes);
        if waiting > 0 && !fits {
            return Err(Full);
        }
        lanes.bytes += weight;
        if bulk {
            lanes.bulk.push_back(envelope)
        } else {
            lanes.prompt.push_back(envelope)
        }
        drop(lanes);
        self.ready.notify_one();
        Ok(())
    }

    /// Moves what is next to go into `into`: small messages first, then bulk, about `budget` bytes
    /// of each, at least one of each that waits.
    pub fn take(&self, budget: usize, into: &mut Vec<Envelope>) {
        let mut lanes = self.lock();
        let Lanes { prompt, bulk, bytes } = &mut *lanes;
        for lane in [prompt, bulk] {
            let mut taken = 0;
            while taken < budget
                && let Some(envelope) = lane.pop_front()
            {
                taken += weight(&envelope);
                into.push(envelope);
            }
            *bytes -= taken;
        }
    }

    /// Drops everything; returns how many messages that were.
    pub fn clear(&self) -> usize {
        let lanes = std::mem::take(&mut *self.lock());
        lanes.prompt.len() + lanes.bulk.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let lanes = self.lock();
        lanes.prompt.is_empty() && lanes.bulk.is_empty()
    }

    /// Messages and bytes that wait.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        let lanes = self.lock();
        (lanes.prompt.len() + lanes.bulk.len(), lanes.bytes)
    }

    /// Returns when something may have been pushed since the last `take`. For one consumer.
    pub async fn ready(&self) {
        self.ready.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a message carries the log or the state, which may be large. All appends share a lane,
/// so that they keep their order.
fn is_bulk(message: &Message) -> bool {
    match message {
        Message::Append { .. } | Message::InstallSnapshot { .. } => true,
        Message::PreVote { .. }
        | Message::PreVoteReply { .. }
        | Message::RequestVote { .. }
        | Message::VoteReply { .. }
        | Message::AppendReply { .. }
        | Message::Heartbeat { .. }
        | Message::HeartbeatReply { .. }
        | Message::SnapshotReply { .. }
        | Message::TimeoutNow
        | Message::ReadIndex { .. }
        | Message::ReadIndexReply { .. } => false,
    }
}

/// Bytes a message counts for: its payload and a fixed overhead.
fn weight(envelope: &Envelope) -> usize {
    const OVERHEAD: usize = 128;
    OVERHEAD
        + match &envelope.message {
            Message::Append { entries, .. } => {
                entries.iter().map(Entry::size).sum::<u64>().try_into().unwrap_or(usize::MAX / 2)
            }
            Message::InstallSnapshot { meta, data, .. } => {
                data.len() + meta.membership.contexts.values().map(|c| 64 + c.len()).sum::<usize>()
            }
            _ => 0,
        }
}
