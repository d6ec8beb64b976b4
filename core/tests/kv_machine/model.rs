//! The reference: what the state machine must do, said in the plainest way, with a copy of the
//! whole store kept for every revision and no thought of cost.

use bytes::Bytes;
use kvorum_core::kv::{
    Body, Command, CommandError, Compare, Guard, KeyRange, KeyValue, Op, OpReply, Query,
    QueryReply, Reply, Target, Txn, TxnReply,
};
use std::collections::BTreeMap;

type State = BTreeMap<Bytes, KeyValue>;

/// One change: revision, sub-index, key, what it became, what it was, who.
pub type Listed = (u64, u32, Bytes, Option<KeyValue>, Option<KeyValue>, Bytes);

#[derive(Clone)]
pub struct Model {
    pub revision: u64,
    pub compacted: u64,
    pub clock: u64,
    /// The store as it was at every revision.
    states: BTreeMap<u64, State>,
    pub log: Vec<Listed>,
    /// Replies under idempotency keys, with the fingerprint.
    stored: BTreeMap<Bytes, (u64, Reply)>,
}

impl Default for Model {
    fn default() -> Model {
        Model {
            revision: 1,
            compacted: 0,
            clock: 0,
            states: BTreeMap::from([(1, State::new())]),
            log: Vec::new(),
            stored: BTreeMap::new(),
        }
    }
}

impl Model {
    pub fn apply(&mut self, command: &Command) -> Reply {
        if let Some(idempotency) = &command.idempotency
            && let Some((fingerprint, reply)) = self.stored.get(&idempotency.key)
        {
            return if *fingerprint == idempotency.fingerprint {
                Reply { replayed: true, ..reply.clone() }
            } else {
                self.reply(Err(CommandError::IdempotencyMismatch))
            };
        }
        let result = match &command.body {
            Body::Compact { revision } if *revision > self.revision => {
                Err(CommandError::FutureRevision)
            }
            Body::Compact { revision } if *revision <= self.compacted => {
                Err(CommandError::Compacted { oldest: self.compacted })
            }
            Body::Compact { revision } => {
                self.compacted = *revision;
                Ok(TxnReply { succeeded: true, results: vec![] })
            }
            Body::Txn(txn) => self.txn(txn, &command.principal),
        };
        if result.is_ok() {
            self.clock = self.clock.max(command.time_ms);
        }
        let reply = self.reply(result);
        if let (Some(idempotency), true) = (&command.idempotency, reply.result.is_ok()) {
            let stored = (idempotency.fingerprint, reply.clone());
            self.stored.insert(idempotency.key.clone(), stored);
        }
        reply
    }

    fn reply(&self, result: Result<TxnReply, CommandError>) -> Reply {
        Reply { revision: self.revision, result, replayed: false }
    }

    fn now(&self) -> &State {
        &self.states[&self.revision]
    }

    fn txn(&mut self, txn: &Txn, principal: &Bytes) -> Result<TxnReply, CommandError> {
        if any_empty_key(txn) {
            return Err(CommandError::EmptyKey);
        }
        if has_conflict(txn) {
            return Err(CommandError::DuplicateKey);
        }
        self.check_path(txn)?;
        let mut run = Run {
            model: self,
            state: self.now().clone(),
            changes: Vec::new(),
            principal: principal.clone(),
        };
        let reply = run.txn(txn);
        let (state, changes) = (run.state, run.changes);
        if !changes.is_empty() {
            self.revision += 1;
            self.states.insert(self.revision, state);
            self.log.extend(changes);
        }
        Ok(reply)
    }

    /// Whether the ops on the path that the guards choose can be carried out.
    fn check_path(&self, txn: &Txn) -> Result<(), CommandError> {
        for op in branch(txn, self.holds(txn)) {
            match op {
                Op::Put(put) if put.lease != 0 => return Err(CommandError::LeaseNotFound),
                Op::Range(query) => self.check_query(query)?,
                Op::Txn(txn) => self.check_path(txn)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn check_query(&self, query: &Query) -> Result<(), CommandError> {
        if query.range == KeyRange::One(Bytes::new()) {
            Err(CommandError::EmptyKey)
        } else if query.revision > self.revision {
            Err(CommandError::FutureRevision)
        } else if query.revision != 0 && query.revision < self.compacted {
            Err(CommandError::Compacted { oldest: self.compacted })
        } else {
            Ok(())
        }
    }

    fn holds(&self, txn: &Txn) -> bool {
        txn.guards.iter().all(|guard| {
            let found: Vec<_> =
                self.now().values().filter(|item| within(&guard.range, &item.key)).collect();
            if found.is_empty() {
                judge(guard, None)
            } else {
                found.into_iter().all(|item| judge(guard, Some(item)))
            }
        })
    }

    pub fn query(&self, query: &Query) -> Result<QueryReply, CommandError> {
        self.check_query(query)?;
        let state = match query.revision {
            0 => self.now(),
            revision => self.states.get(&revision).unwrap_or_else(|| self.now()),
        };
        Ok(answer(state, query, self.revision))
    }

    /// The changes that a watch from the compact revision must see.
    pub fn retained_changes(&self) -> Vec<Listed> {
        let retained = self.log.iter().filter(|change| change.0 >= self.compacted);
        let hide = |mut change: Listed| {
            change.4 = change.4.filter(|_| change.0 > self.compacted);
            change
        };
        retained.cloned().map(hide).collect()
    }

    /// How many rows of `History` are needed for what can still be asked: versions that were
    /// superseded after the compact revision, and tombstones at or after it.
    pub fn needed_history(&self) -> usize {
        let superseded = |change: &&Listed| change.4.is_some() && change.0 > self.compacted;
        let tombstone = |change: &&Listed| change.3.is_none() && change.0 >= self.compacted;
        self.log.iter().filter(superseded).count() + self.log.iter().filter(tombstone).count()
    }
}

/// A transaction under way on a copy of the store.
struct Run<'a> {
    model: &'a Model,
    state: State,
    changes: Vec<Listed>,
    principal: Bytes,
}

impl Run<'_> {
    fn txn(&mut self, txn: &Txn) -> TxnReply {
        let succeeded = self.model.holds(txn);
        let results = branch(txn, succeeded).iter().map(|op| self.op(op)).collect();
        TxnReply { succeeded, results }
    }

    fn op(&mut self, op: &Op) -> OpReply {
        let revision = self.model.revision + 1;
        match op {
            Op::Put(put) => {
                let old = self.state.get(&put.key).cloned();
                let new = KeyValue {
                    key: put.key.clone(),
                    value: put.value.clone(),
                    kind: put.kind,
                    create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
                    mod_revision: revision,
                    version: old.as_ref().map_or(1, |old| old.version + 1),
                    lease: put.lease,
                };
                self.state.insert(put.key.clone(), new.clone());
                self.change(put.key.clone(), Some(new.clone()), old.clone());
                OpReply::Put {
                    version: new.version,
                    create_revision: new.create_revision,
                    previous: old.filter(|_| put.previous),
                }
            }
            Op::Delete(delete) => {
                let gone: Vec<KeyValue> = self
                    .state
                    .values()
                    .filter(|item| within(&delete.range, &item.key))
                    .cloned()
                    .collect();
                for item in &gone {
                    self.state.remove(&item.key);
                    self.change(item.key.clone(), None, Some(item.clone()));
                }
                OpReply::Delete {
                    deleted: gone.len() as u64,
                    previous: if delete.previous { gone } else { vec![] },
                }
            }
            Op::Range(query) => {
                let current = if self.changes.is_empty() { revision - 1 } else { revision };
                let past = self.model.states.get(&query.revision);
                let state = past.filter(|_| query.revision != 0).unwrap_or(&self.state);
                OpReply::Range(answer(state, query, current))
            }
            Op::Txn(txn) => OpReply::Txn(self.txn(txn)),
        }
    }

    fn change(&mut self, key: Bytes, now: Option<KeyValue>, before: Option<KeyValue>) {
        let sub = self.changes.len() as u32;
        let revision = self.model.revision + 1;
        self.changes.push((revision, sub, key, now, before, self.principal.clone()));
    }
}

fn answer(state: &State, query: &Query, revision: u64) -> QueryReply {
    let mut items: Vec<KeyValue> =
        state.values().filter(|item| within(&query.range, &item.key)).cloned().collect();
    if query.descending {
        items.reverse();
    }
    let count = items.len() as u64;
    if query.count_only {
        return QueryReply { revision, items: vec![], count, more: false };
    }
    if query.limit != 0 {
        items.truncate(usize::try_from(query.limit).unwrap_or(usize::MAX));
    }
    if query.keys_only {
        items.iter_mut().for_each(|item| item.value = Bytes::new());
    }
    QueryReply { revision, more: (items.len() as u64) < count, items, count }
}

fn branch(txn: &Txn, holds: bool) -> &[Op] {
    if holds { &txn.then } else { &txn.otherwise }
}

fn within(range: &KeyRange, key: &Bytes) -> bool {
    match range {
        KeyRange::One(one) => one == key,
        KeyRange::Between { start, end } => {
            key >= start && end.as_ref().is_none_or(|end| key < end)
        }
    }
}

fn judge(guard: &Guard, item: Option<&KeyValue>) -> bool {
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

fn any_empty_key(txn: &Txn) -> bool {
    let empty = |range: &KeyRange| matches!(range, KeyRange::One(key) if key.is_empty());
    txn.guards.iter().any(|guard| empty(&guard.range))
        || txn.then.iter().chain(&txn.otherwise).any(|op| match op {
            Op::Put(put) => put.key.is_empty(),
            Op::Delete(delete) => empty(&delete.range),
            Op::Range(query) => empty(&query.range),
            Op::Txn(txn) => any_empty_key(txn),
        })
}

/// Tries every path through the transaction.
fn has_conflict(txn: &Txn) -> bool {
    paths(txn).iter().any(|path| {
        path.iter().enumerate().any(|(at, op)| {
            path[at + 1..].iter().any(|other| match (op, other) {
                (Op::Put(a), Op::Put(b)) => a.key == b.key,
                (Op::Put(put), Op::Delete(delete)) | (Op::Delete(delete), Op::Put(put)) => {
                    within(&delete.range, &put.key)
                }
                _ => false,
            })
        })
    })
}

/// The ops of every way through the transaction.
fn paths(txn: &Txn) -> Vec<Vec<&Op>> {
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
