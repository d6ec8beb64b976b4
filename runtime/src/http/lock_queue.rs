//! Who waits for which lock at this node, in the order of arrival.
//!
//! Rule: only the first in a lock's queue looks at the lock; the others sleep until it is their
//! turn, so that a lock with a thousand waiters costs what one with a single waiter costs. Must
//! never: hold more than it was told to, or forget to wake the next when the first leaves.

use bytes::Bytes;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// The queues of all locks.
#[derive(Debug, Default)]
pub(super) struct Queues {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    queues: BTreeMap<Bytes, VecDeque<Waiting>>,
    waiting: usize,
    last_ticket: u64,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    turn: Arc<Notify>,
}

/// A place in a queue; gives it up when dropped.
#[derive(Debug)]
pub(super) struct Place {
    queues: Arc<Queues>,
    lock: Bytes,
    ticket: u64,
    turn: Arc<Notify>,
}

impl Queues {
    /// Takes the last place in the queue for `lock`, if fewer than `most` wait for all locks
    /// together.
    pub(super) fn enter(self: &Arc<Queues>, lock: &Bytes, most: usize) -> Option<Place> {
        let mut inner = self.lock();
        if inner.waiting >= most {
            return None;
        }
        inner.waiting += 1;
        inner.last_ticket += 1;
        let ticket = inner.last_ticket;
        let turn = Arc::new(Notify::new());
        let waiting = Waiting { ticket, turn: Arc::clone(&turn) };
        inner.queues.entry(lock.clone()).or_default().push_back(waiting);
        Some(Place { queues: Arc::clone(self), lock: lock.clone(), ticket, turn })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Returns once nobody is before it.
    pub(super) async fn turn(&self) {
        while !self.is_first() {
            self.turn.notified().await;
        }
    }

    fn is_first(&self) -> bool {
        let inner = self.queues.lock();
        let first = inner.queues.get(&self.lock).and_then(VecDeque::front);
        first.is_some_and(|first| first.ticket == self.ticket)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.queues.lock();
        inner.waiting -= 1;
        let Some(queue) = inner.queues.get_mut(&self.lock) else { return };
        queue.retain(|waiting| waiting.ticket != self.ticket);
        match queue.front() {
            Some(first) => first.turn.notify_one(),
            None => {
                inner.queues.remove(&self.lock);
            }
        }
    }
}
