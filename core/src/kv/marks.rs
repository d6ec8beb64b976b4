//! Which revision was current when: enough to keep ten minutes of history.
//!
//! Rule: about twenty times per retention period, a command notes the clock and the revision before
//! it in a row of its own; rows that say nothing about the period any more go at the next note.
//! Must never: be needed for anything but the choice of what to compact.
//!
//! | key in `Meta`     | value    |
//! |-------------------|----------|
//! | "mark", clock (8) | revision |

use super::{
    head::{Head, Settings},
    rows,
    tables::{Order, Table, TableFailure, Tables},
    write::Writer,
};
use crate::codec::{Malformed, get_u64, put_u64};
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};

/// A retention period has about so many marks.
const MARKS: u64 = 20;
/// Marks are at least so far apart, in milliseconds.
const MIN_INTERVAL_MS: u64 = 1000;
const PREFIX: &[u8] = b"mark";

/// One mark: at this clock, this revision was current.
struct Mark {
    clock_ms: u64,
    revision: u64,
    row: Bytes,
}

/// Notes that `revision` was current until now, when it is time for a note.
pub(super) fn note(writer: &mut Writer<'_>, revision: u64) -> Result<(), TableFailure> {
    let Head { clock_ms, marked_ms, settings, .. } = writer.head;
    if clock_ms < marked_ms.saturating_add(interval(&settings)) {
        return Ok(());
    }
    let marks = all(writer.tables)?;
    if let Some(newest) = newest_old(&marks, &settings, clock_ms) {
        for mark in &marks[..newest] {
            writer.remove(Table::Meta, &mark_row(mark.clock_ms), &mark.row);
        }
    }
    let mut row = BytesMut::new();
    put_u64(&mut row, revision);
    writer.insert(Table::Meta, &mark_row(clock_ms), row.freeze());
    writer.head.marked_ms = clock_ms;
    Ok(())
}

/// The newest revision that was superseded, or still current, a retention period before `now_ms`:
/// history before it is older than must be kept. `None`: none is known to be.
pub(super) fn old_enough(
    tables: &dyn Tables,
    settings: &Settings,
    now_ms: u64,
) -> Result<Option<u64>, TableFailure> {
    let marks = all(tables)?;
    Ok(newest_old(&marks, settings, now_ms).map(|at| marks[at].revision))
}

fn interval(settings: &Settings) -> u64 {
    (settings.keep_ms / MARKS).max(MIN_INTERVAL_MS)
}

fn newest_old(marks: &[Mark], settings: &Settings, now_ms: u64) -> Option<usize> {
    marks.iter().rposition(|mark| mark.clock_ms.saturating_add(settings.keep_ms) <= now_ms)
}

fn all(tables: &dyn Tables) -> Result<Vec<Mark>, TableFailure> {
    let mut marks = Vec::new();
    let end = mark_row(u64::MAX);
    tables.scan(Table::Meta, PREFIX, Some(&end), Order::Ascending, &mut |key, row| {
        marks.push(parse(key, row));
        true
    })?;
    marks.into_iter().collect()
}

fn parse(key: &[u8], row: &Bytes) -> Result<Mark, TableFailure> {
    let damaged = |malformed| rows::damaged(Table::Meta, key, malformed);
    let clock_ms = key.get(PREFIX.len()..).and_then(|clock| clock.try_into().ok());
    let clock_ms = clock_ms.map(u64::from_be_bytes).ok_or(Malformed("key")).map_err(damaged)?;
    let revision = get_u64(&mut row.clone(), "revision").map_err(damaged)?;
    Ok(Mark { clock_ms, revision, row: row.clone() })
}

fn mark_row(clock_ms: u64) -> [u8; 12] {
    let mut row = [0; 12];
    row[..PREFIX.len()].copy_from_slice(PREFIX);
    row[PREFIX.len()..].copy_from_slice(&clock_ms.to_be_bytes());
    row
}
