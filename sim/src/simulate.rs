//! One simulation: a runtime of its own on a thread of its own.
//!
//! Rule: a fresh thread per simulation, because the simulator seeds the thread's hash maps only
//! once. Must never: run two runtimes on one thread.

use std::{future::Future, panic, thread};

/// Stack of a simulation's thread; debug builds of the whole node nest deeply.
const STACK_BYTES: usize = 16 << 20;

/// Runs `make()`'s future to its end under `seed`.
///
/// # Panics
/// With what the simulation panicked with.
pub fn simulate<F, R>(seed: u64, make: impl FnOnce() -> F + Send + 'static) -> R
where
    F: Future<Output = R> + 'static,
    R: Send + 'static,
{
    try_simulate(seed, make).unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// As `simulate`, with a panic as an error.
///
/// # Errors
/// What the simulation panicked with.
pub fn try_simulate<F, R>(seed: u64, make: impl FnOnce() -> F + Send + 'static) -> thread::Result<R>
where
    F: Future<Output = R> + 'static,
    R: Send + 'static,
{
    thread::Builder::new()
        .stack_size(STACK_BYTES)
        .name(format!("seed-{seed}"))
        .spawn(move || {
            let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, Default::default());
            runtime.block_on(async move { make().await })
        })
        .expect("the system starts a thread")
        .join()
}
