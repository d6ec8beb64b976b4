//! Compaction: what goes, what stays, and that it comes in steps.

use crate::{
    agree,
    model::Model,
    shorthand::{Store, bytes, changed, command, delete, one, put, rows, then},
};
use kvorum_core::kv::{
    self, Body, CommandError, MemoryTables, Table, Tables, Txn, compact,
    snapshot::{Decoder, Reader},
};

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
    let changes = changed(&store.0, (deleted, 0), 10).unwrap();
    assert_eq!(changes[0].key, "a");
    assert_eq!((changes[0].revision, &changes[0].now), (deleted, &None));
    assert_eq!(changes.len(), 2);
    assert_eq!(store.at(deleted).unwrap(), "");
    assert_eq!(rows(&store.0, Table::History).len(), 1);
    store.compact(deleted + 1).unwrap();
    assert_eq!(rows(&store.0, Table::History).len(), 0);
    assert_eq!(rows(&store.0, Table::Revisions).len(), 1);
    let compacted = CommandError::Compacted { oldest: deleted + 1 };
    assert_eq!(changed(&store.0, (deleted, 0), 10), Err(compacted));
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

/// The store with its model: three changes per revision, so that steps end within a revision.
fn long_history() -> (MemoryTables, Model) {
    let (mut tables, mut model) = (MemoryTables::default(), Model::default());
    let keys = ["a", "a\0", "b", "c", "d"];
    for round in 0..1500usize {
        let op = |at: usize| {
            let key = keys[(round + at) % keys.len()];
            if (round + at).is_multiple_of(7) { delete(one(key)) } else { put(key, "v") }
        };
        both(&mut tables, &mut model, Body::Txn(then(vec![op(0), op(1), op(2)])));
    }
    (tables, model)
}

fn both(tables: &mut MemoryTables, model: &mut Model, body: Body) {
    let command = command(body);
    let used = kv::status(tables).unwrap().bytes;
    assert_eq!(kv::apply(tables, &command), Ok(model.apply(&command, used)));
}

/// Compacted again and again while rows of the compaction before still wait, also to revisions at
/// which a step has just ended: the machine agrees with the model throughout, and in the end
/// exactly what is needed is left.
#[test]
fn a_large_compaction_is_done_in_steps_that_nobody_can_see() {
    let (mut tables, mut model) = long_history();
    let mut steps_within = 0;
    for revision in [500, 501, 900, 901, 902, 1400] {
        both(&mut tables, &mut model, Body::Compact { revision });
        agree::agree_at(&model, &tables, [revision - 1, revision, revision + 1]).unwrap();
        steps_within += u32::from(kv::compaction_pending(&tables).unwrap());
        both(&mut tables, &mut model, Body::Txn(then(vec![put("e", "v")])));
        agree::agree_at(&model, &tables, [revision, revision + 5, 0]).unwrap();
        assert_eq!(kv::digest(&tables), kv::digest::recompute(&tables));
    }
    assert!(steps_within >= 2, "some compaction must begin while rows still wait");
    let mut steps = 0;
    while kv::compaction_pending(&tables).unwrap() {
        both(&mut tables, &mut model, Body::Txn(Txn::default()));
        steps += 1;
        assert!(steps < 100, "the sweep must end");
    }
    agree::agree_at(&model, &tables, 1400..1508).unwrap();
    assert_eq!(tables.len(Table::History), model.needed_history());
    assert_eq!(tables.len(Table::Revisions), model.retained_changes().len());
    assert_eq!(kv::digest(&tables), kv::digest::recompute(&tables));
}

#[test]
fn a_replica_restored_amid_a_sweep_goes_on_with_it() {
    let (mut tables, mut model) = long_history();
    both(&mut tables, &mut model, Body::Compact { revision: 1400 });
    assert_eq!(kv::compaction_pending(&tables), Ok(true));
    let (stream, _) = Reader::new().read(&tables, usize::MAX).unwrap();
    let mut decoder = Decoder::new();
    decoder.feed(&stream);
    let mut restored = MemoryTables::default();
    while let Some((table, key, value)) = decoder.next_row().unwrap() {
        restored.put(table, &key, value);
    }
    decoder.finish().unwrap();
    while kv::compaction_pending(&tables).unwrap() {
        let empty = command(Body::Txn(Txn::default()));
        assert_eq!(kv::apply(&mut restored, &empty), kv::apply(&mut tables, &empty));
        assert_eq!(kv::digest(&restored), kv::digest(&tables));
    }
    assert_eq!(restored, tables);
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
    assert!(changed(&store.0, (0, 0), 1).is_err());
    assert_eq!(rows(&store.0, Table::Latest)[0].0, bytes("a"));
}
