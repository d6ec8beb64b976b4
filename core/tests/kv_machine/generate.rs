//! Random commands over few keys, so that they meet, with the byte strings that break encodings.

use bytes::Bytes;
use kvorum_core::kv::{
    Body, Command, Compare, Delete, Guard, Idempotency, KeyRange, Kind, Op, Put, Query, Target, Txn,
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
    let body = match below(g, 10) {
        0 => Body::Compact { revision: below(g, 40) },
        1..=5 => Body::Txn(Txn { then: vec![write(g)], ..Txn::default() }),
        _ => Body::Txn(txn(g, 3)),
    };
    let idempotency = one_in(g, 5).then(|| Idempotency {
        key: Bytes::copy_from_slice(pick(g, &[b"k1".as_slice(), b"k2", b"k3"])),
        fingerprint: below(g, 2),
    });
    let principal = if one_in(g, 4) { Bytes::from_static(b"eve") } else { Bytes::new() };
    Command { time_ms: below(g, 100_000), idempotency, principal, body }
}

pub fn query(g: &mut Gen) -> Query {
    Query {
        range: range(g),
        revision: if one_in(g, 2) { 0 } else { below(g, 40) },
        limit: if one_in(g, 2) { 0 } else { below(g, 5) },
        max_bytes: 0,
        descending: one_in(g, 3),
        keys_only: one_in(g, 4),
        count_only: one_in(g, 6),
        count: true,
    }
}

fn txn(g: &mut Gen, depth: u64) -> Txn {
    Txn { guards: list(g, 3, guard), then: ops(g, depth), otherwise: ops(g, depth) }
}

fn ops(g: &mut Gen, depth: u64) -> Vec<Op> {
    list(g, 4, |g| match below(g, 8) {
        0 | 1 => Op::Range(query(g)),
        2 if depth > 1 => Op::Txn(txn(g, depth - 1)),
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
            lease: u64::from(one_in(g, 40)),
            previous: one_in(g, 2),
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
