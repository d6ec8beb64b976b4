//! The digest of the state: one number that differs when two replicas' rows differ.
//!
//! Rule: the wrapping sum, over all rows of all tables, of a 128-bit hash of table, key and value.
//! A sum does not depend on the order of its terms, so a changed row costs one subtraction and one
//! addition, and a full scan gives the same number as the increments. Left out are the rows that
//! belong to one replica (`is_local`) and the digest's own 16 bytes in the head row. Must never:
//! know what a row means; defend against forgery (xxh3 is no cryptographic hash).

use super::{
    head::{HEAD_KEY, SUM_BYTES},
    tables::{Order, Table, TableFailure, Tables},
};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// First byte of the `Meta` keys that belong to this replica alone (its applied index and the
/// like). They are in no digest and in no snapshot stream.
pub const LOCAL_PREFIX: u8 = 0xFF;

/// Whether a row belongs to this replica alone.
#[must_use]
pub fn is_local(table: Table, key: &[u8]) -> bool {
    table == Table::Meta && key.first() == Some(&LOCAL_PREFIX)
}

/// What a row adds to the digest. The hash of table and key seeds the hash of the value, so that
/// neither needs to be copied next to the other.
#[must_use]
pub fn of_row(table: Table, key: &[u8], value: &[u8]) -> u128 {
    if is_local(table, key) {
        return 0;
    }
    let covered = if table == Table::Meta && key == HEAD_KEY {
        &value[..value.len().saturating_sub(SUM_BYTES)]
    } else {
        value
    };
    xxh3_128_with_seed(covered, xxh3_64_with_seed(key, table as u64))
}

/// The digest by a scan of every row: what `kv::digest` must return. Costs a read of the store.
///
/// # Errors
/// `TableFailure` when the tables cannot be read.
pub fn recompute(tables: &dyn Tables) -> Result<u128, TableFailure> {
    let mut sum = 0u128;
    for table in Table::ALL {
        tables.scan(table, &[], None, Order::Ascending, &mut |key, value| {
            sum = sum.wrapping_add(of_row(table, key, value));
            true
        })?;
    }
    Ok(sum)
}
