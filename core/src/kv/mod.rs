//! The key-value state machine: a pure function of a command and the tables it reads.
//!
//! Rule: `apply(tables, command) -> reply` decides everything. Must never: look at a clock, a
//! random source, the order of a hash map or the size of a cache.

pub mod command;
pub mod reply;
pub mod tables;

pub use self::{
    command::{
        Body, Command, Compare, Delete, Guard, Idempotency, KeyRange, Kind, Op, Put, Query, Target,
        Txn,
    },
    reply::{CommandError, KeyValue, OpReply, QueryReply, Reply, TxnReply},
    tables::{MemoryTables, Order, Table, TableFailure, Tables},
};

use bytes::Bytes;

/// Applies one command. Every replica that applies the same commands in the same order to the same
/// tables writes the same rows and returns the same reply.
///
/// # Errors
/// `TableFailure` when the tables cannot be read: the node must stop.
pub fn apply(_tables: &mut dyn Tables, _command: &Command) -> Result<Reply, TableFailure> {
    todo!()
}

/// Answers a query from the tables as they are.
///
/// # Errors
/// `TableFailure` when the tables cannot be read.
pub fn query(
    _tables: &dyn Tables,
    _query: &Query,
) -> Result<Result<QueryReply, CommandError>, TableFailure> {
    todo!()
}

/// The store's revision now (1: empty, as etcd).
///
/// # Errors
/// `TableFailure` when the tables cannot be read.
pub fn revision(_tables: &dyn Tables) -> Result<u64, TableFailure> {
    todo!()
}

/// Digest of the whole visible state, kept up to date by `apply`: equal on all replicas that have
/// applied the same commands.
///
/// # Errors
/// `TableFailure` when the tables cannot be read.
pub fn digest(_tables: &dyn Tables) -> Result<u128, TableFailure> {
    todo!()
}

/// Encodes a run of rows `(table, key, value)` for a snapshot's byte stream.
pub type Row = (Table, Bytes, Bytes);
