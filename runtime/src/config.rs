//! The node's configuration: environment variables in, a checked value out.
//!
//! Rule: an unknown, malformed or contradictory value stops the start with one line that names the
//! variable, the value, and what is accepted. Must never: guess.

mod effective;
mod reader;
mod value;
mod variable;

pub use effective::{Origin, Setting, effective};
pub use reader::ConfigError;
pub(crate) use value::parse_bytes;
pub use value::parse_duration;
pub use variable::{Accepts, CLIENT_VARIABLES, VARIABLES, Variable};

use crate::{storage::disk::DiskOptions, transport::TransportConfig};
use kvorum_core::raft;
use reader::Reader;
use std::{ffi::OsString, path::PathBuf, time::Duration};
use value::Address;

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
    /// Limits and periods of the connections between nodes.
    pub transport: TransportConfig,
    /// Applied bytes after which the state is made durable, so that the log up to there may go.
    pub checkpoint_bytes: u64,
    /// Sizes of the store on disk.
    pub disk: DiskOptions,
}

/// What the log shows, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The least level shown: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
    /// `auto`, `text` or `json`.
    pub format: &'static str,
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
    /// Watches of this node at a time. Default 10,000.
    pub watches: usize,
    /// Requests that wait for locks at this node at a time. Default 4,096.
    pub lock_waiters: usize,
    /// In silence, a watch says this often how far it has come; this is also how a client that has
    /// left is noticed. Default 15 s.
    pub watch_progress: Duration,
    /// A watch whose client takes nothing for so long is ended. Default 60 s.
    pub watch_patience: Duration,
    /// Whether writes of keys are taken only with a condition. Default no.
    pub require_condition: bool,
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
            watches: 10_000,
            lock_waiters: 4096,
            watch_progress: Duration::from_secs(15),
            watch_patience: Duration::from_secs(60),
            require_condition: false,
            body_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(5),
            max_request_timeout: Duration::from_secs(60),
        }
    }
}

/// `(bind, advertise)` of the HTTP server and of the peer transport.
struct Addresses {
    http: (String, String),
    raft: (String, String),
    join: Option<String>,
}

impl Config {
    /// Reads the environment; `vars` is usually `std::env::vars_os()`. Variables that are not
    /// kvorum's are passed over.
    ///
    /// # Errors
    /// The first value that is missing, unknown, malformed, or contradicts another.
    pub fn from_env<N, V>(vars: impl IntoIterator<Item = (N, V)>) -> Result<Config, ConfigError>
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let reader = Reader::new(vars)?;
        let name = reader.name("NODE_ID")?.ok_or_else(|| {
            ConfigError::new(
                "NODE_ID is not set. Give this node a unique name, e.g.:  NODE_ID=app1 ./main",
            )
        })?;
        let Addresses { http, raft, join } = addresses(&reader)?;
        let limits = limits(&reader)?;
        let raft_config = raft_config(&reader, &limits)?;
        Ok(Config {
            dir: reader.directory("RAFT_DIR")?.map(|dir| dir.join(&name)),
            name,
            http_bind: http.0,
            http_advertise: http.1,
            raft_bind: raft.0,
            raft_advertise: raft.1,
            join,
            bootstrap_grace: reader.duration("KVORUM_BOOTSTRAP_GRACE")?,
            stop_timeout: reader.duration("KVORUM_STOP_TIMEOUT")?,
            limits,
            raft: raft_config,
            transport: TransportConfig::default(),
            checkpoint_bytes: reader.bytes("KVORUM_CHECKPOINT_BYTES")?,
            disk: DiskOptions::default(),
        })
    }
}

impl Log {
    /// Reads how to log from the environment.
    ///
    /// # Errors
    /// As `Config::from_env`.
    pub fn from_env<N, V>(vars: impl IntoIterator<Item = (N, V)>) -> Result<Log, ConfigError>
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let reader = Reader::new(vars)?;
        Ok(Log { level: reader.word("KVORUM_LOG")?, format: reader.word("KVORUM_LOG_FORMAT")? })
    }
}

/// `host:port` at which the HTTP server of a node with these variables answers on its own machine;
/// for `kvorum health`. Only `PORT` and `KVORUM_HTTP_BIND` are looked at.
///
/// # Errors
/// As `Config::from_env`.
pub fn local_http_address<N, V>(
    vars: impl IntoIterator<Item = (N, V)>,
) -> Result<String, ConfigError>
where
    N: Into<OsString>,
    V: Into<OsString>,
{
    let reader = Reader::new(vars)?;
    let (host, port) = (reader.host("KVORUM_HTTP_BIND")?, reader.port("PORT")?);
    let host = match host.as_str() {
        host if !value::is_wildcard(host) => host,
        "0.0.0.0" => "127.0.0.1",
        _ => "[::1]",
    };
    Ok(format!("{host}:{port}"))
}

fn addresses(reader: &Reader) -> Result<Addresses, ConfigError> {
    let port = reader.port("PORT")?;
    let http_bind = Address { host: reader.host("KVORUM_HTTP_BIND")?, port };
    let raft_bind =
        reader.address("RAFT_BIND_ADDR")?.ok_or_else(|| ConfigError::new("no RAFT_BIND_ADDR"))?;
    if raft_bind.port == http_bind.port
        && (raft_bind.host == http_bind.host || raft_bind.is_wildcard() || http_bind.is_wildcard())
    {
        return Err(ConfigError::new(format!(
            "PORT={port} and RAFT_BIND_ADDR={raft_bind} contradict each other: HTTP and Raft need a \
             port each; give two different ones."
        )));
    }
    let raft_advertise = match reader.address("KVORUM_RAFT_ADVERTISE")? {
        Some(advertise) => announced("KVORUM_RAFT_ADVERTISE", advertise)?,
        None if raft_bind.is_wildcard() => {
            return Err(ConfigError::new(format!(
                "RAFT_BIND_ADDR={raft_bind} cannot be announced to peers. Set \
                 KVORUM_RAFT_ADVERTISE=<name>:{}.",
                raft_bind.port
            )));
        }
        None => raft_bind.clone(),
    };
    let http_advertise = match reader.address("KVORUM_HTTP_ADVERTISE")? {
        Some(advertise) => announced("KVORUM_HTTP_ADVERTISE", advertise)?,
        // Bound to one address, it is reached there; bound to all, where its peers reach it.
        None if !http_bind.is_wildcard() => http_bind.clone(),
        None => Address { host: raft_advertise.host.clone(), port },
    };
    let join = reader.url("RAFT_JOIN_ADDR")?;
    if let Some(join) = &join {
        check_join(join, &http_bind, &http_advertise, &[&raft_bind, &raft_advertise])?;
    }
    Ok(Addresses {
        http: (http_bind.to_string(), http_advertise.to_string()),
        raft: (raft_bind.to_string(), raft_advertise.to_string()),
        join: join.map(|join| join.to_string()),
    })
}

/// Refuses to announce "every interface": nobody can dial it.
fn announced(name: &str, address: Address) -> Result<Address, ConfigError> {
    if address.is_wildcard() {
        return Err(ConfigError::new(format!(
            "{name}={address} cannot be announced to peers: give the name or address at which they \
             reach this node, e.g. app1:{}.",
            address.port
        )));
    }
    Ok(address)
}

/// A node cannot join through itself.
fn check_join(
    join: &Address,
    http_bind: &Address,
    http_advertise: &Address,
    raft: &[&Address],
) -> Result<(), ConfigError> {
    let local = if http_bind.is_wildcard() {
        value::is_loopback(&join.host)
    } else {
        // 127.0.0.1 and 127.0.0.2 are different hosts when bound one by one; localhost is either.
        join.host == http_bind.host
            || (join.host.eq_ignore_ascii_case("localhost") && value::is_loopback(&http_bind.host))
    };
    if join == http_advertise || (local && join.port == http_bind.port) {
        return Err(ConfigError::new(format!(
            "RAFT_JOIN_ADDR={join} is this node's own address. Give the address of another member, \
             or unset it to start a new cluster."
        )));
    }
    if raft.contains(&join) {
        return Err(ConfigError::new(format!(
            "RAFT_JOIN_ADDR={join} is this node's own Raft address. Give the HTTP address of another \
             member, e.g. http://app1:8080."
        )));
    }
    Ok(())
}

fn limits(reader: &Reader) -> Result<Limits, ConfigError> {
    let limits = Limits {
        key_bytes: size(reader.bytes("KVORUM_MAX_KEY_BYTES")?),
        value_bytes: size(reader.bytes("KVORUM_MAX_VALUE_BYTES")?),
        body_bytes: size(reader.bytes("KVORUM_MAX_BODY_BYTES")?),
        keys_per_request: size(reader.count("KVORUM_MAX_KEYS_PER_REQUEST")?),
        json_depth: size(reader.count("KVORUM_MAX_JSON_DEPTH")?),
        header_bytes: size(reader.bytes("KVORUM_MAX_HEADER_BYTES")?),
        connections: size(reader.count("KVORUM_MAX_CONNECTIONS")?),
        watches: size(reader.count("KVORUM_MAX_WATCHES")?),
        lock_waiters: size(reader.count("KVORUM_MAX_LOCK_WAITERS")?),
        watch_progress: reader.duration("KVORUM_WATCH_PROGRESS")?,
        watch_patience: reader.duration("KVORUM_WATCH_PATIENCE")?,
        require_condition: reader.word("KVORUM_REQUIRE_CONDITION")? == "on",
        body_timeout: reader.duration("KVORUM_BODY_TIMEOUT")?,
        request_timeout: reader.duration("KVORUM_REQUEST_TIMEOUT")?,
        max_request_timeout: reader.duration("KVORUM_MAX_REQUEST_TIMEOUT")?,
    };
    if limits.request_timeout > limits.max_request_timeout {
        return Err(ConfigError::new(format!(
            "KVORUM_REQUEST_TIMEOUT={} and KVORUM_MAX_REQUEST_TIMEOUT={} contradict each other: \
             the first must not be above the second.",
            value::show_duration(limits.request_timeout),
            value::show_duration(limits.max_request_timeout)
        )));
    }
    if limits.value_bytes > limits.body_bytes {
        return Err(ConfigError::new(format!(
            "KVORUM_MAX_VALUE_BYTES={} and KVORUM_MAX_BODY_BYTES={} contradict each other: a value \
             must fit into a request body.",
            value::show_bytes(limits.value_bytes as u64),
            value::show_bytes(limits.body_bytes as u64)
        )));
    }
    Ok(limits)
}

fn raft_config(reader: &Reader, limits: &Limits) -> Result<raft::Config, ConfigError> {
    let default = raft::Config::default();
    let election_timeout = reader.duration("KVORUM_ELECTION_TIMEOUT")?;
    let heartbeat_interval = reader.duration("KVORUM_HEARTBEAT")?;
    if heartbeat_interval * 3 > election_timeout {
        return Err(ConfigError::new(format!(
            "KVORUM_HEARTBEAT={} and KVORUM_ELECTION_TIMEOUT={} contradict each other: the election \
             timeout must be at least three heartbeats.",
            value::show_duration(heartbeat_interval),
            value::show_duration(election_timeout)
        )));
    }
    Ok(raft::Config {
        election_timeout,
        heartbeat_interval,
        // A command is at most as large as the request it came from, plus its framing.
        max_entry_bytes: default.max_entry_bytes.max(2 * limits.body_bytes as u64),
        cache_bytes: reader.bytes("KVORUM_CACHE_BYTES")?,
        compact_after_bytes: reader.bytes("KVORUM_COMPACT_AFTER_BYTES")?,
        keep_entries: reader.count("KVORUM_KEEP_ENTRIES")?,
        ..default
    })
}

/// Every bound in the table fits; a 32-bit machine takes its largest number instead.
fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
