//! The words in which etcd refuses, for dialects that render its errors.
//!
//! Rule: where etcd 3.5 has an answer, exactly its text and its gRPC code; where it has none, the
//! nearest code and words of our own. Must never: decide anything.

use super::{check::TxnError, reply::CommandError};

/// gRPC codes that etcd uses here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// The request makes no sense.
    InvalidArgument = 3,
    /// Something named does not exist.
    NotFound = 5,
    /// There is no room.
    ResourceExhausted = 8,
    /// The state does not allow it.
    FailedPrecondition = 9,
    /// The revision is out of reach.
    OutOfRange = 11,
    /// The node cannot read what it should.
    Internal = 13,
}

impl CommandError {
    /// As etcd says it.
    #[must_use]
    pub fn etcd(&self) -> (Code, &'static str) {
        use Code::{FailedPrecondition, InvalidArgument, NotFound, OutOfRange, ResourceExhausted};
        match self {
            CommandError::EmptyKey => (InvalidArgument, "etcdserver: key is not provided"),
            CommandError::DuplicateKey => {
                (InvalidArgument, "etcdserver: duplicate key given in txn request")
            }
            CommandError::Compacted { .. } => {
                (OutOfRange, "etcdserver: mvcc: required revision has been compacted")
            }
            CommandError::FutureRevision => {
                (OutOfRange, "etcdserver: mvcc: required revision is a future revision")
            }
            CommandError::KeyNotFound => (InvalidArgument, "etcdserver: key not found"),
            CommandError::LeaseNotFound => (NotFound, "etcdserver: requested lease not found"),
            CommandError::LeaseExists => (FailedPrecondition, "etcdserver: lease already exists"),
            CommandError::LeaseTtlTooLarge => (OutOfRange, "etcdserver: too large lease TTL"),
            CommandError::NoSpace { .. } => {
                (ResourceExhausted, "etcdserver: mvcc: database space exceeded")
            }
            CommandError::LeaseIdTooLarge => (InvalidArgument, "the id of a lease is too large"),
            CommandError::LeaseConflict => (
                InvalidArgument,
                "a lease is named twice, or something is written beside a revocation",
            ),
            CommandError::IdempotencyMismatch => {
                (FailedPrecondition, "the idempotency key was used with another request")
            }
            CommandError::ReplyNotKept => (
                FailedPrecondition,
                "the request took effect earlier; its reply was too large to be kept",
            ),
            CommandError::Fenced { .. } => (FailedPrecondition, "the lock is not held any more"),
            CommandError::Unreadable => (Code::Internal, "the command cannot be read"),
        }
    }
}

impl TxnError {
    /// As etcd says it.
    #[must_use]
    pub fn etcd(&self) -> (Code, &'static str) {
        match self {
            TxnError::EmptyKey => CommandError::EmptyKey.etcd(),
            TxnError::DuplicateKey => CommandError::DuplicateKey.etcd(),
            TxnError::LeaseIdTooLarge => CommandError::LeaseIdTooLarge.etcd(),
            TxnError::LeaseConflict => CommandError::LeaseConflict.etcd(),
            TxnError::TooManyOps => {
                (Code::InvalidArgument, "etcdserver: too many operations in txn request")
            }
            TxnError::TooDeep => (Code::InvalidArgument, "transactions nested too deeply"),
        }
    }
}
