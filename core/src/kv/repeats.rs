//! Requests that take effect once, however often they are sent.
//!
//! Rule: the reply of a command that took effect is stored under its idempotency key; a repeat with
//! the same fingerprint gets that reply and changes nothing, another request under the key is
//! refused. A reply is dropped when more than `MIN_REPLIES` are stored and it is older than
//! `MIN_AGE_MS` by the replicated clock, at most `DROPS` per command: the same on every replica.
//! Must never: store a refusal (it changed nothing, so its repeat is judged anew).
//!
//! A reply is stored whole, or a repeat would be answered with something else. One larger than
//! `MAX_REPLY_BYTES` is not stored, only that it was given: a repeat takes no effect and is told so.
//! Cost: one look-up and two rows for a command with a key.
//!
//! | key in `Dedup`              | value                          |
//! |-----------------------------|--------------------------------|
//! | 00, idempotency key         | fingerprint, sequence, reply   |
//! | 01, sequence (8)            | time, idempotency key          |

use super::{
    command::Idempotency,
    head::Head,
    reply::{CommandError, Reply},
    rows,
    tables::{Table, TableFailure, Tables},
    write::Writer,
};
use crate::codec::{Malformed, get_u64, put_u64};
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};

/// So many replies are kept, whatever their age.
pub const MIN_REPLIES: u64 = 100_000;
/// A reply is kept for so long by the replicated clock, in milliseconds, however many there are.
pub const MIN_AGE_MS: u64 = 10 * 60 * 1000;
/// How many replies a command drops at most; above one, so that the surplus shrinks.
pub const DROPS: u64 = 2;
/// How many a tick drops besides.
pub const TICK_DROPS: u64 = 256;
/// A larger reply is not kept for a repeat.
pub const MAX_REPLY_BYTES: usize = 64 << 10;

const BY_KEY: u8 = 0;
const BY_SEQUENCE: u8 = 1;

/// The reply to a repeat; `None` when the key is new.
pub(super) fn find(
    tables: &dyn Tables,
    idempotency: &Idempotency,
) -> Result<Option<Result<Reply, CommandError>>, TableFailure> {
    let row_key = key_row(&idempotency.key);
    let Some(mut row) = tables.get(Table::Dedup, &row_key)? else { return Ok(None) };
    let mut read = || {
        let fingerprint = get_u64(&mut row, "fingerprint")?;
        get_u64(&mut row, "sequence")?;
        Ok((fingerprint, Reply::decode(row.clone())?))
    };
    let (fingerprint, reply) =
        read().map_err(|malformed| rows::damaged(Table::Dedup, &row_key, malformed))?;
    Ok(Some(if fingerprint == idempotency.fingerprint {
        Ok(Reply { replayed: true, ..reply })
    } else {
        Err(CommandError::IdempotencyMismatch)
    }))
}

/// Stores the reply under a key that `find` did not know.
pub(super) fn store(writer: &mut Writer<'_>, idempotency: &Idempotency, reply: &Reply) {
    let sequence = writer.head.replies.1;
    writer.head.replies.1 += 1;
    let mut row = BytesMut::new();
    put_u64(&mut row, idempotency.fingerprint);
    put_u64(&mut row, sequence);
    let start = row.len();
    reply.encode(&mut row);
    if row.len() - start > MAX_REPLY_BYTES {
        row.truncate(start);
        let result = Err(CommandError::ReplyNotKept);
        Reply { revision: reply.revision, result, replayed: false }.encode(&mut row);
    }
    writer.insert(Table::Dedup, &key_row(&idempotency.key), row.freeze());
    let mut row = BytesMut::new();
    put_u64(&mut row, writer.head.clock_ms);
    row.extend_from_slice(&idempotency.key);
    writer.insert(Table::Dedup, &sequence_row(sequence), row.freeze());
}

/// Drops replies that need not be kept, oldest first.
pub(super) fn drop_old(writer: &mut Writer<'_>, limit: u64) -> Result<(), TableFailure> {
    for _ in 0..limit {
        let now_ms = writer.head.clock_ms;
        let Some((row, key)) = oldest_surplus(writer.tables, &writer.head, now_ms)? else { break };
        let row_key = sequence_row(writer.head.replies.0);
        writer.remove(Table::Dedup, &row_key, &row);
        writer.forget(Table::Dedup, &key_row(&key))?;
        writer.head.replies.0 += 1;
    }
    Ok(())
}

/// Whether a reply need not be kept any more.
pub(super) fn evictable(
    tables: &dyn Tables,
    head: &Head,
    now_ms: u64,
) -> Result<bool, TableFailure> {
    oldest_surplus(tables, head, now_ms).map(|oldest| oldest.is_some())
}

/// The oldest reply's row by sequence and its key, if it need not be kept.
fn oldest_surplus(
    tables: &dyn Tables,
    head: &Head,
    now_ms: u64,
) -> Result<Option<(Bytes, Bytes)>, TableFailure> {
    let (oldest, next) = head.replies;
    if next - oldest <= MIN_REPLIES {
        return Ok(None);
    }
    let row_key = sequence_row(oldest);
    let damaged = |malformed| rows::damaged(Table::Dedup, &row_key, malformed);
    let row = tables.get(Table::Dedup, &row_key)?.ok_or_else(|| damaged(Malformed("row")))?;
    let mut key: Bytes = row.clone();
    let stored_ms = get_u64(&mut key, "time").map_err(damaged)?;
    Ok((stored_ms.saturating_add(MIN_AGE_MS) <= now_ms).then_some((row, key)))
}

fn key_row(key: &[u8]) -> Vec<u8> {
    [&[BY_KEY], key].concat()
}

fn sequence_row(sequence: u64) -> [u8; 9] {
    let mut row = [BY_SEQUENCE; 9];
    row[1..].copy_from_slice(&sequence.to_be_bytes());
    row
}
