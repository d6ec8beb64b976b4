//! What a request does to a store in a given state, and what its answer must then be.
//!
//! Rule: worked out from what the API's documents say, in the plainest way. A request whose answer
//! also depends on what a client cannot see (whether a lease is still there) may have several.
//! Must never: look at what the product does.

use super::{
    Change, Record, SOME_LEASE,
    request::{Attach, Bounds, Condition, Guard, Op, Relation, Request, Scan, Test, Txn, lock_key},
    timeline::View,
};
use serde_json::{Value as Json, json};
use std::{cmp::Ordering, collections::BTreeMap};

/// In an expected body: anything.
pub const ANYTHING: &str = "\0anything";

/// One way in which a request may go.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// The status.
    pub status: u16,
    /// The body; of a problem, only the members that are here count.
    pub body: Json,
    /// What it does, in order.
    pub changes: Vec<Change>,
}

impl Expected {
    /// Whether an answer is this one.
    #[must_use]
    pub fn is(&self, status: u16, body: Option<&Json>) -> bool {
        self.status == status && body.is_none_or(|body| same(&self.body, body, status >= 400))
    }
}

/// The ways in which `request` may go when the store is as `view` shows it.
#[must_use]
pub fn evaluate(view: View<'_>, request: &Request) -> Vec<Expected> {
    let mut draft = Draft::new(view);
    match request {
        Request::Txn(txn) => {
            let mut ways = vec![draft.whole_txn(txn)];
            if txn.names_a_lease() {
                ways.push(problem(404, "lease_not_found"));
            }
            ways
        }
        Request::Post { pairs, condition } => {
            let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
            if !keys.iter().all(|key| condition.holds(view.get(key))) {
                return vec![problem(412, "precondition_failed")];
            }
            for (key, value) in pairs {
                draft.put(key, value, Attach::Nothing);
            }
            let echo = pairs.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
            vec![draft.done(200, Json::Object(echo))]
        }
        Request::Put { key, value, condition, attach } => {
            if !condition.holds(view.get(key)) {
                return vec![refused_condition(view, key)];
            }
            let new = draft.put(key, value, *attach);
            let body = json!({"key": key, "mod_revision": new.modified, "version": new.version});
            let mut ways = vec![draft.done(if new.version == 1 { 201 } else { 200 }, body)];
            if matches!(attach, Attach::Lease(_)) {
                ways.push(problem(404, "lease_not_found"));
            }
            ways
        }
        Request::Delete { key, condition } => {
            if !condition.holds(view.get(key)) {
                return vec![refused_condition(view, key)];
            }
            if view.get(key).is_none() {
                return vec![problem(404, "key_not_found")];
            }
            draft.delete(&Bounds::One(key.clone()));
            vec![draft.done(200, json!({"message": "key deleted successfully"}))]
        }
        Request::DeleteRange { prefix } => {
            let deleted = draft.delete(&Bounds::Prefix(prefix.clone())).len();
            let revision = draft.revision();
            vec![draft.done(200, json!({"deleted": deleted, "revision": revision}))]
        }
        Request::Get { key, .. } => vec![found(view, key)],
        Request::Scan(scan) => vec![scan.page(view)],
        Request::Wait { key, since, .. } => vec![match view.get(key) {
            Some(record) if record.modified > *since => found(view, key),
            Some(_) => Expected { status: 304, body: Json::Null, changes: Vec::new() },
            // What it was at `since` decides, and that may be forgotten.
            None => return vec![found(view, key), unchanged()],
        }],
        Request::Grant { id, ttl } => vec![
            draft.done(200, json!({"id": id.to_string(), "ttl": *ttl as f64 / 1000.0})),
            problem(409, "lease_exists"),
        ],
        Request::KeepAlive { id } => vec![
            draft.done(200, json!({"id": id.to_string(), "ttl": ANYTHING})),
            problem(404, "lease_not_found"),
        ],
        Request::Revoke { id } => {
            let doomed: Vec<String> = draft.keys_of(*id);
            for key in &doomed {
                draft.delete(&Bounds::One(key.clone()));
            }
            let (id, deleted) = (id.to_string(), doomed.len());
            let body = json!({"message": ANYTHING, "id": id, "deleted": deleted});
            let gone = doomed.is_empty().then(|| problem(404, "lease_not_found"));
            std::iter::once(draft.done(200, body)).chain(gone).collect()
        }
        Request::Lock { name, note, ttl, .. } => match view.get(&lock_key(name)) {
            Some(held) => {
                let holder = json!({"token": held.created});
                vec![problem_with(409, json!({"code": "lock_held", "holder": holder}))]
            }
            None => {
                let new = draft.put(&lock_key(name), note, Attach::Ttl(*ttl));
                let ttl = ANYTHING;
                let body =
                    json!({"name": name, "token": new.created, "lease": ANYTHING, "ttl": ttl});
                vec![draft.done(200, body)]
            }
        },
        Request::Unlock { name, token } => match view.get(&lock_key(name)) {
            Some(held) if held.created == *token => {
                draft.delete(&Bounds::One(lock_key(name)));
                vec![draft.done(200, json!({"message": "lock released", "name": name}))]
            }
            _ => vec![problem(409, "lock_lost")],
        },
        Request::Compact { revision } => vec![
            draft.done(200, json!({"compacted": revision, "revision": draft.revision()})),
            problem(410, "compacted"),
        ],
        Request::Fenced { name, token, request } => {
            if view.get(&lock_key(name)).is_some_and(|held| held.created == *token) {
                evaluate(view, request)
            } else {
                vec![problem(412, "fenced")]
            }
        }
    }
}

fn problem(status: u16, code: &str) -> Expected {
    problem_with(status, json!({ "code": code }))
}

fn problem_with(status: u16, body: Json) -> Expected {
    Expected { status, body, changes: Vec::new() }
}

fn unchanged() -> Expected {
    Expected { status: 304, body: Json::Null, changes: Vec::new() }
}

fn found(view: View<'_>, key: &str) -> Expected {
    match view.get(key) {
        Some(record) => Expected { status: 200, body: record.json(key, true), changes: Vec::new() },
        None => problem(404, "key_not_found"),
    }
}

fn refused_condition(view: View<'_>, key: &str) -> Expected {
    let current = view.get(key).map_or(Json::Null, |record| record.json(key, true));
    problem_with(412, json!({"code": "precondition_failed", "current": current}))
}

/// Whether two bodies are the same; of a problem, only the members that are expected count.
fn same(expected: &Json, actual: &Json, problem: bool) -> bool {
    match (expected, actual) {
        (Json::String(expected), _) if expected == ANYTHING => true,
        (Json::Object(expected), Json::Object(actual)) => {
            (problem || expected.len() == actual.len())
                && expected.iter().all(|(name, value)| {
                    actual.get(name).is_some_and(|actual| same(value, actual, problem))
                })
        }
        (Json::Array(expected), Json::Array(actual)) => {
            expected.len() == actual.len()
                && expected.iter().zip(actual).all(|(e, a)| same(e, a, problem))
        }
        (Json::Number(expected), Json::Number(actual)) => expected.as_f64() == actual.as_f64(),
        (expected, actual) => expected == actual,
    }
}

impl Condition {
    fn holds(self, record: Option<&Record>) -> bool {
        match self {
            Condition::Always => true,
            Condition::Absent => record.is_none(),
            Condition::At(revision) => record.is_some_and(|record| record.modified == revision),
        }
    }
}

impl Relation {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Relation::Equal => ordering.is_eq(),
            Relation::NotEqual => ordering.is_ne(),
            Relation::Greater => ordering.is_gt(),
            Relation::Less => ordering.is_lt(),
        }
    }
}

impl Test {
    /// A key that is not there has zeros, and no value that could be compared.
    fn holds(&self, record: Option<&Record>) -> bool {
        let number = |of: fn(&Record) -> u64| record.map_or(0, of);
        match self {
            Test::Version(relation, n) => relation.holds(number(|r| r.version).cmp(n)),
            Test::Created(relation, n) => relation.holds(number(|r| r.created).cmp(n)),
            Test::Modified(relation, n) => relation.holds(number(|r| r.modified).cmp(n)),
            Test::Value(relation, text) => {
                record.is_some_and(|record| relation.holds(record.value.cmp(text)))
            }
            Test::Exists(exists) => record.is_some() == *exists,
        }
    }
}

impl Guard {
    fn holds(&self, view: View<'_>) -> bool {
        let found = view.range(&self.bounds);
        if found.is_empty() {
            return self.test.holds(None);
        }
        found.into_iter().all(|(_, record)| self.test.holds(Some(record)))
    }
}

impl Txn {
    fn names_a_lease(&self) -> bool {
        self.then.iter().chain(&self.otherwise).any(|op| match op {
            Op::Put { attach, .. } => *attach != Attach::Nothing,
            Op::Txn(txn) => txn.names_a_lease(),
            _ => false,
        })
    }
}

impl Scan {
    fn page(&self, view: View<'_>) -> Expected {
        let mut items = view.range(&Bounds::Prefix(self.prefix.clone()));
        if let Some((last, _)) = &self.after {
            let ahead = if self.reverse { Ordering::Less } else { Ordering::Greater };
            items.retain(|(key, _)| (*key).cmp(last.as_str()) == ahead);
        }
        if self.reverse {
            items.reverse();
        }
        let more = items.len() as u64 > self.limit;
        items.truncate(self.limit as usize);
        let items: Vec<Json> =
            items.into_iter().map(|(key, record)| record.json(key, !self.keys_only)).collect();
        let mut body = json!({"revision": view.at(), "count": items.len(), "items": items});
        if more {
            body["next"] = json!(ANYTHING);
        }
        Expected { status: 200, body, changes: Vec::new() }
    }
}

/// A transaction under way: it sees its own writes.
struct Draft<'t> {
    view: View<'t>,
    writes: BTreeMap<String, Option<Record>>,
    changes: Vec<Change>,
}

impl<'t> Draft<'t> {
    fn new(view: View<'t>) -> Draft<'t> {
        Draft { view, writes: BTreeMap::new(), changes: Vec::new() }
    }

    /// The revision that the answer tells.
    fn revision(&self) -> u64 {
        self.view.at() + u64::from(!self.changes.is_empty())
    }

    fn done(&self, status: u16, body: Json) -> Expected {
        Expected { status, body, changes: self.changes.clone() }
    }

    fn range(&self, bounds: &Bounds) -> Vec<(String, Record)> {
        let mut all: BTreeMap<String, Record> = self
            .view
            .range(bounds)
            .into_iter()
            .map(|(key, record)| (key.to_owned(), record.clone()))
            .collect();
        for (key, record) in self.writes.iter().filter(|(key, _)| bounds.contains(key)) {
            match record {
                Some(record) => all.insert(key.clone(), record.clone()),
                None => all.remove(key),
            };
        }
        all.into_iter().collect()
    }

    fn write(&mut self, key: &str, now: Option<Record>) {
        self.writes.insert(key.to_owned(), now.clone());
        self.changes.push(Change { key: key.to_owned(), now });
    }

    fn put(&mut self, key: &str, value: &str, attach: Attach) -> Record {
        let old = self.range(&Bounds::One(key.to_owned())).pop().map(|(_, record)| record);
        let revision = self.view.at() + 1;
        let new = Record {
            value: value.to_owned(),
            created: old.as_ref().map_or(revision, |old| old.created),
            modified: revision,
            version: old.map_or(0, |old| old.version) + 1,
            lease: match attach {
                Attach::Nothing => 0,
                Attach::Lease(id) => id,
                Attach::Ttl(_) => SOME_LEASE,
            },
        };
        self.write(key, Some(new.clone()));
        new
    }

    fn delete(&mut self, bounds: &Bounds) -> Vec<(String, Record)> {
        let gone = self.range(bounds);
        for (key, _) in &gone {
            self.write(key, None);
        }
        gone
    }

    fn keys_of(&self, lease: u64) -> Vec<String> {
        let all = self.range(&Bounds::Prefix(String::new()));
        all.into_iter().filter(|(_, r)| r.lease == lease).map(|(key, _)| key).collect()
    }

    fn whole_txn(&mut self, txn: &Txn) -> Expected {
        let (succeeded, steps) = self.txn(txn);
        let revision = self.revision();
        let body = json!({"succeeded": succeeded, "revision": revision, "results": steps});
        if !succeeded && txn.otherwise.is_empty() {
            let mut body = body;
            body["code"] = json!("precondition_failed");
            return self.done(412, body);
        }
        self.done(200, body)
    }

    /// All guards are judged on the state before the first write.
    fn txn(&mut self, txn: &Txn) -> (bool, Vec<Json>) {
        let succeeded = txn.guards.iter().all(|guard| guard.holds(self.view));
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        (succeeded, ops.iter().map(|op| self.op(op)).collect())
    }

    fn op(&mut self, op: &Op) -> Json {
        let records = |items: &[(String, Record)], values: bool| {
            items.iter().map(|(key, record)| record.json(key, values)).collect::<Vec<Json>>()
        };
        match op {
            Op::Put { key, value, attach, previous } => {
                let old = self.range(&Bounds::One(key.clone())).pop();
                let new = self.put(key, value, *attach);
                let mut put = json!({
                    "key": key,
                    "create_revision": new.created,
                    "mod_revision": new.modified,
                    "version": new.version,
                });
                if let Some((key, old)) = old.filter(|_| *previous) {
                    put["previous"] = old.json(&key, true);
                }
                json!({ "put": put })
            }
            Op::Delete { bounds, previous } => {
                let gone = self.delete(bounds);
                let mut delete = json!({"deleted": gone.len()});
                if *previous && !gone.is_empty() {
                    delete["previous"] = Json::Array(records(&gone, true));
                }
                json!({ "delete": delete })
            }
            Op::Get { bounds, limit, reverse, keys_only } => {
                let mut items = self.range(bounds);
                if *reverse {
                    items.reverse();
                }
                let more = items.len() as u64 > *limit;
                items.truncate(*limit as usize);
                json!({"get": {"items": records(&items, !keys_only), "more": more}})
            }
            Op::Count { bounds } => json!({"get": {"count": self.range(bounds).len()}}),
            Op::Txn(txn) => {
                let (succeeded, results) = self.txn(txn);
                json!({"txn": {"succeeded": succeeded, "results": results}})
            }
        }
    }
}
