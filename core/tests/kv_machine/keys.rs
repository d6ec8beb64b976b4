//! Order of the encoded keys, and ranges.

use crate::shorthand::{Store, ask, bytes, put, rows, then};
use bytes::Bytes;
use kvorum_core::kv::{KeyRange, Op, Put, Query, Table};
use quickcheck::QuickCheck;

/// Writes every key several times and looks at the order in which `History` has them.
#[test]
fn history_is_ordered_by_key_and_then_revision_for_all_byte_strings() {
    fn property(keys: Vec<Vec<u8>>) -> bool {
        // Bytes that matter to the escaping are made common.
        let spread = |byte: u8| match byte % 6 {
            0 | 1 => 0x00,
            2 => 0x01,
            3 => 0xFF,
            4 => 0xFE,
            _ => byte,
        };
        let mut keys: Vec<Vec<u8>> = keys
            .into_iter()
            .map(|key| key.into_iter().take(6).map(spread).collect())
            .filter(|key: &Vec<u8>| !key.is_empty())
            .collect();
        let mut store = Store::default();
        for round in 0..3 {
            for key in &keys {
                store.txn(then(vec![Op::Put(Put::new(bytes(key), Bytes::from(vec![round])))]));
            }
        }
        keys.sort();
        keys.dedup();
        let history = rows(&store.0, Table::History);
        let mut expected = Vec::new();
        for key in &keys {
            let revisions: Vec<u64> = (2..=store.revision())
                .filter(|revision| {
                    let query = ask(KeyRange::One(bytes(key)), *revision);
                    let found = store.ask(&query).unwrap().items;
                    found.first().is_some_and(|item| item.mod_revision == *revision)
                })
                .collect();
            // The newest is in `Latest`.
            expected.extend_from_slice(&revisions[..revisions.len() - 1]);
        }
        let found: Vec<u64> = history
            .iter()
            .map(|(key, _)| u64::from_be_bytes(key[key.len() - 8..].try_into().unwrap()))
            .collect();
        found == expected
    }
    QuickCheck::new().tests(150).quickcheck(property as fn(_) -> _);
}

#[test]
fn a_prefix_holds_exactly_the_keys_that_begin_with_it() {
    fn property(prefix: Vec<u8>, key: Vec<u8>, extend: bool) -> bool {
        let squeeze = |bytes: Vec<u8>| -> Vec<u8> {
            bytes.into_iter().take(4).map(|byte| [0x00, 0xFE, 0xFF][byte as usize % 3]).collect()
        };
        let prefix = squeeze(prefix);
        let mut key = squeeze(key);
        if extend {
            key = [&prefix[..], &key].concat();
        }
        KeyRange::prefix(bytes(&prefix)).contains(&key) == key.starts_with(&prefix)
    }
    QuickCheck::new().tests(2000).quickcheck(property as fn(_, _, _) -> _);
    assert_eq!(KeyRange::prefix(Bytes::new()), KeyRange::all());
}

#[test]
fn a_value_is_stored_once() {
    let mut store = Store::default();
    let value = "x".repeat(1000);
    store.txn(then(vec![put("a", &value)]));
    store.put("a", "small");
    let size = |table| rows(&store.0, table).iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
    let all: usize = Table::ALL.into_iter().map(size).sum();
    assert!((1000..1200).contains(&all), "{all} bytes for a value of 1000");
}

/// The past is read in pages of rows and bytes; none may be lost or repeated at their edges.
#[test]
fn a_past_of_many_rows_and_large_values_is_read_without_gap_or_repeat() {
    let mut store = Store::default();
    let large = "x".repeat(300 << 10);
    for round in 0..3 {
        let puts = (0..300).map(|n| put(&format!("k{n:03}"), &round.to_string())).collect();
        store.txn(then(puts));
        let puts = (0..8).map(|n| put(&format!("large{n}"), &large)).collect();
        store.txn(then(puts));
    }
    for descending in [false, true] {
        for revision in 2..=7 {
            let query = Query { descending, ..ask(KeyRange::all(), revision) };
            let reply = store.ask(&query).unwrap();
            let mut keys: Vec<_> = reply.items.iter().map(|item| item.key.clone()).collect();
            assert!(reply.items.iter().all(|item| item.mod_revision <= revision));
            assert_eq!(reply.count, keys.len() as u64);
            assert_eq!(keys.len(), if revision == 2 { 300 } else { 308 });
            if descending {
                keys.reverse();
            }
            assert!(keys.is_sorted_by(|a, b| a < b), "at {revision}, descending {descending}");
        }
    }
}
