//! The tables in memory keep the contract of `Tables`.

use bytes::Bytes;
use kvorum_core::kv::{MemoryTables, Order, Table, Tables};

fn tables() -> MemoryTables {
    let mut tables = MemoryTables::default();
    for key in ["b", "a", "c"] {
        tables.put(Table::Latest, key.as_bytes(), Bytes::from(key.to_uppercase()));
    }
    tables.put(Table::History, b"other", Bytes::new());
    tables
}

/// The keys visited, stopping after `limit`.
fn scan(start: &str, end: Option<&str>, order: Order, limit: usize) -> String {
    let mut keys = String::new();
    tables()
        .scan(Table::Latest, start.as_bytes(), end.map(str::as_bytes), order, &mut |key, value| {
            keys.push_str(std::str::from_utf8(key).unwrap());
            assert_eq!(value, keys[keys.len() - 1..].to_uppercase().as_bytes());
            keys.len() < limit
        })
        .unwrap();
    keys
}

#[test]
fn scans_visit_start_to_end_in_order_until_told_to_stop() {
    use Order::{Ascending, Descending};
    assert_eq!(scan("", None, Ascending, 9), "abc");
    assert_eq!(scan("", None, Descending, 9), "cba");
    assert_eq!(scan("a", Some("c"), Ascending, 9), "ab");
    assert_eq!(scan("b", Some("d"), Descending, 9), "cb");
    assert_eq!(scan("", None, Ascending, 2), "ab");
    assert_eq!(scan("", None, Descending, 2), "cb");
}

#[test]
fn a_scan_whose_end_is_not_after_its_start_is_empty() {
    for order in [Order::Ascending, Order::Descending] {
        assert_eq!(scan("b", Some("b"), order, 9), "");
        assert_eq!(scan("c", Some("a"), order, 9), "");
    }
}

#[test]
fn a_clone_stands_still_while_the_original_goes_on() {
    let mut original = tables();
    let snapshot = original.clone();
    original.put(Table::Latest, b"a", Bytes::from_static(b"new"));
    original.delete(Table::Latest, b"b");
    original.delete(Table::Latest, b"missing");
    assert_eq!(snapshot, tables());
    assert_eq!(original.get(Table::Latest, b"a").unwrap().unwrap(), "new");
    assert_eq!(original.len(Table::Latest), 2);
    assert!(original.is_empty(Table::Dedup) && !original.is_empty(Table::History));
}
