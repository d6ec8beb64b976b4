//! What applying a command or a query gives back, independent of the dialect that renders it.
//!
//! Rule: complete, so that no renderer reads the store again. Must never: hold rendered text.

use super::command::Kind;
use alloc::vec::Vec;
use bytes::Bytes;

/// The outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The store's revision after it (of a stored reply: after the command it was stored for).
    pub revision: u64,
    /// What happened; an error changed nothing.
    pub result: Result<TxnReply, CommandError>,
    /// Whether this is the stored reply of an earlier command under the same idempotency key, and
    /// this command changed nothing.
    pub replayed: bool,
}

/// The outcome of a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TxnReply {
    /// Whether the guards held.
    pub succeeded: bool,
    /// One reply per op of the branch taken.
    pub results: Vec<OpReply>,
}

/// The outcome of one op.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpReply {
    /// Of a put.
    Put {
        /// The version now.
        version: u64,
        /// The revision of its creation.
        create_revision: u64,
        /// The version before, if asked for and there was one.
        previous: Option<KeyValue>,
    },
    /// Of a delete.
    Delete {
        /// How many keys went.
        deleted: u64,
        /// What they were, if asked for.
        previous: Vec<KeyValue>,
    },
    /// Of a range.
    Range(QueryReply),
    /// Of a transaction within.
    Txn(TxnReply),
    /// Of a grant or a keep-alive.
    Lease {
        /// The lease.
        id: u64,
        /// How long it lasts from now.
        ttl_ms: u64,
    },
    /// Of a revocation, or of a lease that expired.
    Revoked {
        /// The lease.
        id: u64,
        /// How many keys went with it.
        deleted: u64,
    },
}

/// The outcome of a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryReply {
    /// The store's revision when it was answered.
    pub revision: u64,
    /// The keys.
    pub items: Vec<KeyValue>,
    /// The groups: beginnings that keys share, in the order asked for. Keys in a group are not
    /// among the items.
    pub groups: Vec<Bytes>,
    /// How many keys the range holds in all if the query counts, else how many items and groups are
    /// here.
    pub count: u64,
    /// Whether a bound cut the list; `Query::rest` says how to go on.
    pub more: bool,
}

/// A key at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty when left out.
    pub value: Bytes,
    /// How it renders.
    pub kind: Kind,
    /// Revision of its creation.
    pub create_revision: u64,
    /// Revision of its last change.
    pub mod_revision: u64,
    /// Times written since creation, from 1.
    pub version: u64,
    /// Attached lease, 0 for none.
    pub lease: u64,
    /// The date of its last change, in milliseconds since 1970, as the leader's machine had it.
    pub wall_ms: u64,
}

/// Why a command or query was refused by the state machine. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommandError {
    /// A key was empty.
    EmptyKey,
    /// The same key is written twice, or written and deleted, in one transaction.
    DuplicateKey,
    /// The revision asked for is compacted.
    Compacted {
        /// The oldest revision that can be read.
        oldest: u64,
    },
    /// The revision asked for is not reached yet.
    FutureRevision,
    /// No such lease.
    LeaseNotFound,
    /// The idempotency key was used with another request.
    IdempotencyMismatch,
    /// There is a lease with this id.
    LeaseExists,
    /// The TTL is longer than `lease::MAX_TTL_MS`.
    LeaseTtlTooLarge,
    /// The id of a lease is larger than `lease::MAX_LEASE`.
    LeaseIdTooLarge,
    /// One transaction names a lease in two of its grants, keep-alives and revocations, or puts or
    /// deletes beside a revocation.
    LeaseConflict,
    /// The fence's lock is not held under its token.
    Fenced {
        /// The token under which it is held; 0: the lock is free.
        token: u64,
    },
    /// There is no room: delete something, or raise the quota.
    NoSpace {
        /// Bytes stored.
        used: u64,
        /// Bytes that the command may add.
        needed: u64,
        /// Bytes that may be stored.
        limit: u64,
    },
    /// The request took effect earlier, and its reply was too large to be kept for a repeat.
    ReplyNotKept,
    /// A put is to keep what is there, and the key does not exist.
    KeyNotFound,
    /// The command's bytes do not decode under any format this version knows.
    Unreadable,
}
