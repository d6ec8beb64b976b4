//! The snapshot stream: whole or refused, whatever the cuts.

use bytes::{Bytes, BytesMut};
use kvorum_core::kv::{
    self, Body, Command, KeyRange, Kind, MemoryTables, Op, Order, Put, Query, Table, Tables, Txn,
    snapshot::{Decoder, Encoder, Reader},
};

fn put(tables: &mut dyn Tables, key: &str, value: &str) {
    let put = Put {
        kind: Kind::Text,
        ..Put::new(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
    };
    let txn = Txn { then: vec![Op::Put(put)], ..Txn::default() };
    let command = Command { time_ms: 7, ..Command::new(Body::Txn(txn)) };
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

/// A stream with another trailer, and a checksum that fits it.
fn with_trailer(bytes: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let covered = bytes.len() - 16;
    let mut bytes = bytes.to_vec();
    change(&mut bytes[covered - 24..covered]);
    let checksum = xxhash_rust::xxh3::xxh3_128(&bytes[..covered]);
    bytes[covered..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn count_and_digest_are_checked_on_their_own_not_only_by_the_checksum() {
    let bytes = stream(&example());
    assert!(restore([&with_trailer(&bytes, |_| {})[..]]).is_ok());
    assert_eq!(
        restore([&with_trailer(&bytes, |trailer| trailer[0] ^= 1)[..]]),
        Err("malformed field `snapshot row count`".to_owned())
    );
    assert_eq!(
        restore([&with_trailer(&bytes, |trailer| trailer[8] ^= 1)[..]]),
        Err("malformed field `snapshot digest`".to_owned())
    );
}

/// Rows that do not add up to the digest in the head row, from a sender that did not look.
#[test]
fn rows_that_rotted_before_they_were_sent_are_refused_by_the_receiver() {
    let tables = example();
    let mut encoder = Encoder::new();
    for table in Table::ALL {
        tables
            .scan(table, &[], None, Order::Ascending, &mut |key, value| {
                let mut value = value.to_vec();
                if (table, key) == (Table::Latest, b"a") {
                    value[0] ^= 1;
                }
                encoder.row(table, key, &Bytes::from(value)).unwrap();
                true
            })
            .unwrap();
    }
    assert!(encoder.finish().is_err());
    let rows = encoder.take(usize::MAX);
    // Ended by hand: 7 rows, the digest of what is there, the checksum.
    let mut bytes = rows.to_vec();
    bytes.push(0xFF);
    bytes.extend_from_slice(&7u64.to_le_bytes());
    let mut digest = 0u128;
    let mut decoder = Decoder::new();
    decoder.feed(&rows);
    while let Some((table, key, value)) = decoder.next_row().unwrap() {
        digest = digest.wrapping_add(kv::digest::of_row(table, &key, &value));
    }
    bytes.extend_from_slice(&digest.to_le_bytes());
    bytes.extend_from_slice(&xxhash_rust::xxh3::xxh3_128(&bytes).to_le_bytes());
    assert_eq!(restore([&bytes[..]]), Err("malformed field `snapshot digest`".to_owned()));
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
    // The same row twice, by hand.
    let mut one = one;
    let row = one.take(usize::MAX).split_off(8);
    let mut decoder = Decoder::new();
    decoder.feed(&stream(&MemoryTables::default())[..8]);
    decoder.feed(&row);
    assert!(decoder.next_row().unwrap().is_some());
    decoder.feed(&row);
    assert!(decoder.next_row().is_err());
}

#[test]
fn a_row_of_one_replica_alone_or_of_no_table_is_refused_in_a_stream() {
    let header = &stream(&MemoryTables::default())[..8];
    for (table, key) in [(Table::Meta as u8, kv::digest::LOCAL_PREFIX), (7, 0)] {
        let mut decoder = Decoder::new();
        decoder.feed(header);
        decoder.feed(&[table, 1, 0, 0, 0, 0, 0, 0, 0, key]);
        assert!(decoder.next_row().is_err());
    }
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_anything_is_held_for_it() {
    let mut decoder = Decoder::new();
    decoder.feed(&stream(&MemoryTables::default())[..8]);
    let length = (kv::snapshot::MAX_FIELD_BYTES as u32 + 1).to_le_bytes();
    decoder.feed(&[&[Table::Latest as u8, 1, 0, 0, 0][..], &length].concat());
    assert!(decoder.next_row().is_err());
}

#[test]
fn a_restored_store_answers_as_the_one_it_came_from() {
    let tables = example();
    let restored = restore([&stream(&tables)[..]]).unwrap();
    for revision in 0..=4 {
        let query = Query { revision, ..Query::of(KeyRange::all()) };
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
