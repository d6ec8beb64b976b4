//! What no transaction may be, whatever the state: judged before proposing and again when applied.
//!
//! Rule: no empty key; a key is written at most once on any path through the transaction, and not
//! both written and deleted (two deletes may overlap). A lease is granted, kept alive or revoked at
//! most once on any path; which keys a revocation removes only the state knows, so no path has both
//! it and a put or a delete. Alternatives (`then` and `otherwise` of the same transaction) do not
//! conflict with each other. Must never: look at the state.

use super::{
    command::{Delete, KeyRange, Op, Put, Query, Txn},
    lease::MAX_LEASE,
    reply::CommandError,
};
use alloc::vec::Vec;

/// The most operations (see `Txn::check`) of a transaction of our own API.
pub const MAX_TXN_OPS: usize = 1024;
/// The most operations of a transaction of the etcd API.
pub const MAX_ETCD_TXN_OPS: usize = 128;
/// How deep transactions may nest: 1 is a transaction with none within. Deeper ones do not decode.
pub const MAX_TXN_DEPTH: usize = 8;

/// Why a transaction must not be proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TxnError {
    /// A key is empty.
    EmptyKey,
    /// A key is written twice, or written and deleted.
    DuplicateKey,
    /// The id of a lease is larger than `MAX_LEASE`.
    LeaseIdTooLarge,
    /// A lease is named by two lease operations, or something is written beside a revocation.
    LeaseConflict,
    /// More operations than allowed.
    TooManyOps,
    /// Nested deeper than `MAX_TXN_DEPTH`.
    TooDeep,
}

impl core::fmt::Display for TxnError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            TxnError::EmptyKey => "a key is empty",
            TxnError::DuplicateKey => "a key is written twice, or written and deleted",
            TxnError::LeaseIdTooLarge => "the id of a lease is too large",
            TxnError::LeaseConflict => {
                "a lease is named twice, or something is written beside a revocation"
            }
            TxnError::TooManyOps => "more operations than a transaction may have",
            TxnError::TooDeep => "transactions nested too deeply",
        })
    }
}

impl core::error::Error for TxnError {}

impl Txn {
    /// Judges the transaction before it is proposed. A transaction counts the longest of its three
    /// lists, plus what those within it count; `max_ops` bounds that (`MAX_TXN_OPS` or
    /// `MAX_ETCD_TXN_OPS`).
    ///
    /// # Errors
    /// `TxnError`; of all but the last two `apply` would say the same.
    pub fn check(&self, max_ops: usize) -> Result<(), TxnError> {
        let mut left = max_ops;
        self.check_size(&mut left, MAX_TXN_DEPTH)?;
        check_shape(self).map_err(|error| match error {
            CommandError::EmptyKey => TxnError::EmptyKey,
            CommandError::LeaseIdTooLarge => TxnError::LeaseIdTooLarge,
            CommandError::LeaseConflict => TxnError::LeaseConflict,
            _ => TxnError::DuplicateKey,
        })
    }

    fn check_size(&self, left: &mut usize, depth: usize) -> Result<(), TxnError> {
        let depth = depth.checked_sub(1).ok_or(TxnError::TooDeep)?;
        let ops = self.guards.len().max(self.then.len()).max(self.otherwise.len());
        *left = left.checked_sub(ops).ok_or(TxnError::TooManyOps)?;
        for op in self.then.iter().chain(&self.otherwise) {
            if let Op::Txn(txn) = op {
                txn.check_size(left, depth)?;
            }
        }
        Ok(())
    }
}

/// The part of the check that `apply` repeats: keys first, then conflicts. Limits are not in it:
/// they may change from version to version, and replicas must not differ.
pub(super) fn check_shape(txn: &Txn) -> Result<(), CommandError> {
    check_keys(txn)?;
    check_ids(txn)?;
    let mut of_leases = false;
    for ops in [&txn.then, &txn.otherwise] {
        // One plain op cannot conflict with itself; this is the usual write.
        if !matches!(ops[..], [] | [Op::Put(_) | Op::Delete(_) | Op::Range(_)]) {
            of_leases |= !writes_of(ops, conflicts)?.leases.is_empty();
        }
    }
    if of_leases {
        writes_of(&txn.then, lease_conflicts)?;
        writes_of(&txn.otherwise, lease_conflicts)?;
    }
    Ok(())
}

fn check_keys(txn: &Txn) -> Result<(), CommandError> {
    txn.guards.iter().try_for_each(|guard| check_range(&guard.range))?;
    txn.then.iter().chain(&txn.otherwise).try_for_each(|op| match op {
        Op::Put(Put { key, .. }) if key.is_empty() => Err(CommandError::EmptyKey),
        Op::Put(_) => Ok(()),
        Op::Delete(Delete { range, .. }) | Op::Range(Query { range, .. }) => check_range(range),
        Op::Txn(txn) => check_keys(txn),
        Op::Grant { .. } | Op::KeepAlive { .. } | Op::Revoke { .. } => Ok(()),
    })
}

fn check_ids(txn: &Txn) -> Result<(), CommandError> {
    txn.then.iter().chain(&txn.otherwise).try_for_each(|op| match op {
        Op::Grant { id, .. } | Op::KeepAlive { id } | Op::Revoke { id } if *id > MAX_LEASE => {
            Err(CommandError::LeaseIdTooLarge)
        }
        Op::Txn(txn) => check_ids(txn),
        _ => Ok(()),
    })
}

fn check_range(range: &KeyRange) -> Result<(), CommandError> {
    match range {
        KeyRange::One(key) if key.is_empty() => Err(CommandError::EmptyKey),
        _ => Ok(()),
    }
}

type Judge = fn(&Writes<'_>) -> Result<(), CommandError>;

/// What a list of ops may write, each with the position of the op in the list.
#[derive(Default)]
struct Writes<'a> {
    puts: Vec<(&'a [u8], usize)>,
    deletes: Vec<(&'a KeyRange, usize)>,
    /// Leases named by lease operations.
    leases: Vec<(u64, usize)>,
    /// Revocations.
    revokes: Vec<usize>,
}

/// Collects them, and lets `judge` look at each list within, the innermost first.
fn writes_of(ops: &[Op], judge: Judge) -> Result<Writes<'_>, CommandError> {
    let mut writes = Writes::default();
    for (position, op) in ops.iter().enumerate() {
        match op {
            Op::Put(Put { key, .. }) => writes.puts.push((key, position)),
            Op::Delete(Delete { range, .. }) => writes.deletes.push((range, position)),
            Op::Range(_) | Op::Grant { id: 0, .. } => {}
            Op::Grant { id, .. } | Op::KeepAlive { id } => writes.leases.push((*id, position)),
            Op::Revoke { id } => {
                writes.leases.push((*id, position));
                writes.revokes.push(position);
            }
            Op::Txn(txn) => {
                for branch in [writes_of(&txn.then, judge)?, writes_of(&txn.otherwise, judge)?] {
                    let Writes { puts, deletes, leases, revokes } = branch;
                    writes.puts.extend(puts.into_iter().map(|(key, _)| (key, position)));
                    writes.deletes.extend(deletes.into_iter().map(|(range, _)| (range, position)));
                    writes.leases.extend(leases.into_iter().map(|(id, _)| (id, position)));
                    writes.revokes.extend(revokes.into_iter().map(|_| position));
                }
            }
        }
    }
    writes.puts.sort_unstable();
    writes.leases.sort_unstable();
    judge(&writes)?;
    Ok(writes)
}

/// Two writes conflict when different ops of the list make them: what one op (a transaction within)
/// does on its different branches was judged on the way up. `puts` is sorted.
fn conflicts(Writes { puts, deletes, .. }: &Writes<'_>) -> Result<(), CommandError> {
    if puts.windows(2).any(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1) {
        return Err(CommandError::DuplicateKey);
    }
    for (range, deleter) in deletes {
        let start: &[u8] = match range {
            KeyRange::One(key) => key,
            KeyRange::Between { start, .. } => start,
        };
        let first = puts.partition_point(|(key, _)| *key < start);
        let within = puts[first..].iter().take_while(|(key, _)| range.contains(key));
        if within.into_iter().any(|(_, putter)| putter != deleter) {
            return Err(CommandError::DuplicateKey);
        }
    }
    Ok(())
}

/// As `conflicts`, of leases. `leases` is sorted.
fn lease_conflicts(writes: &Writes<'_>) -> Result<(), CommandError> {
    let Writes { puts, deletes, leases, revokes } = writes;
    let twice = leases.windows(2).any(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1);
    let beside = revokes.iter().any(|revoker| {
        puts.iter().any(|(_, putter)| putter != revoker)
            || deletes.iter().any(|(_, deleter)| deleter != revoker)
    });
    if twice || beside { Err(CommandError::LeaseConflict) } else { Ok(()) }
}
