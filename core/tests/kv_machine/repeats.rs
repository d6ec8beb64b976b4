//! Idempotency keys: a request takes effect once.

use crate::shorthand::{Store, bytes, command, delete, one, put, put_op, then};
use kvorum_core::kv::{
    self, Body, Command, CommandError, Idempotency, MemoryTables, Op, OpReply, Table, Tables, Txn,
    repeats::{MIN_AGE_MS, MIN_REPLIES},
};

fn keyed(key: &str, fingerprint: u64, time_ms: u64, ops: Vec<Op>) -> Command {
    let idempotency = Some(Idempotency { key: bytes(key), fingerprint });
    Command { time_ms, idempotency, ..command(Body::Txn(then(ops))) }
}

#[test]
fn a_repeat_gets_the_stored_reply_and_changes_nothing() {
    let mut store = Store::default();
    store.put("a", "0");
    let request = keyed("k", 1, 5, vec![put_op("a", "1", 0, true)]);
    let first = store.apply(&request);
    store.put("a", "2");
    let before = store.clone();
    let repeat = store.apply(&Command { time_ms: 99, ..request });
    assert!(repeat.replayed && !first.replayed);
    assert_eq!((repeat.revision, &repeat.result), (first.revision, &first.result));
    let OpReply::Put { previous, .. } = &repeat.result.unwrap().results[0] else { panic!() };
    assert_eq!(previous.as_ref().unwrap().value, "0");
    assert_eq!(store, before);
}

#[test]
fn another_request_under_the_same_key_is_refused() {
    let mut store = Store::default();
    store.apply(&keyed("k", 1, 5, vec![put("a", "1")]));
    let reply = store.apply(&keyed("k", 2, 5, vec![put("a", "2")]));
    assert_eq!(reply.result, Err(CommandError::IdempotencyMismatch));
    assert_eq!(store.get("a").unwrap().value, "1");
}

#[test]
fn a_refused_request_is_judged_anew() {
    let mut store = Store::default();
    let request = keyed("k", 1, 5, vec![Op::Range(crate::shorthand::ask(one("a"), 3))]);
    assert_eq!(store.apply(&request).result, Err(CommandError::FutureRevision));
    store.put("a", "1");
    store.put("a", "2");
    assert!(store.apply(&request).result.is_ok());
}

#[test]
fn a_request_without_effect_is_stored_too() {
    let mut store = Store::default();
    let request = keyed("k", 1, 5, vec![delete(one("a"))]);
    store.apply(&request);
    store.put("a", "1");
    let OpReply::Delete { deleted, .. } = store.apply(&request).result.unwrap().results[0] else {
        panic!()
    };
    assert_eq!(deleted, 0);
    assert!(store.get("a").is_some());
}

/// Replies stay while they are young, and while there are few; both must be exceeded.
#[test]
fn replies_go_when_they_are_both_old_and_many() {
    let mut tables = MemoryTables::default();
    let request = |number: u64, time| keyed(&number.to_string(), 1, time, vec![]);
    let replayed = |tables: &mut MemoryTables, number| {
        // On a copy: a request that is not known would be stored.
        kv::apply(&mut tables.clone(), &request(number, 0)).unwrap().replayed
    };
    for number in 0..MIN_REPLIES {
        kv::apply(&mut tables, &request(number, 1)).unwrap();
    }
    let empty = |time_ms| Command { time_ms, ..command(Body::Txn(Txn::default())) };
    kv::apply(&mut tables, &empty(MIN_AGE_MS * 2)).unwrap();
    assert!(replayed(&mut tables, 0), "old, but not more than must be kept");
    kv::apply(&mut tables, &request(MIN_REPLIES, MIN_AGE_MS * 2)).unwrap();
    assert!(!replayed(&mut tables, 0), "old, and one too many");
    assert!(replayed(&mut tables, 1));
    assert_eq!(tables.len(Table::Dedup) as u64, 2 * MIN_REPLIES);

    let mut young = MemoryTables::default();
    for number in 0..MIN_REPLIES + 10 {
        kv::apply(&mut young, &request(number, 1)).unwrap();
    }
    kv::apply(&mut young, &empty(MIN_AGE_MS)).unwrap();
    assert!(replayed(&mut young, 0), "many, but not old");
    assert_eq!(young.len(Table::Dedup) as u64, 2 * (MIN_REPLIES + 10));
    for _ in 0..5 {
        kv::apply(&mut young, &empty(MIN_AGE_MS + 1)).unwrap();
    }
    assert_eq!(young.len(Table::Dedup) as u64, 2 * MIN_REPLIES);
    assert_eq!(kv::digest(&young), kv::digest::recompute(&young as &dyn Tables));
}
