//! The HTTP API: requests in, commands and queries to the node, answers out.
//!
//! Rule: any node answers any request; every error is one problem object that says truthfully
//! whether a write may have been applied. Must never: repeat a write whose outcome is unknown, or
//! read a body that is larger than the limit.

pub mod client;
pub mod problem;
pub mod rt;
pub mod stop;

mod body;
mod cluster;
mod condition;
mod duration;
mod join;
mod json;
mod key;
mod negotiate;
mod outcome;
mod params;
mod probes;
mod read;
mod record;
mod route;
mod seek;
mod server;
mod service;
mod values;
mod write;

pub use server::serve;

use self::client::Client;
use crate::{config::Limits, handle::Handle, world::World};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use kvorum_core::raft::Instant;

/// Every answer is complete before it is sent.
type Reply = Response<Full<Bytes>>;

/// What every request works with.
#[derive(Debug)]
struct Api<W: World> {
    world: W,
    handle: Handle,
    limits: Limits,
    client: Client<W>,
    started: Instant,
}
