//! What etcd 3.5.1 answers, measured, one test per fact.

use crate::shorthand::{
    Store, ask, between, bytes, changed, command, delete, guard, one, put, put_op, range, then,
};
use bytes::Bytes;
use kvorum_core::kv::{
    self, Body, Command, CommandError, Compare, Delete, Guard, KeyRange, Kind, MAX_ETCD_TXN_OPS,
    Op, OpReply, Put, Query, Target, Txn, TxnError,
};

#[test]
fn the_empty_store_is_at_revision_1_and_the_first_put_makes_2() {
    let mut store = Store::default();
    assert_eq!(store.revision(), 1);
    assert_eq!(kv::digest(&store.0), Ok(0));
    assert_eq!(store.put("a", "1"), 2);
}

#[test]
fn a_missing_key_is_an_empty_answer() {
    let reply = Store::default().ask(&ask(one("a"), 0)).unwrap();
    assert_eq!((reply.revision, reply.items.len(), reply.count, reply.more), (1, 0, 0, false));
}

#[test]
fn deleting_nothing_does_not_bump_the_revision() {
    let mut store = Store::default();
    assert_eq!(store.delete("a"), 1);
    let reply = store.op(delete(one("a")));
    assert_eq!(reply, OpReply::Delete { deleted: 0, previous: vec![] });
}

#[test]
fn putting_the_same_value_again_bumps_the_revision() {
    let mut store = Store::default();
    store.put("a", "1");
    assert_eq!(store.put("a", "1"), 3);
    let item = store.get("a").unwrap();
    assert_eq!((item.create_revision, item.mod_revision, item.version), (2, 3, 2));
}

#[test]
fn transactions_that_only_read_or_do_nothing_do_not_bump() {
    let mut store = Store::default();
    assert_eq!(store.txn(Txn::default()).revision, 1);
    assert_eq!(store.txn(then(vec![range(one("a"))])).revision, 1);
}

#[test]
fn a_failed_guard_without_writes_does_not_bump() {
    let mut store = Store::default();
    let guards = vec![guard("a", Compare::Greater, Target::Version(0))];
    let reply = store.txn(Txn { guards, then: vec![put("a", "1")], otherwise: vec![] });
    assert_eq!(reply.revision, 1);
    assert!(!reply.result.unwrap().succeeded);
}

#[test]
fn a_failed_guard_lets_the_caller_learn_what_is_there() {
    let mut store = Store::default();
    store.put("a", "there");
    let guards = vec![guard("a", Compare::Equal, Target::Create(0))];
    let otherwise = vec![range(one("a"))];
    let reply = store.txn(Txn { guards, then: vec![put("a", "new")], otherwise });
    let OpReply::Range(found) = &reply.result.unwrap().results[0] else { panic!() };
    assert_eq!((&found.items[0].value[..], found.items[0].mod_revision), (&b"there"[..], 2));
}

#[test]
fn all_keys_of_a_transaction_and_of_a_range_delete_share_one_revision() {
    let mut store = Store::default();
    store.txn(then(vec![put("a", "1"), put("b", "2"), put("c", "3")]));
    assert_eq!(store.revision(), 2);
    for key in ["a", "b", "c"] {
        assert_eq!(store.get(key).unwrap().mod_revision, 2);
    }
    let OpReply::Delete { deleted, previous } = store.op(delete(between("a", "c"))) else {
        panic!()
    };
    assert_eq!((deleted, previous.len(), store.revision()), (2, 2, 3));
    let changes = changed(&store.0, (3, 0), 10).unwrap();
    let positions: Vec<_> = changes.iter().map(|change| (change.revision, change.sub)).collect();
    assert_eq!(positions, [(3, 0), (3, 1)]);
}

#[test]
fn the_version_starts_again_after_a_deletion() {
    let mut store = Store::default();
    store.put("a", "1");
    store.put("a", "2");
    assert_eq!(store.get("a").unwrap().version, 2);
    store.delete("a");
    store.put("a", "3");
    let item = store.get("a").unwrap();
    assert_eq!((item.version, item.create_revision), (1, 5));
}

#[test]
fn reads_of_the_past_see_what_was_there() {
    let mut store = Store::default();
    store.put("a", "1");
    store.put("b", "2");
    store.delete("a");
    store.put("a", "3");
    let past: Vec<_> = (1..=5).map(|revision| store.at(revision).unwrap()).collect();
    assert_eq!(past, ["", "a=1", "a=1 b=2", "b=2", "a=3 b=2"]);
}

#[test]
fn a_revision_in_the_future_is_refused_alone_and_in_a_transaction() {
    let mut store = Store::default();
    store.put("a", "1");
    let future = ask(one("a"), 3);
    assert_eq!(store.ask(&future), Err(CommandError::FutureRevision));
    // Although the put makes revision 3: judged before the first write.
    let reply = store.txn(then(vec![put("a", "2"), Op::Range(future)]));
    assert_eq!(reply.result, Err(CommandError::FutureRevision));
    assert_eq!(store.get("a").unwrap().value, "1");
}

/// etcd#18667: a compacted read within a transaction refuses it as a whole.
#[test]
fn a_compacted_revision_is_refused_alone_and_in_a_transaction() {
    let mut store = Store::default();
    store.put("a", "1");
    store.put("a", "2");
    store.compact(3).unwrap();
    let compacted = CommandError::Compacted { oldest: 3 };
    assert_eq!(store.ask(&ask(one("a"), 2)), Err(compacted));
    let reply = store.txn(then(vec![put("b", "1"), Op::Range(ask(one("a"), 2))]));
    assert_eq!(reply.result, Err(compacted));
    assert!(store.get("b").is_none());
    assert_eq!(store.at(3).unwrap(), "a=2");
}

#[test]
fn an_empty_key_is_refused_everywhere() {
    let mut store = Store::default();
    let nested = Op::Txn(then(vec![put("", "1")]));
    for op in [put("", "1"), delete(one("")), range(one("")), nested] {
        let txn = then(vec![op]);
        assert_eq!(txn.check(10), Err(TxnError::EmptyKey));
        assert_eq!(store.txn(txn).result, Err(CommandError::EmptyKey));
    }
    let guards = vec![guard("", Compare::Equal, Target::Version(0))];
    assert_eq!(store.txn(Txn { guards, ..Txn::default() }).result, Err(CommandError::EmptyKey));
    assert_eq!(store.ask(&ask(one(""), 0)), Err(CommandError::EmptyKey));
}

#[test]
fn a_key_written_twice_is_refused_before_and_when_applied() {
    let nested =
        |then_ops, else_ops| Op::Txn(Txn { guards: vec![], then: then_ops, otherwise: else_ops });
    let refused = [
        vec![put("a", "1"), put("a", "2")],
        vec![put("a", "1"), delete(one("a"))],
        vec![delete(one("a")), put("a", "1")],
        vec![delete(between("a", "c")), put("b", "1")],
        vec![delete(KeyRange::all()), put("b", "1")],
        vec![put("a", "1"), nested(vec![], vec![put("a", "1")])],
        vec![nested(vec![put("a", "1")], vec![]), nested(vec![], vec![put("a", "1")])],
        vec![nested(vec![delete(between("a", "b"))], vec![]), put("a", "1")],
    ];
    let allowed = [
        vec![put("a", "1"), put("b", "2")],
        vec![delete(one("a")), delete(between("a", "c"))],
        vec![delete(between("a", "b")), put("b", "1")],
        vec![delete(between("b", "a")), put("a", "1")],
        vec![nested(vec![put("a", "1")], vec![put("a", "2")])],
        vec![nested(vec![put("a", "1")], vec![delete(one("a"))])],
        vec![put("a", "1"), range(one("a"))],
    ];
    for ops in refused {
        for txn in [then(ops.clone()), Txn { otherwise: ops, ..Txn::default() }] {
            assert_eq!(txn.check(10), Err(TxnError::DuplicateKey), "{txn:?}");
            let reply = Store::default().txn(txn);
            assert_eq!(reply.result, Err(CommandError::DuplicateKey));
        }
    }
    for ops in allowed {
        let txn = then(ops.clone());
        assert_eq!(txn.check(10), Ok(()), "{txn:?}");
        assert!(Store::default().txn(txn).result.is_ok());
        let both = Txn { guards: vec![], then: ops.clone(), otherwise: ops };
        assert_eq!(both.check(10), Ok(()), "alternatives do not conflict: {both:?}");
    }
}

#[test]
fn more_operations_than_allowed_are_refused_before_proposing() {
    let puts = |count: usize| (0..count).map(|n| put(&format!("k{n}"), "")).collect::<Vec<_>>();
    assert_eq!(then(puts(MAX_ETCD_TXN_OPS)).check(MAX_ETCD_TXN_OPS), Ok(()));
    let too_many = Err(TxnError::TooManyOps);
    assert_eq!(then(puts(MAX_ETCD_TXN_OPS + 1)).check(MAX_ETCD_TXN_OPS), too_many);
    // The branches are counted like etcd does: the longer one.
    let both = Txn { guards: vec![], then: puts(4), otherwise: puts(4) };
    assert_eq!(both.check(4), Ok(()));
    assert_eq!(Txn { otherwise: puts(5), ..Txn::default() }.check(4), too_many);
    let guards = vec![guard("a", Compare::Equal, Target::Version(0)); 5];
    assert_eq!(Txn { guards, ..Txn::default() }.check(4), too_many);
    assert_eq!(then(vec![Op::Txn(then(puts(4)))]).check(4), too_many);
    assert_eq!(then(vec![Op::Txn(then(puts(4)))]).check(5), Ok(()));
}

#[test]
fn an_unknown_lease_is_refused() {
    let mut store = Store::default();
    let reply = store.txn(then(vec![put("a", "1"), put_op("b", "1", 7, false)]));
    assert_eq!(reply.result, Err(CommandError::LeaseNotFound));
    assert!(store.get("a").is_none());
    // Only on the branch taken.
    let otherwise = vec![put_op("b", "1", 7, false)];
    assert!(store.txn(Txn { otherwise, ..Txn::default() }).result.is_ok());
}

#[test]
fn a_range_after_a_put_sees_the_put_at_the_new_revision() {
    let mut store = Store::default();
    let reply = store.txn(then(vec![range(one("a")), put("a", "1"), range(one("a"))]));
    let results = reply.result.unwrap().results;
    let OpReply::Range(before) = &results[0] else { panic!() };
    let OpReply::Range(after) = &results[2] else { panic!() };
    assert_eq!((before.revision, before.items.len()), (1, 0));
    assert_eq!((after.revision, after.items.len(), after.items[0].mod_revision), (2, 1, 2));
}

#[test]
fn a_range_at_the_revision_before_sees_the_store_before_the_transaction() {
    let mut store = Store::default();
    store.put("a", "old");
    let before = Op::Range(ask(KeyRange::all(), 2));
    let reply = store.txn(then(vec![put("a", "new"), put("b", "new"), before]));
    let OpReply::Range(found) = &reply.result.unwrap().results[2] else { panic!() };
    assert_eq!((found.items.len(), &found.items[0].value[..]), (1, &b"old"[..]));
}

#[test]
fn guards_within_are_judged_before_the_first_write() {
    let mut store = Store::default();
    let exists = vec![guard("a", Compare::Greater, Target::Create(0))];
    let inner = Txn { guards: exists, then: vec![put("b", "yes")], otherwise: vec![] };
    let reply = store.txn(then(vec![put("a", "1"), Op::Txn(inner)]));
    let OpReply::Txn(inner) = &reply.result.unwrap().results[1] else { panic!() };
    assert!(!inner.succeeded);
}

#[test]
fn the_count_ignores_the_limit_and_more_says_that_it_cut() {
    let mut store = Store::default();
    store.txn(then(vec![put("a", "1"), put("b", "2"), put("c", "3")]));
    store.delete("c");
    for (revision, count) in [(0, 2u64), (2, 3)] {
        let query =
            |limit, descending| Query { limit, descending, ..ask(KeyRange::all(), revision) };
        let cut = store.ask(&query(1, false)).unwrap();
        assert_eq!((cut.items.len(), cut.count, cut.more), (1, count, true));
        assert_eq!(cut.items[0].key, "a");
        let whole = store.ask(&query(count, false)).unwrap();
        assert_eq!((whole.items.len() as u64, whole.count, whole.more), (count, count, false));
        let last = store.ask(&query(1, true)).unwrap();
        assert_eq!(last.items[0].key, if revision == 2 { "c" } else { "b" });
        let counted = Query { count_only: true, ..query(1, false) };
        let counted = store.ask(&counted).unwrap();
        assert_eq!((counted.items.len(), counted.count, counted.more), (0, count, false));
        let keys = store.ask(&Query { keys_only: true, ..query(0, false) }).unwrap();
        assert!(keys.items.iter().all(|item| item.value.is_empty() && item.version == 1));
    }
}

#[test]
fn a_range_whose_end_lies_before_its_start_is_empty() {
    let mut store = Store::default();
    store.put("b", "1");
    for revision in [0, 2] {
        for range in [between("c", "a"), between("b", "b")] {
            assert_eq!(store.ask(&ask(range, revision)).unwrap().count, 0);
        }
    }
    assert_eq!(
        store.op(delete(between("c", "a"))),
        OpReply::Delete { deleted: 0, previous: vec![] }
    );
}

#[test]
fn a_missing_key_is_judged_on_zeros_and_its_value_equals_nothing() {
    let mut store = Store::default();
    store.put("there", "");
    let holds = |store: &mut Store, range: KeyRange, compare, target| {
        let guards = vec![Guard { range, compare, target }];
        store.txn(Txn { guards, ..Txn::default() }).result.unwrap().succeeded
    };
    for missing in [one("missing"), KeyRange::prefix(bytes("missing"))] {
        let zeros = [Target::Version(0), Target::Create(0), Target::Mod(0), Target::Lease(0)];
        for target in zeros {
            assert!(holds(&mut store, missing.clone(), Compare::Equal, target.clone()));
            assert!(!holds(&mut store, missing.clone(), Compare::Greater, target.clone()));
            assert!(!holds(&mut store, missing.clone(), Compare::NotEqual, target));
        }
        for compare in [Compare::Equal, Compare::NotEqual, Compare::Less, Compare::Greater] {
            assert!(!holds(&mut store, missing.clone(), compare, Target::Value(Bytes::new())));
        }
    }
    let empty = Target::Value(Bytes::new());
    assert!(holds(&mut store, one("there"), Compare::Equal, empty));
}

#[test]
fn a_guard_over_a_range_holds_when_it_holds_for_every_key() {
    let mut store = Store::default();
    store.txn(then(vec![put("a", "1"), put("b", "1")]));
    store.put("b", "2");
    let mut holds = |target: Target| {
        let guards = vec![Guard { range: between("a", "c"), compare: Compare::Equal, target }];
        store.txn(Txn { guards, ..Txn::default() }).result.unwrap().succeeded
    };
    assert!(holds(Target::Create(2)));
    assert!(!holds(Target::Version(1)));
    assert!(!holds(Target::Version(2)));
    assert!(holds(Target::Lease(0)));
}

#[test]
fn values_compare_as_bytes_whatever_their_kind() {
    let mut store = Store::default();
    store.txn(then(vec![Op::Put(Put { kind: Kind::Json, ..Put::new(bytes("a"), bytes("10")) })]));
    let guards = vec![
        guard("a", Compare::Less, Target::Value(bytes("9"))),
        guard("a", Compare::Equal, Target::Value(bytes("10"))),
        guard("a", Compare::Greater, Target::Value(bytes("1"))),
    ];
    assert!(store.txn(Txn { guards, ..Txn::default() }).result.unwrap().succeeded);
    assert_eq!(store.get("a").unwrap().kind, Kind::Json);
}

#[test]
fn previous_versions_come_only_when_asked_for() {
    let mut store = Store::default();
    store.put("a", "1");
    for (previous, expected) in [(true, Some("1")), (false, None)] {
        let OpReply::Put { previous, version, create_revision } =
            store.op(put_op("a", "1", 0, previous))
        else {
            panic!()
        };
        assert_eq!(previous.map(|item| item.value), expected.map(bytes));
        assert!(version >= 2 && create_revision == 2);
    }
    let quiet = Op::Delete(Delete { range: one("a"), previous: false });
    assert_eq!(store.op(quiet), OpReply::Delete { deleted: 1, previous: vec![] });
}

#[test]
fn the_clock_never_goes_back() {
    let mut store = Store::default();
    for (time_ms, expected) in [(5, 5), (3, 5), (9, 9)] {
        store.apply(&Command { time_ms, ..command(Body::Txn(Txn::default())) });
        assert_eq!(kv::clock_ms(&store.0), Ok(expected));
    }
    // A refused command does not move it.
    store.apply(&Command { time_ms: 20, ..command(Body::Compact { revision: 99 }) });
    assert_eq!(kv::clock_ms(&store.0), Ok(9));
}

#[test]
fn a_change_names_who_made_it_and_what_was_before() {
    let mut store = Store::default();
    store.put("a", "1");
    let txn = Body::Txn(then(vec![put("a", "2"), put("b", "1")]));
    store.apply(&Command { principal: bytes("ada"), ..command(txn) });
    let changes = changed(&store.0, (3, 0), 10).unwrap();
    assert_eq!(changes.len(), 2);
    assert!(changes.iter().all(|change| change.principal == "ada"));
    assert_eq!(changes[0].before.as_ref().unwrap().value, "1");
    assert_eq!(changes[0].now.as_ref().unwrap().value, "2");
    assert_eq!(changes[1].before, None);
    // In pieces, without gap or repeat.
    let first = changed(&store.0, (0, 0), 2).unwrap();
    let last = first.last().unwrap();
    let rest = changed(&store.0, (last.revision, last.sub + 1), 2).unwrap();
    assert_eq!([first, rest].concat(), changed(&store.0, (0, 0), 9).unwrap());
}

#[test]
fn without_counting_a_scan_ends_one_key_after_its_bound() {
    let mut store = Store::default();
    for key in ["a", "b", "c", "d"] {
        store.put(key, "1234");
    }
    for revision in [0, 4] {
        let scan = |limit, max_bytes| Query {
            limit,
            max_bytes,
            count: false,
            ..ask(KeyRange::all(), revision)
        };
        let all = if revision == 0 { 4 } else { 3 };
        // (limit, byte limit) → (items, more)
        for (limit, max_bytes, items, more) in [
            (2, 0, 2, true),
            (all, 0, all, false),
            (0, 1, 1, true),
            (0, 10, 2, true),
            (0, 14, 2, true),
            (1, 14, 1, true),
            (0, 5 * all, all, false),
        ] {
            let reply = store.ask(&scan(limit, max_bytes)).unwrap();
            let found = (reply.items.len() as u64, reply.count, reply.more);
            assert_eq!(found, (items, items, more), "{revision} {limit} {max_bytes}");
        }
    }
}
