//! Requests that take effect once, however often they are sent.
//!
//! Rule: the reply of a command that took effect is stored under its idempotency key; a repeat with
//! the same fingerprint gets that reply and changes nothing, another request under the key is
//! refused. A reply is dropped when more than `MIN_REPLIES` are stored and it is older than
//! `MIN_AGE_MS` by the replicated clock, at most `DROPS` per command: the same on every replica.
//! Must never: store a refusal (it changed nothing, so its repeat is judged anew).
//!
//! Replies are stored whole, or a repeat would be answered with something else; whoever proposes
//! bounds them by limits in its ranges. Cost: one look-up and two rows for a command with a key.
//!
//! | key in `Dedup`              | value                          |
//! |-----------------------------|--------------------------------|
//! | 00, idempotency key         | fingerprint, sequence, reply   |
//! | 01, sequence (8)            | time, idempotency key          |

use super::{
    command::Idempotency,
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
    reply.encode(&mut row);
    writer.insert(Table::Dedup, &key_row(&idempotency.key), row.freeze());
    let mut row = BytesMut::new();
    put_u64(&mut row, writer.head.clock_ms);
    row.extend_from_slice(&idempotency.key);
    writer.insert(Table::Dedup, &sequence_row(sequence), row.freeze());
}

/// Drops replies that need not be kept, oldest first.
pub(super) fn drop_old(writer: &mut Writer<'_>) -> Result<(), TableFailure> {
    for _ in 0..DROPS {
        let (oldest, next) = writer.head.replies;
        if next - oldest <= MIN_REPLIES {
            break;
        }
        let row_key = sequence_row(oldest);
        let missing = || rows::damaged(Table::Dedup, &row_key, Malformed("row"));
        let row = writer.tables.get(Table::Dedup, &row_key)?.ok_or_else(missing)?;
        let mut key: Bytes = row.clone();
        let stored_ms = get_u64(&mut key, "time")
            .map_err(|malformed| rows::damaged(Table::Dedup, &row_key, malformed))?;
        if stored_ms.saturating_add(MIN_AGE_MS) > writer.head.clock_ms {
            break;
        }
        writer.remove(Table::Dedup, &row_key, &row);
        writer.forget(Table::Dedup, &key_row(&key))?;
        writer.head.replies.0 += 1;
    }
    Ok(())
}

fn key_row(key: &[u8]) -> Vec<u8> {
    [&[BY_KEY], key].concat()
}

fn sequence_row(sequence: u64) -> [u8; 9] {
    let mut row = [BY_SEQUENCE; 9];
    row[1..].copy_from_slice(&sequence.to_be_bytes());
    row
}
