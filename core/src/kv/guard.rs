//! Judging the conditions of a transaction.
//!
//! Rule: a guard holds when it holds for every key of its range; without any key it is judged once
//! on zeros, and a comparison of values is false (etcd's `applyCompare`). Must never: read further
//! than the first key that decides.

use super::{
    command::{Compare, Guard, KeyRange, Target},
    read,
    rows::Version,
    tables::{Order, TableFailure, Tables},
};
use core::cmp::Ordering;

/// Whether all guards hold.
pub(super) fn all_hold(tables: &dyn Tables, guards: &[Guard]) -> Result<bool, TableFailure> {
    for guard in guards {
        if !holds(tables, guard)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds(tables: &dyn Tables, guard: &Guard) -> Result<bool, TableFailure> {
    let mut verdict = None;
    match &guard.range {
        KeyRange::One(key) => {
            verdict = read::one(tables, key, None)?.map(|version| judge(guard, Some(&version)));
        }
        KeyRange::Between { start, end } => {
            let end = end.as_deref();
            read::each(tables, start, end, Order::Ascending, &mut |_, version| {
                let holds = judge(guard, Some(&version));
                verdict = Some(holds);
                holds
            })?;
        }
    }
    Ok(verdict.unwrap_or_else(|| judge(guard, None)))
}

fn judge(guard: &Guard, version: Option<&Version>) -> bool {
    let number = |of: fn(&Version) -> u64, target: u64| version.map_or(0, of).cmp(&target);
    let ordering = match &guard.target {
        Target::Version(target) => number(|version| version.version, *target),
        Target::Create(target) => number(|version| version.create_revision, *target),
        Target::Mod(target) => number(|version| version.mod_revision, *target),
        Target::Lease(target) => number(|version| version.lease, *target),
        Target::Value(target) => match version {
            Some(version) => version.value.cmp(target),
            None => return false,
        },
    };
    match guard.compare {
        Compare::Equal => ordering == Ordering::Equal,
        Compare::Greater => ordering == Ordering::Greater,
        Compare::Less => ordering == Ordering::Less,
        Compare::NotEqual => ordering != Ordering::Equal,
    }
}
