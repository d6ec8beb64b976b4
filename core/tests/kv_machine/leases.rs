//! Leases, locks and fences: what holders and waiters rely on.

use crate::shorthand::{Store, bytes, command, delete, guard, one, put, put_op, range, rows, then};
use kvorum_core::kv::{
    self, Body, Command, CommandError, Compare, Fence, KeyRange, Op, OpReply, Put, Reply, Table,
    Target, Txn,
    lease::{GRANTED, MAX_LEASE, MAX_TTL_MS, MIN_TTL_MS},
};

fn grant(id: u64, ttl_ms: u64) -> Op {
    Op::Grant { id, ttl_ms }
}

fn at(time_ms: u64, body: Body) -> Command {
    Command { time_ms, ..command(body) }
}

fn expire(time_ms: u64, leases: &[u64]) -> Command {
    at(time_ms, Body::Expire { leases: leases.to_vec() })
}

fn remaining(store: &Store, id: u64, now_ms: u64) -> Option<u64> {
    kv::lease(&store.0, id, now_ms, &[], 0).unwrap().ok().map(|lease| lease.remaining_ms)
}

fn keys(store: &Store, id: u64) -> Vec<String> {
    let lease = kv::lease(&store.0, id, 0, &[], 10).unwrap().unwrap();
    lease.keys.iter().map(|key| key.escape_ascii().to_string()).collect()
}

#[test]
fn a_ttl_below_the_minimum_is_granted_as_the_minimum_and_a_huge_one_refused() {
    let mut store = Store::default();
    for (asked, granted) in [(0, MIN_TTL_MS), (1, MIN_TTL_MS), (2000, 2000), (2001, 2001)] {
        let OpReply::Lease { ttl_ms, .. } = store.op(grant(0, asked)) else { panic!() };
        assert_eq!(ttl_ms, granted);
    }
    assert_eq!(store.op(grant(5, MAX_TTL_MS)), OpReply::Lease { id: 5, ttl_ms: MAX_TTL_MS });
    let reply = store.txn(then(vec![grant(6, MAX_TTL_MS + 1)]));
    assert_eq!(reply.result, Err(CommandError::LeaseTtlTooLarge));
    let reply = store.txn(then(vec![grant(MAX_LEASE + 1, 0)]));
    assert_eq!(reply.result, Err(CommandError::LeaseIdTooLarge));
    assert_eq!(store.revision(), 1, "leases are no keys");
}

#[test]
fn a_lease_id_that_is_taken_is_refused_and_derived_ones_are_free() {
    let mut store = Store::default();
    store.op(grant(7, 0));
    let again = store.txn(then(vec![grant(7, 0)]));
    assert_eq!(again.result, Err(CommandError::LeaseExists));
    // The id that is derived next, chosen by hand before and within the same transaction.
    let OpReply::Lease { id: next, .. } = store.clone().op(grant(0, 0)) else { panic!() };
    let reply = store.txn(then(vec![grant(next, 0), grant(0, 0)])).result.unwrap();
    let OpReply::Lease { id: derived, .. } = reply.results[1] else { panic!() };
    assert_ne!(derived, next);
    let OpReply::Lease { id: next, .. } = store.clone().op(grant(0, 0)) else { panic!() };
    let reply = store.txn(then(vec![grant(0, 0), grant(next, 0)]));
    assert_eq!(reply.result, Err(CommandError::LeaseExists));
}

#[test]
fn a_key_is_attached_moved_and_detached_by_puts_and_deletes() {
    let mut store = Store::default();
    store.txn(then(vec![grant(1, 0), grant(2, 0)]));
    store.op(put_op("a", "1", 1, false));
    store.op(put_op("b", "1", 1, false));
    assert_eq!(keys(&store, 1), ["a", "b"]);
    store.op(put_op("a", "2", 2, false));
    assert_eq!((keys(&store, 1), keys(&store, 2)), (vec!["b".into()], vec!["a".into()]));
    let kept = Put { keep_lease: true, ..Put::new(bytes("a"), bytes("3")) };
    store.op(Op::Put(kept));
    assert_eq!((store.get("a").unwrap().lease, keys(&store, 2).len()), (2, 1));
    store.put("a", "4");
    assert_eq!((store.get("a").unwrap().lease, keys(&store, 2).len()), (0, 0));
    store.delete("b");
    assert_eq!(keys(&store, 1).len(), 0);
    store.txn(then(vec![Op::Revoke { id: 1 }, Op::Revoke { id: 2 }]));
    assert_eq!(rows(&store.0, Table::Leases), []);
    assert_eq!(store.get("a").unwrap().value, "4");
}

/// etcd: one revision, whatever the number of keys; none when there are no keys.
#[test]
fn revoking_a_lease_with_keys_is_one_revision() {
    let mut store = Store::default();
    store.op(grant(1, 0));
    store.txn(then(vec![put_op("a", "", 1, false), put_op("b", "", 1, false), put("c", "")]));
    let before = store.revision();
    assert_eq!(store.op(Op::Revoke { id: 1 }), OpReply::Revoked { id: 1, deleted: 2 });
    assert_eq!(store.revision(), before + 1);
    assert_eq!(store.at(0).unwrap(), "c=");
    let changes = crate::shorthand::changed(&store.0, (before + 1, 0), 9).unwrap();
    let deleted: Vec<_> = changes.iter().map(|change| (&change.key[..], &change.now)).collect();
    assert_eq!(deleted, [(&b"a"[..], &None), (&b"b"[..], &None)]);
    store.op(grant(2, 0));
    store.op(Op::Revoke { id: 2 });
    assert_eq!(store.revision(), before + 1);
    for op in [Op::Revoke { id: 2 }, Op::KeepAlive { id: 2 }, put_op("a", "", 2, false)] {
        assert_eq!(store.txn(then(vec![op])).result, Err(CommandError::LeaseNotFound));
    }
}

#[test]
fn a_lease_expires_when_its_deadline_has_passed_and_not_before() {
    let mut store = Store::default();
    store.apply(&at(10_000, Body::Txn(then(vec![grant(1, 5000), put_op("a", "", 1, false)]))));
    assert_eq!(remaining(&store, 1, 12_000), Some(3000));
    let early = store.apply(&expire(14_999, &[1, 2]));
    assert_eq!(early.result.unwrap().results, []);
    assert!(store.get("a").is_some());
    let before = store.revision();
    let reply = store.apply(&expire(15_000, &[1]));
    assert_eq!(reply.result.unwrap().results, [OpReply::Revoked { id: 1, deleted: 1 }]);
    assert_eq!((store.revision(), store.get("a")), (before + 1, None));
    assert_eq!(remaining(&store, 1, 0), None);
}

/// The leader proposed the expiry, and the holder's sign of life came first into the log.
#[test]
fn a_lease_kept_alive_before_its_expiry_is_applied_does_not_expire() {
    let mut store = Store::default();
    store.apply(&at(0, Body::Txn(then(vec![grant(1, 5000)]))));
    store.apply(&at(5000, Body::Txn(then(vec![Op::KeepAlive { id: 1 }]))));
    assert_eq!(store.apply(&expire(5001, &[1])).result.unwrap().results, []);
    assert_eq!(remaining(&store, 1, 5001), Some(4999));
}

/// A command stamped by a leader whose clock is behind neither shortens nor lengthens.
#[test]
fn the_clock_that_counts_never_goes_back() {
    let mut store = Store::default();
    store.apply(&at(10_000, Body::Txn(then(vec![grant(1, 5000)]))));
    store.apply(&at(3_000, Body::Txn(then(vec![grant(2, 5000)]))));
    assert_eq!((remaining(&store, 1, 0), remaining(&store, 2, 0)), (Some(5000), Some(5000)));
    assert_eq!(store.apply(&expire(3_000, &[1, 2])).result.unwrap().results, []);
}

#[test]
fn several_leases_expire_at_one_revision() {
    let mut store = Store::default();
    for (id, key) in [(1, "a"), (2, "b"), (3, "c")] {
        store.txn(then(vec![grant(id, 2000 * id), put_op(key, "", id, false)]));
    }
    let before = store.revision();
    let reply = store.apply(&expire(4000, &[3, 2, 1, 1]));
    assert_eq!(reply.result.unwrap().results.len(), 2);
    assert_eq!((store.revision(), store.at(0).unwrap()), (before + 1, "c=".into()));
}

#[test]
fn beside_a_revocation_nothing_is_written_and_a_lease_is_named_once() {
    let refused = [
        vec![Op::Revoke { id: 1 }, put("a", "")],
        vec![delete(one("a")), Op::Revoke { id: 1 }],
        vec![Op::Revoke { id: 1 }, Op::Txn(then(vec![delete(KeyRange::all())]))],
        vec![grant(1, 0), Op::KeepAlive { id: 1 }],
        vec![Op::KeepAlive { id: 1 }, Op::Txn(then(vec![Op::Revoke { id: 1 }]))],
    ];
    for ops in refused {
        let txn = then(ops);
        assert!(txn.check(10).is_err());
        assert_eq!(Store::default().txn(txn).result, Err(CommandError::LeaseConflict));
    }
    let branches = Op::Txn(Txn {
        guards: vec![],
        then: vec![Op::Revoke { id: 1 }],
        otherwise: vec![put("a", "")],
    });
    assert_eq!(then(vec![branches, range(one("a")), Op::KeepAlive { id: 2 }]).check(10), Ok(()));
}

#[test]
fn a_put_takes_the_lease_that_its_transaction_granted_last() {
    let mut store = Store::default();
    let early = store.txn(then(vec![put_op("a", "", GRANTED, false), grant(0, 0)]));
    assert_eq!(early.result, Err(CommandError::LeaseNotFound));
    let nested = Op::Txn(then(vec![grant(0, 0), put_op("b", "", GRANTED, false)]));
    let ops =
        vec![grant(0, 0), put_op("a", "", GRANTED, false), nested, put_op("c", "", GRANTED, false)];
    let reply = store.txn(then(ops)).result.unwrap();
    let OpReply::Lease { id: first, .. } = reply.results[0] else { panic!() };
    let OpReply::Txn(nested) = &reply.results[2] else { panic!() };
    let OpReply::Lease { id: second, .. } = nested.results[0] else { panic!() };
    let leases = ["a", "b", "c"].map(|key| store.get(key).unwrap().lease);
    assert_eq!(leases, [first, second, second]);
}

/// `POST /lock` is this one command; its token is the revision of the reply.
fn lock(ttl_ms: u64) -> Txn {
    Txn {
        guards: vec![guard("lock", Compare::Equal, Target::Create(0))],
        then: vec![grant(0, ttl_ms), put_op("lock", "me", GRANTED, false)],
        otherwise: vec![range(one("lock"))],
    }
}

fn fenced(store: &mut Store, token: u64, value: &str) -> Reply {
    let fence = Some(Fence { key: bytes("lock"), token });
    let body = Body::Txn(then(vec![put("guarded", value)]));
    store.apply(&Command { fence, ..command(body) })
}

#[test]
fn a_former_holder_is_fenced_off() {
    let mut store = Store::default();
    assert!(fenced(&mut store, 0, "nobody").result.is_err(), "no lock, no token");
    let first = store.txn(lock(5000));
    assert!(first.result.unwrap().succeeded);
    assert!(!store.txn(lock(5000)).result.unwrap().succeeded, "held");
    assert!(fenced(&mut store, first.revision, "first").result.is_ok());
    // Renewing the lock's value changes its revision, not its token.
    store.op(Op::Put(Put { keep_lease: true, ..Put::new(bytes("lock"), bytes("still me")) }));
    assert!(fenced(&mut store, first.revision, "again").result.is_ok());

    let lease = store.get("lock").unwrap().lease;
    store.apply(&expire(5000, &[lease]));
    let free = fenced(&mut store, first.revision, "late").result;
    assert_eq!(free, Err(CommandError::Fenced { token: 0 }));
    let second = store.txn(lock(5000));
    let late = fenced(&mut store, first.revision, "late").result;
    assert_eq!(late, Err(CommandError::Fenced { token: second.revision }));
    assert!(second.revision > first.revision, "tokens grow");
    assert!(fenced(&mut store, second.revision, "second").result.is_ok());
    assert_eq!(store.get("guarded").unwrap().value, "second");
}

#[test]
fn leases_are_listed_and_their_keys_in_pages() {
    let mut store = Store::default();
    for id in [5, 1, MAX_LEASE] {
        store.op(grant(id, 2000 * id.min(3)));
    }
    for n in 0..7 {
        store.op(put_op(&format!("k{n}"), "", 5, false));
    }
    let all = kv::leases(&store.0, 0, 1000, 9).unwrap();
    let seen: Vec<_> = all.iter().map(|lease| (lease.id, lease.remaining_ms)).collect();
    assert_eq!(seen, [(1, 1000), (5, 5000), (MAX_LEASE, 5000)]);
    assert_eq!(kv::leases(&store.0, 5, 0, 9).unwrap()[0].id, MAX_LEASE);
    let page = kv::lease(&store.0, 5, 0, b"k2", 3).unwrap().unwrap().keys;
    assert_eq!(page, [bytes("k2"), bytes("k3"), bytes("k4")]);
    assert_eq!(kv::next_expiry(&store.0), Ok(Some(2000)));
}
