//! The tail of fjall's journal after a power cut.
//!
//! Rule: commits are not synced one by one, so a power cut may leave the last of them half written;
//! when its pages arrived out of order, fjall (3.1.13) takes that for damage and does not open. The
//! journal is then cut after its last whole batch. That loses nothing: the log still has everything
//! after the last checkpoint, and the store checks that what is left reaches that far. Must never:
//! touch any journal but the last, which alone can be torn.

use super::super::files::{io_error, names};
use crate::storage::StorageError;
use bytes::Buf;
use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};
use xxhash_rust::xxh3::Xxh3;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const END_MAGIC: [u8; 4] = [b'F', b'J', b'L', 3];

/// Cuts the last journal after its last whole batch. Returns how many bytes are left of how many.
pub(super) fn cut_torn_tail(database: &Path) -> Result<Option<(u64, u64)>, StorageError> {
    let Some(path) = last_journal(database)? else { return Ok(None) };
    let bytes = fs::read(&path).map_err(|error| io_error("read", &path, &error))?;
    let whole = whole_batches(&bytes);
    if whole == bytes.len() as u64 {
        return Ok(None);
    }
    OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(whole).and_then(|()| file.sync_all()))
        .map_err(|error| io_error("cut the torn tail of", &path, &error))?;
    Ok(Some((whole, bytes.len() as u64)))
}

/// The journal that was being written.
fn last_journal(database: &Path) -> Result<Option<PathBuf>, StorageError> {
    let numbers = names(database)?;
    let numbers = numbers.iter().filter_map(|name| name.strip_suffix(".jnl")?.parse::<u64>().ok());
    Ok(numbers.max().map(|number| database.join(format!("{number}.jnl"))))
}

/// How long the prefix of whole, verified batches is.
fn whole_batches(bytes: &[u8]) -> u64 {
    let mut rest = bytes;
    while let Some(after) = batch(rest) {
        rest = after;
    }
    (bytes.len() - rest.len()) as u64
}

/// What follows the batch at the front; `None` when there is no whole one.
fn batch(mut rest: &[u8]) -> Option<&[u8]> {
    if rest.try_get_u8().ok()? != START {
        return None;
    }
    let items = rest.try_get_u32_le().ok()?;
    rest.try_get_u64_le().ok()?;
    let mut checksum = Xxh3::new();
    for _ in 0..items {
        let after = item(rest)?;
        checksum.update(&rest[..rest.len() - after.len()]);
        rest = after;
    }
    let ends = rest.try_get_u8().ok()? == END
        && rest.try_get_u64_le().ok()? == checksum.digest()
        && rest.starts_with(&END_MAGIC);
    ends.then(|| &rest[END_MAGIC.len()..])
}

fn item(mut rest: &[u8]) -> Option<&[u8]> {
    match rest.try_get_u8().ok()? {
        ITEM => {
            let _value_type = rest.try_get_u8().ok()?;
            // Compression is switched off for the journal; anything else is not ours.
            if rest.try_get_u8().ok()? != 0 {
                return None;
            }
            let _keyspace = rest.try_get_u64_le().ok()?;
            let key = usize::from(rest.try_get_u16_le().ok()?);
            let _value = rest.try_get_u32_le().ok()?;
            let stored = rest.try_get_u32_le().ok()? as usize;
            rest.get(key.checked_add(stored)?..)
        }
        CLEAR => rest.get(8..),
        _ => None,
    }
}
