//! The digest differs when rows differ, and only then.

use bytes::Bytes;
use kvorum_core::kv::{
    MemoryTables, Table, Tables,
    digest::{LOCAL_PREFIX, recompute},
};

fn digest(rows: &[(Table, &[u8], &'static [u8])]) -> u128 {
    let mut tables = MemoryTables::default();
    for (table, key, value) in rows {
        tables.put(*table, key, Bytes::from_static(value));
    }
    recompute(&tables).unwrap()
}

#[test]
fn every_part_of_a_row_and_every_row_counts() {
    use Table::{History, Latest, Meta};
    let digests = [
        digest(&[]),
        digest(&[(Latest, b"a", b"")]),
        digest(&[(Latest, b"", b"a")]),
        digest(&[(History, b"a", b"")]),
        digest(&[(Latest, b"a", b"1")]),
        digest(&[(Latest, b"a1", b"")]),
        digest(&[(Latest, b"a", b"1"), (Latest, b"b", b"2")]),
        digest(&[(Latest, b"a", b"2"), (Latest, b"b", b"1")]),
        digest(&[(Latest, b"a", b"1"), (History, b"b", b"2")]),
        digest(&[(Latest, b"a", b"1"), (Latest, b"c", b"2")]),
        digest(&[(Meta, b"x", b"1")]),
    ];
    for (at, digest) in digests.iter().enumerate() {
        assert!(!digests[..at].contains(digest), "number {at} is like one before");
    }
}

#[test]
fn rows_of_one_replica_alone_do_not_count_and_look_alikes_do() {
    assert_eq!(digest(&[(Table::Meta, &[LOCAL_PREFIX, 7], b"1")]), 0);
    assert_eq!(digest(&[(Table::Meta, &[LOCAL_PREFIX], b"1")]), 0);
    assert_ne!(digest(&[(Table::Latest, &[LOCAL_PREFIX, 7], b"1")]), 0);
    assert_ne!(digest(&[(Table::Meta, &[LOCAL_PREFIX - 1], b"1")]), 0);
}
