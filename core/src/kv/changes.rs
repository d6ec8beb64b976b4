//! What changed, in order: the source of watches and of their catching up.
//!
//! Rule: every change from a position on, each with what the key became and what it was, as far as
//! that is retained. Must never: pass over a change at or after the compact revision.

use super::{
    command::KeyRange,
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
    /// What it was; `None`: it did not exist, that version is compacted, or nobody asked.
    pub before: Option<KeyValue>,
    /// Who changed it; empty: nobody said.
    pub principal: Bytes,
}

/// Which changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// From this position on: revision, and which of its changes.
    pub from: (u64, u32),
    /// Of these keys.
    pub range: KeyRange,
    /// At most so many.
    pub limit: usize,
    /// Look at no more than so many, of whatever key.
    pub max_rows: usize,
    /// End before keys and values together exceed so many bytes, but not before the first; 0: no
    /// bound.
    pub max_bytes: u64,
    /// Say what each key was before: one or two look-ups more a change.
    pub before: bool,
}

impl Changes {
    /// All changes from `revision` on, with what was before.
    #[must_use]
    pub fn since(revision: u64) -> Changes {
        Changes {
            from: (revision, 0),
            range: KeyRange::all(),
            limit: usize::MAX,
            max_rows: usize::MAX,
            max_bytes: 0,
            before: true,
        }
    }
}

/// Some changes, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangesPage {
    /// The changes.
    pub items: Vec<Change>,
    /// Where to go on. Its second part is 0 when all changes of the revisions before it were
    /// looked at; otherwise its revision is not at its end.
    pub next: (u64, u32),
    /// Whether there is nothing more now: `next` is the revision to come.
    pub end: bool,
    /// The store's revision when it was read.
    pub revision: u64,
}

/// The changes from `(revision, sub)` on, at most `limit`, with what was before. To go on, ask from
/// the last one's position with `sub` one higher. Costs three look-ups a change.
///
/// # Errors
/// As `changes_page`.
pub fn changes(
    tables: &dyn Tables,
    from: (u64, u32),
    limit: usize,
) -> Result<Result<Vec<Change>, CommandError>, TableFailure> {
    let wanted = Changes { from, limit, ..Changes::since(0) };
    changes_page(tables, &wanted).map(|page| page.map(|page| page.items))
}

/// The changes that are wanted, as far as the bounds let through. Costs one or two look-ups a
/// change, or three.
///
/// # Errors
/// `TableFailure` when the tables cannot be read. Within: `Compacted` when changes at `from` may be
/// gone. A revision not reached yet has no changes.
pub fn changes_page(
    tables: &dyn Tables,
    wanted: &Changes,
) -> Result<Result<ChangesPage, CommandError>, TableFailure> {
    let head = Head::load(tables)?;
    if wanted.from.0 < head.compacted {
        return Ok(Err(CommandError::Compacted { oldest: head.compacted }));
    }
    let listed = list(tables, wanted)?;
    let mut page = ChangesPage { revision: head.revision, ..ChangesPage::default() };
    let mut bytes = 0;
    for (key, row) in &listed.rows {
        let (position, row) = (rows::parse_change_key(key)?, ChangeRow::decode(key, row)?);
        let change = change(tables, wanted, position, row, head.compacted)?;
        bytes += change.size();
        if wanted.max_bytes != 0 && bytes > wanted.max_bytes && !page.items.is_empty() {
            page.next = position;
            return Ok(Ok(page));
        }
        page.items.push(change);
    }
    page.end = listed.next.is_none();
    page.next = listed.next.unwrap_or(wanted.from.max((head.revision + 1, 0)));
    Ok(Ok(page))
}

struct Listed {
    /// Rows of changes of the keys asked for.
    rows: Vec<(Bytes, Bytes)>,
    /// Where to go on; `None` after the last change there is.
    next: Option<(u64, u32)>,
}

/// Which changes belong on the page, as far as their number goes.
fn list(tables: &dyn Tables, wanted: &Changes) -> Result<Listed, TableFailure> {
    let mut listed = Listed { rows: Vec::new(), next: None };
    let mut seen = 0;
    let mut failure = None;
    let start = rows::change_key(wanted.from.0, wanted.from.1);
    tables.scan(Table::Revisions, &start, None, Order::Ascending, &mut |key, row| {
        if seen == wanted.max_rows || listed.rows.len() == wanted.limit {
            failure = rows::parse_change_key(key).map(|next| listed.next = Some(next)).err();
            return false;
        }
        seen += 1;
        match ChangeRow::decode(key, row) {
            Ok(change) if wanted.range.contains(&change.key) => {
                listed.rows.push((Bytes::copy_from_slice(key), row.clone()));
            }
            Ok(_) => {}
            Err(error) => failure = Some(error),
        }
        failure.is_none()
    })?;
    failure.map_or(Ok(listed), Err)
}

impl Change {
    /// Bytes of its key and values.
    fn size(&self) -> u64 {
        let value = |item: &Option<KeyValue>| item.as_ref().map_or(0, |item| item.value.len());
        (self.key.len() + value(&self.now) + value(&self.before)) as u64
    }
}

fn change(
    tables: &dyn Tables,
    wanted: &Changes,
    (revision, sub): (u64, u32),
    row: ChangeRow,
    compacted: u64,
) -> Result<Change, TableFailure> {
    let ChangeRow { deleted, superseded, principal, key } = row;
    let now = if deleted { None } else { version(tables, &key, revision)? };
    // What a change at the compact revision itself superseded is compacted, though it may linger.
    let retained = wanted.before && superseded != 0 && revision > compacted;
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
