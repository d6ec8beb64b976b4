//! What changed, in order: the source of watches and of their catching up.
//!
//! Rule: every change from a position on, each with what the key became and what it was, as far as
//! that is retained. Must never: pass over a change at or after the compact revision.

use super::{
    head::Head,
    reply::{CommandError, KeyValue},
    rows::{self, ChangeRow, Version},
    tables::{Order, Table, TableFailure, Tables},
};
use alloc::vec::Vec;
use bytes::Bytes;

/// One key's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The revision; all changes of one command share it.
    pub revision: u64,
    /// Which of that command's changes, from 0.
    pub sub: u32,
    /// The key.
    pub key: Bytes,
    /// What it became; `None`: it was deleted.
    pub now: Option<KeyValue>,
    /// What it was; `None`: it did not exist, or that version is compacted.
    pub before: Option<KeyValue>,
    /// Who changed it; empty: nobody said.
    pub principal: Bytes,
}

/// The changes from `(revision, sub)` on, at most `limit`. To go on, ask from the last one's
/// position with `sub` one higher. Costs three look-ups a change.
///
/// # Errors
/// `TableFailure` when the tables cannot be read. Within: `Compacted` when changes at `from` may be
/// gone. A revision not reached yet has no changes.
pub fn changes(
    tables: &dyn Tables,
    from: (u64, u32),
    limit: usize,
) -> Result<Result<Vec<Change>, CommandError>, TableFailure> {
    let head = Head::load(tables)?;
    if from.0 < head.compacted {
        return Ok(Err(CommandError::Compacted { oldest: head.compacted }));
    }
    let mut listed: Vec<(Bytes, Bytes)> = Vec::new();
    let start = rows::change_key(from.0, from.1);
    if limit > 0 {
        tables.scan(Table::Revisions, &start, None, Order::Ascending, &mut |key, row| {
            listed.push((Bytes::copy_from_slice(key), row.clone()));
            listed.len() < limit
        })?;
    }
    listed
        .iter()
        .map(|(key, row)| change(tables, key, row, head.compacted))
        .collect::<Result<_, _>>()
        .map(Ok)
}

fn change(
    tables: &dyn Tables,
    row_key: &[u8],
    row: &Bytes,
    compacted: u64,
) -> Result<Change, TableFailure> {
    let (revision, sub) = rows::parse_change_key(row_key)?;
    let ChangeRow { deleted, superseded, principal, key } = ChangeRow::decode(row_key, row)?;
    let now = if deleted { None } else { version(tables, &key, revision)? };
    // What a change at the compact revision itself superseded is compacted, though it may linger.
    let retained = superseded != 0 && revision > compacted;
    let before = if retained { version(tables, &key, superseded)? } else { None };
    Ok(Change { revision, sub, key, now, before, principal })
}

/// The version of `key` written at `revision`, wherever it is by now.
fn version(
    tables: &dyn Tables,
    key: &Bytes,
    revision: u64,
) -> Result<Option<KeyValue>, TableFailure> {
    let row_key = rows::history_key(key, revision);
    let row = match tables.get(Table::History, &row_key)? {
        Some(row) => Some(row),
        None => tables.get(Table::Latest, key)?,
    };
    let version = match row {
        None => None,
        Some(row) => Version::decode(&row)
            .map_err(|malformed| rows::damaged(Table::History, &row_key, malformed))?,
    };
    Ok(version
        .filter(|version| version.mod_revision == revision)
        .map(|version| version.into_key_value(key.clone(), true)))
}
