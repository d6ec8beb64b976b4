//! One suite for both state stores: tables, commits, checkpoints, snapshots.

mod storage_kit;

use bytes::Bytes;
use kvorum_core::{
    kv::{self, Body, Command, MemoryTables, Op, Order, Put, Table, Tables, Txn},
    raft::{NodeId, SnapshotMeta, Staged, StagedSnapshot, StreamDigest},
};
use kvorum_runtime::storage::{LogChange, StateStore, StorageError, disk::DiskOptions};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use std::fs;
use storage_kit::*;

const PEER: NodeId = NodeId(99);

#[derive(Clone, Debug)]
enum Step {
    Put(u8, Vec<u8>, u16),
    Delete(u8, Vec<u8>),
    Scan { table: u8, start: Vec<u8>, end: Option<Vec<u8>>, descending: bool, limit: u8 },
    Commit,
    Checkpoint,
    Reopen,
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Step {
        // Few and short keys, so that steps meet; 0xFF at the ends of the ranges.
        let key = |g: &mut Gen| -> Vec<u8> {
            let len = usize::from(u8::arbitrary(g) % 4);
            (0..len).map(|_| *g.choose(&[0, 1, b'a', b'b', 0xFE, 0xFF]).unwrap()).collect()
        };
        let table = u8::arbitrary(g) % 7;
        match u8::arbitrary(g) % 12 {
            0..=3 => Step::Put(table, key(g), u16::arbitrary(g) % 3000),
            4 | 5 => Step::Delete(table, key(g)),
            6..=8 => Step::Scan {
                table,
                start: key(g),
                end: bool::arbitrary(g).then(|| key(g)),
                descending: bool::arbitrary(g),
                limit: u8::arbitrary(g) % 8,
            },
            9 => Step::Commit,
            10 => Step::Checkpoint,
            _ => Step::Reopen,
        }
    }
}

fn is_free(table: Table, key: &[u8]) -> bool {
    // The rows of the store itself, and the state machine's head row, are not for this test.
    table != Table::Meta || !(kv::digest::is_local(table, key) || key == b"head")
}

fn scan(
    tables: &dyn Tables,
    table: Table,
    start: &[u8],
    end: Option<&[u8]>,
    order: Order,
    limit: usize,
) -> Vec<(Vec<u8>, Bytes)> {
    let mut rows = Vec::new();
    tables
        .scan(table, start, end, order, &mut |key, value| {
            if is_free(table, key) {
                rows.push((key.to_vec(), value.clone()));
            }
            rows.len() < limit
        })
        .unwrap();
    rows
}

fn everything(tables: &dyn Tables) -> Vec<(Table, Vec<u8>, Bytes)> {
    let rows = |table| {
        let rows = scan(tables, table, &[], None, Order::Ascending, usize::MAX);
        rows.into_iter().map(move |(key, value)| (table, key, value))
    };
    Table::ALL.into_iter().flat_map(rows).collect()
}

fn agrees_with_memory_tables(mut store: Store, steps: &[Step]) {
    let mut model = MemoryTables::default();
    let mut committed = (model.clone(), store.get().state.applied().clone());
    let (mut index, mut logged) = (0, 0);
    let options = small();
    assert!(!options.verify, "the rows of this test have no digest");
    for step in steps {
        let state = &mut store.get().state;
        match step {
            Step::Put(table, key, bytes) => {
                let table = Table::from_number(*table).unwrap();
                if !is_free(table, key) {
                    continue;
                }
                let value = Bytes::from(vec![key.len() as u8; usize::from(*bytes)]);
                model.put(table, key, value.clone());
                state.tables_mut().put(table, key, value);
            }
            Step::Delete(table, key) => {
                let table = Table::from_number(*table).unwrap();
                if !is_free(table, key) {
                    continue;
                }
                model.delete(table, key);
                state.tables_mut().delete(table, key);
                assert_eq!(state.tables().get(table, key).unwrap(), None);
            }
            Step::Scan { table, start, end, descending, limit } => {
                let order = if *descending { Order::Descending } else { Order::Ascending };
                let table = Table::from_number(*table).unwrap();
                let look = |tables: &dyn Tables| {
                    scan(tables, table, start, end.as_deref(), order, usize::from(*limit) + 1)
                };
                assert_eq!(look(state.tables()), look(&model));
                assert_eq!(
                    state.tables().get(table, start).unwrap().filter(|_| is_free(table, start)),
                    model.get(table, start).unwrap()
                );
            }
            Step::Commit | Step::Checkpoint => {
                index += 1;
                let _ = entry(index, 1, "");
                let applied = meta(index, 1);
                state.commit(&applied).unwrap();
                assert_eq!(*state.applied(), applied);
                if matches!(step, Step::Checkpoint) {
                    assert_eq!(state.checkpoint().unwrap(), applied);
                }
                committed = (model.clone(), applied);
            }
            Step::Reopen => {
                // The log reaches as far as the tables, as it does in a node.
                let missing: Vec<_> = (logged + 1..=index).map(|n| entry(n, 1, "")).collect();
                store.get().log.store(&[append(&missing)]).unwrap();
                logged = index;
                if store.reopen() {
                    model = committed.0.clone();
                    assert_eq!(*store.get().state.applied(), committed.1);
                    assert_eq!(store.get().restored.applied, committed.1.last.index);
                    assert_eq!(everything(store.get().state.tables()), everything(&model));
                }
            }
        }
    }
    assert_eq!(everything(store.get().state.tables()), everything(&model));
}

#[test]
fn tables_in_memory_agree_with_the_reference_operation_by_operation() {
    fn property(steps: Vec<Step>) -> bool {
        agrees_with_memory_tables(Store::memory(), &steps);
        true
    }
    QuickCheck::new().tests(100).quickcheck(property as fn(Vec<Step>) -> bool);
}

#[test]
fn tables_on_disk_agree_with_the_reference_operation_by_operation() {
    fn property(steps: Vec<Step>) -> bool {
        // A tiny table in memory, so that rows come from files, too.
        let options = DiskOptions { memtable_bytes: 4 << 10, ..small() };
        agrees_with_memory_tables(Store::disk(options), &steps);
        true
    }
    QuickCheck::new().tests(8).quickcheck(property as fn(Vec<Step>) -> bool);
}

/// Applies puts as a node does; returns what the state then stands for.
fn fill(
    state: &mut dyn StateStore,
    keys: std::ops::Range<u64>,
    value_bytes: usize,
) -> SnapshotMeta {
    for n in keys {
        let put = Put::new(
            Bytes::from(format!("key {:05}", n % 50)),
            Bytes::from(vec![n as u8; value_bytes]),
        );
        let txn = Txn { then: vec![Op::Put(put)], ..Txn::default() };
        let command = Command { time_ms: n, ..Command::new(Body::Txn(txn)) };
        kv::apply(state.tables_mut(), &command).unwrap().result.unwrap();
        let applied = meta(n + 1, 1);
        state.commit(&applied).unwrap();
    }
    state.applied().clone()
}

/// The whole stream, read in chunks of at most `max`.
fn stream(state: &mut dyn StateStore, max: u64) -> (SnapshotMeta, Vec<Bytes>) {
    let (mut chunks, mut offset) = (Vec::new(), 0);
    loop {
        let (meta, chunk, last) = state.read_snapshot(PEER, offset, max).unwrap();
        assert!(!chunk.is_empty() && chunk.len() as u64 <= max);
        offset += chunk.len() as u64;
        chunks.push(chunk);
        if last {
            state.close_snapshot(PEER);
            return (meta, chunks);
        }
    }
}

fn transfer(from: &mut dyn StateStore, to: &mut dyn StateStore, max: u64) -> SnapshotMeta {
    let (meta, chunks) = stream(from, max);
    let mut held = 0;
    for chunk in &chunks {
        held = to.stage_snapshot(&meta, held, chunk).unwrap();
    }
    assert_eq!(held, chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>());
    to.install_snapshot(&meta).unwrap();
    meta
}

#[test]
fn a_snapshot_arrives_whole_between_all_kinds_of_stores_in_chunks_of_any_size() {
    for max in [1, 100, 1 << 20] {
        for mut from in Store::both() {
            let meta = fill(&mut *from.get().state, 0..60, 20);
            for mut to in Store::both() {
                fill(&mut *to.get().state, 0..3, 5);
                let sent = transfer(&mut *from.get().state, &mut *to.get().state, max);
                assert_eq!(sent, meta);
                assert_eq!(*to.get().state.applied(), meta);
                let expected = everything(from.get().state.tables());
                assert_eq!(everything(to.get().state.tables()), expected);
                assert_eq!(
                    kv::digest(to.get().state.tables()).unwrap(),
                    kv::digest::recompute(from.get().state.tables()).unwrap()
                );
                // The receiver goes on from there, and sends it on.
                let further = fill(&mut *to.get().state, 60..62, 20);
                let mut third = Store::memory();
                transfer(&mut *to.get().state, &mut *third.get().state, 4096);
                assert_eq!(*third.get().state.applied(), further);
                let base = LogChange { base: Some(&sent), ..LogChange::default() };
                let entries = [entry(61, 1, ""), entry(62, 1, "")];
                to.get().log.store(&[base, append(&entries)]).unwrap();
                if to.reopen() {
                    assert_eq!(*to.get().state.applied(), further);
                }
            }
        }
    }
}

#[test]
fn both_stores_send_the_same_bytes() {
    let [mut memory, mut disk] = Store::both();
    for store in [&mut memory, &mut disk] {
        fill(&mut *store.get().state, 0..120, 300);
    }
    assert_eq!(
        stream(&mut *memory.get().state, 777).1.concat(),
        stream(&mut *disk.get().state, 1234).1.concat()
    );
}

#[test]
fn a_snapshot_shows_the_moment_of_its_first_chunk() {
    for mut store in Store::both() {
        let state = &mut *store.get().state;
        let meta = fill(state, 0..40, 50);
        let mut quiet = Store::memory();
        fill(&mut *quiet.get().state, 0..40, 50);
        let expected = stream(&mut *quiet.get().state, u64::MAX).1.concat();

        let (mut bytes, mut next) = (Vec::new(), 40);
        loop {
            let (of, chunk, last) = state.read_snapshot(PEER, bytes.len() as u64, 100).unwrap();
            assert_eq!(of, meta);
            bytes.extend_from_slice(&chunk);
            fill(state, next..next + 1, 50);
            next += 1;
            if last {
                break;
            }
        }
        assert!(bytes == expected, "writes showed through");
    }
}

#[test]
fn the_chunk_before_can_be_had_again_and_nothing_else_out_of_order() {
    for mut store in Store::both() {
        let state = &mut *store.get().state;
        fill(state, 0..40, 50);
        let first = state.read_snapshot(PEER, 0, 100).unwrap();
        let second = state.read_snapshot(PEER, 100, 100).unwrap();
        assert_eq!(state.read_snapshot(PEER, 100, 100).unwrap(), second);
        assert!(matches!(state.read_snapshot(PEER, 50, 100), Err(StorageError::Snapshot(_))));
        assert!(matches!(state.read_snapshot(PEER, 300, 100), Err(StorageError::Snapshot(_))));
        assert!(matches!(state.read_snapshot(NodeId(1), 5, 1), Err(StorageError::Snapshot(_))));
        assert_eq!(state.read_snapshot(PEER, 0, 100).unwrap(), first);
        state.close_snapshot(PEER);
        assert!(matches!(state.read_snapshot(PEER, 100, 100), Err(StorageError::Snapshot(_))));
    }
}

#[test]
fn a_stream_with_any_byte_altered_or_missing_is_refused_and_changes_nothing() {
    let mut from = Store::memory();
    let meta = fill(&mut *from.get().state, 0..5, 10);
    let good = stream(&mut *from.get().state, u64::MAX).1.concat();
    for mut to in Store::both() {
        let state = &mut *to.get().state;
        let before = fill(state, 0..2, 3);
        let rows = everything(state.tables());
        let mut refused = |bytes: Vec<u8>| {
            let staged = state.stage_snapshot(&meta, 0, &Bytes::from(bytes));
            let result = staged.and_then(|_| state.install_snapshot(&meta));
            assert!(matches!(result, Err(StorageError::Snapshot(_))), "{result:?}");
            assert_eq!(*state.applied(), before);
        };
        for at in (0..good.len()).step_by(37) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            refused(bad);
        }
        for len in [0, 1, good.len() / 2, good.len() - 1] {
            refused(good[..len].to_vec());
        }
        refused([&good[..], b"x"].concat());
        assert_eq!(everything(state.tables()), rows);
        // And the next good one is taken.
        state.stage_snapshot(&meta, 0, &Bytes::from(good.clone())).unwrap();
        state.install_snapshot(&meta).unwrap();
        assert_eq!(*state.applied(), meta);
    }
}

#[test]
fn chunks_of_another_snapshot_or_with_a_gap_are_refused() {
    let mut from = Store::memory();
    let first = fill(&mut *from.get().state, 0..5, 10);
    let bytes = Bytes::from(stream(&mut *from.get().state, u64::MAX).1.concat());
    for mut to in Store::both() {
        let state = &mut *to.get().state;
        let step = |result: Result<_, StorageError>| {
            assert!(matches!(result, Err(StorageError::Snapshot(_))), "{result:?}");
        };
        step(state.stage_snapshot(&first, 10, &bytes.slice(10..20)));
        assert_eq!(state.stage_snapshot(&first, 0, &bytes.slice(..10)).unwrap(), 10);
        step(state.stage_snapshot(&first, 20, &bytes.slice(20..30)));
        assert_eq!(
            state.stage_snapshot(&first, 10, &bytes.slice(10..)).unwrap(),
            bytes.len() as u64
        );
        assert!(state.install_snapshot(&meta(77, 3)).is_err());
        state.stage_snapshot(&first, 0, &bytes).unwrap();
        state.install_snapshot(&first).unwrap();
    }
}

#[test]
fn a_snapshot_older_than_the_state_is_refused() {
    let mut from = Store::memory();
    let old = fill(&mut *from.get().state, 0..5, 10);
    let bytes = Bytes::from(stream(&mut *from.get().state, u64::MAX).1.concat());
    for mut to in Store::both() {
        let state = &mut *to.get().state;
        let now = fill(state, 0..9, 10);
        state.stage_snapshot(&old, 0, &bytes).unwrap();
        assert!(matches!(state.install_snapshot(&old), Err(StorageError::Snapshot(_))));
        assert_eq!(*state.applied(), now);
    }
}

/// A node whose state machine has run, with the log to go with it.
fn lived(dir: &TempDir, options: &DiskOptions) -> (kvorum_runtime::storage::Opened, SnapshotMeta) {
    let mut opened = open_disk(&dir.node(), options);
    let entries: Vec<_> = (1..=20).map(|n| entry(n, 1, "")).collect();
    opened.log.store(&[append(&entries)]).unwrap();
    let applied = fill(&mut *opened.state, 0..20, 30);
    opened.state.checkpoint().unwrap();
    (opened, applied)
}

#[test]
fn a_crash_right_after_an_installation_leaves_log_and_tables_in_agreement() {
    let options = DiskOptions { verify: true, ..small() };
    let mut from = Store::memory();
    let sent = fill(&mut *from.get().state, 0..70, 30);
    let dir = TempDir::new();
    let (mut opened, _) = lived(&dir, &options);
    transfer(&mut *from.get().state, &mut *opened.state, 500);
    // The log's own record of the new base never gets written.
    drop(opened);
    let opened = open_disk(&dir.node(), &options);
    assert_eq!(opened.restored.base, sent);
    assert_eq!(opened.restored.last, sent.last);
    assert_eq!(opened.restored.applied, sent.last.index);
    assert_eq!(*opened.state.applied(), sent);
    assert!(opened.restored.tail.is_empty());
}

#[test]
fn a_crash_during_an_installation_leaves_the_old_state_and_no_rubbish() {
    let options = DiskOptions { verify: true, ..small() };
    let mut from = Store::memory();
    let sent = fill(&mut *from.get().state, 0..70, 30);
    let chunks = stream(&mut *from.get().state, 500).1;
    let dir = TempDir::new();
    let (mut opened, before) = lived(&dir, &options);
    let mut held = 0;
    for (number, chunk) in chunks.iter().enumerate() {
        held = opened.state.stage_snapshot(&sent, held, chunk).unwrap();
        if number % 10 == 0 || held == chunks.iter().map(|c| c.len() as u64).sum::<u64>() {
            let copy = TempDir::new();
            copy_tree(&dir.node(), &copy.node());
            let opened = open_disk(&copy.node(), &options);
            assert_eq!(*opened.state.applied(), before);
            assert_eq!(opened.restored.staged.map(|staged| staged.end), Some(held));
        }
    }
    // What is half written, or was in use before, goes at the next start.
    opened.state.install_snapshot(&sent).unwrap();
    drop(opened);
    let fjall = dir.node().join("fjall");
    copy_tree(&fjall.join("2"), &fjall.join("3"));
    fs::remove_file(fjall.join("3/version")).unwrap();
    copy_tree(&fjall.join("2"), &fjall.join("1"));
    let opened = open_disk(&dir.node(), &options);
    assert_eq!(*opened.state.applied(), sent);
    let mut names: Vec<_> =
        fs::read_dir(&fjall).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["2", "CURRENT"]);
}

#[test]
fn tables_whose_rows_do_not_add_up_are_refused_at_start() {
    let options = DiskOptions { verify: true, ..small() };
    let dir = TempDir::new();
    let (mut opened, applied) = lived(&dir, &options);
    opened.state.tables_mut().put(Table::Latest, b"slipped in", Bytes::from_static(b"x"));
    opened.state.commit(&applied).unwrap();
    drop(opened);
    let error = kvorum_runtime::storage::disk::Dir::open(&dir.node(), "app1", options);
    let error = error.unwrap_err();
    assert!(matches!(&error, StorageError::Corrupt(text) if text.contains("fjall")), "{error}");
}

#[test]
fn a_stream_goes_on_where_a_peer_stopped_if_its_beginning_is_the_same() {
    for mut from in Store::both() {
        let state = &mut *from.get().state;
        let meta = fill(state, 0..40, 10);
        let whole = Bytes::from(stream(state, 100).1.concat());
        let staged = |bytes: &[u8]| Staged {
            last: meta.last,
            end: bytes.len() as u64,
            digest: StreamDigest::default().then(0, bytes),
        };
        let mut changed = whole[..250].to_vec();
        changed[200] ^= 1;
        let longer = [&whole[..], b"x"].concat();
        for other in [&changed[..], &longer] {
            assert!(!state.resume_snapshot(PEER, &staged(other)).unwrap());
            assert!(matches!(
                state.read_snapshot(PEER, other.len() as u64, 100),
                Err(StorageError::Snapshot(_))
            ));
        }
        // Nothing is open; then the open one is gone through again, back and forth.
        for end in [250, 90, 333, whole.len()] {
            assert!(state.resume_snapshot(PEER, &staged(&whole[..end])).unwrap());
            let mut read = whole[..end].to_vec();
            loop {
                let (of, chunk, last) = state.read_snapshot(PEER, read.len() as u64, 100).unwrap();
                assert_eq!(of, meta);
                read.extend_from_slice(&chunk);
                if last {
                    break;
                }
            }
            assert_eq!(read, whole, "from {end} on");
        }
    }
}

#[test]
fn what_was_staged_is_there_after_a_restart() {
    let mut from = Store::memory();
    let meta = fill(&mut *from.get().state, 0..40, 10);
    let bytes = Bytes::from(stream(&mut *from.get().state, u64::MAX).1.concat());
    let mut to = Store::disk(small());
    to.get().state.stage_snapshot(&meta, 0, &bytes.slice(..100)).unwrap();
    to.get().state.stage_snapshot(&meta, 100, &bytes.slice(100..150)).unwrap();
    to.reopen();
    let digest = StreamDigest::default().then(0, &bytes[..150]);
    let expected = StagedSnapshot { meta: meta.clone(), end: 150, digest };
    assert_eq!(to.get().restored.staged, Some(expected));
    assert_eq!(
        to.get().state.stage_snapshot(&meta, 150, &bytes.slice(150..)).unwrap(),
        bytes.len() as u64
    );
    to.get().state.install_snapshot(&meta).unwrap();
    assert_eq!(*to.get().state.applied(), meta);
}
