//! The key-value state machine: a pure function of a command and the tables it reads.
//!
//! Rule: `apply(tables, command) -> reply` decides everything. Must never: look at a clock, a
//! random source, the order of a hash map or the size of a cache.

pub mod changes;
pub mod check;
pub mod chores;
pub mod clock;
pub mod command;
mod command_codec;
pub mod compact;
pub mod digest;
pub mod etcd;
mod fence;
mod found;
mod guard;
mod head;
pub mod history;
pub mod lease;
mod marks;
pub mod memory;
mod merge;
mod plan;
pub mod quota;
mod read;
pub mod repeats;
pub mod reply;
mod reply_codec;
mod rows;
pub mod snapshot;
pub mod tables;
mod txn;
mod write;

pub use self::{
    changes::{Change, Changes, ChangesPage, changes, changes_page},
    check::{MAX_ETCD_TXN_OPS, MAX_TXN_DEPTH, MAX_TXN_OPS, TxnError},
    chores::next_chore,
    clock::ClusterClock,
    command::{
        Body, Command, Compare, Delete, Fence, Group, Guard, Idempotency, KeyRange, Kind, Op, Put,
        Query, SettingsChange, Target, Txn,
    },
    head::Settings,
    history::{History, Past, history},
    lease::{LeaseView, lease, leases, next_expiry},
    memory::MemoryTables,
    reply::{CommandError, KeyValue, OpReply, QueryReply, Reply, TxnReply},
    tables::{Order, Table, TableFailure, Tables},
};

use self::{head::Head, write::Writer};
use alloc::{format, vec::Vec};
use bytes::Bytes;

/// A row: table, key, value.
pub type Row = (Table, Bytes, Bytes);

/// Applies one command. Every replica that applies the same commands in the same order to the same
/// tables writes the same rows and returns the same reply. A command whose reply is an error writes
/// nothing at all, not even the clock.
///
/// # Errors
/// `TableFailure` when the tables cannot be read; the command may then be half written: the node
/// must stop and throw away what was not committed.
pub fn apply(tables: &mut dyn Tables, command: &Command) -> Result<Reply, TableFailure> {
    let mut writer = Writer::open(tables)?;
    let revision = writer.head.revision;
    if let Some(idempotency) = &command.idempotency
        && let Some(repeat) = repeats::find(writer.tables, idempotency)?
    {
        return Ok(repeat.unwrap_or_else(|error| refused(revision, error)));
    }
    if let Some(fence) = &command.fence
        && let Err(error) = fence::judge(writer.tables, fence)?
    {
        return Ok(refused(revision, error));
    }
    writer.head.clock_ms = writer.head.clock_ms.max(command.time_ms);
    let txn = match body(&mut writer, command)? {
        Ok(txn) => txn,
        Err(error) => return Ok(refused(revision, error)),
    };
    marks::note(&mut writer, revision)?;
    let reply = Reply { revision: writer.head.revision, result: Ok(txn), replayed: false };
    if let Some(idempotency) = &command.idempotency {
        repeats::store(&mut writer, idempotency, &reply);
    }
    repeats::drop_old(&mut writer, repeats::DROPS)?;
    compact::sweep(&mut writer, compact::SWEEP_ROWS)?;
    writer.close();
    Ok(reply)
}

fn body(
    writer: &mut Writer<'_>,
    command: &Command,
) -> Result<Result<TxnReply, CommandError>, TableFailure> {
    match &command.body {
        Body::Txn(txn) => return txn::apply(writer, txn, command),
        Body::Compact { revision } => return compact::apply(writer, *revision),
        Body::Expire { leases } => return txn::expire(writer, leases, command).map(Ok),
        Body::Tick => {
            repeats::drop_old(writer, repeats::TICK_DROPS)?;
            compact::sweep(writer, compact::COMPACTION_ROWS)?;
        }
        Body::Settings(change) => writer.head.settings.change(change),
    }
    Ok(Ok(TxnReply { succeeded: true, results: Vec::new() }))
}

fn refused(revision: u64, error: CommandError) -> Reply {
    Reply { revision, result: Err(error), replayed: false }
}

/// Applies the bytes of a log entry. Bytes of a known format that do not decode are answered by
/// `CommandError::Unreadable` and change nothing, the same on every replica.
///
/// # Errors
/// As `apply`; and when the format is newer than this version knows: others apply the command, so
/// the node must stop.
pub fn apply_bytes(tables: &mut dyn Tables, bytes: Bytes) -> Result<Reply, TableFailure> {
    if let Some(format) = command_codec::newer(&bytes) {
        return Err(TableFailure(format!(
            "the log has a command of format {format}, and this version of kvorum reads formats up \
             to {}: start a newer version on this node",
            command_codec::FORMAT
        )));
    }
    match Command::decode(bytes) {
        Ok(command) => apply(tables, &command),
        Err(_) => Ok(refused(revision(tables)?, CommandError::Unreadable)),
    }
}

/// Answers a query from the tables as they are.
///
/// # Errors
/// `TableFailure` when the tables cannot be read.
pub fn query(
    tables: &dyn Tables,
    query: &Query,
) -> Result<Result<QueryReply, CommandError>, TableFailure> {
    let head = Head::load(tables)?;
    match read::check(query, head.revision, head.compacted) {
        Ok(()) => read::answer(tables, query, head.revision).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

/// The store's revision now (1: empty, as etcd).
///
/// # Errors
/// `TableFailure` when the tables cannot be read.
pub fn revision(tables: &dyn Tables) -> Result<u64, TableFailure> {
    Ok(Head::load(tables)?.revision)
}

/// The revision up to which history is forgotten: the oldest that can be read. 0: none is.
///
/// # Errors
/// `TableFailure` when the tables cannot be read.
pub fn compact_revision(tables: &dyn Tables) -> Result<u64, TableFailure> {
    Ok(Head::load(tables)?.compacted)
}

/// The replicated clock: the largest `time_ms` of the commands that took effect.
///
/// # Errors
/// `TableFailure` when the tables cannot be read.
pub fn clock_ms(tables: &dyn Tables) -> Result<u64, TableFailure> {
    Ok(Head::load(tables)?.clock_ms)
}

/// What the state machine says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The revision now.
    pub revision: u64,
    /// The oldest that can be read; 0: all can.
    pub compacted: u64,
    /// The replicated clock, in milliseconds.
    pub clock_ms: u64,
    /// Bytes stored, history and all.
    pub bytes: u64,
    /// Those of them that no compaction frees: keys and values as they are now.
    pub live_bytes: u64,
    /// How many keys there are.
    pub keys: u64,
    /// How many leases there are.
    pub leases: u64,
    /// What all replicas have agreed to.
    pub settings: Settings,
}

/// Quota, sizes and retention. One look-up.
///
/// # Errors
/// `TableFailure` when the tables cannot be read.
pub fn status(tables: &dyn Tables) -> Result<Status, TableFailure> {
    let Head { revision, compacted, clock_ms, bytes, live_bytes, keys, leases, settings, .. } =
        Head::load(tables)?;
    Ok(Status { revision, compacted, clock_ms, bytes, live_bytes, keys, leases, settings })
}

/// Whether rows that a compaction has hidden are still to be removed; each command that takes
/// effect, an empty transaction too, removes some.
///
/// # Errors
/// `TableFailure` when the tables cannot be read.
pub fn compaction_pending(tables: &dyn Tables) -> Result<bool, TableFailure> {
    Ok(compact::pending(&Head::load(tables)?))
}

/// Digest of the whole visible state, kept up to date by `apply`: equal on all replicas that have
/// applied the same commands. One look-up; `digest::recompute` is the slow way to the same number.
///
/// # Errors
/// `TableFailure` when the tables cannot be read.
pub fn digest(tables: &dyn Tables) -> Result<u128, TableFailure> {
    Ok(Head::load(tables)?.digest())
}
