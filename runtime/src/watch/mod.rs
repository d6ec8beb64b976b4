//! Watches: what changed, to everybody who asked, without waiting for anybody.
//!
//! Rule: the state machine's lane publishes what it has applied and stored; each watcher has a queue
//! with bounds; one that falls behind is told so and reads the rest from the store. Must never: make
//! a write wait for a watcher, or pass over a change without saying so.

mod hub;
mod interest;
mod intervals;

pub use hub::{
    Hub, MAX_QUEUE_BYTES, MAX_QUEUED, MAX_TOTAL_BYTES, News, Revision, SeatReport, WatchCounters,
    WatchReport, Watcher,
};
