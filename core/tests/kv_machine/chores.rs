//! Quota, retention, the cluster clock, and what a leader does unasked.

use crate::shorthand::{Store, bytes, command, delete, one, put, put_op, range, then};
use kvorum_core::kv::{
    self, Body, ClusterClock, Command, CommandError, Idempotency, KeyRange, MemoryTables, Op,
    OpReply, SettingsChange, Table, Txn,
    chores::TICK_MS,
    repeats::{MAX_REPLY_BYTES, MIN_AGE_MS, MIN_REPLIES},
};

fn settings(store: &mut Store, change: SettingsChange) {
    store.apply(&command(Body::Settings(change))).result.unwrap();
}

fn quota(store: &mut Store, bytes: u64) {
    settings(store, SettingsChange { quota_bytes: Some(bytes), ..SettingsChange::default() });
}

fn chore(store: &Store, now_ms: u64) -> Option<Body> {
    kv::next_chore(&store.0, now_ms).unwrap()
}

/// Does all chores of a moment; how many.
fn chores(store: &mut Store, now_ms: u64) -> usize {
    let mut done = 0;
    while let Some(body) = chore(store, now_ms) {
        let before = store.clone();
        store.apply(&Command { time_ms: now_ms, ..command(body) }).result.unwrap();
        assert_ne!(*store, before, "a chore that changes nothing would be proposed for ever");
        done += 1;
    }
    done
}

#[test]
fn a_put_over_the_quota_is_refused_with_numbers_and_deletes_never_are() {
    let mut store = Store::default();
    store.put("a", &"x".repeat(1000));
    let used = kv::status(&store.0).unwrap().bytes;
    quota(&mut store, used + 1000);
    let refused = store.txn(then(vec![put("b", &"x".repeat(1000))])).result;
    let Err(CommandError::NoSpace { used: said, needed, limit }) = refused else { panic!() };
    assert_eq!((said, limit), (used, used + 1000));
    assert!((1000..1200).contains(&needed), "{needed}");
    assert!(store.txn(then(vec![put("b", &"x".repeat(700))])).result.is_ok());
    quota(&mut store, 1);
    assert!(store.txn(then(vec![put("c", "")])).result.is_err());
    assert!(store.txn(then(vec![Op::Grant { id: 1, ttl_ms: 0 }])).result.is_err());
    assert!(store.txn(then(vec![range(one("a"))])).result.is_ok());
    assert!(store.txn(then(vec![delete(one("a")), delete(one("b"))])).result.is_ok());
    // Only what is on the path taken counts.
    let otherwise = vec![put("c", "")];
    assert!(store.txn(Txn { otherwise, ..Txn::default() }).result.is_ok());
}

#[test]
fn there_is_room_again_once_history_is_compacted_without_anybody_saying_so() {
    let mut store = Store::default();
    quota(&mut store, 3000);
    while store.txn(then(vec![put("a", &"x".repeat(500))])).result.is_ok() {}
    store.delete("a");
    assert!(store.txn(then(vec![put("a", &"x".repeat(500))])).result.is_err());
    assert_eq!(kv::status(&store.0).unwrap().live_bytes, 0);
    store.compact(store.revision()).unwrap();
    assert!(store.txn(then(vec![put("a", &"x".repeat(500))])).result.is_ok());
}

#[test]
fn a_transaction_adds_no_more_than_it_was_judged_by() {
    for key in ["k".to_owned(), "\0".repeat(300), "key".repeat(50)] {
        let mut store = Store::default();
        store.op(Op::Grant { id: i64::MAX as u64, ttl_ms: 0 });
        for round in 0..3 {
            let wall_ms = u64::MAX;
            let lease = [0, i64::MAX as u64, 0][round];
            let op = put_op(&key, "value", lease, false);
            let txn = Command { wall_ms, ..command(Body::Txn(then(vec![op]))) };
            let used = kv::status(&store.0).unwrap().bytes;
            let mut full = store.clone();
            quota(&mut full, used);
            let Err(CommandError::NoSpace { needed, .. }) = full.apply(&txn).result else {
                panic!()
            };
            store.apply(&txn).result.unwrap();
            let added = kv::status(&store.0).unwrap().bytes - used;
            assert!(added <= needed, "{added} added, judged by {needed}");
        }
    }
}

const MINUTE: u64 = 60_000;

/// One put a second, with the chores that a leader does.
fn live(store: &mut Store, from_ms: u64, puts: u64) -> u64 {
    for n in 0..puts {
        let time_ms = from_ms + n * 1000;
        let body = Body::Txn(then(vec![put("a", &n.to_string())]));
        store.apply(&Command { time_ms, ..command(body) }).result.unwrap();
        chores(store, time_ms);
    }
    from_ms + puts * 1000
}

#[test]
fn history_is_kept_for_ten_minutes_and_ten_thousand_revisions_and_then_goes() {
    let mut store = Store::default();
    settings(&mut store, SettingsChange { keep_revisions: Some(100), ..SettingsChange::default() });
    let now = live(&mut store, MINUTE, 3000);
    let status = kv::status(&store.0).unwrap();
    assert!(status.compacted > 0, "nothing was compacted");
    // 600 puts in ten minutes; marks and steps make it a little more.
    let kept = status.revision - status.compacted;
    assert!((600..=650).contains(&kept), "{kept} revisions kept");
    assert_eq!(store.0.len(Table::Revisions) as u64, kept + 1);

    // Old, but among the last hundred: stays. The rest goes when nobody writes, too.
    chores(&mut store, now + 60 * MINUTE);
    let status = kv::status(&store.0).unwrap();
    let kept = status.revision - status.compacted;
    assert!((100..=106).contains(&kept), "{kept} revisions kept");
    assert_eq!(chore(&store, now + 600 * MINUTE), None);
}

#[test]
fn ten_thousand_revisions_are_kept_by_default_however_old() {
    let mut store = Store::default();
    for time_ms in [0, MINUTE, 20 * MINUTE] {
        for _ in 0..4000 {
            let body = Body::Txn(then(vec![put("a", "")]));
            kv::apply(&mut store.0, &Command { time_ms, ..command(body) }).unwrap();
        }
    }
    assert_eq!(chore(&store, 40 * MINUTE), Some(Body::Compact { revision: 12_001 - 10_000 }));
    // At minute 20 the revisions of minute 1 were the newest.
    assert_eq!(chore(&store, 11 * MINUTE), chore(&store, 20 * MINUTE));
    settings(&mut store, SettingsChange { keep_ms: Some(u64::MAX), ..SettingsChange::default() });
    assert_eq!(chore(&store, u64::MAX), None, "kept for ever");
}

#[test]
fn the_number_of_marks_is_bounded() {
    let mut store = Store::default();
    for n in 0..500 {
        store.apply(&Command { time_ms: n * 20_000, ..command(Body::Tick) });
    }
    assert!(store.0.len(Table::Meta) <= 1 + 23, "{} rows", store.0.len(Table::Meta));
}

#[test]
fn an_idle_leader_ends_leases_and_moves_the_clock_only_while_there_are_leases() {
    let mut store = Store::default();
    assert_eq!(chore(&store, u64::MAX), None);
    store.txn(then(vec![Op::Grant { id: 3, ttl_ms: 60_000 }, put_op("a", "", 3, false)]));
    assert_eq!(chore(&store, TICK_MS - 1), None);
    assert_eq!(chore(&store, TICK_MS), Some(Body::Tick));
    assert_eq!(chores(&mut store, TICK_MS), 1);
    assert_eq!(chore(&store, 60_000), Some(Body::Expire { leases: vec![3] }));
    chores(&mut store, 60_000);
    assert!(store.get("a").is_none());
    assert_eq!(chore(&store, u64::MAX / 2), None);
}

#[test]
fn replies_that_need_not_be_kept_go_without_further_writes() {
    let mut store = Store(MemoryTables::default());
    for number in 0..MIN_REPLIES + 1000 {
        let idempotency = Some(Idempotency { key: bytes(number.to_string()), fingerprint: 1 });
        let request = Command { idempotency, ..command(Body::Txn(Txn::default())) };
        kv::apply(&mut store.0, &request).unwrap();
    }
    assert_eq!(chore(&store, MIN_AGE_MS - 1), None);
    assert_eq!(chores(&mut store, MIN_AGE_MS), 4);
    assert_eq!(store.0.len(Table::Dedup) as u64, 2 * MIN_REPLIES);
}

#[test]
fn a_reply_too_large_to_keep_still_takes_effect_once() {
    let mut store = Store::default();
    store.put("large", &"x".repeat(MAX_REPLY_BYTES));
    let idempotency = Some(Idempotency { key: bytes("k"), fingerprint: 1 });
    let txn = then(vec![range(KeyRange::all()), put("a", "1")]);
    let request = Command { idempotency, ..command(Body::Txn(txn)) };
    let first = store.apply(&request);
    assert!(matches!(first.result.unwrap().results[0], OpReply::Range(_)));
    store.put("a", "2");
    let before = store.clone();
    let again = store.apply(&request);
    assert_eq!(again.result, Err(CommandError::ReplyNotKept));
    assert_eq!((again.revision, again.replayed), (first.revision, true));
    assert_eq!(store, before);
}

/// The leader stamps, others apply a little later; then one of them leads.
#[test]
fn a_change_of_leaders_neither_shortens_nor_lengthens_the_time_that_counts() {
    let mut leader = ClusterClock::default();
    let mut other = ClusterClock::default();
    // Monotonic clocks have nothing in common.
    let (of_leader, of_other) = (|now: u64| now, |now: u64| now + 777_000);
    for (now, delay) in [(1000, 40), (2000, 5), (3000, 300)] {
        let stamped = leader.now(of_leader(now));
        leader.observe(1, stamped, of_leader(now + 1));
        other.observe(1, stamped, of_other(now + delay));
    }
    // An hour later, with nothing proposed since: behind by the fastest delivery.
    let later = 3_600_000;
    let (left, right) = (leader.now(of_leader(later)), other.now(of_other(later)));
    assert_eq!(left - right, 5);
    // A state far behind, as after a snapshot, does not put it back.
    other.observe(1, 10, of_other(later));
    assert_eq!(other.now(of_other(later)), right);
    assert_eq!(ClusterClock::default().now(9), 0, "time begins with the state");
}

/// The second leader was restarted and has lost five seconds; the third has counted all along.
#[test]
fn nobody_is_ahead_of_the_leader_that_stamped_last() {
    let mut third = ClusterClock::default();
    third.observe(1, 10_000, 500);
    let mut second = ClusterClock::default();
    second.observe(1, 10_000, 5_500);
    second.lead(2);
    let granted = second.now(6_000);
    assert_eq!((granted, third.now(6_000)), (10_500, 15_500));
    // Its own commands do not put it back, however late they are applied.
    second.observe(2, granted, 6_300);
    assert_eq!(second.now(6_300), 10_800);
    third.observe(2, granted, 6_400);
    third.lead(3);
    assert!(third.now(7_000) <= second.now(7_000));
    assert_eq!(third.now(7_000), granted + 600);
}
