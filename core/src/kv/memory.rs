//! The tables in memory: one ordered map per table.
//!
//! Rule: the plainest thing that keeps the contract of `Tables`; it is the reference for every
//! other implementation and the store of a node without a directory. Must never: fail.

use super::tables::{Order, Table, TableFailure, Tables};
use alloc::{collections::BTreeMap, sync::Arc};
use bytes::Bytes;
use core::ops::Bound;

type Rows = BTreeMap<Bytes, Bytes>;

/// Tables in memory. `Clone` is a point-in-time snapshot and costs nothing at first: each table is
/// shared until one side writes to it, and is then copied once (rows only; the bytes stay shared).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryTables {
    tables: [Arc<Rows>; Table::ALL.len()],
}

impl MemoryTables {
    /// How many rows there are in a table.
    #[must_use]
    pub fn len(&self, table: Table) -> usize {
        self.tables[table as usize].len()
    }

    /// Whether a table has no rows.
    #[must_use]
    pub fn is_empty(&self, table: Table) -> bool {
        self.tables[table as usize].is_empty()
    }
}

impl Tables for MemoryTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, TableFailure> {
        Ok(self.tables[table as usize].get(key).cloned())
    }

    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        order: Order,
        visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) -> Result<(), TableFailure> {
        // An ordered map panics on a range whose end lies before its start; here it is empty.
        if end.is_some_and(|end| end <= start) {
            return Ok(());
        }
        let upper = end.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.tables[table as usize].range::<[u8], _>((Bound::Included(start), upper));
        match order {
            Order::Ascending => rows.into_iter().all(|(key, value)| visit(key, value)),
            Order::Descending => rows.rev().all(|(key, value)| visit(key, value)),
        };
        Ok(())
    }

    fn put(&mut self, table: Table, key: &[u8], value: Bytes) {
        let rows = Arc::make_mut(&mut self.tables[table as usize]);
        // An overwrite keeps the key's allocation.
        match rows.get_mut(key) {
            Some(present) => *present = value,
            None => {
                rows.insert(Bytes::copy_from_slice(key), value);
            }
        }
    }

    fn delete(&mut self, table: Table, key: &[u8]) {
        let rows = &mut self.tables[table as usize];
        if rows.contains_key(key) {
            Arc::make_mut(rows).remove(key);
        }
    }
}
