//! The state machine's tables on disk: one fjall database per generation.
//!
//! ```text
//! fjall/CURRENT   which generation is in use
//! fjall/<n>/      the database of generation n, with one keyspace
//! ```
//!
//! Rule: a commit is one atomic batch of rows and of what they stand for, unsynced (the log is what
//! makes it durable); a checkpoint syncs; a received snapshot becomes a new generation beside the
//! old one, and one file, written atomically, switches over. Must never: delete or clear a keyspace
//! of a database that goes on (fjall 3.1 is not safe against a power cut there, and replays a clear
//! over rows ingested after it), create what should be there, or go on after fjall failed.

mod current;
mod install;
mod journal;
mod open;
mod tables;

use self::{install::Incoming, tables::FjallTables};
use super::{DiskOptions, files::io_error};
use crate::storage::{
    StateStore, StorageError,
    stream::{Rows, Senders, Source, out_of_step},
};
use bytes::{Bytes, BytesMut};
use fjall::{AbstractTree, Database, Iter, PersistMode, Readable};
use kvorum_core::{
    kv::{Table, Tables, digest},
    raft::{NodeId, SnapshotMeta, Staged},
};
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

/// With more sealed memtables than this fjall halts the writer, so no more are sealed.
const MAX_SEALED: usize = 3;
/// Without threads of fjall's own: runs in its first level after which everything is compacted
/// (it halts the writer at 30).
const MAX_INLINE_RUNS: usize = 8;

/// Keys of the rows that belong to this replica alone, in `Table::Meta`.
mod local {
    use kvorum_core::kv::digest::LOCAL_PREFIX;

    /// What the tables stand for.
    pub const APPLIED: &[u8] = &[LOCAL_PREFIX, b'a'];
    /// The snapshot that this generation began with.
    pub const INSTALLED: &[u8] = &[LOCAL_PREFIX, b'i'];
}

/// The tables of a node.
pub(super) struct Map {
    /// `fjall/`.
    path: PathBuf,
    generation: u64,
    store: Store,
    applied: SnapshotMeta,
    installed: SnapshotMeta,
    senders: Senders,
    incoming: Option<Incoming>,
    options: DiskOptions,
    failed: Option<StorageError>,
    /// Held as long as anybody writes here.
    _lock: Arc<File>,
}

/// The database of one generation.
struct Store {
    database: Database,
    tables: FjallTables,
}

impl Map {
    /// The snapshot that this generation began with.
    pub fn installed(&self) -> &SnapshotMeta {
        &self.installed
    }

    fn alive(&self) -> Result<(), StorageError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// The shared rows as of now.
    fn source(&self) -> Source {
        let snapshot = self.store.database.snapshot();
        let (path, keyspace) = (self.path.clone(), self.store.tables.keyspace.clone());
        Box::new(move || rows(path.clone(), snapshot.iter(&keyspace)))
    }

    /// Remembers a failure for ever, unless it is only the transfer's.
    fn remember<T>(&mut self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        if let Err(error) = &result
            && !matches!(error, StorageError::Snapshot(_))
        {
            self.failed = Some(error.clone());
        }
        result
    }

    fn try_commit(&mut self, applied: &SnapshotMeta) -> Result<(), StorageError> {
        let mut batch = self.store.database.batch();
        let tables = &mut self.store.tables;
        tables.drain_into(&mut batch).map_err(|failure| StorageError::Io(failure.0))?;
        let key = tables::row_key(Table::Meta, local::APPLIED);
        batch.insert(&tables.keyspace, key, &encode(applied)[..]);
        batch.commit().map_err(|error| failure(&self.path, "commit to", &error))?;
        self.applied = applied.clone();
        self.rotate()
    }

    /// Has the table in memory written out when it is large. fjall's own trigger is switched off:
    /// it starves behind a busy writer.
    fn rotate(&mut self) -> Result<(), StorageError> {
        let keyspace = &self.store.tables.keyspace;
        if keyspace.tree.active_memtable().size() <= self.options.memtable_bytes
            || keyspace.tree.sealed_memtable_count() >= MAX_SEALED
        {
            return Ok(());
        }
        let rotated = if self.options.fjall_workers == 0 {
            self.flush_inline()
        } else {
            keyspace.rotate_memtable().map(|_| ())
        };
        rotated.map_err(|error| failure(&self.path, "flush", &error))
    }

    /// What fjall's threads do otherwise.
    fn flush_inline(&self) -> fjall::Result<()> {
        // A table must not get to the disk before the journal that says it may.
        self.store.database.persist(PersistMode::SyncAll)?;
        let keyspace = &self.store.tables.keyspace;
        keyspace.tree.flush_active_memtable(0)?;
        if keyspace.tree.l0_run_count() >= MAX_INLINE_RUNS {
            keyspace.major_compact()?;
        }
        Ok(())
    }

    fn try_checkpoint(&mut self) -> Result<SnapshotMeta, StorageError> {
        self.store
            .database
            .persist(PersistMode::SyncAll)
            .map_err(|error| failure(&self.path, "sync", &error))?;
        Ok(self.applied.clone())
    }
}

impl StateStore for Map {
    fn tables(&self) -> &dyn Tables {
        &self.store.tables
    }

    fn tables_mut(&mut self) -> &mut dyn Tables {
        &mut self.store.tables
    }

    fn applied(&self) -> &SnapshotMeta {
        &self.applied
    }

    fn commit(&mut self, applied: &SnapshotMeta) -> Result<(), StorageError> {
        self.alive()?;
        let committed = self.try_commit(applied);
        self.remember(committed)
    }

    fn checkpoint(&mut self) -> Result<SnapshotMeta, StorageError> {
        self.alive()?;
        let durable = self.try_checkpoint();
        self.remember(durable)
    }

    fn disk_bytes(&self) -> u64 {
        self.store.tables.keyspace.disk_space()
    }

    fn read_snapshot(
        &mut self,
        peer: NodeId,
        offset: u64,
        max_bytes: u64,
    ) -> Result<(SnapshotMeta, Bytes, bool), StorageError> {
        self.alive()?;
        if offset == 0 {
            if self.store.tables.is_open() {
                return Err(StorageError::Snapshot("puts are waiting for their commit".into()));
            }
            self.senders.start(peer, self.applied.clone(), self.source())?;
        }
        let chunk = self.senders.read(peer, offset, max_bytes);
        self.remember(chunk)
    }

    fn resume_snapshot(&mut self, peer: NodeId, staged: &Staged) -> Result<bool, StorageError> {
        self.alive()?;
        let now = (!self.store.tables.is_open()).then(|| (self.applied.clone(), self.source()));
        let resumed = self.senders.resume(peer, staged, || now);
        self.remember(resumed)
    }

    fn close_snapshot(&mut self, peer: NodeId) {
        self.senders.close(peer);
    }

    fn stage_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        data: &Bytes,
    ) -> Result<u64, StorageError> {
        self.alive()?;
        let staged = self.stage(meta, offset, data);
        self.remember(staged)
    }

    fn install_snapshot(&mut self, meta: &SnapshotMeta) -> Result<(), StorageError> {
        self.alive()?;
        let incoming = self.incoming.take().filter(|incoming| incoming.meta == *meta);
        let installed = match incoming {
            Some(incoming) => self.install(incoming),
            None => Err(out_of_step(0, 0)),
        };
        self.remember(installed)
    }
}

/// The shared rows of a point in time.
fn rows(path: PathBuf, iter: Iter) -> Rows {
    let row = move |guard: fjall::Guard| {
        let (key, value) = match guard.into_inner() {
            Ok(row) => row,
            Err(error) => return Some(Err(failure(&path, "read", &error))),
        };
        let Some(table) = key.first().copied().and_then(Table::from_number) else {
            return Some(Err(damaged(&path, "a row of no table")));
        };
        let key = Bytes::copy_from_slice(&key[1..]);
        if digest::is_local(table, &key) {
            return None;
        }
        Some(Ok((table, key, Bytes::copy_from_slice(&value))))
    };
    Box::new(iter.filter_map(row))
}

fn encode(meta: &SnapshotMeta) -> BytesMut {
    let mut bytes = BytesMut::new();
    meta.encode(&mut bytes);
    bytes
}

/// What fjall said, as ours.
fn failure(path: &Path, doing: &str, error: &fjall::Error) -> StorageError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            io_error(doing, path, error)
        }
        fjall::Error::Locked => StorageError::Locked(format!(
            "{} is locked by another process; stop it",
            path.display()
        )),
        fjall::Error::Poisoned => StorageError::Io(format!(
            "cannot {doing} {}: an earlier write to it failed; check the disk and restart",
            path.display()
        )),
        other => damaged(path, &format!("fjall cannot {doing} it: {other:?}")),
    }
}

/// The tables are not what was written. They can be had again from the cluster.
fn damaged(path: &Path, what: &str) -> StorageError {
    StorageError::Corrupt(format!(
        "{} is damaged: {what}; remove this node from the cluster, delete its directory and let it \
         join again",
        path.display()
    ))
}
