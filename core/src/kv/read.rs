//! Reading keys: now, or as of a revision.
//!
//! Rule: a read of one key now is one look-up, a read of a range now one scan of `Latest`; the past
//! is found by merging `Latest` with `History`. Must never: answer for a revision whose versions
//! may be gone; hold more rows than the reply and a page.

use super::{
    command::{KeyRange, Query},
    merge,
    reply::{CommandError, KeyValue, QueryReply},
    rows::{self, Version},
    tables::{Order, Table, TableFailure, Tables},
};
use alloc::vec::Vec;
use bytes::Bytes;

/// Whether `query` can be answered in a store at `current` that has forgotten what is before
/// `compacted`.
pub(super) fn check(query: &Query, current: u64, compacted: u64) -> Result<(), CommandError> {
    match &query.range {
        KeyRange::One(key) if key.is_empty() => Err(CommandError::EmptyKey),
        _ if query.revision > current => Err(CommandError::FutureRevision),
        _ if query.revision != 0 && query.revision < compacted => {
            Err(CommandError::Compacted { oldest: compacted })
        }
        _ => Ok(()),
    }
}

/// Answers a query that `check` let pass. `current` is the revision of the newest row there is.
pub(super) fn answer(
    tables: &dyn Tables,
    query: &Query,
    current: u64,
) -> Result<QueryReply, TableFailure> {
    let past = (query.revision != 0 && query.revision < current).then_some(query.revision);
    let mut found = Found::new(query);
    match (&query.range, past) {
        (KeyRange::One(key), past) => {
            if let Some(version) = one(tables, key, past)? {
                found.add(version, || key.clone());
            }
        }
        (KeyRange::Between { start, end }, None) => {
            each(tables, start, end.as_deref(), order(query), &mut |key, version| {
                found.add(version, || Bytes::copy_from_slice(key))
            })?;
        }
        (KeyRange::Between { start, end }, Some(revision)) => {
            let mut versions =
                merge::AsOf::new(tables, start, end.as_deref(), order(query), revision);
            while let Some((key, version)) = versions.next()? {
                if !found.add(version, || key) {
                    break;
                }
            }
        }
    }
    Ok(found.reply(current))
}

/// One key now (`None`) or as of a revision. Now: one look-up. Past: one or two.
pub(super) fn one(
    tables: &dyn Tables,
    key: &[u8],
    past: Option<u64>,
) -> Result<Option<Version>, TableFailure> {
    let latest = match tables.get(Table::Latest, key)? {
        None => None,
        Some(row) => Some(Version::of_latest(key, &row)?),
    };
    let Some(revision) = past else { return Ok(latest) };
    if latest.as_ref().is_some_and(|version| version.mod_revision <= revision) {
        return Ok(latest);
    }
    let first = rows::history_key(key, 0);
    let end = rows::history_key(key, revision + 1);
    let mut found = Ok(None);
    tables.scan(Table::History, &first, Some(&end), Order::Descending, &mut |key, row| {
        found = Version::decode(row).map_err(|error| rows::damaged(Table::History, key, error));
        false
    })?;
    found
}

/// Visits the live versions of `start <= key < end`, until `visit` returns `false`.
pub(super) fn each(
    tables: &dyn Tables,
    start: &[u8],
    end: Option<&[u8]>,
    order: Order,
    visit: &mut dyn FnMut(&[u8], Version) -> bool,
) -> Result<(), TableFailure> {
    if end.is_some_and(|end| end <= start) {
        return Ok(());
    }
    let mut failure = None;
    tables.scan(Table::Latest, start, end, order, &mut |key, row| match Version::of_latest(
        key, row,
    ) {
        Ok(version) => visit(key, version),
        Err(error) => {
            failure = Some(error);
            false
        }
    })?;
    failure.map_or(Ok(()), Err)
}

fn order(query: &Query) -> Order {
    if query.descending { Order::Descending } else { Order::Ascending }
}

/// What a query has found so far: the items it may keep, and the count of what it has seen.
struct Found<'a> {
    query: &'a Query,
    items: Vec<KeyValue>,
    count: u64,
    bytes: u64,
    full: bool,
}

impl<'a> Found<'a> {
    fn new(query: &'a Query) -> Found<'a> {
        Found { query, items: Vec::new(), count: 0, bytes: 0, full: false }
    }

    /// Takes a version in; `false` when nothing further can matter. The key is only made when it is
    /// kept.
    fn add(&mut self, version: Version, key: impl FnOnce() -> Bytes) -> bool {
        self.count += 1;
        if self.query.count_only {
            return true;
        }
        self.full |= self.query.limit != 0 && self.items.len() as u64 == self.query.limit;
        if !self.full {
            let item = version.into_key_value(key(), !self.query.keys_only);
            self.bytes += (item.key.len() + item.value.len()) as u64;
            let first = self.items.is_empty();
            self.full = !first && self.query.max_bytes != 0 && self.bytes > self.query.max_bytes;
            if !self.full {
                self.items.push(item);
            }
        }
        // Past the bounds, one key more says that there is more.
        !self.full || self.query.count
    }

    fn reply(self, revision: u64) -> QueryReply {
        let kept = self.items.len() as u64;
        let more = !self.query.count_only && self.count > kept;
        let count = if self.query.count_only || self.query.count { self.count } else { kept };
        QueryReply { revision, items: self.items, count, more }
    }
}
