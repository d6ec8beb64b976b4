//! What can be said of a transaction without the store, and of a guard with one item.

use bytes::Bytes;
use kvorum_core::kv::{Compare, Guard, KeyRange, KeyValue, Op, Target, Txn};

pub fn branch(txn: &Txn, holds: bool) -> &[Op] {
    if holds { &txn.then } else { &txn.otherwise }
}

pub fn within(range: &KeyRange, key: &Bytes) -> bool {
    match range {
        KeyRange::One(one) => one == key,
        KeyRange::Between { start, end } => {
            key >= start && end.as_ref().is_none_or(|end| key < end)
        }
    }
}

pub fn judge(guard: &Guard, item: Option<&KeyValue>) -> bool {
    let number = |of: fn(&KeyValue) -> u64| item.map_or(0, of);
    let (left, right) = match &guard.target {
        Target::Version(target) => (number(|item| item.version), *target),
        Target::Create(target) => (number(|item| item.create_revision), *target),
        Target::Mod(target) => (number(|item| item.mod_revision), *target),
        Target::Lease(target) => (number(|item| item.lease), *target),
        Target::Value(target) => {
            return item.is_some_and(|item| match guard.compare {
                Compare::Equal => item.value == target,
                Compare::NotEqual => item.value != target,
                Compare::Less => item.value < target,
                Compare::Greater => item.value > target,
            });
        }
    };
    match guard.compare {
        Compare::Equal => left == right,
        Compare::NotEqual => left != right,
        Compare::Less => left < right,
        Compare::Greater => left > right,
    }
}

pub fn any_empty_key(txn: &Txn) -> bool {
    let empty = |range: &KeyRange| matches!(range, KeyRange::One(key) if key.is_empty());
    txn.guards.iter().any(|guard| empty(&guard.range))
        || txn.then.iter().chain(&txn.otherwise).any(|op| match op {
            Op::Put(put) => put.key.is_empty(),
            Op::Delete(delete) => empty(&delete.range),
            Op::Range(query) => empty(&query.range),
            Op::Txn(txn) => any_empty_key(txn),
            Op::Grant { .. } | Op::KeepAlive { .. } | Op::Revoke { .. } => false,
        })
}

pub fn any_large_lease(txn: &Txn) -> bool {
    txn.then.iter().chain(&txn.otherwise).any(|op| match op {
        Op::Grant { id, .. } | Op::KeepAlive { id } | Op::Revoke { id } => *id > i64::MAX as u64,
        Op::Txn(txn) => any_large_lease(txn),
        _ => false,
    })
}

/// Whether two ops on some path through the transaction may not be together.
pub fn any_two(txn: &Txn, may_not: fn(&Op, &Op) -> bool) -> bool {
    paths(txn).iter().any(|path| {
        path.iter().enumerate().any(|(at, op)| {
            path[at + 1..].iter().any(|other| may_not(op, other) || may_not(other, op))
        })
    })
}

pub fn write_the_same_key(op: &Op, other: &Op) -> bool {
    match (op, other) {
        (Op::Put(a), Op::Put(b)) => a.key == b.key,
        (Op::Put(put), Op::Delete(delete)) => within(&delete.range, &put.key),
        _ => false,
    }
}

pub fn conflict_over_leases(op: &Op, other: &Op) -> bool {
    let named = |op: &Op| match op {
        Op::Grant { id: 0, .. } => None,
        Op::Grant { id, .. } | Op::KeepAlive { id } | Op::Revoke { id } => Some(*id),
        _ => None,
    };
    let same = named(op).is_some() && named(op) == named(other);
    same || matches!((op, other), (Op::Revoke { .. }, Op::Put(_) | Op::Delete(_)))
}

/// The ops of every way through the transaction.
pub fn paths(txn: &Txn) -> Vec<Vec<&Op>> {
    [&txn.then, &txn.otherwise]
        .into_iter()
        .flat_map(|ops| {
            ops.iter().fold(vec![vec![]], |ways: Vec<Vec<&Op>>, op| {
                let steps = match op {
                    Op::Txn(txn) => paths(txn),
                    op => vec![vec![op]],
                };
                ways.iter()
                    .flat_map(|way| steps.iter().map(move |step| [&way[..], &step[..]].concat()))
                    .collect()
            })
        })
        .collect()
}
