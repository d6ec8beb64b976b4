//! The way every change reaches the tables: with the digest and the number of bytes kept, and the
//! head written last.
//!
//! Rule: a caller says what was there before (it has just read it), so the digest costs two hashes
//! and no look-up. Must never: let a row change without the digest and the bytes.

use super::{
    digest,
    head::{HEAD_KEY, Head},
    tables::{Table, TableFailure, Tables},
};
use bytes::Bytes;

pub(super) struct Writer<'a> {
    pub tables: &'a mut dyn Tables,
    pub head: Head,
    before: Head,
}

impl<'a> Writer<'a> {
    pub fn open(tables: &'a mut dyn Tables) -> Result<Writer<'a>, TableFailure> {
        let head = Head::load(tables)?;
        Ok(Writer { before: head.clone(), head, tables })
    }

    /// Writes a row that was not there.
    pub fn insert(&mut self, table: Table, key: &[u8], value: Bytes) {
        self.head.sum = self.head.sum.wrapping_add(digest::of_row(table, key, &value));
        self.count(table, key, &value, u64::wrapping_add);
        self.tables.put(table, key, value);
    }

    /// Writes over a row that was there.
    pub fn replace(&mut self, table: Table, key: &[u8], old: &[u8], value: Bytes) {
        self.head.sum = self.head.sum.wrapping_sub(digest::of_row(table, key, old));
        self.count(table, key, old, u64::wrapping_sub);
        self.insert(table, key, value);
    }

    /// Removes a row that was there.
    pub fn remove(&mut self, table: Table, key: &[u8], old: &[u8]) {
        self.head.sum = self.head.sum.wrapping_sub(digest::of_row(table, key, old));
        self.count(table, key, old, u64::wrapping_sub);
        self.tables.delete(table, key);
    }

    fn count(&mut self, table: Table, key: &[u8], value: &[u8], by: fn(u64, u64) -> u64) {
        let bytes = (key.len() + value.len()) as u64;
        self.head.bytes = by(self.head.bytes, bytes);
        if table == Table::Latest {
            self.head.live_bytes = by(self.head.live_bytes, bytes);
            self.head.keys = by(self.head.keys, 1);
        }
    }

    /// Removes a row if it is there: one look-up more than `remove`.
    pub fn forget(&mut self, table: Table, key: &[u8]) -> Result<(), TableFailure> {
        if let Some(old) = self.tables.get(table, key)? {
            self.remove(table, key, &old);
        }
        Ok(())
    }

    /// Writes the head, if it changed.
    pub fn close(self) {
        if self.head != self.before {
            self.tables.put(Table::Meta, HEAD_KEY, self.head.encode());
        }
    }
}
