//! Transactions, writes of many keys, scans, long polls and reads of the past, on a few keys that
//! all of them share.
//!
//! Rule: conditions are made from what was seen last, so that they hold about as often as not; a
//! transaction names a key in one write only. Must never: ask for what the API refuses by its form.

use super::asking::Asker;
use crate::{
    clock,
    journal::{Answer, Told},
    rng::Rng,
    store::{
        Record,
        request::{Attach, Bounds, Condition, Guard, Op, Relation, Request, Scan, Test, Txn},
    },
    workload::registers::{Book, WorkloadPlan},
};
use serde_json::Value as Json;
use std::{collections::BTreeMap, time::Duration};

/// The keys; those below `SUB` are removed together.
const KEYS: [&str; 9] = ["t/0", "t/1", "t/2", "t/a/0", "t/a/1", "t/a/2", "t/b/0", "t/b/1", "t/b/2"];
const ALL: &str = "t/";
const SUB: &str = "t/a/";
/// Revisions that a read of the past goes back at most.
const BACK: u64 = 40;
/// Pages of one scan.
const PAGES: usize = 6;

/// A client of the store.
pub struct Shopper {
    asker: Asker,
    rng: Rng,
    seen: BTreeMap<String, Record>,
    /// The newest revision it was told.
    revision: u64,
    values: u64,
}

impl Shopper {
    /// A client that has seen nothing yet.
    #[must_use]
    pub fn new(asker: Asker, rng: Rng) -> Shopper {
        Shopper { asker, rng, seen: BTreeMap::new(), revision: 1, values: 0 }
    }

    /// Its life, until the book is closed.
    pub async fn run(mut self, book: Book, plan: WorkloadPlan) {
        while book.is_open() {
            match self.rng.below(20) {
                0..5 => self.scan().await,
                5..8 => {
                    let request = self.read();
                    let told = self.asker.once(&mut self.rng, request).await;
                    self.learn(&told);
                }
                _ => self.write().await,
            }
            clock::exactly(Duration::from_nanos(self.rng.within(&plan.think))).await;
        }
    }

    async fn write(&mut self) {
        let request = self.change();
        if self.rng.chance(0.4) {
            let told = self.asker.once(&mut self.rng, request).await;
            self.learn(&told);
            return;
        }
        let key = self.asker.fresh_key();
        let told = self.asker.keyed(&mut self.rng, request, &key).await;
        self.learn(&told);
        let done = matches!(&told, Told::Answered(answer) if answer.status < 300);
        if done && self.rng.chance(0.08) {
            let (key_name, value) = (self.any(), self.value());
            let pairs = vec![(key_name, value)];
            let other = Request::Post { pairs, condition: Condition::Always };
            self.asker.misuse(&mut self.rng, other, &key).await;
        }
    }

    fn value(&mut self) -> String {
        self.values += 1;
        format!("{}.{}", self.asker.name, self.values)
    }

    fn any(&mut self) -> String {
        (*self.rng.pick(&KEYS)).to_owned()
    }

    fn bounds(&mut self) -> Bounds {
        match self.rng.below(4) {
            0 => Bounds::Prefix(ALL.to_owned()),
            1 => Bounds::Prefix(SUB.to_owned()),
            _ => Bounds::One(self.any()),
        }
    }

    fn condition(&mut self, key: &str) -> Condition {
        match (self.rng.below(4), self.seen.get(key)) {
            (0, _) => Condition::Absent,
            (1, Some(record)) => Condition::At(record.modified),
            _ => Condition::Always,
        }
    }

    fn change(&mut self) -> Request {
        match self.rng.below(12) {
            0 | 1 => {
                let mut keys = self.shuffled();
                let count = 1 + self.rng.index(4);
                keys.truncate(count);
                let condition = match self.rng.below(5) {
                    0 => Condition::Absent,
                    _ => Condition::Always,
                };
                let pairs = keys.into_iter().map(|key| (key, self.value())).collect();
                Request::Post { pairs, condition }
            }
            2 => {
                let (key, value) = (self.any(), self.value());
                let condition = self.condition(&key);
                Request::Put { key, value, condition, attach: Attach::Nothing }
            }
            3 => {
                let key = self.any();
                let condition = self.condition(&key);
                Request::Delete { key, condition }
            }
            4 => {
                let prefix = if self.rng.chance(0.8) { SUB } else { ALL };
                Request::DeleteRange { prefix: prefix.to_owned() }
            }
            5 if self.rng.chance(0.1) => Request::Compact { revision: self.past() },
            _ => Request::Txn(self.txn()),
        }
    }

    fn shuffled(&mut self) -> Vec<String> {
        let mut keys: Vec<String> = KEYS.iter().map(|key| (*key).to_owned()).collect();
        for at in (1..keys.len()).rev() {
            keys.swap(at, self.rng.index(at + 1));
        }
        keys
    }

    fn txn(&mut self) -> Txn {
        let mut pool = self.shuffled();
        let range = self.rng.chance(0.15);
        if range {
            pool.retain(|key| !key.starts_with(SUB));
        }
        let mut txn = self.txn_of(&mut pool, 2);
        if range {
            let delete = Op::Delete {
                bounds: Bounds::Prefix(SUB.to_owned()),
                previous: self.rng.chance(0.5),
            };
            let at = self.rng.index(txn.then.len() + 1);
            txn.then.insert(at, delete);
        }
        txn
    }

    fn txn_of(&mut self, pool: &mut Vec<String>, depth: u64) -> Txn {
        let guards = (0..self.rng.below(3)).map(|_| self.guard()).collect();
        Txn { guards, then: self.ops(pool, depth), otherwise: self.ops(pool, depth) }
    }

    fn ops(&mut self, pool: &mut Vec<String>, depth: u64) -> Vec<Op> {
        let mut ops = Vec::new();
        for _ in 0..self.rng.below(4) {
            let previous = self.rng.chance(0.3);
            ops.push(match self.rng.below(10) {
                0..5 => {
                    let Some(key) = pool.pop() else { continue };
                    let value = self.value();
                    Op::Put { key, value, attach: Attach::Nothing, previous }
                }
                5 => {
                    let Some(key) = pool.pop() else { continue };
                    Op::Delete { bounds: Bounds::One(key), previous }
                }
                6 | 7 => Op::Get {
                    bounds: self.bounds(),
                    limit: 1 + self.rng.below(6),
                    reverse: self.rng.chance(0.5),
                    keys_only: self.rng.chance(0.3),
                },
                8 => Op::Count { bounds: self.bounds() },
                _ if depth == 0 => continue,
                _ => Op::Txn(self.txn_of(pool, depth - 1)),
            });
        }
        ops
    }

    fn guard(&mut self) -> Guard {
        let key = self.any();
        let relations = [Relation::Equal, Relation::NotEqual, Relation::Greater, Relation::Less];
        let relation = *self.rng.pick(&relations);
        let seen = self.seen.get(&key).cloned();
        let test = match (self.rng.below(7), seen) {
            (0, _) => Test::Exists(self.rng.chance(0.6)),
            (1, Some(seen)) => Test::Version(relation, seen.version),
            (2, Some(seen)) => Test::Created(relation, seen.created),
            (3, Some(seen)) => Test::Modified(relation, seen.modified),
            (4, Some(seen)) => Test::Value(relation, seen.value),
            (5, _) => {
                let bounds = Bounds::Prefix(SUB.to_owned());
                return Guard { bounds, test: Test::Version(Relation::Greater, 0) };
            }
            _ => Test::Version(Relation::NotEqual, 3),
        };
        Guard { bounds: Bounds::One(key), test }
    }

    fn past(&mut self) -> u64 {
        let oldest = self.revision.saturating_sub(BACK).max(1);
        self.rng.within(&(oldest..self.revision + 1))
    }

    fn read(&mut self) -> Request {
        let key = self.any();
        match self.rng.below(5) {
            0 => Request::Get { key, at: Some(self.past()), stale: None },
            1 => {
                let least = self.revision.saturating_sub(self.rng.below(3));
                Request::Get { key, at: None, stale: Some(least) }
            }
            2 | 3 => {
                let since = self.revision.saturating_sub(self.rng.below(8)).max(1);
                Request::Wait { key, since, patience: self.rng.below(2_000) }
            }
            _ => Request::Get { key, at: None, stale: None },
        }
    }

    /// Page by page, all at the revision of the first.
    async fn scan(&mut self) {
        let prefix = if self.rng.chance(0.7) { ALL } else { SUB };
        let mut scan = Scan {
            prefix: prefix.to_owned(),
            limit: 1 + self.rng.below(5),
            reverse: self.rng.chance(0.3),
            keys_only: self.rng.chance(0.2),
            at: None,
            after: None,
            stale: self.rng.chance(0.1),
        };
        if self.rng.chance(0.3) {
            scan.at = Some(self.past());
        }
        for _ in 0..PAGES {
            let told = self.asker.once(&mut self.rng, Request::Scan(scan.clone())).await;
            self.learn(&told);
            let Told::Answered(Answer { status: 200, body: Some(body), .. }) = told else { return };
            let last = body.get("items").and_then(|items| items.as_array()?.last()?.get("key"));
            let next = body.get("next").and_then(Json::as_str);
            let (Some(last), Some(next)) = (last.and_then(Json::as_str), next) else { return };
            scan.after = Some((last.to_owned(), next.to_owned()));
            scan.at = body.get("revision").and_then(Json::as_u64);
        }
    }

    /// Whatever records an answer shows.
    fn learn(&mut self, told: &Told) {
        let Told::Answered(answer) = told else { return };
        self.revision = self.revision.max(answer.revision);
        let Some(body) = &answer.body else { return };
        if let Some((key, record)) = Record::parse(body) {
            self.seen.insert(key, record);
        }
        for item in body.get("items").and_then(Json::as_array).into_iter().flatten() {
            if let Some((key, record)) = Record::parse(item) {
                self.seen.insert(key, record);
            }
        }
    }
}
