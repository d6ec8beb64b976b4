//! The snapshot stream: whole or refused, whatever the cuts.

use bytes::{Bytes, BytesMut};
use kvorum_core::kv::{
    self, Body, Command, KeyRange, Kind, MemoryTables, Op, Order, Put, Query, Table, Tables, Txn,
    snapshot::{Decoder, Encoder, Reader},
};

fn put(tables: &mut dyn Tables, key: &str, value: &str) {
    let put = Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        kind: Kind::Text,
        lease: 0,
        previous: false,
    };
    let txn = Txn { then: vec![Op::Put(put)], ..Txn::default() };
    let command =
        Command { time_ms: 7, idempotency: None, principal: Bytes::new(), body: Body::Txn(txn) };
    assert!(kv::apply(tables, &command).unwrap().result.is_ok());
}

fn example() -> MemoryTables {
    let mut tables = MemoryTables::default();
    put(&mut tables, "a", "1");
    put(&mut tables, "b", "2");
    put(&mut tables, "a", "3");
    tables
}

fn stream(tables: &dyn Tables) -> Vec<u8> {
    Reader::new().read(tables, usize::MAX).unwrap().0.to_vec()
}

/// Feeds the pieces and restores what comes out.
fn restore<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<MemoryTables, String> {
    let mut decoder = Decoder::new();
    let mut tables = MemoryTables::default();
    for piece in pieces {
        decoder.feed(piece);
        while let Some((table, key, value)) = decoder.next_row().map_err(|e| e.to_string())? {
            tables.put(table, &key, value);
        }
    }
    let summary = decoder.finish().map_err(|e| e.to_string())?;
    assert_eq!(Ok(summary.digest), kv::digest(&tables));
    Ok(tables)
}

#[test]
fn a_stream_restores_the_same_tables_however_it_is_cut() {
    let tables = example();
    let bytes = stream(&tables);
    for size in 1..=bytes.len() {
        assert_eq!(restore(bytes.chunks(size)).as_ref(), Ok(&tables), "pieces of {size}");
        let mut reader = Reader::new();
        let mut pieces = BytesMut::new();
        loop {
            let (piece, last) = reader.read(&tables, size).unwrap();
            assert!(last || piece.len() == size);
            pieces.extend_from_slice(&piece);
            if last {
                break;
            }
        }
        assert_eq!(pieces, bytes);
    }
}

#[test]
fn an_empty_store_has_a_stream_too() {
    let bytes = stream(&MemoryTables::default());
    assert_eq!(restore([&bytes[..]]), Ok(MemoryTables::default()));
}

#[test]
fn every_truncation_is_refused() {
    let bytes = stream(&example());
    for len in 0..bytes.len() {
        assert!(restore([&bytes[..len]]).is_err(), "cut at {len}");
    }
}

#[test]
fn every_altered_bit_and_every_lost_or_added_byte_is_refused() {
    let bytes = stream(&example());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << bit;
            assert!(restore([&altered[..]]).is_err(), "bit {bit} of byte {at}");
        }
        let mut lost = bytes.clone();
        lost.remove(at);
        assert!(restore([&lost[..]]).is_err(), "without byte {at}");
        let mut added = bytes.clone();
        added.insert(at, 0);
        assert!(restore([&added[..]]).is_err(), "with a byte more at {at}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(restore([&longer[..]]).is_err());
}

#[test]
fn a_refused_stream_stays_refused() {
    let mut decoder = Decoder::new();
    decoder.feed(b"x");
    assert!(decoder.next_row().is_err());
    decoder.feed(&stream(&example()));
    assert!(decoder.next_row().is_err());
    assert!(decoder.finish().is_err());
}

#[test]
fn rows_of_one_replica_alone_are_neither_in_the_stream_nor_in_the_digest() {
    let plain = example();
    let mut marked = plain.clone();
    marked.put(Table::Meta, &[kv::digest::LOCAL_PREFIX, 1], Bytes::from_static(b"applied"));
    assert_eq!(kv::digest::recompute(&marked), kv::digest(&plain));
    assert_eq!(stream(&marked), stream(&plain));
}

#[test]
fn a_replica_whose_rows_rotted_cannot_pass_itself_on() {
    let mut tables = example();
    let mut row = tables.get(Table::Latest, b"a").unwrap().unwrap().to_vec();
    *row.last_mut().unwrap() ^= 1;
    tables.put(Table::Latest, b"a", Bytes::from(row));
    assert!(Reader::new().read(&tables, usize::MAX).is_err());
    assert_ne!(kv::digest::recompute(&tables), kv::digest(&tables));
}

#[test]
fn rows_out_of_order_are_refused_on_both_ends() {
    let value = Bytes::from_static(b"v");
    let mut encoder = Encoder::new();
    encoder.row(Table::Latest, b"b", &value).unwrap();
    let one = encoder.clone();
    assert!(encoder.row(Table::Latest, b"a", &value).is_err());
    assert!(one.clone().row(Table::Meta, b"z", &value).is_err());
    assert!(one.clone().row(Table::Latest, b"b", &value).is_err());
    assert!(one.clone().row(Table::History, b"a", &value).is_ok());
}

#[test]
fn a_restored_store_answers_as_the_one_it_came_from() {
    let tables = example();
    let restored = restore([&stream(&tables)[..]]).unwrap();
    for revision in 0..=4 {
        let query = Query {
            range: KeyRange::all(),
            revision,
            limit: 0,
            descending: false,
            keys_only: false,
            count_only: false,
        };
        assert_eq!(kv::query(&tables, &query), kv::query(&restored, &query));
    }
    let mut rows = 0;
    restored
        .scan(Table::Revisions, &[], None, Order::Ascending, &mut |_, _| {
            rows += 1;
            true
        })
        .unwrap();
    assert_eq!(rows, 3);
}
