//! What no transaction may be, whatever the state: judged before proposing and again when applied.
//!
//! Rule: no empty key; a key is written at most once on any path through the transaction, and not
//! both written and deleted (two deletes may overlap). Alternatives (`then` and `otherwise` of the
//! same transaction) do not conflict with each other. Must never: look at the state.

use super::{
    command::{Delete, KeyRange, Op, Put, Query, Txn},
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
    /// `TxnError`; of the first two `apply` would say the same.
    pub fn check(&self, max_ops: usize) -> Result<(), TxnError> {
        let mut left = max_ops;
        self.check_size(&mut left, MAX_TXN_DEPTH)?;
        check_shape(self).map_err(|error| match error {
            CommandError::EmptyKey => TxnError::EmptyKey,
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
    for ops in [&txn.then, &txn.otherwise] {
        // One plain op cannot conflict with itself; this is the usual write.
        if !matches!(ops[..], [] | [Op::Put(_) | Op::Delete(_) | Op::Range(_)]) {
            writes_of(ops)?;
        }
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
    })
}

fn check_range(range: &KeyRange) -> Result<(), CommandError> {
    match range {
        KeyRange::One(key) if key.is_empty() => Err(CommandError::EmptyKey),
        _ => Ok(()),
    }
}

/// What a list of ops may write, each with the position of the op in the list.
#[derive(Default)]
struct Writes<'a> {
    puts: Vec<(&'a [u8], usize)>,
    deletes: Vec<(&'a KeyRange, usize)>,
}

fn writes_of(ops: &[Op]) -> Result<Writes<'_>, CommandError> {
    let mut writes = Writes::default();
    for (position, op) in ops.iter().enumerate() {
        match op {
            Op::Put(Put { key, .. }) => writes.puts.push((key, position)),
            Op::Delete(Delete { range, .. }) => writes.deletes.push((range, position)),
            Op::Range(_) => {}
            Op::Txn(txn) => {
                for Writes { puts, deletes } in [writes_of(&txn.then)?, writes_of(&txn.otherwise)?]
                {
                    writes.puts.extend(puts.into_iter().map(|(key, _)| (key, position)));
                    writes.deletes.extend(deletes.into_iter().map(|(range, _)| (range, position)));
                }
            }
        }
    }
    writes.puts.sort_unstable();
    conflicts(&writes)?;
    Ok(writes)
}

/// Two writes conflict when different ops of the list make them: what one op (a transaction within)
/// does on its different branches was judged on the way up. `puts` is sorted.
fn conflicts(Writes { puts, deletes }: &Writes<'_>) -> Result<(), CommandError> {
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
