//! The bytes of a command, as they stand in the log.
//!
//! Rule: one command has one encoding, and every byte string either is the encoding of a command
//! or is refused; byte fields are slices of the input. Must never: reuse a number; recurse deeper
//! than `MAX_TXN_DEPTH`.
//!
//! ```text
//! format (1) | flags: 01 idempotency | time | [key, fingerprint] | principal | body number | body
//! ```
//!
//! Body numbers that are taken: 1 transaction, 2 compaction. Reserved, in use by no version yet:
//! 3 lease grant, 4 lease revoke, 5 lease keep-alive, 6 lease checkpoint, 7 lease expiry, 8 users,
//! roles and tokens, 9 quota, 10 alarm. Flag 02 is reserved for a fencing token. A reader that
//! meets one of them answers `Unreadable`, so a cluster may only propose what all members read.

use super::{
    check::MAX_TXN_DEPTH,
    command::{
        Body, Command, Compare, Delete, Guard, Idempotency, KeyRange, Kind, Op, Put, Query, Target,
        Txn,
    },
};
use crate::codec::{
    Malformed, get_bool, get_bytes, get_list, get_u8, get_u64, put_bool, put_bytes, put_u64,
};
use bytes::{BufMut, Bytes, BytesMut};

const FORMAT: u8 = 1;
const FLAG_IDEMPOTENCY: u8 = 0x01;
const BODY_TXN: u8 = 1;
const BODY_COMPACT: u8 = 2;

/// The longest idempotency key, in bytes.
const MAX_IDEMPOTENCY_KEY: usize = 128;

impl Command {
    /// Appends the encoding. A transaction nested deeper than `MAX_TXN_DEPTH` gives bytes that do
    /// not decode; `Txn::check` refuses it before.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(FORMAT);
        out.put_u8(if self.idempotency.is_some() { FLAG_IDEMPOTENCY } else { 0 });
        put_u64(out, self.time_ms);
        if let Some(idempotency) = &self.idempotency {
            put_bytes(out, &idempotency.key);
            put_u64(out, idempotency.fingerprint);
        }
        put_bytes(out, &self.principal);
        match &self.body {
            Body::Txn(txn) => {
                out.put_u8(BODY_TXN);
                put_txn(out, txn);
            }
            Body::Compact { revision } => {
                out.put_u8(BODY_COMPACT);
                put_u64(out, *revision);
            }
        }
    }

    /// Reads a command; its byte fields are slices of `bytes`.
    ///
    /// # Errors
    /// `Malformed` for anything `encode` does not produce, in particular a later format.
    pub fn decode(mut bytes: Bytes) -> Result<Command, Malformed> {
        let input = &mut bytes;
        if get_u8(input, "format")? != FORMAT {
            return Err(Malformed("format"));
        }
        let flags = get_u8(input, "flags")?;
        if flags & !FLAG_IDEMPOTENCY != 0 {
            return Err(Malformed("flags"));
        }
        let time_ms = get_u64(input, "time")?;
        let idempotency =
            if flags & FLAG_IDEMPOTENCY != 0 { Some(get_idempotency(input)?) } else { None };
        let principal = get_bytes(input, "principal")?;
        let body = match get_u8(input, "body")? {
            BODY_TXN => Body::Txn(get_txn(input, MAX_TXN_DEPTH)?),
            BODY_COMPACT => Body::Compact { revision: get_u64(input, "compact revision")? },
            _ => return Err(Malformed("body")),
        };
        if !bytes.is_empty() {
            return Err(Malformed("end of command"));
        }
        Ok(Command { time_ms, idempotency, principal, body })
    }
}

fn get_idempotency(input: &mut Bytes) -> Result<Idempotency, Malformed> {
    let key = get_bytes(input, "idempotency key")?;
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY {
        return Err(Malformed("idempotency key"));
    }
    Ok(Idempotency { key, fingerprint: get_u64(input, "fingerprint")? })
}

fn put_txn(out: &mut BytesMut, txn: &Txn) {
    put_u64(out, txn.guards.len() as u64);
    for guard in &txn.guards {
        put_guard(out, guard);
    }
    for ops in [&txn.then, &txn.otherwise] {
        put_u64(out, ops.len() as u64);
        for op in ops {
            put_op(out, op);
        }
    }
}

fn get_txn(input: &mut Bytes, depth: usize) -> Result<Txn, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed("transaction depth"))?;
    Ok(Txn {
        guards: get_list(input, "guards", get_guard)?,
        then: get_list(input, "then", |input| get_op(input, depth))?,
        otherwise: get_list(input, "otherwise", |input| get_op(input, depth))?,
    })
}

const OP_PUT: u8 = 1;
const OP_DELETE: u8 = 2;
const OP_RANGE: u8 = 3;
const OP_TXN: u8 = 4;

fn put_op(out: &mut BytesMut, op: &Op) {
    match op {
        Op::Put(put) => {
            out.put_u8(OP_PUT);
            put_bytes(out, &put.key);
            put_bytes(out, &put.value);
            out.put_u8(put.kind as u8);
            put_u64(out, put.lease);
            put_bool(out, put.previous);
        }
        Op::Delete(delete) => {
            out.put_u8(OP_DELETE);
            put_range(out, &delete.range);
            put_bool(out, delete.previous);
        }
        Op::Range(query) => {
            out.put_u8(OP_RANGE);
            put_query(out, query);
        }
        Op::Txn(txn) => {
            out.put_u8(OP_TXN);
            put_txn(out, txn);
        }
    }
}

fn get_op(input: &mut Bytes, depth: usize) -> Result<Op, Malformed> {
    match get_u8(input, "operation")? {
        OP_PUT => Ok(Op::Put(Put {
            key: get_bytes(input, "key")?,
            value: get_bytes(input, "value")?,
            kind: get_kind(input)?,
            lease: get_u64(input, "lease")?,
            previous: get_bool(input, "previous")?,
        })),
        OP_DELETE => Ok(Op::Delete(Delete {
            range: get_range(input)?,
            previous: get_bool(input, "previous")?,
        })),
        OP_RANGE => Ok(Op::Range(get_query(input)?)),
        OP_TXN => Ok(Op::Txn(get_txn(input, depth)?)),
        _ => Err(Malformed("operation")),
    }
}

pub(super) fn get_kind(input: &mut Bytes) -> Result<Kind, Malformed> {
    Kind::from_number(get_u8(input, "kind")?).ok_or(Malformed("kind"))
}

const QUERY_DESCENDING: u8 = 0x01;
const QUERY_KEYS_ONLY: u8 = 0x02;
const QUERY_COUNT_ONLY: u8 = 0x04;
const QUERY_COUNT: u8 = 0x08;

fn put_query(out: &mut BytesMut, query: &Query) {
    put_range(out, &query.range);
    put_u64(out, query.revision);
    put_u64(out, query.limit);
    put_u64(out, query.max_bytes);
    let flags = [
        (query.descending, QUERY_DESCENDING),
        (query.keys_only, QUERY_KEYS_ONLY),
        (query.count_only, QUERY_COUNT_ONLY),
        (query.count, QUERY_COUNT),
    ];
    out.put_u8(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
}

fn get_query(input: &mut Bytes) -> Result<Query, Malformed> {
    let range = get_range(input)?;
    let revision = get_u64(input, "revision")?;
    let limit = get_u64(input, "limit")?;
    let max_bytes = get_u64(input, "byte limit")?;
    let flags = get_u8(input, "query flags")?;
    let known = QUERY_DESCENDING | QUERY_KEYS_ONLY | QUERY_COUNT_ONLY | QUERY_COUNT;
    if flags & !known != 0 {
        return Err(Malformed("query flags"));
    }
    Ok(Query {
        range,
        revision,
        limit,
        max_bytes,
        descending: flags & QUERY_DESCENDING != 0,
        keys_only: flags & QUERY_KEYS_ONLY != 0,
        count_only: flags & QUERY_COUNT_ONLY != 0,
        count: flags & QUERY_COUNT != 0,
    })
}

const RANGE_ONE: u8 = 0;
const RANGE_BETWEEN: u8 = 1;
const RANGE_FROM: u8 = 2;

fn put_range(out: &mut BytesMut, range: &KeyRange) {
    match range {
        KeyRange::One(key) => {
            out.put_u8(RANGE_ONE);
            put_bytes(out, key);
        }
        KeyRange::Between { start, end: Some(end) } => {
            out.put_u8(RANGE_BETWEEN);
            put_bytes(out, start);
            put_bytes(out, end);
        }
        KeyRange::Between { start, end: None } => {
            out.put_u8(RANGE_FROM);
            put_bytes(out, start);
        }
    }
}

fn get_range(input: &mut Bytes) -> Result<KeyRange, Malformed> {
    match get_u8(input, "range")? {
        RANGE_ONE => Ok(KeyRange::One(get_bytes(input, "key")?)),
        RANGE_BETWEEN => Ok(KeyRange::Between {
            start: get_bytes(input, "range start")?,
            end: Some(get_bytes(input, "range end")?),
        }),
        RANGE_FROM => Ok(KeyRange::Between { start: get_bytes(input, "range start")?, end: None }),
        _ => Err(Malformed("range")),
    }
}

fn put_guard(out: &mut BytesMut, guard: &Guard) {
    put_range(out, &guard.range);
    out.put_u8(match guard.compare {
        Compare::Equal => 0,
        Compare::Greater => 1,
        Compare::Less => 2,
        Compare::NotEqual => 3,
    });
    let (number, target) = match &guard.target {
        Target::Version(target) => (0, target),
        Target::Create(target) => (1, target),
        Target::Mod(target) => (2, target),
        Target::Lease(target) => (4, target),
        Target::Value(target) => {
            out.put_u8(3);
            return put_bytes(out, target);
        }
    };
    out.put_u8(number);
    put_u64(out, *target);
}

fn get_guard(input: &mut Bytes) -> Result<Guard, Malformed> {
    let range = get_range(input)?;
    let compare = match get_u8(input, "comparison")? {
        0 => Compare::Equal,
        1 => Compare::Greater,
        2 => Compare::Less,
        3 => Compare::NotEqual,
        _ => return Err(Malformed("comparison")),
    };
    let target = match get_u8(input, "target")? {
        0 => Target::Version(get_u64(input, "target")?),
        1 => Target::Create(get_u64(input, "target")?),
        2 => Target::Mod(get_u64(input, "target")?),
        3 => Target::Value(get_bytes(input, "target")?),
        4 => Target::Lease(get_u64(input, "target")?),
        _ => return Err(Malformed("target")),
    };
    Ok(Guard { range, compare, target })
}
