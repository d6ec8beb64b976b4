//! The past of one key.
//!
//! Rule: newest first, exactly what can still be read or watched: every version and deletion after
//! the compact revision, and what the key was at it. Must never: show what a compaction has hidden,
//! whether its rows are removed yet or not; read further back than asked.

use super::{
    head::Head,
    reply::{CommandError, KeyValue},
    rows::{self, Version},
    tables::{Order, Table, TableFailure, Tables},
};
use alloc::vec::Vec;
use bytes::Bytes;

/// The past of a key, or a part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The store's revision when it was read.
    pub revision: u64,
    /// The revision up to which the past is forgotten; 0: none is.
    pub compacted: u64,
    /// Newest first.
    pub past: Vec<Past>,
    /// Whether a bound cut the list: go on from the revision of the last one.
    pub more: bool,
}

/// What a key became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// When.
    pub revision: u64,
    /// The date, in milliseconds since 1970, as the leader's machine had it.
    pub wall_ms: u64,
    /// What it became; `None`: it was deleted.
    pub now: Option<KeyValue>,
}

/// What became of `key` before revision `before` (0: until now), newest first: at most `limit`, and
/// not more than `max_bytes` of values beyond the first (0: no bound).
///
/// # Errors
/// `TableFailure` when the tables cannot be read. Within: `EmptyKey`.
pub fn history(
    tables: &dyn Tables,
    key: &Bytes,
    before: u64,
    limit: usize,
    max_bytes: u64,
) -> Result<Result<History, CommandError>, TableFailure> {
    if key.is_empty() {
        return Ok(Err(CommandError::EmptyKey));
    }
    let head = Head::load(tables)?;
    let before = if before == 0 { head.revision + 1 } else { before.min(head.revision + 1) };
    if before <= head.compacted {
        let (revision, compacted) = (head.revision, head.compacted);
        return Ok(Ok(History { revision, compacted, ..History::default() }));
    }
    let mut found = Collected { key, head: &head, limit, max_bytes, bytes: 0, past: Vec::new() };
    let mut end = End::Bound;
    let latest = tables.get(Table::Latest, key)?;
    let mut goes_on = true;
    if let Some(row) = &latest {
        let revision = Version::of_latest(key, row)?.mod_revision;
        if revision < before {
            goes_on = found.take(revision, row, &mut end)?;
        }
    }
    if goes_on {
        let (first, last) = (rows::history_key(key, 0), rows::history_key(key, before));
        let mut failure = None;
        end = End::Bottom;
        tables.scan(
            Table::History,
            &first,
            Some(&last),
            Order::Descending,
            &mut |row_key, row| {
                let taken = rows::split_history_key(row_key)
                    .and_then(|(_, revision)| found.take(revision, row, &mut end));
                taken.unwrap_or_else(|error| {
                    failure = Some(error);
                    false
                })
            },
        )?;
        failure.map_or(Ok(()), Err)?;
    }
    let past = found.past;
    let more = end == End::Bound;
    Ok(Ok(History { revision: head.revision, compacted: head.compacted, past, more }))
}

/// Why a list ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// There was more than the bounds allow.
    Bound,
    /// There is nothing older to show.
    Bottom,
}

struct Collected<'a> {
    key: &'a Bytes,
    head: &'a Head,
    limit: usize,
    max_bytes: u64,
    bytes: u64,
    past: Vec<Past>,
}

impl Collected<'_> {
    /// Takes the next older record; whether there may be more to take.
    fn take(&mut self, revision: u64, row: &Bytes, end: &mut End) -> Result<bool, TableFailure> {
        let damaged = |malformed| rows::damaged(Table::History, self.key, malformed);
        let version = Version::decode(row).map_err(damaged)?;
        let compacted = self.head.compacted;
        *end = End::Bottom;
        if version.is_none() && revision < compacted {
            return Ok(false);
        }
        let size = version.as_ref().map_or(0, |version| version.value.len()) as u64;
        let too_large = self.max_bytes != 0 && self.bytes + size > self.max_bytes;
        if self.past.len() >= self.limit || (too_large && !self.past.is_empty()) {
            *end = End::Bound;
            return Ok(false);
        }
        self.bytes += size;
        let wall_ms = match &version {
            Some(version) => version.wall_ms,
            None => rows::tombstone_date(row).map_err(damaged)?,
        };
        let now = version.map(|version| version.into_key_value(self.key.clone(), true));
        self.past.push(Past { revision, wall_ms, now });
        // Of what is at or before the compact revision, only the newest can be read.
        Ok(revision > compacted)
    }
}
