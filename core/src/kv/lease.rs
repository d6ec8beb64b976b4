//! Leases: keys that go when their holder has been silent for too long.
//!
//! Rule: a lease stands until a command ends it: its revocation, or an expiry that finds its
//! deadline passed on the cluster clock. Granting and keeping alive put the deadline a whole TTL
//! after the clock. A key has one lease at most; the rows by lease name exactly the keys that have
//! it. Must never: end by itself, between two commands.
//!
//! | key in `Leases`               | value         | for                            |
//! |-------------------------------|---------------|--------------------------------|
//! | 00, lease (8)                 | TTL, deadline | the lease                      |
//! | 01, deadline (8), lease (8)   |               | what expires next              |
//! | 02, lease (8), user key       |               | what goes with it              |

use super::{
    head::Head,
    reply::CommandError,
    rows,
    tables::{Order, Table, TableFailure, Tables},
    write::Writer,
};
use crate::codec::{Malformed, get_u64, put_u64};
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

/// A shorter TTL is granted as this one.
pub const MIN_TTL_MS: u64 = 2_000;
/// A longer TTL is refused (etcd's limit).
pub const MAX_TTL_MS: u64 = 9_000_000_000_000;
/// The largest id: as in etcd, ids are positive in 64 bits with a sign.
pub const MAX_LEASE: u64 = i64::MAX as u64;
/// As the lease of a put: the one that the same transaction granted last before it.
pub const GRANTED: u64 = u64::MAX;

const LEASE: u8 = 0;
const BY_DEADLINE: u8 = 1;
const BY_LEASE: u8 = 2;

/// A lease as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    pub ttl_ms: u64,
    pub deadline_ms: u64,
}

impl Lease {
    fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(12);
        put_u64(&mut out, self.ttl_ms);
        put_u64(&mut out, self.deadline_ms);
        out.freeze()
    }

    fn decode(row_key: &[u8], row: &Bytes) -> Result<Lease, TableFailure> {
        let read = |mut row: Bytes| {
            let lease = Lease {
                ttl_ms: get_u64(&mut row, "ttl")?,
                deadline_ms: get_u64(&mut row, "deadline")?,
            };
            if row.is_empty() { Ok(lease) } else { Err(Malformed("end of row")) }
        };
        read(row.clone()).map_err(|malformed| rows::damaged(Table::Leases, row_key, malformed))
    }
}

/// The lease with this id.
pub(super) fn find(tables: &dyn Tables, id: u64) -> Result<Option<Lease>, TableFailure> {
    let key = lease_row(id);
    let row = tables.get(Table::Leases, &key)?;
    row.map(|row| Lease::decode(&key, &row)).transpose()
}

/// An id that no lease has, the same on every replica. `taken` names ids that are about to be used.
pub(super) fn free_id(
    writer: &Writer<'_>,
    number: &mut u64,
    taken: &[u64],
) -> Result<u64, TableFailure> {
    loop {
        *number += 1;
        // Scattered, so that they do not meet the small numbers that people choose.
        let id = xxh3_64(&number.to_be_bytes()) & MAX_LEASE;
        if id != 0 && !taken.contains(&id) && find(writer.tables, id)?.is_none() {
            return Ok(id);
        }
    }
}

/// What a TTL asked for is granted as.
pub(super) fn granted_ttl(ttl_ms: u64) -> u64 {
    ttl_ms.max(MIN_TTL_MS)
}

/// Writes a lease that is not there.
pub(super) fn grant(writer: &mut Writer<'_>, id: u64, ttl_ms: u64) {
    let deadline_ms = writer.head.clock_ms.saturating_add(ttl_ms);
    let lease = Lease { ttl_ms, deadline_ms };
    writer.head.leases += 1;
    writer.insert(Table::Leases, &lease_row(id), lease.encode());
    writer.insert(Table::Leases, &deadline_row(deadline_ms, id), Bytes::new());
}

/// Moves the deadline of a lease that is there.
pub(super) fn keep_alive(writer: &mut Writer<'_>, id: u64, lease: Lease) {
    let renewed = Lease { deadline_ms: writer.head.clock_ms.saturating_add(lease.ttl_ms), ..lease };
    if renewed.deadline_ms != lease.deadline_ms {
        writer.replace(Table::Leases, &lease_row(id), &lease.encode(), renewed.encode());
        writer.remove(Table::Leases, &deadline_row(lease.deadline_ms, id), &[]);
        writer.insert(Table::Leases, &deadline_row(renewed.deadline_ms, id), Bytes::new());
    }
}

/// Removes a lease that is there. Its keys are the caller's.
pub(super) fn remove(writer: &mut Writer<'_>, id: u64, lease: Lease) {
    writer.head.leases = writer.head.leases.saturating_sub(1);
    writer.remove(Table::Leases, &lease_row(id), &lease.encode());
    writer.remove(Table::Leases, &deadline_row(lease.deadline_ms, id), &[]);
}

/// Lets `key` go from the lease `old` to the lease `new`; 0 is none.
pub(super) fn move_key(writer: &mut Writer<'_>, key: &[u8], old: u64, new: u64) {
    if old == new {
        return;
    }
    if old != 0 {
        writer.remove(Table::Leases, &key_row(old, key), &[]);
    }
    if new != 0 {
        writer.insert(Table::Leases, &key_row(new, key), Bytes::new());
    }
}

/// The keys of a lease from `from` on, at most `limit`.
pub(super) fn keys(
    tables: &dyn Tables,
    id: u64,
    from: &[u8],
    limit: usize,
) -> Result<Vec<Bytes>, TableFailure> {
    let mut keys = Vec::new();
    let (start, end) = (key_row(id, from), key_row(id + 1, &[]));
    if limit > 0 {
        tables.scan(Table::Leases, &start, Some(&end), Order::Ascending, &mut |row, _| {
            keys.push(Bytes::copy_from_slice(&row[9..]));
            keys.len() < limit
        })?;
    }
    Ok(keys)
}

/// The leases whose deadline is not after `now_ms`, oldest deadline first, at most `limit`.
pub(super) fn expired(
    tables: &dyn Tables,
    now_ms: u64,
    limit: usize,
) -> Result<Vec<u64>, TableFailure> {
    let mut found = Vec::new();
    let end = deadline_row(now_ms.saturating_add(1), 0);
    tables.scan(Table::Leases, &[BY_DEADLINE], Some(&end), Order::Ascending, &mut |row, _| {
        found.push(parse_deadline_row(row));
        found.len() < limit
    })?;
    found.into_iter().map(|row| row.map(|(_, id)| id)).collect()
}

/// When the next lease expires on the cluster clock; `None` when there is no lease.
///
/// # Errors
/// `TableFailure` when the tables cannot be read.
pub fn next_expiry(tables: &dyn Tables) -> Result<Option<u64>, TableFailure> {
    let mut first = None;
    let (start, end) = ([BY_DEADLINE], [BY_LEASE]);
    tables.scan(Table::Leases, &start, Some(&end), Order::Ascending, &mut |row, _| {
        first = Some(parse_deadline_row(row));
        false
    })?;
    first.transpose().map(|first| first.map(|(deadline_ms, _)| deadline_ms))
}

/// A lease as it is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseView {
    /// Its id.
    pub id: u64,
    /// The TTL granted.
    pub ttl_ms: u64,
    /// What is left of it by the clock given; 0: about to go.
    pub remaining_ms: u64,
    /// Its keys, as far as asked for.
    pub keys: Vec<Bytes>,
}

/// A lease, with at most `limit` of its keys from `from` on. `now_ms` is the cluster clock as the
/// node reads it (`ClusterClock`).
///
/// # Errors
/// `TableFailure` when the tables cannot be read. Within: `LeaseNotFound`.
pub fn lease(
    tables: &dyn Tables,
    id: u64,
    now_ms: u64,
    from: &[u8],
    limit: usize,
) -> Result<Result<LeaseView, CommandError>, TableFailure> {
    let known = if id <= MAX_LEASE { find(tables, id)? } else { None };
    let Some(lease) = known else { return Ok(Err(CommandError::LeaseNotFound)) };
    let now_ms = now_ms.max(Head::load(tables)?.clock_ms);
    let keys = keys(tables, id, from, limit)?;
    let remaining_ms = lease.deadline_ms.saturating_sub(now_ms);
    Ok(Ok(LeaseView { id, ttl_ms: lease.ttl_ms, remaining_ms, keys }))
}

/// All leases after the id `after` (0: from the first), at most `limit`, without their keys.
///
/// # Errors
/// `TableFailure` when the tables cannot be read.
pub fn leases(
    tables: &dyn Tables,
    after: u64,
    now_ms: u64,
    limit: usize,
) -> Result<Vec<LeaseView>, TableFailure> {
    let now_ms = now_ms.max(Head::load(tables)?.clock_ms);
    let mut found = Vec::new();
    let start = lease_row(after.saturating_add(1));
    if limit > 0 {
        let end = [BY_DEADLINE];
        tables.scan(Table::Leases, &start, Some(&end), Order::Ascending, &mut |key, row| {
            found.push((Bytes::copy_from_slice(key), row.clone()));
            found.len() < limit
        })?;
    }
    let view = |(key, row): (Bytes, Bytes)| {
        let id = key[1..].try_into().map(u64::from_be_bytes);
        let id = id.map_err(|_| rows::damaged(Table::Leases, &key, Malformed("key")))?;
        let lease = Lease::decode(&key, &row)?;
        let remaining_ms = lease.deadline_ms.saturating_sub(now_ms);
        Ok(LeaseView { id, ttl_ms: lease.ttl_ms, remaining_ms, keys: Vec::new() })
    };
    found.into_iter().map(view).collect()
}

fn lease_row(id: u64) -> [u8; 9] {
    let mut row = [LEASE; 9];
    row[1..].copy_from_slice(&id.to_be_bytes());
    row
}

fn deadline_row(deadline_ms: u64, id: u64) -> [u8; 17] {
    let mut row = [BY_DEADLINE; 17];
    row[1..9].copy_from_slice(&deadline_ms.to_be_bytes());
    row[9..].copy_from_slice(&id.to_be_bytes());
    row
}

fn parse_deadline_row(row: &[u8]) -> Result<(u64, u64), TableFailure> {
    let numbers: Result<[u8; 16], _> = row[1..].try_into();
    let numbers = numbers
        .map(u128::from_be_bytes)
        .map_err(|_| rows::damaged(Table::Leases, row, Malformed("key")))?;
    Ok(((numbers >> 64) as u64, numbers as u64))
}

fn key_row(id: u64, key: &[u8]) -> Vec<u8> {
    [&[BY_LEASE], &id.to_be_bytes()[..], key].concat()
}
