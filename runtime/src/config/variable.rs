//! Every environment variable there is, with its default and what it accepts.
//!
//! Rule: this table is the only list; parsing, `--help`, the suggestion for a misspelt name and
//! `docs/configuration.md` follow it. Must never: hold a default that differs from the one in force.

/// One environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The value in force when it is not set; in words, in brackets, where it depends on others.
    pub default: &'static str,
    /// What it accepts.
    pub accepts: Accepts,
    /// What it is for.
    pub meaning: &'static str,
}

/// What a variable accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// The name of a node.
    Name,
    /// A TCP port.
    Port,
    /// `host:port`.
    Address,
    /// A host name or an IP address, without a port.
    Host,
    /// The HTTP address of a member, with or without `http://`.
    Url,
    /// A path.
    Directory,
    /// A duration, from so many milliseconds to so many.
    Duration(u64, u64),
    /// A number of bytes, from … to.
    Bytes(u64, u64),
    /// A plain number, from … to.
    Count(u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Log levels, from the quietest.
pub(super) const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
/// Log formats.
pub(super) const FORMATS: &[&str] = &["auto", "text", "json"];

/// A switch.
pub(super) const SWITCH: &[&str] = &["off", "on"];

/// Variables of the commands of the same binary, with their meaning; a node passes them over.
pub const CLIENT_VARIABLES: &[(&str, &str)] = &[
    ("KVORUM_ENDPOINTS", "nodes that a command talks to, separated by commas"),
    ("KVORUM_FENCE", "lock and token that kvorum put, del and txn are fenced with"),
    ("KVORUM_LOCK_TOKEN", "token of the lock, for the command that kvorum lock runs"),
];

/// The contract's five and the further ones.
pub const VARIABLES: &[Variable] = &[
    v("NODE_ID", "(required)", Accepts::Name, "this node's name in the cluster"),
    v("PORT", "8080", Accepts::Port, "HTTP port"),
    v(
        "RAFT_BIND_ADDR",
        "127.0.0.1:7000",
        Accepts::Address,
        "address that Raft listens on for cluster traffic",
    ),
    v(
        "RAFT_JOIN_ADDR",
        "(unset: start a new cluster)",
        Accepts::Url,
        "HTTP address of any member of the cluster to join",
    ),
    v(
        "RAFT_DIR",
        "(unset: everything in memory)",
        Accepts::Directory,
        "data directory; this node's part is RAFT_DIR/NODE_ID",
    ),
    v(
        "KVORUM_RAFT_ADVERTISE",
        "(RAFT_BIND_ADDR)",
        Accepts::Address,
        "address at which the other nodes reach this node's Raft port",
    ),
    v(
        "KVORUM_HTTP_BIND",
        "0.0.0.0",
        Accepts::Host,
        "host or IP address that the HTTP server listens on, at PORT",
    ),
    v(
        "KVORUM_HTTP_ADVERTISE",
        "(host of KVORUM_RAFT_ADVERTISE, at PORT)",
        Accepts::Address,
        "address at which the other nodes reach this node's HTTP server",
    ),
    v(
        "KVORUM_BOOTSTRAP_GRACE",
        "2s",
        Accepts::Duration(0, 3_600_000),
        "how long a blank node without RAFT_JOIN_ADDR listens for a living cluster that knows its \
         name before it starts a new one",
    ),
    v(
        "KVORUM_STOP_TIMEOUT",
        "5s",
        Accepts::Duration(0, 3_600_000),
        "how long a graceful stop may take (leadership handed over, requests finished)",
    ),
    v(
        "KVORUM_ELECTION_TIMEOUT",
        "500ms",
        Accepts::Duration(50, 60_000),
        "without word from a leader for one to two of these, a node asks for an election",
    ),
    v(
        "KVORUM_HEARTBEAT",
        "50ms",
        Accepts::Duration(5, 20_000),
        "how often a leader with nothing to send says that it is there",
    ),
    v(
        "KVORUM_LOG",
        "info",
        Accepts::Word(LEVELS),
        "least level of the log lines written to standard error",
    ),
    v(
        "KVORUM_LOG_FORMAT",
        "auto",
        Accepts::Word(FORMATS),
        "text for people, json for machines, auto: text on a terminal and json otherwise",
    ),
    v("KVORUM_MAX_KEY_BYTES", "4KiB", Accepts::Bytes(1, 32 * KIB), "longest key"),
    v("KVORUM_MAX_VALUE_BYTES", "1MiB", Accepts::Bytes(1, 4 * MIB), "longest value"),
    v("KVORUM_MAX_BODY_BYTES", "2MiB", Accepts::Bytes(64, 5 * MIB), "longest request body"),
    v("KVORUM_MAX_KEYS_PER_REQUEST", "1024", Accepts::Count(1, 16_384), "keys in one POST"),
    v("KVORUM_MAX_JSON_DEPTH", "64", Accepts::Count(1, 120), "depth of JSON values"),
    v(
        "KVORUM_MAX_HEADER_BYTES",
        "64KiB",
        Accepts::Bytes(8 * KIB, MIB),
        "longest head of a request (request line and headers)",
    ),
    v("KVORUM_MAX_CONNECTIONS", "10000", Accepts::Count(1, 1_000_000), "open client connections"),
    v("KVORUM_MAX_WATCHES", "10000", Accepts::Count(1, 1_000_000), "watches open at a time"),
    v(
        "KVORUM_MAX_LOCK_WAITERS",
        "4096",
        Accepts::Count(1, 1_000_000),
        "requests that wait for locks at a time",
    ),
    v(
        "KVORUM_WATCH_PROGRESS",
        "15s",
        Accepts::Duration(100, 600_000),
        "in silence, a watch says this often how far it has come",
    ),
    v(
        "KVORUM_WATCH_PATIENCE",
        "60s",
        Accepts::Duration(1000, 3_600_000),
        "a watch whose client reads nothing for so long is ended",
    ),
    v(
        "KVORUM_REQUIRE_CONDITION",
        "off",
        Accepts::Word(SWITCH),
        "on: POST /key, PUT and DELETE /key/{key} without If-Match, If-None-Match or ?create are \
         refused (428), so that nobody overwrites what they have not seen",
    ),
    v(
        "KVORUM_BODY_TIMEOUT",
        "10s",
        Accepts::Duration(100, 600_000),
        "how long a request body may take to arrive",
    ),
    v(
        "KVORUM_REQUEST_TIMEOUT",
        "5s",
        Accepts::Duration(10, 600_000),
        "how long a request waits for its outcome when it does not say (?timeout=)",
    ),
    v(
        "KVORUM_MAX_REQUEST_TIMEOUT",
        "60s",
        Accepts::Duration(10, 3_600_000),
        "longest ?timeout= a request may ask for",
    ),
    v(
        "KVORUM_CACHE_BYTES",
        "64MiB",
        Accepts::Bytes(MIB, 64 * GIB),
        "bytes of recent log entries kept in memory for the other nodes",
    ),
    v(
        "KVORUM_CHECKPOINT_BYTES",
        "16MiB",
        Accepts::Bytes(64 * KIB, 64 * GIB),
        "the state is made durable each time this many bytes have been applied to it",
    ),
    v(
        "KVORUM_COMPACT_AFTER_BYTES",
        "64MiB",
        Accepts::Bytes(64 * KIB, 64 * GIB),
        "the log is compacted once durable state covers this many bytes of it",
    ),
    v(
        "KVORUM_KEEP_ENTRIES",
        "10000",
        Accepts::Count(0, 1_000_000_000),
        "log entries kept behind a compaction for nodes that lag a little",
    ),
];

const fn v(
    name: &'static str,
    default: &'static str,
    accepts: Accepts,
    meaning: &'static str,
) -> Variable {
    Variable { name, default, accepts, meaning }
}

/// The variable of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|v| v.name == name)
}

/// The variable whose name is nearest to `name`, with the number of letters that differ.
#[must_use]
pub fn nearest(name: &str) -> Option<(&'static Variable, usize)> {
    VARIABLES.iter().map(|v| (v, distance(name, v.name))).min_by_key(|(_, d)| *d)
}

/// How many letters must be inserted, removed or replaced to make `b` of `a` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    // A name longer than any of ours is far from all of them; do not pay for it.
    if a.len() > 128 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
