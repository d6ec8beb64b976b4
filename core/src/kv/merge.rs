//! A range as of a past revision: `Latest` and `History` merged in key order.
//!
//! Rule: of each key the newest version at or before the revision, unless that is a tombstone. A
//! key whose newest version is old enough is read from `Latest`, any other from `History`. Must
//! never: hold more than two pages of rows.

use super::{
    rows::{self, Version},
    tables::{Order, Table, TableFailure, Tables},
};
use alloc::{collections::VecDeque, vec::Vec};
use bytes::Bytes;
use core::cmp::Ordering;

/// The first page ends after so many rows, each further one after twice as many as the one before:
/// a reader that soon has enough does not pay for a large one.
const FIRST_PAGE_ROWS: usize = 8;
/// No page has more rows.
const PAGE_ROWS: usize = 256;
/// A page ends after so many bytes of values.
const PAGE_BYTES: usize = 1 << 20;

/// Reads a range of one table page by page, so that two tables can be read side by side.
struct Pages<'a> {
    tables: &'a dyn Tables,
    table: Table,
    start: Vec<u8>,
    end: Option<Vec<u8>>,
    order: Order,
    page: VecDeque<(Bytes, Bytes)>,
    page_rows: usize,
    finished: bool,
}

impl<'a> Pages<'a> {
    fn new(
        tables: &'a dyn Tables,
        table: Table,
        start: Vec<u8>,
        end: Option<Vec<u8>>,
        order: Order,
    ) -> Pages<'a> {
        let finished = end.as_ref().is_some_and(|end| *end <= start);
        let page = VecDeque::new();
        Pages { tables, table, start, end, order, page, page_rows: FIRST_PAGE_ROWS, finished }
    }

    /// The row that `next` will return.
    fn peek(&mut self) -> Result<Option<&(Bytes, Bytes)>, TableFailure> {
        if self.page.is_empty() && !self.finished {
            self.fill()?;
        }
        Ok(self.page.front())
    }

    fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, TableFailure> {
        self.peek()?;
        Ok(self.page.pop_front())
    }

    fn fill(&mut self) -> Result<(), TableFailure> {
        let Pages { tables, table, start, end, order, page, page_rows, finished } = self;
        let mut bytes = 0;
        *finished = true;
        tables.scan(*table, start, end.as_deref(), *order, &mut |key, value| {
            page.push_back((Bytes::copy_from_slice(key), value.clone()));
            bytes += value.len();
            *finished = page.len() < *page_rows && bytes < PAGE_BYTES;
            *finished
        })?;
        *page_rows = (*page_rows * 2).min(PAGE_ROWS);
        if let Some((last, _)) = page.back() {
            match order {
                Order::Ascending => {
                    *start = last.to_vec();
                    start.push(0);
                }
                Order::Descending => *end = Some(last.to_vec()),
            }
        }
        Ok(())
    }
}

/// The keys of a range as they were at a revision.
pub(super) struct AsOf<'a> {
    latest: Pages<'a>,
    history: Pages<'a>,
    order: Order,
    revision: u64,
    /// The next key on each side, already judged.
    left: Option<(Bytes, Version)>,
    right: Option<(Bytes, Version)>,
}

impl<'a> AsOf<'a> {
    pub fn new(
        tables: &'a dyn Tables,
        start: &[u8],
        end: Option<&[u8]>,
        order: Order,
        revision: u64,
    ) -> AsOf<'a> {
        let latest =
            Pages::new(tables, Table::Latest, start.to_vec(), end.map(<[u8]>::to_vec), order);
        let history = Pages::new(
            tables,
            Table::History,
            rows::history_bound(start),
            end.map(rows::history_bound),
            order,
        );
        AsOf { latest, history, order, revision, left: None, right: None }
    }

    /// The next key in order.
    pub fn next(&mut self) -> Result<Option<(Bytes, Version)>, TableFailure> {
        if self.left.is_none() {
            self.left = self.next_latest()?;
        }
        if self.right.is_none() {
            self.right = self.next_history()?;
        }
        let order = match (&self.left, &self.right) {
            (Some((left, _)), Some((right, _))) => match self.order {
                Order::Ascending => left.cmp(right),
                Order::Descending => right.cmp(left),
            },
            (_, None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
        };
        if order == Ordering::Equal {
            // All versions in `History` are older than the one in `Latest`.
            self.right = None;
        }
        Ok(if order == Ordering::Greater { self.right.take() } else { self.left.take() })
    }

    /// The next key whose newest version is old enough.
    fn next_latest(&mut self) -> Result<Option<(Bytes, Version)>, TableFailure> {
        while let Some((key, row)) = self.latest.next()? {
            let version = Version::of_latest(&key, &row)?;
            if version.mod_revision <= self.revision {
                return Ok(Some((key, version)));
            }
        }
        Ok(None)
    }

    /// The next key that has a version old enough in `History` which is not a tombstone.
    fn next_history(&mut self) -> Result<Option<(Bytes, Version)>, TableFailure> {
        while let Some((row_key, row)) = self.history.next()? {
            let (user, revision) = rows::split_history_key(&row_key)?;
            let mut newest = (revision <= self.revision).then_some((revision, row));
            while let Some((next_key, next_row)) = self.history.peek()? {
                let (next_user, next) = rows::split_history_key(next_key)?;
                if next_user != user {
                    break;
                }
                if next <= self.revision && newest.as_ref().is_none_or(|(best, _)| next > *best) {
                    newest = Some((next, next_row.clone()));
                }
                self.history.next()?;
            }
            if let Some((_, row)) = newest {
                let version = Version::decode(&row)
                    .map_err(|error| rows::damaged(Table::History, &row_key, error))?;
                if let Some(version) = version {
                    return Ok(Some((Bytes::from(rows::unescape(user)), version)));
                }
            }
        }
        Ok(None)
    }
}
