//! The bytes of a command, as they stand in the log.
//!
//! Rule: one command has one encoding, and every byte string either is the encoding of a command
//! or is refused; byte fields are slices of the input. Must never: reuse a number; recurse deeper
//! than `MAX_TXN_DEPTH`.
//!
//! ```text
//! format (1) | flags | time | date | [key, fingerprint] | [key, token] | principal | number | body
//! ```
//!
//! Flags: 01 idempotency, 02 fence. Body numbers taken: 1 transaction, 2 compaction, 3 expiry of
//! leases, 4 tick, 5 settings. Reserved, in use by no version: 8 users, roles and tokens.
//!
//! A change of what bytes mean, and every new body, op, field or flag, takes a new format number,
//! which only commands that need it carry. A reader that meets a format it does not know stops
//! (`newer`); it must not pass over what others apply.

use super::{
    check::MAX_TXN_DEPTH,
    command::{
        Body, Command, Compare, Delete, Fence, Group, Guard, Idempotency, KeyRange, Kind, Op, Put,
        Query, SettingsChange, Target, Txn,
    },
};
use crate::codec::{
    Malformed, get_bool, get_bytes, get_list, get_u8, get_u64, put_bool, put_bytes, put_u64,
};
use bytes::{BufMut, Bytes, BytesMut};

/// The newest format of commands that this version reads and writes.
pub(super) const FORMAT: u8 = 1;
const FLAG_IDEMPOTENCY: u8 = 0x01;
const FLAG_FENCE: u8 = 0x02;
const BODY_TXN: u8 = 1;
const BODY_COMPACT: u8 = 2;
const BODY_EXPIRE: u8 = 3;
const BODY_TICK: u8 = 4;
const BODY_SETTINGS: u8 = 5;

/// The longest idempotency key, in bytes.
const MAX_IDEMPOTENCY_KEY: usize = 128;

impl Command {
    /// Appends the encoding. A transaction nested deeper than `MAX_TXN_DEPTH` gives bytes that do
    /// not decode; `Txn::check` refuses it before.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(FORMAT);
        out.put_u8(flags(&[
            (self.idempotency.is_some(), FLAG_IDEMPOTENCY),
            (self.fence.is_some(), FLAG_FENCE),
        ]));
        put_u64(out, self.time_ms);
        put_u64(out, self.wall_ms);
        if let Some(idempotency) = &self.idempotency {
            put_bytes(out, &idempotency.key);
            put_u64(out, idempotency.fingerprint);
        }
        if let Some(fence) = &self.fence {
            put_bytes(out, &fence.key);
            put_u64(out, fence.token);
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
            Body::Expire { leases } => {
                out.put_u8(BODY_EXPIRE);
                put_u64(out, leases.len() as u64);
                leases.iter().for_each(|id| put_u64(out, *id));
            }
            Body::Tick => out.put_u8(BODY_TICK),
            Body::Settings(change) => {
                out.put_u8(BODY_SETTINGS);
                put_settings(out, *change);
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
        let flags = get_flags(input, FLAG_IDEMPOTENCY | FLAG_FENCE)?;
        let time_ms = get_u64(input, "time")?;
        let wall_ms = get_u64(input, "date")?;
        let idempotency =
            if flags & FLAG_IDEMPOTENCY != 0 { Some(get_idempotency(input)?) } else { None };
        let fence = if flags & FLAG_FENCE != 0 { Some(get_fence(input)?) } else { None };
        let principal = get_bytes(input, "principal")?;
        let body = match get_u8(input, "body")? {
            BODY_TXN => Body::Txn(get_txn(input, MAX_TXN_DEPTH)?),
            BODY_COMPACT => Body::Compact { revision: get_u64(input, "compact revision")? },
            BODY_EXPIRE => {
                Body::Expire { leases: get_list(input, "leases", |input| get_u64(input, "lease"))? }
            }
            BODY_TICK => Body::Tick,
            BODY_SETTINGS => Body::Settings(get_settings(input)?),
            _ => return Err(Malformed("body")),
        };
        if !bytes.is_empty() {
            return Err(Malformed("end of command"));
        }
        Ok(Command { time_ms, wall_ms, idempotency, fence, principal, body })
    }
}

fn get_idempotency(input: &mut Bytes) -> Result<Idempotency, Malformed> {
    let key = get_bytes(input, "idempotency key")?;
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY {
        return Err(Malformed("idempotency key"));
    }
    Ok(Idempotency { key, fingerprint: get_u64(input, "fingerprint")? })
}

fn get_fence(input: &mut Bytes) -> Result<Fence, Malformed> {
    Ok(Fence { key: get_bytes(input, "fence")?, token: get_u64(input, "fence")? })
}

fn put_settings(out: &mut BytesMut, change: SettingsChange) {
    for setting in [change.quota_bytes, change.keep_ms, change.keep_revisions] {
        put_bool(out, setting.is_some());
        setting.iter().for_each(|value| put_u64(out, *value));
    }
}

fn get_settings(input: &mut Bytes) -> Result<SettingsChange, Malformed> {
    let mut setting = || {
        let changes = get_bool(input, "setting")?;
        if changes { get_u64(input, "setting").map(Some) } else { Ok(None) }
    };
    Ok(SettingsChange { quota_bytes: setting()?, keep_ms: setting()?, keep_revisions: setting()? })
}

/// The format of a command that only a later version reads, if it is one.
pub(super) fn newer(bytes: &[u8]) -> Option<u8> {
    bytes.first().copied().filter(|format| *format > FORMAT)
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
const OP_GRANT: u8 = 5;
const OP_KEEP_ALIVE: u8 = 6;
const OP_REVOKE: u8 = 7;

fn put_op(out: &mut BytesMut, op: &Op) {
    match op {
        Op::Put(put) => {
            out.put_u8(OP_PUT);
            put_bytes(out, &put.key);
            put_bytes(out, &put.value);
            out.put_u8(put.kind as u8);
            put_u64(out, put.lease);
            out.put_u8(flags(&[
                (put.previous, PUT_PREVIOUS),
                (put.keep_value, PUT_KEEP_VALUE),
                (put.keep_lease, PUT_KEEP_LEASE),
            ]));
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
        Op::Grant { id, ttl_ms } => {
            out.put_u8(OP_GRANT);
            put_u64(out, *id);
            put_u64(out, *ttl_ms);
        }
        Op::KeepAlive { id } => {
            out.put_u8(OP_KEEP_ALIVE);
            put_u64(out, *id);
        }
        Op::Revoke { id } => {
            out.put_u8(OP_REVOKE);
            put_u64(out, *id);
        }
    }
}

fn get_op(input: &mut Bytes, depth: usize) -> Result<Op, Malformed> {
    match get_u8(input, "operation")? {
        OP_PUT => Ok(Op::Put(get_put(input)?)),
        OP_DELETE => Ok(Op::Delete(Delete {
            range: get_range(input)?,
            previous: get_bool(input, "previous")?,
        })),
        OP_RANGE => Ok(Op::Range(get_query(input)?)),
        OP_TXN => Ok(Op::Txn(get_txn(input, depth)?)),
        OP_GRANT => Ok(Op::Grant { id: get_u64(input, "lease")?, ttl_ms: get_u64(input, "ttl")? }),
        OP_KEEP_ALIVE => Ok(Op::KeepAlive { id: get_u64(input, "lease")? }),
        OP_REVOKE => Ok(Op::Revoke { id: get_u64(input, "lease")? }),
        _ => Err(Malformed("operation")),
    }
}

const PUT_PREVIOUS: u8 = 0x01;
const PUT_KEEP_VALUE: u8 = 0x02;
const PUT_KEEP_LEASE: u8 = 0x04;

fn get_put(input: &mut Bytes) -> Result<Put, Malformed> {
    let key = get_bytes(input, "key")?;
    let value = get_bytes(input, "value")?;
    let kind = get_kind(input)?;
    let lease = get_u64(input, "lease")?;
    let flags = get_flags(input, PUT_PREVIOUS | PUT_KEEP_VALUE | PUT_KEEP_LEASE)?;
    Ok(Put {
        key,
        value,
        kind,
        lease,
        previous: flags & PUT_PREVIOUS != 0,
        keep_value: flags & PUT_KEEP_VALUE != 0,
        keep_lease: flags & PUT_KEEP_LEASE != 0,
    })
}

/// One bit for each that is set.
fn flags(flags: &[(bool, u8)]) -> u8 {
    flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum()
}

/// Reads what `flags` made; no other bits than `known` may be set.
fn get_flags(input: &mut Bytes, known: u8) -> Result<u8, Malformed> {
    let flags = get_u8(input, "flags")?;
    if flags & !known == 0 { Ok(flags) } else { Err(Malformed("flags")) }
}

pub(super) fn get_kind(input: &mut Bytes) -> Result<Kind, Malformed> {
    Kind::from_number(get_u8(input, "kind")?).ok_or(Malformed("kind"))
}

const QUERY_DESCENDING: u8 = 0x01;
const QUERY_KEYS_ONLY: u8 = 0x02;
const QUERY_COUNT_ONLY: u8 = 0x04;
const QUERY_COUNT: u8 = 0x08;
const QUERY_GROUP: u8 = 0x10;
const QUERY_FLAGS: u8 = 0x1F;

fn put_query(out: &mut BytesMut, query: &Query) {
    put_range(out, &query.range);
    put_u64(out, query.revision);
    put_u64(out, query.limit);
    put_u64(out, query.max_bytes);
    out.put_u8(flags(&[
        (query.descending, QUERY_DESCENDING),
        (query.keys_only, QUERY_KEYS_ONLY),
        (query.count_only, QUERY_COUNT_ONLY),
        (query.count, QUERY_COUNT),
        (query.group.is_some(), QUERY_GROUP),
    ]));
    if let Some(group) = &query.group {
        put_u64(out, group.after);
        put_bytes(out, &group.delimiter);
    }
}

fn get_query(input: &mut Bytes) -> Result<Query, Malformed> {
    let range = get_range(input)?;
    let revision = get_u64(input, "revision")?;
    let limit = get_u64(input, "limit")?;
    let max_bytes = get_u64(input, "max bytes")?;
    let flags = get_flags(input, QUERY_FLAGS)?;
    let group = if flags & QUERY_GROUP != 0 { Some(get_group(input)?) } else { None };
    Ok(Query {
        range,
        revision,
        limit,
        max_bytes,
        descending: flags & QUERY_DESCENDING != 0,
        keys_only: flags & QUERY_KEYS_ONLY != 0,
        count_only: flags & QUERY_COUNT_ONLY != 0,
        count: flags & QUERY_COUNT != 0,
        group,
    })
}

fn get_group(input: &mut Bytes) -> Result<Group, Malformed> {
    let after = get_u64(input, "group")?;
    let delimiter = get_bytes(input, "delimiter")?;
    if delimiter.is_empty() { Err(Malformed("delimiter")) } else { Ok(Group { after, delimiter }) }
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
