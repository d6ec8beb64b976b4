//! Random commands over few keys, so that they meet, with the byte strings that break encodings.

use bytes::Bytes;
use kvorum_core::kv::{
    Body, Command, Compare, Delete, Fence, Group, Guard, Idempotency, KeyRange, Kind, Op, Put,
    Query, SettingsChange, Target, Txn, lease::GRANTED,
};
use quickcheck::{Arbitrary, Gen};

/// Keys that sort differently when an encoding is wrong.
const KEYS: [&[u8]; 12] = [
    b"a",
    b"a\x00",
    b"a\x00\x00",
    b"a\x00\x01",
    b"a\x00\xff",
    b"a\x01",
    b"ab",
    b"b",
    b"\x00",
    b"\xff",
    b"\xff\xff",
    b"\xff\x00",
];

/// A sequence of commands.
#[derive(Debug, Clone)]
pub struct Commands(pub Vec<Command>);

impl Arbitrary for Commands {
    fn arbitrary(g: &mut Gen) -> Commands {
        let len = below(g, 60) as usize;
        Commands((0..len).map(|_| command(g)).collect())
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Commands>> {
        let commands = self.0.clone();
        let halves = (1..=3).flat_map(move |power| {
            let commands = commands.clone();
            let size = commands.len().div_ceil(1 << power).max(1);
            (0..commands.len()).step_by(size).map(move |at| {
                let mut less = commands.clone();
                less.drain(at..(at + size).min(less.len()));
                Commands(less)
            })
        });
        let commands = self.0.clone();
        let singles = (0..self.0.len()).map(move |at| {
            let mut less = commands.clone();
            less.remove(at);
            Commands(less)
        });
        Box::new(halves.chain(singles))
    }
}

pub fn command(g: &mut Gen) -> Command {
    let body = match below(g, 14) {
        0 => Body::Compact { revision: below(g, 40) },
        1 => Body::Expire { leases: list(g, 4, lease) },
        2 if one_in(g, 3) => Body::Tick,
        2 => Body::Settings(settings(g)),
        3 | 4 => Body::Txn(Txn { then: vec![of_lease(g)], ..Txn::default() }),
        5..=9 => Body::Txn(Txn { then: vec![write(g)], ..Txn::default() }),
        _ => Body::Txn(txn(g, 3)),
    };
    let idempotency = one_in(g, 5).then(|| Idempotency {
        key: Bytes::copy_from_slice(pick(g, &[b"k1".as_slice(), b"k2", b"k3"])),
        fingerprint: below(g, 2),
    });
    let principal = if one_in(g, 4) { Bytes::from_static(b"eve") } else { Bytes::new() };
    let fence = one_in(g, 8).then(|| Fence {
        key: if one_in(g, 30) { key(g) } else { Bytes::from_static(pick(g, &KEYS[..3])) },
        token: if one_in(g, 10) { 0 } else { 2 + below(g, 4) },
    });
    // Of any size, so that the clock goes on throughout a sequence.
    let size = 256 << below(g, 14);
    let time_ms = below(g, size);
    Command { time_ms, wall_ms: below(g, 1000), idempotency, fence, principal, body }
}

fn settings(g: &mut Gen) -> SettingsChange {
    let mut some = |values: &[u64]| one_in(g, 2).then(|| pick(g, values));
    SettingsChange {
        quota_bytes: some(&[0, 500, 1500]),
        keep_ms: some(&[0, 20_000, u64::MAX]),
        keep_revisions: some(&[0, 3, 10]),
    }
}

/// An id of few, so that leases meet; rarely one that cannot be.
fn lease(g: &mut Gen) -> u64 {
    if one_in(g, 60) { 1 << 63 } else { 1 + below(g, 3) }
}

fn of_lease(g: &mut Gen) -> Op {
    match below(g, 5) {
        0..=2 => Op::Grant {
            id: if one_in(g, 3) { 0 } else { lease(g) },
            ttl_ms: pick(g, &[0, 2000, 10_000, 100_000, 9_000_000_000_001]),
        },
        3 => Op::KeepAlive { id: lease(g) },
        _ => Op::Revoke { id: lease(g) },
    }
}

pub fn query(g: &mut Gen) -> Query {
    Query {
        range: range(g),
        revision: if one_in(g, 2) { 0 } else { below(g, 40) },
        limit: if one_in(g, 2) { 0 } else { below(g, 5) },
        descending: one_in(g, 3),
        keys_only: one_in(g, 4),
        count_only: one_in(g, 6),
        count: one_in(g, 2),
        max_bytes: if one_in(g, 3) { 1 + below(g, 400) } else { 0 },
        group: one_in(g, 4).then(|| Group {
            after: below(g, 3),
            delimiter: Bytes::from_static(pick(g, &[b"a".as_slice(), b"\x00", b"\xff"])),
        }),
    }
}

fn txn(g: &mut Gen, depth: u64) -> Txn {
    Txn { guards: list(g, 3, guard), then: ops(g, depth), otherwise: ops(g, depth) }
}

fn ops(g: &mut Gen, depth: u64) -> Vec<Op> {
    list(g, 4, |g| match below(g, 8) {
        0 | 1 => Op::Range(query(g)),
        2 if depth > 1 => Op::Txn(txn(g, depth - 1)),
        3 => of_lease(g),
        _ => write(g),
    })
}

fn write(g: &mut Gen) -> Op {
    if one_in(g, 3) {
        Op::Delete(Delete { range: range(g), previous: one_in(g, 2) })
    } else {
        Op::Put(Put {
            key: key(g),
            value: value(g),
            kind: pick(g, &[Kind::Bytes, Kind::Text, Kind::Json]),
            lease: match below(g, 8) {
                0 => lease(g),
                1 if one_in(g, 2) => GRANTED,
                _ => 0,
            },
            previous: one_in(g, 2),
            keep_value: one_in(g, 12),
            keep_lease: one_in(g, 12),
        })
    }
}

fn guard(g: &mut Gen) -> Guard {
    let compare = [Compare::Equal, Compare::Greater, Compare::Less, Compare::NotEqual];
    Guard {
        range: range(g),
        compare: pick(g, &compare),
        target: match below(g, 5) {
            0 => Target::Version(below(g, 3)),
            1 => Target::Create(below(g, 20)),
            2 => Target::Mod(below(g, 20)),
            3 => Target::Lease(below(g, 2)),
            _ => Target::Value(value(g)),
        },
    }
}

fn range(g: &mut Gen) -> KeyRange {
    match below(g, 8) {
        0 => KeyRange::all(),
        1 => KeyRange::Between { start: key(g), end: None },
        2 | 3 => KeyRange::Between { start: key(g), end: Some(key(g)) },
        4 => KeyRange::prefix(key(g)),
        _ => KeyRange::One(key(g)),
    }
}

pub fn key(g: &mut Gen) -> Bytes {
    if one_in(g, 100) { Bytes::new() } else { Bytes::from_static(pick(g, &KEYS)) }
}

fn value(g: &mut Gen) -> Bytes {
    let long = [7u8; 300];
    Bytes::copy_from_slice(pick(g, &[b"".as_slice(), b"\x80", b"x", b"yy", &long]))
}

fn list<T>(g: &mut Gen, below_len: u64, item: impl Fn(&mut Gen) -> T) -> Vec<T> {
    (0..below(g, below_len)).map(|_| item(g)).collect()
}

pub fn below(g: &mut Gen, bound: u64) -> u64 {
    u64::arbitrary(g) % bound
}

pub fn one_in(g: &mut Gen, n: u64) -> bool {
    below(g, n) == 0
}

fn pick<T: Copy>(g: &mut Gen, from: &[T]) -> T {
    from[below(g, from.len() as u64) as usize]
}
