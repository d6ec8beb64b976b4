//! The bytes of a reply, as they are forwarded between nodes and stored for repeats.
//!
//! Rule: one reply has one encoding, and everything else is refused. Must never: reuse a number;
//! recurse deeper than `MAX_TXN_DEPTH`.

use super::{
    check::MAX_TXN_DEPTH,
    command_codec::get_kind,
    reply::{CommandError, KeyValue, OpReply, QueryReply, Reply, TxnReply},
};
use crate::codec::{
    Malformed, get_bool, get_bytes, get_list, get_u8, get_u64, put_bool, put_bytes, put_u64,
};
use bytes::{BufMut, Bytes, BytesMut};

const FORMAT: u8 = 1;

impl Reply {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(FORMAT);
        put_u64(out, self.revision);
        put_bool(out, self.replayed);
        match &self.result {
            Ok(txn) => {
                out.put_u8(0);
                put_txn(out, txn);
            }
            Err(error) => put_error(out, *error),
        }
    }

    /// Reads a reply; its byte fields are slices of `bytes`.
    ///
    /// # Errors
    /// `Malformed` for anything `encode` does not produce.
    pub fn decode(mut bytes: Bytes) -> Result<Reply, Malformed> {
        let input = &mut bytes;
        if get_u8(input, "format")? != FORMAT {
            return Err(Malformed("format"));
        }
        let revision = get_u64(input, "revision")?;
        let replayed = get_bool(input, "replayed")?;
        let result = match get_u8(input, "result")? {
            0 => Ok(get_txn(input, MAX_TXN_DEPTH)?),
            number => Err(get_error(input, number)?),
        };
        if !bytes.is_empty() {
            return Err(Malformed("end of reply"));
        }
        Ok(Reply { revision, result, replayed })
    }
}

fn put_error(out: &mut BytesMut, error: CommandError) {
    out.put_u8(match error {
        CommandError::EmptyKey => 1,
        CommandError::DuplicateKey => 2,
        CommandError::Compacted { .. } => 3,
        CommandError::FutureRevision => 4,
        CommandError::LeaseNotFound => 5,
        CommandError::IdempotencyMismatch => 6,
        CommandError::Unreadable => 7,
        CommandError::KeyNotFound => 8,
        CommandError::LeaseExists => 9,
        CommandError::LeaseTtlTooLarge => 10,
        CommandError::LeaseIdTooLarge => 11,
        CommandError::LeaseConflict => 12,
        CommandError::Fenced { .. } => 13,
        CommandError::NoSpace { .. } => 14,
        CommandError::ReplyNotKept => 15,
    });
    match error {
        CommandError::Compacted { oldest: number } | CommandError::Fenced { token: number } => {
            put_u64(out, number);
        }
        CommandError::NoSpace { used, needed, limit } => {
            [used, needed, limit].into_iter().for_each(|number| put_u64(out, number));
        }
        _ => {}
    }
}

fn get_error(input: &mut Bytes, number: u8) -> Result<CommandError, Malformed> {
    Ok(match number {
        1 => CommandError::EmptyKey,
        2 => CommandError::DuplicateKey,
        3 => CommandError::Compacted { oldest: get_u64(input, "oldest")? },
        4 => CommandError::FutureRevision,
        5 => CommandError::LeaseNotFound,
        6 => CommandError::IdempotencyMismatch,
        7 => CommandError::Unreadable,
        8 => CommandError::KeyNotFound,
        9 => CommandError::LeaseExists,
        10 => CommandError::LeaseTtlTooLarge,
        11 => CommandError::LeaseIdTooLarge,
        12 => CommandError::LeaseConflict,
        13 => CommandError::Fenced { token: get_u64(input, "token")? },
        14 => CommandError::NoSpace {
            used: get_u64(input, "used")?,
            needed: get_u64(input, "needed")?,
            limit: get_u64(input, "limit")?,
        },
        15 => CommandError::ReplyNotKept,
        _ => return Err(Malformed("result")),
    })
}

fn put_txn(out: &mut BytesMut, txn: &TxnReply) {
    put_bool(out, txn.succeeded);
    put_u64(out, txn.results.len() as u64);
    for result in &txn.results {
        put_op(out, result);
    }
}

fn get_txn(input: &mut Bytes, depth: usize) -> Result<TxnReply, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed("transaction depth"))?;
    Ok(TxnReply {
        succeeded: get_bool(input, "succeeded")?,
        results: get_list(input, "results", |input| get_op(input, depth))?,
    })
}

const OP_PUT: u8 = 1;
const OP_DELETE: u8 = 2;
const OP_RANGE: u8 = 3;
const OP_TXN: u8 = 4;
const OP_LEASE: u8 = 5;
const OP_REVOKED: u8 = 6;

fn put_op(out: &mut BytesMut, op: &OpReply) {
    match op {
        OpReply::Put { version, create_revision, previous } => {
            out.put_u8(OP_PUT);
            put_u64(out, *version);
            put_u64(out, *create_revision);
            put_bool(out, previous.is_some());
            if let Some(previous) = previous {
                put_key_value(out, previous);
            }
        }
        OpReply::Delete { deleted, previous } => {
            out.put_u8(OP_DELETE);
            put_u64(out, *deleted);
            put_key_values(out, previous);
        }
        OpReply::Range(reply) => {
            out.put_u8(OP_RANGE);
            put_u64(out, reply.revision);
            put_key_values(out, &reply.items);
            put_u64(out, reply.groups.len() as u64);
            reply.groups.iter().for_each(|group| put_bytes(out, group));
            put_u64(out, reply.count);
            put_bool(out, reply.more);
        }
        OpReply::Txn(txn) => {
            out.put_u8(OP_TXN);
            put_txn(out, txn);
        }
        OpReply::Lease { id, ttl_ms } => {
            out.put_u8(OP_LEASE);
            put_u64(out, *id);
            put_u64(out, *ttl_ms);
        }
        OpReply::Revoked { id, deleted } => {
            out.put_u8(OP_REVOKED);
            put_u64(out, *id);
            put_u64(out, *deleted);
        }
    }
}

fn get_op(input: &mut Bytes, depth: usize) -> Result<OpReply, Malformed> {
    Ok(match get_u8(input, "operation")? {
        OP_PUT => OpReply::Put {
            version: get_u64(input, "version")?,
            create_revision: get_u64(input, "create revision")?,
            previous: if get_bool(input, "previous")? { Some(get_key_value(input)?) } else { None },
        },
        OP_DELETE => OpReply::Delete {
            deleted: get_u64(input, "deleted")?,
            previous: get_list(input, "previous", get_key_value)?,
        },
        OP_RANGE => OpReply::Range(QueryReply {
            revision: get_u64(input, "revision")?,
            items: get_list(input, "items", get_key_value)?,
            groups: get_list(input, "groups", |input| get_bytes(input, "group"))?,
            count: get_u64(input, "count")?,
            more: get_bool(input, "more")?,
        }),
        OP_TXN => OpReply::Txn(get_txn(input, depth)?),
        OP_LEASE => OpReply::Lease { id: get_u64(input, "lease")?, ttl_ms: get_u64(input, "ttl")? },
        OP_REVOKED => {
            OpReply::Revoked { id: get_u64(input, "lease")?, deleted: get_u64(input, "deleted")? }
        }
        _ => return Err(Malformed("operation")),
    })
}

fn put_key_values(out: &mut BytesMut, items: &[KeyValue]) {
    put_u64(out, items.len() as u64);
    for item in items {
        put_key_value(out, item);
    }
}

fn put_key_value(out: &mut BytesMut, item: &KeyValue) {
    put_bytes(out, &item.key);
    put_bytes(out, &item.value);
    out.put_u8(item.kind as u8);
    for number in [item.create_revision, item.mod_revision, item.version, item.lease, item.wall_ms]
    {
        put_u64(out, number);
    }
}

fn get_key_value(input: &mut Bytes) -> Result<KeyValue, Malformed> {
    Ok(KeyValue {
        key: get_bytes(input, "key")?,
        value: get_bytes(input, "value")?,
        kind: get_kind(input)?,
        create_revision: get_u64(input, "create revision")?,
        mod_revision: get_u64(input, "mod revision")?,
        version: get_u64(input, "version")?,
        lease: get_u64(input, "lease")?,
        wall_ms: get_u64(input, "date")?,
    })
}
