//! Compaction: what goes, what stays, and that it comes in steps.

use crate::{
    model::Model,
    run,
    shorthand::{Store, bytes, command, delete, one, put, rows, then},
};
use kvorum_core::kv::{self, Body, CommandError, MemoryTables, Table, Txn, compact};

#[test]
fn the_newest_version_at_the_boundary_stays_and_older_ones_go() {
    let mut store = Store::default();
    store.put("a", "1");
    store.put("a", "2");
    store.put("b", "3");
    store.put("a", "4");
    assert_eq!(store.compact(4), Ok(()));
    assert_eq!(store.at(3), Err(CommandError::Compacted { oldest: 4 }));
    assert_eq!(store.at(4).unwrap(), "a=2 b=3");
    assert_eq!(store.at(5).unwrap(), "a=4 b=3");
    assert_eq!(rows(&store.0, Table::History).len(), 1);
    assert_eq!(kv::compaction_pending(&store.0), Ok(false));
}

#[test]
fn a_live_key_that_never_changes_survives_every_compaction() {
    let mut store = Store::default();
    store.put("a", "1");
    for round in 0..5 {
        store.put("b", &round.to_string());
        store.compact(store.revision()).unwrap();
    }
    assert_eq!(store.at(0).unwrap(), "a=1 b=4");
    assert_eq!(store.get("a").unwrap().mod_revision, 2);
    assert_eq!(rows(&store.0, Table::History).len(), 0);
}

/// etcd#18089, etcd#19179: a watch that begins at the compact revision sees the deletion there.
#[test]
fn a_deletion_at_the_boundary_is_still_listed_and_goes_with_the_next_compaction() {
    let mut store = Store::default();
    store.put("a", "1");
    let deleted = store.delete("a");
    store.put("b", "1");
    store.compact(deleted).unwrap();
    let changes = kv::changes(&store.0, (deleted, 0), 10).unwrap().unwrap();
    assert_eq!(changes[0].key, "a");
    assert_eq!((changes[0].revision, &changes[0].now), (deleted, &None));
    assert_eq!(changes.len(), 2);
    assert_eq!(store.at(deleted).unwrap(), "");
    assert_eq!(rows(&store.0, Table::History).len(), 1);
    store.compact(deleted + 1).unwrap();
    assert_eq!(rows(&store.0, Table::History).len(), 0);
    assert_eq!(rows(&store.0, Table::Revisions).len(), 1);
    let compacted = CommandError::Compacted { oldest: deleted + 1 };
    assert_eq!(kv::changes(&store.0, (deleted, 0), 10), Ok(Err(compacted)));
}

#[test]
fn a_deletion_before_the_boundary_leaves_nothing() {
    let mut store = Store::default();
    store.put("a", "1");
    store.delete("a");
    let last = store.put("b", "1");
    store.compact(last).unwrap();
    assert_eq!(rows(&store.0, Table::History).len(), 0);
    assert_eq!(store.at(last).unwrap(), "b=1");
}

#[test]
fn compacting_twice_or_the_future_is_refused_and_bumps_nothing() {
    let mut store = Store::default();
    let last = store.put("a", "1");
    assert_eq!(store.compact(last + 1), Err(CommandError::FutureRevision));
    assert_eq!(store.compact(last), Ok(()));
    assert_eq!(store.revision(), last);
    assert_eq!(store.compact(last), Err(CommandError::Compacted { oldest: last }));
    assert_eq!(store.compact(last - 1), Err(CommandError::Compacted { oldest: last }));
    assert_eq!(store.compact(0), Err(CommandError::Compacted { oldest: last }));
}

#[test]
fn the_clock_and_the_revision_survive_compaction_of_everything() {
    let mut store = Store::default();
    store.put("a", "1");
    let last = store.delete("a");
    store.compact(last).unwrap();
    assert_eq!(store.put("a", "2"), last + 1);
    assert_eq!(store.get("a").unwrap().version, 1);
}

/// Many changes, compacted several times while rows of the compaction before still wait: at every
/// point the machine agrees with the model, and in the end exactly what is needed is left.
#[test]
fn a_large_compaction_is_done_in_steps_that_nobody_can_see() {
    let mut model = Model::default();
    let mut tables = MemoryTables::default();
    let apply = |tables: &mut MemoryTables, model: &mut Model, command| {
        assert_eq!(kv::apply(tables, &command), Ok(model.apply(&command)));
        assert_eq!(kv::digest(tables), kv::digest::recompute(tables));
    };
    let keys = ["a", "a\0", "b", "c", "d"];
    for round in 0..700usize {
        // Each changes several keys, so that steps end within a revision.
        let op = |at: usize| {
            let key = keys[(round + at) % keys.len()];
            if (round + at).is_multiple_of(7) { delete(one(key)) } else { put(key, "v") }
        };
        let txn = then(vec![op(0), op(1), op(2)]);
        apply(&mut tables, &mut model, command(Body::Txn(txn)));
    }
    let mut steps = 0;
    for part in [5u64, 4, 3, 2, 1] {
        let revision = model.revision / part;
        apply(&mut tables, &mut model, command(Body::Compact { revision }));
        for _ in 0..3 {
            apply(&mut tables, &mut model, command(Body::Txn(then(vec![put("e", "v")]))));
            run::agree_on_the_past(&model, &tables).unwrap();
        }
    }
    apply(&mut tables, &mut model, command(Body::Compact { revision: 703 }));
    while kv::compaction_pending(&tables).unwrap() {
        apply(&mut tables, &mut model, command(Body::Txn(Txn::default())));
        steps += 1;
        assert!(steps < 100, "the sweep must end");
    }
    run::agree_on_the_past(&model, &tables).unwrap();
    assert_eq!(tables.len(Table::History), model.needed_history());
    assert_eq!(tables.len(Table::Revisions), model.retained_changes().len());
}

#[test]
fn one_command_removes_a_bounded_number_of_rows() {
    let mut store = Store(MemoryTables::default());
    let changes = compact::COMPACTION_ROWS + 3 * compact::SWEEP_ROWS;
    for _ in 0..changes {
        kv::apply(&mut store.0, &command(Body::Txn(then(vec![put("a", "v")])))).unwrap();
    }
    store.compact(changes as u64).unwrap();
    let mut left = store.0.len(Table::Revisions);
    assert_eq!(left, changes - compact::COMPACTION_ROWS - compact::SWEEP_ROWS);
    let mut steps = 0;
    while kv::compaction_pending(&store.0).unwrap() {
        store.txn(Txn::default());
        let now = store.0.len(Table::Revisions);
        assert!(left - now <= compact::SWEEP_ROWS);
        left = now;
        steps += 1;
    }
    assert!(steps >= 2);
    assert_eq!(store.get("a").unwrap().version, changes as u64);
    assert!(kv::changes(&store.0, (0, 0), 1).unwrap().is_err());
    assert_eq!(rows(&store.0, Table::Latest)[0].0, bytes("a"));
}
