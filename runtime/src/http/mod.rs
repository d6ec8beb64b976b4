//! The HTTP API: requests in, commands and queries to the node, answers out.
//!
//! Rule: any node answers any request; every error is one problem object that says truthfully
//! whether a write may have been applied. Must never: repeat a write whose outcome is unknown, or
//! read a body that is larger than the limit.

pub mod client;
pub mod openapi;
pub mod problem;
pub mod rt;
pub mod stop;

mod body;
mod cluster;
mod condition;
mod content;
mod cursor;
mod duration;
mod envelope;
mod erase;
mod gone;
mod history;
mod join;
mod json;
mod key;
mod lease;
mod lock;
mod lock_queue;
mod lock_text;
mod look;
mod members;
mod metrics;
mod negotiate;
mod outcome;
mod params;
mod probes;
mod range;
mod read;
mod record;
pub(crate) mod route;
mod scan;
mod seek;
mod server;
mod service;
mod settings;
mod staleness;
mod ttl;
mod txn;
mod txn_json;
mod txn_reply;
mod values;
mod wait;
mod watch;
mod watch_text;
mod watches;
mod write;

pub use content::Content;
pub use server::serve;

use self::{client::Client, lock_queue::Queues, stop::Stop};
use crate::{config::Limits, handle::Handle, world::World};
use hyper::Response;
use kvorum_core::raft::Instant;
use std::sync::Arc;

/// An answer: complete, or a stream.
type Reply = Response<Content>;

/// What every request works with.
#[derive(Debug)]
struct Api<W: World> {
    world: W,
    handle: Handle,
    limits: Limits,
    client: Client<W>,
    started: Instant,
    fresh: staleness::Fresh,
    stop: Arc<Stop>,
    /// Who waits for locks here.
    locks: Arc<Queues>,
}
