//! The reference: what the state machine must do, said in the plainest way, with a copy of the
//! whole store kept for every revision and no thought of cost.

mod answer;
mod run;
mod shape;

use self::{
    answer::answer,
    run::Run,
    shape::{
        any_empty_key, any_large_lease, any_two, branch, conflict_over_leases, judge, within,
        write_the_same_key,
    },
};
use bytes::Bytes;
use kvorum_core::kv::{
    Body, Command, CommandError, KeyRange, KeyValue, LeaseView, Op, Query, QueryReply, Reply, Txn,
    TxnReply, lease,
};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

type State = BTreeMap<Bytes, KeyValue>;

/// TTL and deadline by id.
type Leases = BTreeMap<u64, (u64, u64)>;

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
    /// The date of each revision.
    dates: BTreeMap<u64, u64>,
    /// Replies under idempotency keys, with the fingerprint.
    stored: BTreeMap<Bytes, (u64, Reply)>,
    pub leases: Leases,
    /// How many lease ids were derived.
    derived: u64,
    /// How many bytes may be stored; 0: no limit.
    pub quota: u64,
}

impl Default for Model {
    fn default() -> Model {
        Model {
            revision: 1,
            compacted: 0,
            clock: 0,
            states: BTreeMap::from([(1, State::new())]),
            log: Vec::new(),
            dates: BTreeMap::new(),
            stored: BTreeMap::new(),
            leases: Leases::new(),
            derived: 0,
            quota: 0,
        }
    }
}

impl Model {
    /// `used` is how many bytes are stored: how rows are written is not the model's business.
    pub fn apply(&mut self, command: &Command, used: u64) -> Reply {
        if let Some(idempotency) = &command.idempotency
            && let Some((fingerprint, reply)) = self.stored.get(&idempotency.key)
        {
            return if *fingerprint == idempotency.fingerprint {
                Reply { replayed: true, ..reply.clone() }
            } else {
                self.reply(Err(CommandError::IdempotencyMismatch))
            };
        }
        let clock = self.clock;
        let result = self.fenced(command).and_then(|()| {
            self.clock = self.clock.max(command.time_ms);
            self.body(command, used)
        });
        if result.is_err() {
            self.clock = clock;
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

    fn fenced(&self, command: &Command) -> Result<(), CommandError> {
        let Some(fence) = &command.fence else { return Ok(()) };
        if fence.key.is_empty() {
            return Err(CommandError::EmptyKey);
        }
        let token = self.now().get(&fence.key).map_or(0, |item| item.create_revision);
        let holds = token != 0 && token == fence.token;
        if holds { Ok(()) } else { Err(CommandError::Fenced { token }) }
    }

    fn body(&mut self, command: &Command, used: u64) -> Result<TxnReply, CommandError> {
        let mut results = vec![];
        match &command.body {
            Body::Compact { revision } if *revision > self.revision => {
                return Err(CommandError::FutureRevision);
            }
            Body::Compact { revision } if *revision <= self.compacted => {
                return Err(CommandError::Compacted { oldest: self.compacted });
            }
            Body::Compact { revision } => self.compacted = *revision,
            Body::Txn(txn) => return self.txn(txn, command, used),
            Body::Expire { leases } => {
                let now = self.clock;
                results = self.change(command, vec![], |run| {
                    let expired = |run: &Run<'_>, id: &u64| {
                        run.leases.get(id).is_some_and(|lease| lease.1 <= now)
                    };
                    let mut results = vec![];
                    for id in leases {
                        if expired(run, id) {
                            results.push(run.revoke(*id));
                        }
                    }
                    results
                });
            }
            Body::Tick => {}
            Body::Settings(change) => self.quota = change.quota_bytes.unwrap_or(self.quota),
        }
        Ok(TxnReply { succeeded: true, results })
    }

    fn txn(&mut self, txn: &Txn, command: &Command, used: u64) -> Result<TxnReply, CommandError> {
        if any_empty_key(txn) {
            return Err(CommandError::EmptyKey);
        }
        if any_large_lease(txn) {
            return Err(CommandError::LeaseIdTooLarge);
        }
        if any_two(txn, write_the_same_key) {
            return Err(CommandError::DuplicateKey);
        }
        if any_two(txn, conflict_over_leases) {
            return Err(CommandError::LeaseConflict);
        }
        let mut path = Path { derived: self.derived, granted: vec![], grows: 0 };
        self.check_path(txn, command, &mut path)?;
        if self.quota != 0 && path.grows > 0 && used + path.grows > self.quota {
            let (needed, limit) = (path.grows, self.quota);
            return Err(CommandError::NoSpace { used, needed, limit });
        }
        self.derived = path.derived;
        Ok(self.change(command, path.granted, |run| run.txn(txn)))
    }

    /// Lets `steps` change a copy of the store, which is the store from then on.
    fn change<T>(
        &mut self,
        command: &Command,
        granted: Vec<u64>,
        steps: impl FnOnce(&mut Run<'_>) -> T,
    ) -> T {
        let mut run = Run {
            model: self,
            state: self.now().clone(),
            leases: self.leases.clone(),
            granted: (granted, 0),
            changes: Vec::new(),
            command,
        };
        let result = steps(&mut run);
        let (state, changes, leases) = (run.state, run.changes, run.leases);
        self.leases = leases;
        if !changes.is_empty() {
            self.revision += 1;
            self.states.insert(self.revision, state);
            self.log.extend(changes);
            self.dates.insert(self.revision, command.wall_ms);
        }
        result
    }

    /// Whether the ops on the path that the guards choose can be carried out.
    fn check_path(
        &self,
        txn: &Txn,
        command: &Command,
        path: &mut Path,
    ) -> Result<(), CommandError> {
        let there = |id: &u64, path: &Path| {
            let known = self.leases.contains_key(id) || path.granted.contains(id);
            if known { Ok(()) } else { Err(CommandError::LeaseNotFound) }
        };
        for op in branch(txn, self.holds(txn)) {
            match op {
                Op::Put(put) => {
                    let old = self.now().get(&put.key);
                    if (put.keep_value || put.keep_lease) && old.is_none() {
                        return Err(CommandError::KeyNotFound);
                    }
                    // A record that is kept counts with its numbers.
                    let kept = old.filter(|_| put.keep_value || put.keep_lease);
                    let kept = kept.map_or(0, |item| item.value.len() + numbers(item));
                    let names = 4 * put.key.len() + command.principal.len();
                    path.grows += (put.value.len().max(kept) + names + 128) as u64;
                    match put.lease {
                        _ if put.keep_lease => {}
                        0 => {}
                        lease::GRANTED if !path.granted.is_empty() => {}
                        id => there(&id, path)?,
                    }
                }
                Op::Grant { ttl_ms, .. } if *ttl_ms > 9_000_000_000_000 => {
                    return Err(CommandError::LeaseTtlTooLarge);
                }
                Op::Grant { id, .. } => {
                    let id = if *id == 0 { self.free_id(path) } else { *id };
                    if there(&id, path).is_ok() {
                        return Err(CommandError::LeaseExists);
                    }
                    path.granted.push(id);
                    path.grows += 64;
                }
                Op::KeepAlive { id } | Op::Revoke { id } => there(id, path)?,
                Op::Range(query) => self.check_query(query)?,
                Op::Txn(txn) => self.check_path(txn, command, path)?,
                Op::Delete(_) => {}
            }
        }
        Ok(())
    }

    fn free_id(&self, path: &mut Path) -> u64 {
        loop {
            path.derived += 1;
            let id = xxh3_64(&path.derived.to_be_bytes()) & i64::MAX as u64;
            if id != 0 && !self.leases.contains_key(&id) && !path.granted.contains(&id) {
                return id;
            }
        }
    }

    /// The leases with what is left of them and their keys.
    pub fn lease_views(&self, now: u64) -> Vec<LeaseView> {
        let view = |(id, (ttl_ms, deadline)): (&u64, &(u64, u64))| LeaseView {
            id: *id,
            ttl_ms: *ttl_ms,
            remaining_ms: deadline.saturating_sub(now.max(self.clock)),
            keys: self.now().values().filter(|i| i.lease == *id).map(|i| i.key.clone()).collect(),
        };
        self.leases.iter().map(view).collect()
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

    /// What became of a key, newest first, as far as it can still be read or watched: revision,
    /// date, what it became.
    pub fn history(&self, key: &Bytes) -> Vec<(u64, u64, Option<KeyValue>)> {
        let at = self.states[&self.compacted.max(1)].get(key);
        let there = |revision| at.is_some_and(|item| item.mod_revision == revision);
        let mut past: Vec<_> = self
            .log
            .iter()
            .filter(|change| change.2 == key)
            .filter(|change| {
                let deleted_there = change.0 == self.compacted && change.3.is_none();
                change.0 > self.compacted || there(change.0) || deleted_there
            })
            .map(|change| (change.0, self.dates[&change.0], change.3.clone()))
            .collect();
        past.reverse();
        past
    }

    /// How many rows of `History` are needed for what can still be asked: versions that were
    /// superseded after the compact revision, and tombstones at or after it.
    pub fn needed_history(&self) -> usize {
        let superseded = |change: &&Listed| change.4.is_some() && change.0 > self.compacted;
        let tombstone = |change: &&Listed| change.3.is_none() && change.0 >= self.compacted;
        self.log.iter().filter(superseded).count() + self.log.iter().filter(tombstone).count()
    }
}

/// What the path through a transaction adds up to.
struct Path {
    derived: u64,
    granted: Vec<u64>,
    grows: u64,
}

/// The bytes of the numbers that stand before the value in a record.
fn numbers(item: &KeyValue) -> usize {
    let len = |number: u64| (1..10).find(|len| number >> (7 * len) == 0).unwrap_or(10);
    let all = [item.create_revision, item.mod_revision, item.version, item.lease, item.wall_ms];
    1 + all.into_iter().map(len).sum::<usize>()
}
