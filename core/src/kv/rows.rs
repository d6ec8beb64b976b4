//! The bytes of the rows in `Latest`, `History` and `Revisions`.
//!
//! Rule: the order of the encoded keys is the order of what they stand for, for every byte string.
//! A version is one record with the value at its end, so that a read slices it out and a superseded
//! version moves from `Latest` to `History` as the very same bytes. Must never: store a value
//! twice; allocate by a length that was read.
//!
//! | table     | key                                     | value                                    |
//! |-----------|-----------------------------------------|------------------------------------------|
//! | Latest    | user key, as it is                      | version                                  |
//! | History   | escaped user key, 00 01, revision (8)   | version or tombstone                     |
//! | Revisions | revision (8), sub-index (4)             | put or delete, superseded revision, principal, user key |
//!
//! Escaping turns 00 into 00 FF. The end mark 00 01 sorts before every escaped byte that may follow
//! in a longer key, so `"a"` at any revision sorts before `"a\0"` at any revision.

use super::{
    command::Kind,
    reply::KeyValue,
    tables::{Table, TableFailure},
};
use crate::codec::{Malformed, get_bytes, get_u8, get_u64, put_bytes, put_u64};
use alloc::{format, vec::Vec};
use bytes::{Buf, BufMut, Bytes, BytesMut};

const TOMBSTONE: u8 = 0x80;
const END_MARK: [u8; 2] = [0x00, 0x01];
const REVISION_BYTES: usize = 8;

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub kind: Kind,
    pub create_revision: u64,
    pub mod_revision: u64,
    pub version: u64,
    pub lease: u64,
    /// The date when it was written.
    pub wall_ms: u64,
    pub value: Bytes,
}

impl Version {
    /// The record: one allocation of exactly the right size, one copy of the value.
    pub fn encode(&self) -> Bytes {
        let numbers =
            [self.create_revision, self.mod_revision, self.version, self.lease, self.wall_ms];
        let len = 1 + numbers.map(varint_len).iter().sum::<usize>() + self.value.len();
        let mut out = BytesMut::with_capacity(len);
        out.put_u8(self.kind as u8);
        for number in numbers {
            put_u64(&mut out, number);
        }
        out.extend_from_slice(&self.value);
        out.freeze()
    }

    /// Reads a record; `None` for a tombstone. The value is a slice of it.
    pub fn decode(row: &Bytes) -> Result<Option<Version>, Malformed> {
        let mut row = row.clone();
        let tag = get_u8(&mut row, "kind")?;
        if tag == TOMBSTONE {
            return Ok(None);
        }
        Ok(Some(Version {
            kind: Kind::from_number(tag).ok_or(Malformed("kind"))?,
            create_revision: get_u64(&mut row, "create revision")?,
            mod_revision: get_u64(&mut row, "mod revision")?,
            version: get_u64(&mut row, "version")?,
            lease: get_u64(&mut row, "lease")?,
            wall_ms: get_u64(&mut row, "date")?,
            value: row,
        }))
    }

    /// Reads a row of `Latest`, where there are no tombstones.
    pub fn of_latest(key: &[u8], row: &Bytes) -> Result<Version, TableFailure> {
        Version::decode(row)
            .and_then(|version| version.ok_or(Malformed("kind")))
            .map_err(|malformed| damaged(Table::Latest, key, malformed))
    }

    /// As a reply shows it.
    pub fn into_key_value(self, key: Bytes, with_value: bool) -> KeyValue {
        KeyValue {
            key,
            value: if with_value { self.value } else { Bytes::new() },
            kind: self.kind,
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
            wall_ms: self.wall_ms,
        }
    }
}

/// The record of a deletion.
pub(super) fn tombstone(wall_ms: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + varint_len(wall_ms));
    out.put_u8(TOMBSTONE);
    put_u64(&mut out, wall_ms);
    out.freeze()
}

/// The date of a record that is a tombstone.
pub(super) fn tombstone_date(row: &Bytes) -> Result<u64, Malformed> {
    let mut row = row.slice(1..);
    let wall_ms = get_u64(&mut row, "date")?;
    if row.is_empty() { Ok(wall_ms) } else { Err(Malformed("end of row")) }
}

/// One change as `Revisions` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChangeRow {
    pub deleted: bool,
    /// Revision of the version it superseded, 0 when there was none.
    pub superseded: u64,
    pub principal: Bytes,
    pub key: Bytes,
}

impl ChangeRow {
    pub fn encode(&self) -> Bytes {
        let principal = self.principal.len();
        let len = 1
            + varint_len(self.superseded)
            + varint_len(principal as u64)
            + principal
            + self.key.len();
        let mut out = BytesMut::with_capacity(len);
        out.put_u8(u8::from(self.deleted));
        put_u64(&mut out, self.superseded);
        put_bytes(&mut out, &self.principal);
        out.extend_from_slice(&self.key);
        out.freeze()
    }

    pub fn decode(row_key: &[u8], row: &Bytes) -> Result<ChangeRow, TableFailure> {
        let read = |mut row: Bytes| {
            Ok(ChangeRow {
                deleted: crate::codec::get_bool(&mut row, "deleted")?,
                superseded: get_u64(&mut row, "superseded")?,
                principal: get_bytes(&mut row, "principal")?,
                key: row,
            })
        };
        read(row.clone()).map_err(|malformed| damaged(Table::Revisions, row_key, malformed))
    }
}

/// Key of a change in `Revisions`.
pub(super) fn change_key(revision: u64, sub: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..REVISION_BYTES].copy_from_slice(&revision.to_be_bytes());
    key[REVISION_BYTES..].copy_from_slice(&sub.to_be_bytes());
    key
}

/// Reads what `change_key` wrote.
pub(super) fn parse_change_key(mut key: &[u8]) -> Result<(u64, u32), TableFailure> {
    let whole = key;
    match (key.try_get_u64(), key.try_get_u32(), key.is_empty()) {
        (Ok(revision), Ok(sub), true) => Ok((revision, sub)),
        _ => Err(damaged(Table::Revisions, whole, Malformed("key"))),
    }
}

/// Key of a version in `History`.
pub(super) fn history_key(user_key: &[u8], revision: u64) -> Vec<u8> {
    let mut key = history_bound(user_key);
    key.extend_from_slice(&END_MARK);
    key.extend_from_slice(&revision.to_be_bytes());
    key
}

/// Sorts after all `History` keys of smaller user keys and before those of `user_key`.
pub(super) fn history_bound(user_key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(user_key.len() + END_MARK.len() + REVISION_BYTES);
    for &byte in user_key {
        out.push(byte);
        if byte == 0x00 {
            out.push(0xFF);
        }
    }
    out
}

/// Splits a `History` key into the part that names the user key, and the revision.
pub(super) fn split_history_key(key: &[u8]) -> Result<(&[u8], u64), TableFailure> {
    let cut = key.len().checked_sub(REVISION_BYTES);
    match cut.and_then(|cut| key.split_at_checked(cut)) {
        Some((user, mut revision)) if user.ends_with(&END_MARK) => {
            Ok((&user[..user.len() - END_MARK.len()], revision.get_u64()))
        }
        _ => Err(damaged(Table::History, key, Malformed("key"))),
    }
}

/// Undoes the escaping.
pub(super) fn unescape(escaped: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(&byte) = bytes.next() {
        out.push(byte);
        if byte == 0x00 {
            bytes.next();
        }
    }
    out
}

/// The failure that names a row that cannot be read.
pub(super) fn damaged(table: Table, key: &[u8], malformed: Malformed) -> TableFailure {
    TableFailure(format!(
        "a row of the state is damaged: table {table:?}, key \"{}\": {malformed}",
        key.escape_ascii()
    ))
}

/// How many bytes `put_u64` writes.
pub(super) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}
