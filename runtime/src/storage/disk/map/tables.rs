//! The state machine's tables over one fjall keyspace, with what is not committed yet on top.
//!
//! Rule: the key of a row is its table's number and then its own key, so that the keyspace's order
//! is the order of (table, key). Reads see puts and deletes since the last commit. Must never: hide
//! an error of the store.

use bytes::Bytes;
use fjall::{Keyspace, OwnedWriteBatch};
use kvorum_core::kv::{Order, Table, TableFailure, Tables};
use std::{cmp::Ordering, collections::BTreeMap, path::PathBuf};

/// fjall takes no longer keys.
const MAX_KEY_BYTES: usize = u16::MAX as usize;

/// Tables in use.
pub(super) struct FjallTables {
    pub keyspace: Keyspace,
    /// For error texts.
    pub path: PathBuf,
    /// Puts and deletes (`None`) since the last commit.
    overlay: BTreeMap<Vec<u8>, Option<Bytes>>,
}

impl FjallTables {
    pub fn new(keyspace: Keyspace, path: PathBuf) -> FjallTables {
        FjallTables { keyspace, path, overlay: BTreeMap::new() }
    }

    /// Whether there are puts that no commit has covered yet.
    pub fn is_open(&self) -> bool {
        !self.overlay.is_empty()
    }

    /// Moves what is not committed into a batch.
    pub fn drain_into(&mut self, batch: &mut OwnedWriteBatch) -> Result<(), TableFailure> {
        for (key, value) in std::mem::take(&mut self.overlay) {
            if key.len() > MAX_KEY_BYTES {
                return Err(TableFailure(format!(
                    "{}: a key of {} bytes is too long",
                    self.path.display(),
                    key.len()
                )));
            }
            match value {
                Some(value) => batch.insert(&self.keyspace, key, &value[..]),
                None => batch.remove(&self.keyspace, key),
            }
        }
        Ok(())
    }

    fn failure(&self, error: &fjall::Error) -> TableFailure {
        TableFailure(super::failure(&self.path, "read", error).to_string())
    }
}

/// A row's key in the keyspace.
pub(super) fn row_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + key.len());
    row.push(table as u8);
    row.extend_from_slice(key);
    row
}

impl Tables for FjallTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, TableFailure> {
        let row = row_key(table, key);
        if let Some(put) = self.overlay.get(&row) {
            return Ok(put.clone());
        }
        let stored = self.keyspace.get(&row).map_err(|error| self.failure(&error))?;
        // A copy: a slice would keep the whole block of its row in memory.
        Ok(stored.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        order: Order,
        visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) -> Result<(), TableFailure> {
        let lower = row_key(table, start);
        let upper = end.map_or_else(|| vec![table as u8 + 1], |end| row_key(table, end));
        if lower >= upper {
            return Ok(());
        }
        let put = self.overlay.range(lower.clone()..upper.clone());
        let put = put.map(|(key, value)| (key.as_slice(), value));
        let stored = self.keyspace.range(lower..upper);
        let merged = match order {
            Order::Ascending => merge(stored, put, order, visit),
            Order::Descending => merge(stored.rev(), put.rev(), order, visit),
        };
        merged.map_err(|error| self.failure(&error))
    }

    fn put(&mut self, table: Table, key: &[u8], value: Bytes) {
        self.overlay.insert(row_key(table, key), Some(value));
    }

    fn delete(&mut self, table: Table, key: &[u8]) {
        self.overlay.insert(row_key(table, key), None);
    }
}

/// Visits two ordered runs as one; where both have a key, what was put counts.
fn merge<'a>(
    stored: impl Iterator<Item = fjall::Guard>,
    put: impl Iterator<Item = (&'a [u8], &'a Option<Bytes>)>,
    order: Order,
    visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
) -> Result<(), fjall::Error> {
    let mut stored = stored.map(fjall::Guard::into_inner);
    let mut put = put.peekable();
    let mut next = stored.next().transpose()?;
    loop {
        let first = match (&next, put.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((key, _)), Some((put_key, _))) => match order {
                Order::Ascending => (**key).cmp(put_key),
                Order::Descending => (**put_key).cmp(key),
            },
        };
        let goes_on = if first == Ordering::Less {
            let (key, value) = next.take().expect("a stored row comes first");
            visit(&key[1..], &Bytes::copy_from_slice(&value))
        } else {
            let (key, value) = put.next().expect("a put row comes first");
            value.as_ref().is_none_or(|value| visit(&key[1..], value))
        };
        if !goes_on {
            return Ok(());
        }
        if first != Ordering::Greater {
            next = stored.next().transpose()?;
        }
    }
}
