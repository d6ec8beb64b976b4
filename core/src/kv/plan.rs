//! Everything about a transaction that is decided before its first write.
//!
//! Rule: the guards of all levels are judged on the state as it is, which fixes the path; then
//! every op on the path is judged on that state: revisions, keys to keep, leases, room. What is
//! planned can be carried out. Must never: write.

use super::{
    command::{Command, Op, Put, Txn},
    guard, lease,
    quota::Growth,
    read,
    reply::CommandError,
    tables::{Table, TableFailure},
    write::Writer,
};
use alloc::vec::Vec;

/// How a transaction will go.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    /// For each transaction on the path, in the order they are met: whether its guards held.
    pub path: Vec<bool>,
    /// The ids of the leases granted on the path, in order.
    pub granted: Vec<u64>,
    /// How many ids were derived, ever.
    pub derived: u64,
}

/// Plans `txn`.
pub(super) fn make(
    writer: &Writer<'_>,
    txn: &Txn,
    command: &Command,
) -> Result<Result<Plan, CommandError>, TableFailure> {
    let mut path = Vec::new();
    choose(writer, txn, &mut path)?;
    let plan = Plan { path: Vec::new(), granted: Vec::new(), derived: writer.head.derived };
    let growth = Growth::default();
    let mut planner = Planner { writer, command, plan, growth, known: 0 };
    let judged = planner.txn(txn, &mut path.iter().copied())?;
    if let Err(error) = judged.and_then(|()| planner.growth.judge(&writer.head)) {
        return Ok(Err(error));
    }
    Ok(Ok(Plan { path, ..planner.plan }))
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

impl Txn {
    /// The ops of the branch that is taken.
    pub(super) fn branch(&self, holds: bool) -> &[Op] {
        if holds { &self.then } else { &self.otherwise }
    }
}

struct Planner<'a, 'b> {
    writer: &'a Writer<'b>,
    command: &'a Command,
    plan: Plan,
    growth: Growth,
    /// A lease that is known to be there: many puts name the same one.
    known: u64,
}

type Judged = Result<Result<(), CommandError>, TableFailure>;

impl Planner<'_, '_> {
    fn txn(&mut self, txn: &Txn, path: &mut dyn Iterator<Item = bool>) -> Judged {
        for op in txn.branch(path.next() == Some(true)) {
            let judged = match op {
                Op::Put(put) => self.put(put)?,
                Op::Delete(_) => Ok(()),
                Op::Range(query) => {
                    let head = &self.writer.head;
                    read::check(query, head.revision, head.compacted)
                }
                Op::Txn(txn) => self.txn(txn, path)?,
                Op::Grant { id, ttl_ms } => self.grant(*id, *ttl_ms)?,
                Op::KeepAlive { id } | Op::Revoke { id } => self.lease(*id)?,
            };
            if judged.is_err() {
                return Ok(judged);
            }
        }
        Ok(Ok(()))
    }

    fn put(&mut self, put: &Put) -> Judged {
        let mut value_len = put.value.len();
        if put.keep_value || put.keep_lease {
            // No other op of the transaction writes the key: what is there now is there then.
            let there = self.writer.tables.get(Table::Latest, &put.key)?;
            let Some(row) = there else { return Ok(Err(CommandError::KeyNotFound)) };
            value_len = value_len.max(row.len());
        }
        self.growth.put(&put.key, value_len, &self.command.principal);
        match put.lease {
            _ if put.keep_lease => Ok(Ok(())),
            0 => Ok(Ok(())),
            lease::GRANTED if self.plan.granted.is_empty() => Ok(Err(CommandError::LeaseNotFound)),
            lease::GRANTED => Ok(Ok(())),
            id => self.lease(id),
        }
    }

    /// A lease that must be there.
    fn lease(&mut self, id: u64) -> Judged {
        let possible = id != 0 && id <= lease::MAX_LEASE;
        let there = self.known == id
            || self.plan.granted.contains(&id)
            || lease::find(self.writer.tables, id)?.is_some();
        if !possible || !there {
            return Ok(Err(CommandError::LeaseNotFound));
        }
        self.known = id;
        Ok(Ok(()))
    }

    fn grant(&mut self, id: u64, ttl_ms: u64) -> Judged {
        if ttl_ms > lease::MAX_TTL_MS {
            return Ok(Err(CommandError::LeaseTtlTooLarge));
        }
        let taken = &self.plan.granted;
        let id = match id {
            0 => lease::free_id(self.writer, &mut self.plan.derived, taken)?,
            id if taken.contains(&id) || lease::find(self.writer.tables, id)?.is_some() => {
                return Ok(Err(CommandError::LeaseExists));
            }
            id => id,
        };
        self.plan.granted.push(id);
        self.growth.grant();
        Ok(Ok(()))
    }
}
