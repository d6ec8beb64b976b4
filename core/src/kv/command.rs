//! The one kind of change: a guarded transaction in an envelope; and the queries.
//!
//! Rule: every write of every dialect is lowered to `Txn` before it is proposed. Must never: gain a
//! second way to write a key.

use alloc::vec::Vec;
use bytes::Bytes;

/// What a log entry's bytes decode to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The cluster clock in milliseconds as the leader read it when it proposed. It counts time
    /// that passed, says nothing about the date, and never goes back.
    pub time_ms: u64,
    /// The date, in milliseconds since 1970, as the leader's machine has it: kept with every version
    /// for people to read. Nothing is decided by it.
    pub wall_ms: u64,
    /// Makes a repeat of the same request take effect once.
    pub idempotency: Option<Idempotency>,
    /// Gives it effect only while a lock is held.
    pub fence: Option<Fence>,
    /// Who asked (for history and audit); empty: nobody said.
    pub principal: Bytes,
    /// What to do.
    pub body: Body,
}

/// Identifies a request across retries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key, 1 to 128 bytes.
    pub key: Bytes,
    /// Hash of the request, so that another request under the same key is noticed.
    pub fingerprint: u64,
}

/// Names a lock as it was when it was acquired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The lock's key.
    pub key: Bytes,
    /// The fencing token: the key's create revision when it was acquired.
    pub token: u64,
}

/// What a command does. Numbers of later bodies (users and roles) are reserved in the codec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Reads and writes keys.
    Txn(Txn),
    /// Forgets history up to and including `revision` (the newest version of each live key stays).
    Compact {
        /// The new compact revision.
        revision: u64,
    },
    /// Ends those of these leases whose deadline has passed on the cluster clock, and their keys.
    Expire {
        /// Their ids.
        leases: Vec<u64>,
    },
    /// Moves the clock and takes a large step of what is done in steps. Proposed by a leader whose
    /// clients do not write.
    Tick,
    /// Changes the cluster's settings.
    Settings(SettingsChange),
}

/// If all guards hold, `then`, else `otherwise`; in order, seeing its own writes, at one revision.
/// All guards, those of transactions within too, are judged on the state before the first write (as
/// etcd does): the path taken is known before anything is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// Conditions.
    pub guards: Vec<Guard>,
    /// When all hold.
    pub then: Vec<Op>,
    /// When one does not.
    pub otherwise: Vec<Op>,
}

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Set a key.
    Put(Put),
    /// Remove keys.
    Delete(Delete),
    /// Read keys.
    Range(Query),
    /// A transaction within.
    Txn(Txn),
    /// Make a lease.
    Grant {
        /// Its id, at most `lease::MAX_LEASE`; 0: any that is free.
        id: u64,
        /// How long it lasts without a sign of life; `lease::MIN_TTL_MS` at least.
        ttl_ms: u64,
    },
    /// Give a lease its whole TTL again.
    KeepAlive {
        /// Its id.
        id: u64,
    },
    /// End a lease and remove its keys. Beside it a transaction neither puts nor deletes.
    Revoke {
        /// Its id.
        id: u64,
    },
}

/// What to change of the settings that all replicas share; `None` leaves as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// How many bytes may be stored, history and all; 0: no limit.
    pub quota_bytes: Option<u64>,
    /// For how long history is kept at least; `u64::MAX`: for ever.
    pub keep_ms: Option<u64>,
    /// How many revisions are kept at least.
    pub keep_revisions: Option<u64>,
}

/// Set a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The key, not empty.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// How the value renders.
    pub kind: Kind,
    /// Attached lease, 0 for none, `lease::GRANTED` for the one granted last before it in the same
    /// transaction.
    pub lease: u64,
    /// Whether the reply carries the version before.
    pub previous: bool,
    /// Keep the value and kind that are there; the key must exist.
    pub keep_value: bool,
    /// Keep the lease that is there; the key must exist.
    pub keep_lease: bool,
}

/// Remove keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// Which.
    pub range: KeyRange,
    /// Whether the reply carries the versions before.
    pub previous: bool,
}

/// Read keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Which.
    pub range: KeyRange,
    /// As of this revision; 0: now.
    pub revision: u64,
    /// At most so many keys and groups; 0: all (callers bound it).
    pub limit: u64,
    /// End before keys and values together exceed so many bytes, but not before the first; 0: no
    /// bound.
    pub max_bytes: u64,
    /// From the largest key.
    pub descending: bool,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only the count.
    pub count_only: bool,
    /// Count all keys of the range, beyond `limit` too. This reads every one of them.
    pub count: bool,
    /// Put keys that share a beginning into one group.
    pub group: Option<Group>,
}

/// Groups keys by their beginning, as far as the first delimiter: a listing of directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Look for the delimiter after so many bytes of the key (the length of the prefix asked for).
    pub after: u64,
    /// What ends the beginning; part of it. Not empty.
    pub delimiter: Bytes,
}

impl Query {
    /// All of `range`, now.
    #[must_use]
    pub fn of(range: KeyRange) -> Query {
        Query {
            range,
            revision: 0,
            limit: 0,
            max_bytes: 0,
            descending: false,
            keys_only: false,
            count_only: false,
            count: false,
            group: None,
        }
    }
}

impl Command {
    /// A command of nobody at time 0; set what is known.
    #[must_use]
    pub fn new(body: Body) -> Command {
        Command {
            time_ms: 0,
            wall_ms: 0,
            idempotency: None,
            fence: None,
            principal: Bytes::new(),
            body,
        }
    }
}

impl Put {
    /// Sets `key` to the bytes `value`, without a lease.
    #[must_use]
    pub fn new(key: Bytes, value: Bytes) -> Put {
        Put {
            key,
            value,
            kind: Kind::Bytes,
            lease: 0,
            previous: false,
            keep_value: false,
            keep_lease: false,
        }
    }
}

/// Keys named by one key or by bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRange {
    /// Exactly this key.
    One(Bytes),
    /// `start <= key < end`; `end` of `None` is unbounded. Empty when `end <= start`.
    Between {
        /// First key.
        start: Bytes,
        /// First key no longer in.
        end: Option<Bytes>,
    },
}

/// A condition on every key of a range. When the range holds no key (a single key that is missing,
/// or an empty range) it is judged once on zeros, and a comparison of values is false: as etcd
/// does, so that `Version Greater 0` over a range says "there is a key".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Which keys.
    pub range: KeyRange,
    /// How `what the key has` relates to `target`.
    pub compare: Compare,
    /// What it is compared with.
    pub target: Target,
}

/// Relation of a key's attribute to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compare {
    /// Equal.
    Equal,
    /// Greater.
    Greater,
    /// Less.
    Less,
    /// Not equal.
    NotEqual,
}

/// The attribute compared, with the value it is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Times written since it was created.
    Version(u64),
    /// Revision of its creation.
    Create(u64),
    /// Revision of its last change.
    Mod(u64),
    /// Its lease.
    Lease(u64),
    /// Its bytes.
    Value(Bytes),
}

/// How a value came in and renders; metadata only, comparisons are on bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Untyped bytes (raw PUT, etcd dialect).
    #[default]
    Bytes = 0,
    /// A JSON string, stored as its UTF-8 text.
    Text = 1,
    /// Another JSON value, stored as compact JSON.
    Json = 2,
}

impl Kind {
    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Kind> {
        [Kind::Bytes, Kind::Text, Kind::Json].get(usize::from(number)).copied()
    }
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub fn all() -> KeyRange {
        KeyRange::Between { start: Bytes::new(), end: None }
    }

    /// The keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: Bytes) -> KeyRange {
        // The first key after them: the prefix without its trailing FF bytes, its last byte one up.
        let end = prefix.iter().rposition(|&byte| byte != 0xFF).map(|last| {
            let mut end = Vec::from(&prefix[..=last]);
            end[last] += 1;
            Bytes::from(end)
        });
        KeyRange::Between { start: prefix, end }
    }

    /// Whether `key` is among them.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            KeyRange::One(one) => one == key,
            KeyRange::Between { start, end } => {
                &start[..] <= key && end.as_ref().is_none_or(|end| key < &end[..])
            }
        }
    }
}
