//! Reading keys: now, or as of a revision.
//!
//! Rule: a read of one key now is one look-up, a read of a range now one scan of `Latest`; the past
//! is found by merging `Latest` with `History`. A read ends at its bounds, unless the count of all
//! was asked for; a group is skipped over, not read through. Must never: answer for a revision
//! whose versions may be gone; hold more rows than the reply and a page.

use super::{
    command::{KeyRange, Query},
    found::{Found, Step},
    merge,
    reply::{CommandError, QueryReply},
    rows::{self, Version},
    tables::{Order, Table, TableFailure, Tables},
};
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
    let mut left = Some(query.range.clone());
    while let Some(range) = left.take() {
        let last = match &range {
            KeyRange::One(key) => {
                if let Some(version) = one(tables, key, past)? {
                    found.add(key, version);
                }
                Step::Stop
            }
            KeyRange::Between { start, end } => {
                visit(tables, start, end.as_deref(), past, &mut found)?
            }
        };
        if last == Step::Skip {
            left = found.rest();
        }
    }
    Ok(found.reply(current))
}

/// Adds keys of a range until `found` says otherwise; what it said last.
fn visit(
    tables: &dyn Tables,
    start: &[u8],
    end: Option<&[u8]>,
    past: Option<u64>,
    found: &mut Found<'_>,
) -> Result<Step, TableFailure> {
    let mut last = Step::Go;
    let order = found.order();
    match past {
        None => each(tables, start, end, order, &mut |key, version| {
            last = found.add(key, version);
            last == Step::Go
        })?,
        Some(revision) => {
            let mut versions = merge::AsOf::new(tables, start, end, order, revision);
            while last == Step::Go
                && let Some((key, version)) = versions.next()?
            {
                last = found.add(&key, version);
            }
        }
    }
    Ok(last)
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
    tables.scan(
        Table::Latest,
        start,
        end,
        order,
        &mut |key, row: &Bytes| match Version::of_latest(key, row) {
            Ok(version) => visit(key, version),
            Err(error) => {
                failure = Some(error);
                false
            }
        },
    )?;
    failure.map_or(Ok(()), Err)
}
