//! How much may be stored.
//!
//! Rule: the head row counts the bytes of all rows but itself, keys and values, history and all. A
//! transaction that puts or grants is refused when what is there plus the most it can add exceeds
//! the quota; that most is a function of the transaction and of what it keeps, so replicas agree.
//! What removes is always allowed. Must never: refuse after the first write; need anybody to say
//! that there is room again.

use super::{
    digest::is_local,
    head::{HEAD_KEY, Head},
    reply::CommandError,
    tables::{Order, Table, TableFailure, Tables},
};

/// The numbers of a version's record and the keys and numbers of the rows that go with it.
const PUT_BYTES: u64 = 128;
/// The two rows of a lease.
const GRANT_BYTES: u64 = 64;

/// What a transaction adds at most.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Growth(u64);

impl Growth {
    /// Of a put: the record, and the key in four places (or in three, and escaped in `History`).
    pub fn put(&mut self, key: &[u8], value_len: usize, principal: &[u8]) {
        let names = 4 * key.len() + principal.len();
        self.0 = self.0.saturating_add((names + value_len) as u64 + PUT_BYTES);
    }

    pub fn grant(&mut self) {
        self.0 = self.0.saturating_add(GRANT_BYTES);
    }

    /// Whether there is room for it.
    pub fn judge(self, head: &Head) -> Result<(), CommandError> {
        let (used, limit) = (head.bytes, head.settings.quota_bytes);
        if self.0 == 0 || limit == 0 || used.saturating_add(self.0) <= limit {
            Ok(())
        } else {
            Err(CommandError::NoSpace { used, needed: self.0, limit })
        }
    }
}

/// The bytes of all rows by a scan of every row: what `kv::status` must say. Costs a read of the
/// store.
///
/// # Errors
/// `TableFailure` when the tables cannot be read.
pub fn recompute(tables: &dyn Tables) -> Result<u64, TableFailure> {
    let mut bytes = 0;
    for table in Table::ALL {
        tables.scan(table, &[], None, Order::Ascending, &mut |key, value| {
            let counted = !is_local(table, key) && (table != Table::Meta || key != HEAD_KEY);
            bytes += if counted { (key.len() + value.len()) as u64 } else { 0 };
            true
        })?;
    }
    Ok(bytes)
}
