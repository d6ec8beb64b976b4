//! What commands and queries cost, in look-ups, scans and rows written.

use crate::shorthand::{ask, command, delete, one, put, then};
use bytes::Bytes;
use kvorum_core::kv::{
    self, Body, Idempotency, KeyRange, MemoryTables, Op, Order, Query, Table, TableFailure, Tables,
};
use std::cell::RefCell;

/// Counts what is done to the tables.
#[derive(Default)]
pub struct Counted {
    tables: MemoryTables,
    done: RefCell<Vec<(&'static str, Table)>>,
    visited: RefCell<u64>,
}

impl Counted {
    pub fn new(tables: MemoryTables) -> Counted {
        Counted { tables, ..Counted::default() }
    }

    /// How many rows scans have visited.
    pub fn visited(&self) -> u64 {
        *self.visited.borrow()
    }

    fn note(&self, what: &'static str, table: Table) {
        self.done.borrow_mut().push((what, table));
    }

    /// What was done since the last call.
    fn done(&self) -> Vec<(&'static str, Table)> {
        self.visited.take();
        let mut done = self.done.take();
        done.sort();
        done
    }

    fn apply(&mut self, op: Op) -> Vec<(&'static str, Table)> {
        self.done();
        kv::apply(self, &command(Body::Txn(then(vec![op])))).unwrap().result.unwrap();
        self.done()
    }
}

impl Tables for Counted {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, TableFailure> {
        self.note("get", table);
        self.tables.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        order: Order,
        visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) -> Result<(), TableFailure> {
        self.note("scan", table);
        self.tables.scan(table, start, end, order, &mut |key, value| {
            *self.visited.borrow_mut() += 1;
            visit(key, value)
        })
    }

    fn put(&mut self, table: Table, key: &[u8], value: Bytes) {
        self.note("put", table);
        self.tables.put(table, key, value);
    }

    fn delete(&mut self, table: Table, key: &[u8]) {
        self.note("delete", table);
        self.tables.delete(table, key);
    }
}

use Table::{Dedup, History, Latest, Meta, Revisions};

#[test]
fn a_put_of_one_key_is_one_lookup_and_three_or_four_rows() {
    let mut tables = Counted::default();
    let new = [("get", Meta), ("get", Latest), ("put", Meta), ("put", Latest), ("put", Revisions)];
    assert_eq!(tables.apply(put("a", "1")), new);
    let overwrite = [
        ("get", Meta),
        ("get", Latest),
        ("put", Meta),
        ("put", Latest),
        ("put", History),
        ("put", Revisions),
    ];
    assert_eq!(tables.apply(put("a", "2")), overwrite);
}

#[test]
fn a_delete_of_one_key_is_one_lookup_and_four_rows() {
    let mut tables = Counted::default();
    tables.apply(put("a", "1"));
    let expected = [
        ("delete", Latest),
        ("get", Meta),
        ("get", Latest),
        ("put", Meta),
        ("put", History),
        ("put", History),
        ("put", Revisions),
    ];
    assert_eq!(tables.apply(delete(one("a"))), expected);
    assert_eq!(tables.apply(delete(one("a"))), [("get", Meta), ("get", Latest)]);
}

#[test]
fn an_idempotency_key_adds_one_lookup_and_two_rows() {
    let mut tables = Counted::default();
    tables.apply(put("a", "1"));
    let idempotency = Some(Idempotency { key: Bytes::from_static(b"k"), fingerprint: 1 });
    let request = kv::Command { idempotency, ..command(Body::Txn(then(vec![put("b", "1")]))) };
    kv::apply(&mut tables, &request).unwrap();
    let of_dedup: Vec<_> = tables.done().into_iter().filter(|done| done.1 == Dedup).collect();
    assert_eq!(of_dedup, [("get", Dedup), ("put", Dedup), ("put", Dedup)]);
}

#[test]
fn a_read_of_one_key_is_one_lookup_and_one_of_its_past_one_row_more() {
    let mut tables = Counted::default();
    for _ in 0..50 {
        tables.apply(put("a", "1"));
    }
    tables.done();
    kv::query(&tables, &ask(one("a"), 0)).unwrap().unwrap();
    assert_eq!(tables.done(), [("get", Meta), ("get", Latest)]);
    kv::query(&tables, &ask(one("a"), 25)).unwrap().unwrap();
    assert_eq!(tables.visited(), 1);
    assert_eq!(tables.done(), [("get", Meta), ("get", Latest), ("scan", History)]);
}

#[test]
fn a_range_now_visits_its_keys_and_none_of_their_past() {
    let mut tables = Counted::default();
    for round in 0..50 {
        tables.apply(put(&format!("k{}", round % 5), "1"));
    }
    tables.done();
    let query = Query { limit: 2, ..ask(KeyRange::prefix(Bytes::from_static(b"k")), 0) };
    kv::query(&tables, &query).unwrap().unwrap();
    assert_eq!(tables.visited(), 5, "the count needs every key, once");
    assert_eq!(tables.done(), [("get", Meta), ("scan", Latest)]);
    kv::query(&tables, &Query { count: false, ..query }).unwrap().unwrap();
    assert_eq!(tables.visited(), 3, "one more than wanted, to know that there is one");
    assert_eq!(tables.done(), [("get", Meta), ("scan", Latest)]);
}
