//! The node's configuration: environment variables in, a checked value out.
//!
//! Rule: an unknown, malformed or contradictory value stops the start with one line that names the
//! variable, the value, and what is accepted. Must never: guess.

use kvorum_core::raft;
use std::{path::PathBuf, time::Duration};

/// Everything a node is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// `NODE_ID`.
    pub name: String,
    /// `host:port` the HTTP server binds.
    pub http_bind: String,
    /// `host:port` at which others reach the HTTP server.
    pub http_advertise: String,
    /// `host:port` the peer transport binds.
    pub raft_bind: String,
    /// `host:port` at which peers reach it.
    pub raft_advertise: String,
    /// `host:port` of a member's HTTP server, to join.
    pub join: Option<String>,
    /// `RAFT_DIR/NODE_ID`; `None` keeps everything in memory.
    pub dir: Option<PathBuf>,
    /// A blank node without `join` listens this long for a living cluster that knows its name
    /// before it starts a cluster of its own.
    pub bootstrap_grace: Duration,
    /// How long a graceful stop may take.
    pub stop_timeout: Duration,
    /// Limits of the HTTP API.
    pub limits: Limits,
    /// Limits and periods of Raft.
    pub raft: raft::Config,
}

/// Limits of the HTTP API (`KVORUM_MAX_*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a key. Default 4,096.
    pub key_bytes: usize,
    /// Bytes of a value. Default 1 MiB.
    pub value_bytes: usize,
    /// Bytes of a request body. Default 2 MiB.
    pub body_bytes: usize,
    /// Keys in one POST. Default 1,024.
    pub keys_per_request: usize,
    /// Depth of JSON. Default 64.
    pub json_depth: usize,
    /// Bytes of a request's head. Default 64 KiB.
    pub header_bytes: usize,
    /// Open client connections. Default 10,000.
    pub connections: usize,
    /// How long a body may take to arrive. Default 10 s.
    pub body_timeout: Duration,
    /// `?timeout=` when not given. Default 5 s.
    pub request_timeout: Duration,
    /// Largest `?timeout=`. Default 60 s.
    pub max_request_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            key_bytes: 4096,
            value_bytes: 1 << 20,
            body_bytes: 2 << 20,
            keys_per_request: 1024,
            json_depth: 64,
            header_bytes: 64 << 10,
            connections: 10_000,
            body_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(5),
            max_request_timeout: Duration::from_secs(60),
        }
    }
}
