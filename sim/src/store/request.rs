//! What clients ask of the store.
//!
//! Rule: one value says everything about a request: the same one is sent (`wire`) and judged
//! (`evaluate`). Must never: hold what is sent and not judged.

/// Which keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bounds {
    /// Exactly this one.
    One(String),
    /// All that begin so; all there are when it is empty.
    Prefix(String),
}

/// How an attribute relates to a number or text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// Greater.
    Greater,
    /// Less.
    Less,
}

/// What must be so of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// Its version.
    Version(Relation, u64),
    /// The revision of its creation.
    Created(Relation, u64),
    /// The revision of its last change.
    Modified(Relation, u64),
    /// Its value.
    Value(Relation, String),
    /// Whether it exists.
    Exists(bool),
}

/// What must be so of every key of some bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Which keys.
    pub bounds: Bounds,
    /// What.
    pub test: Test,
}

/// The lease of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attach {
    /// None.
    #[default]
    Nothing,
    /// One that was granted.
    Lease(u64),
    /// A new one of so many milliseconds.
    Ttl(u64),
}

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Set a key.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// Its lease.
        attach: Attach,
        /// Tell what was there.
        previous: bool,
    },
    /// Remove keys.
    Delete {
        /// Which.
        bounds: Bounds,
        /// Tell what was there.
        previous: bool,
    },
    /// Read keys.
    Get {
        /// Which.
        bounds: Bounds,
        /// At most so many.
        limit: u64,
        /// From the last.
        reverse: bool,
        /// Without values.
        keys_only: bool,
    },
    /// How many keys there are.
    Count {
        /// Which.
        bounds: Bounds,
    },
    /// A transaction within.
    Txn(Txn),
}

/// A guarded batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must be so.
    pub guards: Vec<Guard>,
    /// If it is.
    pub then: Vec<Op>,
    /// If it is not.
    pub otherwise: Vec<Op>,
}

/// The condition of a simple write, on every key it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// None.
    #[default]
    Always,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: "revision"`
    At(u64),
}

/// A page of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Which keys.
    pub prefix: String,
    /// At most so many a page.
    pub limit: u64,
    /// From the last.
    pub reverse: bool,
    /// Without values.
    pub keys_only: bool,
    /// As of this revision; `None`: now.
    pub at: Option<u64>,
    /// After this key, because this cursor was given with it.
    pub after: Option<(String, String)>,
    /// Any state of the past will do.
    pub stale: bool,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `POST /txn`
    Txn(Txn),
    /// `POST /key`
    Post {
        /// Keys and their values.
        pairs: Vec<(String, String)>,
        /// On which condition.
        condition: Condition,
    },
    /// `PUT /key/{key}`
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// On which condition.
        condition: Condition,
        /// Its lease.
        attach: Attach,
    },
    /// `DELETE /key/{key}`
    Delete {
        /// The key.
        key: String,
        /// On which condition.
        condition: Condition,
    },
    /// `DELETE /keys`
    DeleteRange {
        /// Which keys.
        prefix: String,
    },
    /// `GET /key/{key}`
    Get {
        /// The key.
        key: String,
        /// As of this revision; `None`: now.
        at: Option<u64>,
        /// Any state of the past will do, if it is not older than this revision.
        stale: Option<u64>,
    },
    /// `GET /keys`
    Scan(Scan),
    /// `GET /key/{key}?wait=`
    Wait {
        /// The key.
        key: String,
        /// Changes after this revision count.
        since: u64,
        /// How long, in milliseconds.
        patience: u64,
    },
    /// `POST /lease`
    Grant {
        /// Its id.
        id: u64,
        /// Its TTL in milliseconds.
        ttl: u64,
    },
    /// `POST /lease/{id}/keepalive`
    KeepAlive {
        /// The lease.
        id: u64,
    },
    /// `DELETE /lease/{id}`
    Revoke {
        /// The lease.
        id: u64,
    },
    /// `POST /lock/{name}`
    Lock {
        /// The lock.
        name: String,
        /// Its TTL in milliseconds.
        ttl: u64,
        /// How long to wait for it, in milliseconds.
        wait: u64,
        /// What others are shown.
        note: String,
    },
    /// `DELETE /lock/{name}`
    Unlock {
        /// The lock.
        name: String,
        /// The token it was given under.
        token: u64,
    },
    /// `POST /compact`
    Compact {
        /// Up to which revision.
        revision: u64,
    },
    /// Any of the writes above, with `Kvorum-Fence`.
    Fenced {
        /// The lock.
        name: String,
        /// The token under which the client believes to hold it.
        token: u64,
        /// What to do if so.
        request: Box<Request>,
    },
}

/// The key of a lock: it can be no key that a client writes by accident.
#[must_use]
pub fn lock_key(name: &str) -> String {
    format!("\0lock/{name}")
}

impl Request {
    /// Whether it can change anything.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self, Request::Get { .. } | Request::Scan(_) | Request::Wait { .. })
    }

    /// Whether any state of the past is a good answer.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        matches!(
            self,
            Request::Get { stale: Some(_), .. } | Request::Scan(Scan { stale: true, .. })
        )
    }

    /// The values it may write, each of them written by no other request.
    #[must_use]
    pub fn values(&self) -> Vec<&str> {
        fn of<'r>(ops: &'r [Op], out: &mut Vec<&'r str>) {
            for op in ops {
                match op {
                    Op::Put { value, .. } => out.push(value),
                    Op::Txn(txn) => {
                        of(&txn.then, out);
                        of(&txn.otherwise, out);
                    }
                    _ => {}
                }
            }
        }
        let mut out = Vec::new();
        match self {
            Request::Txn(txn) => {
                of(&txn.then, &mut out);
                of(&txn.otherwise, &mut out);
            }
            Request::Post { pairs, .. } => out.extend(pairs.iter().map(|(_, v)| v.as_str())),
            Request::Put { value, .. } => out.push(value),
            Request::Lock { note, .. } => out.push(note),
            Request::Fenced { request, .. } => out = request.values(),
            _ => {}
        }
        out
    }
}

impl Bounds {
    /// Whether `key` is among them.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        match self {
            Bounds::One(one) => one == key,
            Bounds::Prefix(prefix) => key.starts_with(prefix.as_str()),
        }
    }
}
