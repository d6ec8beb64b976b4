//! What clients do, each kind in a file of its own.
//!
//! Rule: every value is written by one request only. Must never: draw from another client's random
//! stream.

pub mod asking;
pub mod hold;
pub mod registers;
pub mod store;
pub mod watch;

/// Simulated nanoseconds since the beginning.
#[must_use]
pub fn now() -> u64 {
    u64::try_from(madsim::time::TimeHandle::current().elapsed().as_nanos()).unwrap_or(u64::MAX)
}
