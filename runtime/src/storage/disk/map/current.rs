//! `CURRENT`: which generation of the tables is in use.
//!
//! Rule: replaced atomically and durably, and only once everything of the new generation is
//! durable. Must never: be guessed.

use crate::storage::{
    StorageError,
    disk::files::{io_error, names, remove, sync_dir, write_atomically},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

const FILE: &str = "CURRENT";

/// Where a generation's database is.
pub(super) fn database(map: &Path, generation: u64) -> PathBuf {
    map.join(generation.to_string())
}

/// Switches over.
pub(super) fn write(map: &Path, generation: u64) -> Result<(), StorageError> {
    let line = format!("generation {generation}");
    let text = format!("{line} checksum {:08x}\n", crc32c::crc32c(line.as_bytes()));
    write_atomically(&map.join(FILE), text.as_bytes())
}

/// The generation in use.
pub(super) fn read(map: &Path) -> Result<u64, StorageError> {
    let path = map.join(FILE);
    let text = fs::read(&path).map_err(|error| io_error("read", &path, &error))?;
    let parse = || {
        let text = std::str::from_utf8(&text).ok()?.strip_suffix('\n')?;
        let (line, checksum) = text.split_once(" checksum ")?;
        let matches = checksum == format!("{:08x}", crc32c::crc32c(line.as_bytes()));
        matches.then_some(line.strip_prefix("generation ")?.parse().ok()?)
    };
    parse().ok_or_else(|| super::damaged(&path, "it names no generation"))
}

/// Removes everything but the generation in use: what interrupted installations left, before or
/// after their switch.
pub(super) fn tidy(map: &Path, generation: u64) -> Result<(), StorageError> {
    let current = generation.to_string();
    let mut tidied = false;
    for name in names(map)? {
        if name != FILE && name != current {
            remove(&map.join(name))?;
            tidied = true;
        }
    }
    if tidied { sync_dir(map) } else { Ok(()) }
}
