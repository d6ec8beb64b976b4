//! hyper's executor and timer over this crate's tokio.
//!
//! Rule: hyper's tasks and timers run where everything else runs, so that they are simulated with
//! it. Must never: touch a reactor or a clock directly.

use hyper::rt::{Executor, Sleep, Timer};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// Spawns hyper's tasks.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskExecutor;

/// Gives hyper its timeouts.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskTimer;

struct Pause(Pin<Box<tokio::time::Sleep>>);

impl<F> Executor<F> for TaskExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

// In the simulator tokio's moments are the standard library's, and need no conversion.
#[cfg_attr(madsim, allow(clippy::useless_conversion))]
impl Timer for TaskTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Pause(Box::pin(tokio::time::sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Pause(Box::pin(tokio::time::sleep_until(deadline.into()))))
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl Sleep for Pause {}
