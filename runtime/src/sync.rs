//! One value that many tasks look at and wait on.
//!
//! Rule: waiters wake in the order they came, so that a simulation replays (the usual watch channel
//! wakes in an order of its own). Must never: be held across an await.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// A value that changes, with an owner that sets it and any number of watchers.
#[derive(Debug)]
pub struct Watched<T> {
    value: Mutex<Arc<T>>,
    changed: Notify,
}

impl<T> Watched<T> {
    /// Starts with `value`.
    pub fn new(value: T) -> Watched<T> {
        Watched { value: Mutex::new(Arc::new(value)), changed: Notify::new() }
    }

    /// The value now.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.value.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the value and wakes everybody who waits.
    pub fn set(&self, value: T) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
        self.changed.notify_waiters();
    }

    /// Returns the first value, from now on, for which `accept` answers with something.
    pub async fn wait_for<R>(&self, mut accept: impl FnMut(&T) -> Option<R>) -> R {
        loop {
            let notified = self.changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(result) = accept(&self.get()) {
                return result;
            }
            notified.await;
        }
    }
}
