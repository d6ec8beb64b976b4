//! The ordered tables the state machine lives in.
//!
//! Rule: bytes to bytes, in lexicographic order, nothing else. Must never: know what a row means.

use alloc::string::String;
use bytes::Bytes;

/// Which table. The numbers are part of the disk and snapshot formats: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Singletons: revision, compact revision, clock, digest, and the runtime's applied index.
    Meta = 0,
    /// user key → newest version.
    Latest = 1,
    /// (user key, revision) → superseded version or tombstone. The newest version of a live key is
    /// in `Latest` only.
    History = 2,
    /// (revision, sub-index) → user key and what happened: watch catch-up and backup order.
    Revisions = 3,
    /// lease id → lease.
    Leases = 4,
    /// idempotency key → stored reply.
    Dedup = 5,
    /// Reserved for users, roles and tokens.
    Auth = 6,
}

impl Table {
    /// All tables in the order of their numbers, which is the order of a snapshot.
    pub const ALL: [Table; 7] = [
        Table::Meta,
        Table::Latest,
        Table::History,
        Table::Revisions,
        Table::Leases,
        Table::Dedup,
        Table::Auth,
    ];

    /// The table with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Table> {
        Table::ALL.get(usize::from(number)).copied()
    }
}

/// Direction of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// From the smallest key.
    Ascending,
    /// From the largest key.
    Descending,
}

/// The tables could not be read; the text names the cause. The node that sees it stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFailure(pub String);

impl core::fmt::Display for TableFailure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Ordered tables. Writes are seen by the reads that follow them.
pub trait Tables {
    /// One row.
    ///
    /// # Errors
    /// `TableFailure` when the store cannot be read.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, TableFailure>;

    /// Visits the rows with `start <= key < end` (`None`: no upper bound) in `order`, until
    /// `visit` returns `false`.
    ///
    /// # Errors
    /// `TableFailure` when the store cannot be read.
    fn scan(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        order: Order,
        visit: &mut dyn FnMut(&[u8], &Bytes) -> bool,
    ) -> Result<(), TableFailure>;

    /// Writes a row.
    fn put(&mut self, table: Table, key: &[u8], value: Bytes);

    /// Removes a row, if it is there.
    fn delete(&mut self, table: Table, key: &[u8]);
}
