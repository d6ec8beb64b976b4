//! Applying a transaction.
//!
//! Rule: what can be refused is refused before the first write (`check`, `plan`); then the ops of
//! the path taken run in order and see each other's writes. The revision grows by one when a key
//! was changed, and not otherwise. Must never: refuse after the first write.
//!
//! Cost of a put of one key: one look-up (`Latest`), three rows written for a new key (`Latest`,
//! `Revisions`, head), four for an overwritten one (the old record moves to `History`, uncopied).
//! A lease adds one look-up, and one row when the key was not attached to it.

use super::{
    check,
    command::{Command, Delete, KeyRange, Op, Put, Txn},
    lease,
    plan::{self, Plan},
    read,
    reply::{CommandError, OpReply, TxnReply},
    rows::{self, ChangeRow, Version},
    tables::{Order, Table, TableFailure},
    write::Writer,
};
use crate::codec::Malformed;
use alloc::vec::Vec;
use bytes::Bytes;

/// Applies `txn`. On an error nothing was written.
pub(super) fn apply(
    writer: &mut Writer<'_>,
    txn: &Txn,
    command: &Command,
) -> Result<Result<TxnReply, CommandError>, TableFailure> {
    if let Err(error) = check::check_shape(txn) {
        return Ok(Err(error));
    }
    match plan::make(writer, txn, command)? {
        Ok(plan) => Run::new(writer, command, plan).txn(txn).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

/// Ends those of `leases` whose deadline has passed on the cluster clock, at one revision. Others
/// were kept alive or are gone, and are passed over.
pub(super) fn expire(
    writer: &mut Writer<'_>,
    leases: &[u64],
    command: &Command,
) -> Result<TxnReply, TableFailure> {
    let now_ms = writer.head.clock_ms;
    let plan = Plan { derived: writer.head.derived, ..Plan::default() };
    let mut run = Run::new(writer, command, plan);
    let mut results = Vec::new();
    for &id in leases {
        let known = if id <= lease::MAX_LEASE { lease::find(run.writer.tables, id)? } else { None };
        if known.is_some_and(|lease| lease.deadline_ms <= now_ms) {
            results.push(run.revoke(id)?);
        }
    }
    Ok(TxnReply { succeeded: true, results })
}

/// A transaction under way.
struct Run<'a, 'b> {
    writer: &'a mut Writer<'b>,
    command: &'a Command,
    plan: Plan,
    /// How many transactions, and how many grants, of the plan have been met.
    met: (usize, usize),
    /// The revision before it; its changes get the next one.
    before: u64,
    /// How many changes it has made.
    sub: u32,
}

impl<'a, 'b> Run<'a, 'b> {
    fn new(writer: &'a mut Writer<'b>, command: &'a Command, plan: Plan) -> Run<'a, 'b> {
        writer.head.derived = plan.derived;
        Run { before: writer.head.revision, sub: 0, met: (0, 0), command, plan, writer }
    }

    fn txn(&mut self, txn: &Txn) -> Result<TxnReply, TableFailure> {
        let succeeded = self.plan.path[self.met.0];
        self.met.0 += 1;
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
                Op::Txn(txn) => OpReply::Txn(self.txn(txn)?),
                Op::Grant { ttl_ms, .. } => self.grant(*ttl_ms),
                Op::KeepAlive { id } => self.keep_alive(*id)?,
                Op::Revoke { id } => self.revoke(*id)?,
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
        let new = self.version(put, old.as_ref());
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
        let lease_before = old.as_ref().map_or(0, |old| old.lease);
        lease::move_key(self.writer, &put.key, lease_before, new.lease);
        self.change(false, superseded, put.key.clone());
        Ok(OpReply::Put {
            version: new.version,
            create_revision: new.create_revision,
            previous: old
                .filter(|_| put.previous)
                .map(|old| old.into_key_value(put.key.clone(), true)),
        })
    }

    /// What the key becomes.
    fn version(&mut self, put: &Put, old: Option<&Version>) -> Version {
        let revision = self.before + 1;
        let kept = old.filter(|_| put.keep_value);
        Version {
            kind: kept.map_or(put.kind, |old| old.kind),
            create_revision: old.map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.map_or(0, |old| old.version) + 1,
            lease: match put.lease {
                _ if put.keep_lease => old.map_or(0, |old| old.lease),
                lease::GRANTED => self.plan.granted[self.met.1 - 1],
                id => id,
            },
            wall_ms: self.command.wall_ms,
            value: kept.map_or_else(|| put.value.clone(), |old| old.value.clone()),
        }
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
                let (tables, end) = (&self.writer.tables, end.as_deref());
                tables.scan(Table::Latest, start, end, Order::Ascending, &mut |key, row| {
                    doomed.push((Bytes::copy_from_slice(key), row.clone()));
                    true
                })?;
            }
            KeyRange::Between { .. } => {}
        }
        let deleted = doomed.len() as u64;
        let mut previous = Vec::new();
        for (key, row) in doomed {
            let old = self.remove(&key, row)?;
            if delete.previous {
                previous.push(old.into_key_value(key, true));
            }
        }
        Ok(OpReply::Delete { deleted, previous })
    }

    /// Removes a key whose newest version is `row`.
    fn remove(&mut self, key: &Bytes, row: Bytes) -> Result<Version, TableFailure> {
        let old = Version::of_latest(key, &row)?;
        let superseded = old.mod_revision;
        let gone = rows::tombstone(self.command.wall_ms);
        self.writer.remove(Table::Latest, key, &row);
        self.writer.insert(Table::History, &rows::history_key(key, superseded), row);
        self.writer.insert(Table::History, &rows::history_key(key, self.before + 1), gone);
        lease::move_key(self.writer, key, old.lease, 0);
        self.change(true, superseded, key.clone());
        Ok(old)
    }

    fn grant(&mut self, ttl_ms: u64) -> OpReply {
        let id = self.plan.granted[self.met.1];
        self.met.1 += 1;
        let ttl_ms = lease::granted_ttl(ttl_ms);
        lease::grant(self.writer, id, ttl_ms);
        OpReply::Lease { id, ttl_ms }
    }

    fn keep_alive(&mut self, id: u64) -> Result<OpReply, TableFailure> {
        let known = lease::find(self.writer.tables, id)?;
        let lease = known.ok_or_else(|| missing(Table::Leases, &id.to_be_bytes()))?;
        lease::keep_alive(self.writer, id, lease);
        Ok(OpReply::Lease { id, ttl_ms: lease.ttl_ms })
    }

    /// Ends a lease that is there, and its keys.
    fn revoke(&mut self, id: u64) -> Result<OpReply, TableFailure> {
        let known = lease::find(self.writer.tables, id)?;
        let lease = known.ok_or_else(|| missing(Table::Leases, &id.to_be_bytes()))?;
        let keys = lease::keys(self.writer.tables, id, &[], usize::MAX)?;
        for key in &keys {
            let row = self.writer.tables.get(Table::Latest, key)?;
            self.remove(key, row.ok_or_else(|| missing(Table::Latest, key))?)?;
        }
        lease::remove(self.writer, id, lease);
        Ok(OpReply::Revoked { id, deleted: keys.len() as u64 })
    }

    /// Lists the change under its revision.
    fn change(&mut self, deleted: bool, superseded: u64, key: Bytes) {
        self.writer.head.revision = self.before + 1;
        let row_key = rows::change_key(self.before + 1, self.sub);
        let principal = self.command.principal.clone();
        let change = ChangeRow { deleted, superseded, principal, key };
        self.writer.insert(Table::Revisions, &row_key, change.encode());
        self.sub += 1;
    }
}

fn missing(table: Table, key: &[u8]) -> TableFailure {
    rows::damaged(table, key, Malformed("row"))
}
