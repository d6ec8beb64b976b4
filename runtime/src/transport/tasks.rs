//! Counting tasks, so that a stop can wait for them.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// A number of tasks.
#[derive(Debug, Clone, Default)]
pub(super) struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    count: Mutex<usize>,
    none: Notify,
}

/// One task; it counts until this is dropped.
#[derive(Debug)]
pub(super) struct Alive {
    inner: Arc<Inner>,
}

impl Tasks {
    /// One more task.
    pub(super) fn enter(&self) -> Alive {
        *self.inner.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Alive { inner: Arc::clone(&self.inner) }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        *self.inner.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when there are none.
    pub(super) async fn ended(&self) {
        loop {
            let none = self.inner.none.notified();
            tokio::pin!(none);
            none.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            none.await;
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let mut count = self.inner.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count -= 1;
        if *count == 0 {
            drop(count);
            self.inner.none.notify_waiters();
        }
    }
}
