//! Short ways to say commands and questions.

use bytes::Bytes;
use kvorum_core::kv::{
    self, Body, Change, Command, CommandError, Compare, Delete, Guard, KeyRange, KeyValue,
    MemoryTables, Op, OpReply, Put, Query, QueryReply, Reply, Tables, Target, Txn,
};

pub fn bytes(text: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(text.as_ref())
}

pub fn one(key: &str) -> KeyRange {
    KeyRange::One(bytes(key))
}

pub fn between(start: &str, end: &str) -> KeyRange {
    KeyRange::Between { start: bytes(start), end: Some(bytes(end)) }
}

pub fn put(key: &str, value: &str) -> Op {
    put_op(key, value, 0, false)
}

pub fn put_op(key: &str, value: &str, lease: u64, previous: bool) -> Op {
    Op::Put(Put { lease, previous, ..Put::new(bytes(key), bytes(value)) })
}

pub fn delete(range: KeyRange) -> Op {
    Op::Delete(Delete { range, previous: true })
}

pub fn range(range: KeyRange) -> Op {
    Op::Range(ask(range, 0))
}

/// With the count.
pub fn ask(range: KeyRange, revision: u64) -> Query {
    Query { revision, count: true, ..Query::of(range) }
}

pub fn guard(key: &str, compare: Compare, target: Target) -> Guard {
    Guard { range: one(key), compare, target }
}

pub fn then(ops: Vec<Op>) -> Txn {
    Txn { then: ops, ..Txn::default() }
}

pub fn command(body: Body) -> Command {
    Command::new(body)
}

/// At most `limit` changes from a position on.
pub fn changed(
    tables: &dyn Tables,
    from: (u64, u32),
    limit: usize,
) -> Result<Vec<Change>, CommandError> {
    kv::changes(tables, from, limit).unwrap()
}

/// A store with short ways to use it.
#[derive(Default, Clone, PartialEq, Debug)]
pub struct Store(pub MemoryTables);

impl Store {
    pub fn apply(&mut self, command: &Command) -> Reply {
        let before = self.0.clone();
        let reply = kv::apply(&mut self.0, command).unwrap();
        assert_eq!(kv::digest(&self.0), kv::digest::recompute(&self.0));
        assert!(reply.replayed || Ok(reply.revision) == kv::revision(&self.0));
        assert!(reply.result.is_ok() || self.0 == before, "an error changes nothing");
        reply
    }

    pub fn txn(&mut self, txn: Txn) -> Reply {
        self.apply(&command(Body::Txn(txn)))
    }

    /// One op that must succeed.
    pub fn op(&mut self, op: Op) -> OpReply {
        self.txn(then(vec![op])).result.unwrap().results.remove(0)
    }

    pub fn put(&mut self, key: &str, value: &str) -> u64 {
        self.txn(then(vec![put(key, value)])).revision
    }

    pub fn delete(&mut self, key: &str) -> u64 {
        self.txn(then(vec![delete(one(key))])).revision
    }

    pub fn compact(&mut self, revision: u64) -> Result<(), CommandError> {
        self.apply(&command(Body::Compact { revision })).result.map(|_| ())
    }

    pub fn revision(&self) -> u64 {
        kv::revision(&self.0).unwrap()
    }

    pub fn ask(&self, query: &Query) -> Result<QueryReply, CommandError> {
        kv::query(&self.0, query).unwrap()
    }

    pub fn get(&self, key: &str) -> Option<KeyValue> {
        self.ask(&ask(one(key), 0)).unwrap().items.pop()
    }

    /// `key=value` of every key, as of a revision.
    pub fn at(&self, revision: u64) -> Result<String, CommandError> {
        let reply = self.ask(&ask(KeyRange::all(), revision))?;
        let show =
            |item: &KeyValue| format!("{}={}", item.key.escape_ascii(), item.value.escape_ascii());
        Ok(reply.items.iter().map(show).collect::<Vec<_>>().join(" "))
    }
}

/// Every row, to look at behind the API.
pub fn rows(tables: &dyn Tables, table: kv::Table) -> Vec<(Bytes, Bytes)> {
    let mut rows = Vec::new();
    tables
        .scan(table, &[], None, kv::Order::Ascending, &mut |key, value| {
            rows.push((bytes(key), value.clone()));
            true
        })
        .unwrap();
    rows
}
