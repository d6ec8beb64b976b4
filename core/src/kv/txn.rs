//! Applying a transaction.
//!
//! Rule: first everything that can be refused is judged on the state as it is (shape, guards of all
//! levels, leases, revisions), then the ops of the path taken run in order and see each other's
//! writes. The revision grows by one when something was changed, and not otherwise. Must never:
//! refuse after the first write.
//!
//! Cost of a put of one key: one look-up (`Latest`), three rows written for a new key (`Latest`,
//! `Revisions`, head), four for an overwritten one (the old record moves to `History`, uncopied).

use super::{
    check,
    command::{Delete, KeyRange, Op, Put, Txn},
    guard, read,
    reply::{CommandError, OpReply, TxnReply},
    rows::{self, ChangeRow, Version},
    tables::{Order, Table, TableFailure},
    write::Writer,
};
use alloc::vec::Vec;
use bytes::Bytes;

/// Applies `txn`. On an error nothing was written.
pub(super) fn apply(
    writer: &mut Writer<'_>,
    txn: &Txn,
    principal: &Bytes,
) -> Result<Result<TxnReply, CommandError>, TableFailure> {
    if let Err(error) = check::check_shape(txn) {
        return Ok(Err(error));
    }
    let mut path = Vec::new();
    choose(writer, txn, &mut path)?;
    if let Err(error) = permitted(writer, txn, &mut path.iter().copied()) {
        return Ok(Err(error));
    }
    let mut run =
        Run { before: writer.head.revision, sub: 0, principal: principal.clone(), writer };
    run.txn(txn, &mut path.iter().copied()).map(Ok)
}

/// Judges the guards of `txn` and, within the branch they choose, of every transaction, in order.
fn choose(writer: &Writer<'_>, txn: &Txn, path: &mut Vec<bool>) -> Result<(), TableFailure> {
    let holds = guard::all_hold(writer.tables, &txn.guards)?;
    path.push(holds);
    for op in txn.branch(holds) {
        if let Op::Txn(txn) = op {
            choose(writer, txn, path)?;
        }
    }
    Ok(())
}

/// Whether the ops of the branches taken can be carried out.
fn permitted(
    writer: &Writer<'_>,
    txn: &Txn,
    path: &mut dyn Iterator<Item = bool>,
) -> Result<(), CommandError> {
    for op in txn.branch(path.next() == Some(true)) {
        match op {
            // No lease can exist yet: commands that grant one have no meaning in this version.
            Op::Put(Put { lease, .. }) if *lease != 0 => return Err(CommandError::LeaseNotFound),
            Op::Put(_) | Op::Delete(_) => {}
            Op::Range(query) => {
                read::check(query, writer.head.revision, writer.head.compacted)?;
            }
            Op::Txn(txn) => permitted(writer, txn, path)?,
        }
    }
    Ok(())
}

impl Txn {
    fn branch(&self, holds: bool) -> &[Op] {
        if holds { &self.then } else { &self.otherwise }
    }
}

/// A transaction under way.
struct Run<'a, 'b> {
    writer: &'a mut Writer<'b>,
    /// The revision before it; its changes get the next one.
    before: u64,
    /// How many changes it has made.
    sub: u32,
    principal: Bytes,
}

impl Run<'_, '_> {
    fn txn(
        &mut self,
        txn: &Txn,
        path: &mut dyn Iterator<Item = bool>,
    ) -> Result<TxnReply, TableFailure> {
        let succeeded = path.next() == Some(true);
        let ops = txn.branch(succeeded);
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(match op {
                Op::Put(put) => self.put(put)?,
                Op::Delete(delete) => self.delete(delete)?,
                Op::Range(query) => {
                    let current = self.writer.head.revision;
                    OpReply::Range(read::answer(self.writer.tables, query, current)?)
                }
                Op::Txn(txn) => OpReply::Txn(self.txn(txn, path)?),
            });
        }
        Ok(TxnReply { succeeded, results })
    }

    fn put(&mut self, put: &Put) -> Result<OpReply, TableFailure> {
        let old_row = self.writer.tables.get(Table::Latest, &put.key)?;
        let old = match &old_row {
            None => None,
            Some(row) => Some(Version::of_latest(&put.key, row)?),
        };
        self.writer.head.revision = self.before + 1;
        let revision = self.writer.head.revision;
        let new = Version {
            kind: put.kind,
            create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.as_ref().map_or(0, |old| old.version) + 1,
            lease: put.lease,
            time_ms: self.writer.head.clock_ms,
            value: put.value.clone(),
        };
        let row = new.encode();
        let superseded = old.as_ref().map_or(0, |old| old.mod_revision);
        match old_row {
            None => self.writer.insert(Table::Latest, &put.key, row),
            Some(old_row) => {
                self.writer.replace(Table::Latest, &put.key, &old_row, row);
                let key = rows::history_key(&put.key, superseded);
                self.writer.insert(Table::History, &key, old_row);
            }
        }
        self.change(false, superseded, put.key.clone());
        Ok(OpReply::Put {
            version: new.version,
            create_revision: new.create_revision,
            previous: old
                .filter(|_| put.previous)
                .map(|old| old.into_key_value(put.key.clone(), true)),
        })
    }

    /// Collects the keys first: a scan must not see its own removals.
    fn delete(&mut self, delete: &Delete) -> Result<OpReply, TableFailure> {
        let mut doomed: Vec<(Bytes, Bytes)> = Vec::new();
        match &delete.range {
            KeyRange::One(key) => {
                let row = self.writer.tables.get(Table::Latest, key)?;
                doomed.extend(row.map(|row| (key.clone(), row)));
            }
            KeyRange::Between { start, end } if end.as_ref().is_none_or(|end| start < end) => {
                let tables = &self.writer.tables;
                tables.scan(
                    Table::Latest,
                    start,
                    end.as_deref(),
                    Order::Ascending,
                    &mut |k, v| {
                        doomed.push((Bytes::copy_from_slice(k), v.clone()));
                        true
                    },
                )?;
            }
            KeyRange::Between { .. } => {}
        }
        let deleted = doomed.len() as u64;
        let mut previous = Vec::new();
        for (key, row) in doomed {
            let old = Version::of_latest(&key, &row)?;
            self.remove(&key, row, old.mod_revision);
            if delete.previous {
                previous.push(old.into_key_value(key, true));
            }
        }
        Ok(OpReply::Delete { deleted, previous })
    }

    fn remove(&mut self, key: &Bytes, row: Bytes, superseded: u64) {
        self.writer.head.revision = self.before + 1;
        let revision = self.writer.head.revision;
        let gone = rows::tombstone(self.writer.head.clock_ms);
        self.writer.remove(Table::Latest, key, &row);
        self.writer.insert(Table::History, &rows::history_key(key, superseded), row);
        self.writer.insert(Table::History, &rows::history_key(key, revision), gone);
        self.change(true, superseded, key.clone());
    }

    /// Lists the change under its revision.
    fn change(&mut self, deleted: bool, superseded: u64, key: Bytes) {
        let row_key = rows::change_key(self.writer.head.revision, self.sub);
        let change = ChangeRow { deleted, superseded, principal: self.principal.clone(), key };
        self.writer.insert(Table::Revisions, &row_key, change.encode());
        self.sub += 1;
    }
}
