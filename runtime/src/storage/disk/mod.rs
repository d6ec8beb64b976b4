//! The store of a node with a directory: `RAFT_DIR/NODE_ID`.
//!
//! Rule: `LOCK` is taken before anything is looked at, and `VERSION` is written after everything
//! else is durable: without it there is no node here. Must never: touch a directory that is locked,
//! belongs to another node, or holds anything it did not write.

use super::{Identity, Opened, StorageError};
use kvorum_core::raft::Restored;
use std::path::{Path, PathBuf};

/// Sizes of a store on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskOptions {
    /// Bytes of a log segment; at least 64 KiB. Default 16 MiB.
    pub segment_bytes: u64,
    /// Bytes of log kept in memory at start (`Restored::tail`). Default 64 MiB.
    pub log_cache_bytes: u64,
    /// fjall's threads for flush and compaction; at least 2, or 0 to do that work inline (as the
    /// simulator must). Default 2.
    pub fjall_workers: usize,
    /// fjall's block cache. Default 64 MiB.
    pub cache_bytes: u64,
    /// fjall's table in memory is written out when it is larger than this. Default 32 MiB.
    pub memtable_bytes: u64,
}

impl Default for DiskOptions {
    fn default() -> DiskOptions {
        DiskOptions {
            segment_bytes: 16 << 20,
            log_cache_bytes: 64 << 20,
            fjall_workers: 2,
            cache_bytes: 64 << 20,
            memtable_bytes: 32 << 20,
        }
    }
}

/// A node's directory.
#[derive(Debug)]
pub struct Dir;

/// What a directory holds.
pub enum Found {
    /// No node yet.
    Blank(BlankDir),
    /// A node.
    Formatted(Opened),
}

/// A directory without a node, locked.
#[derive(Debug)]
pub struct BlankDir {
    path: PathBuf,
}

impl Dir {
    /// Locks the directory (made if need be) and looks what it holds.
    ///
    /// # Errors
    /// `Locked`, `Foreign`, `Corrupt`, `Io`; each with a text of one line.
    pub fn open(path: &Path, _name: &str, _options: DiskOptions) -> Result<Found, StorageError> {
        Ok(Found::Blank(BlankDir { path: path.to_owned() }))
    }
}

impl BlankDir {
    /// Makes the directory a node's. `restored` holds the whole of the new log in its tail.
    ///
    /// # Errors
    /// `Io`, with a text of one line.
    pub fn format(self, _identity: Identity, _restored: Restored) -> Result<Opened, StorageError> {
        Err(StorageError::Io(format!("{}: the disk store is not there yet", self.path.display())))
    }
}
