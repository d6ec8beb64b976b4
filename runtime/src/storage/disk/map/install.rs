//! Receiving a snapshot.
//!
//! Rule: chunks are staged in a file of their own (not synced: it is worth nothing after a crash);
//! the installation reads it once, rows going into a new generation as they are verified. Only when
//! count and digest agree is the generation switched over, by one synced row. A crash before that
//! leaves the old state and an orphan, a crash after it the new state; both are tidied up at the
//! next start. Must never: go back to an earlier state.

use super::{
    Map, encode, failure, keyspace_name, local,
    open::{GENERATION, keyspace},
    tables::{FjallTables, row_key},
};
use crate::storage::{
    StorageError,
    disk::files::{io_error, remove, sync_dir},
    stream::{Senders, out_of_step, refuse_older, unusable},
};
use bytes::{Bytes, BytesMut};
use fjall::{Keyspace, PersistMode};
use kvorum_core::{
    kv::{Table, snapshot::Decoder},
    raft::SnapshotMeta,
};
use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Where chunks are staged, beside `fjall/`.
const STAGED: &str = "incoming.snapshot";
/// Where fjall keeps its keyspaces, inside `fjall/`.
const KEYSPACES: &str = "keyspaces";
/// The staged file is read in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// A snapshot on its way in.
pub(super) struct Incoming {
    pub meta: SnapshotMeta,
    held: u64,
    file: File,
    path: PathBuf,
}

/// Removes what an interrupted transfer left.
pub(super) fn forget_staged(map: &Path) -> Result<(), StorageError> {
    remove(&staged(map))
}

fn staged(map: &Path) -> PathBuf {
    map.with_file_name(STAGED)
}

impl Map {
    /// Takes a chunk.
    pub(super) fn stage(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        data: &Bytes,
    ) -> Result<u64, StorageError> {
        if offset == 0 {
            let path = staged(&self.path);
            let mut options = OpenOptions::new();
            let file = options
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)
                .map_err(|error| io_error("create", &path, &error))?;
            self.incoming = Some(Incoming { meta: meta.clone(), held: 0, file, path });
        }
        let Some(incoming) = &mut self.incoming else { return Err(out_of_step(offset, 0)) };
        if incoming.meta != *meta || incoming.held != offset {
            return Err(out_of_step(offset, incoming.held));
        }
        incoming
            .file
            .write_all_at(data, offset)
            .map_err(|error| io_error("write", &incoming.path, &error))?;
        incoming.held += data.len() as u64;
        Ok(incoming.held)
    }

    /// Puts a staged snapshot in place.
    pub(super) fn install(&mut self, incoming: Incoming) -> Result<(), StorageError> {
        refuse_older(&incoming.meta, &self.applied)?;
        let failed = |error| failure(&self.path, "install a snapshot into", &error);
        let generation = self.generation + 1;
        let name = keyspace_name(generation);
        if self.database.keyspace_exists(&name) {
            // Left by a stream that did not verify.
            let orphan = keyspace(&self.database, &name).map_err(failed)?;
            self.database.delete_keyspace(orphan).map_err(failed)?;
        }
        let next = keyspace(&self.database, &name).map_err(failed)?;
        if let Err(error) = self.ingest(&incoming, &next) {
            self.database.delete_keyspace(next).map_err(failed)?;
            return Err(error);
        }

        // fjall syncs the new keyspace's directory but not the name it has in the one above.
        sync_dir(&self.path.join(KEYSPACES))?;
        let mut batch = self.database.batch();
        batch.insert(&self.switch, GENERATION, generation.to_be_bytes());
        batch.durability(Some(PersistMode::SyncAll)).commit().map_err(failed)?;

        // A node that installs a snapshot leads nobody; and the old rows are going away.
        self.senders = Senders::default();
        let tables = FjallTables::new(next, self.path.clone());
        let old = std::mem::replace(&mut self.tables, tables);
        self.generation = generation;
        self.applied = incoming.meta.clone();
        self.installed = incoming.meta;
        let failed = |error| failure(&self.path, "drop the old generation of", &error);
        self.database.delete_keyspace(old.keyspace).map_err(failed)?;
        remove(&incoming.path)
    }

    /// Verifies the stream while its rows go into `next`.
    fn ingest(&self, incoming: &Incoming, next: &Keyspace) -> Result<(), StorageError> {
        let failed = |error| failure(&self.path, "install a snapshot into", &error);
        let mut ingestion = next.start_ingestion().map_err(failed)?;
        let mut local = Some(encode(&incoming.meta));
        let mut decoder = Decoder::new();
        let mut offset = 0;
        while offset < incoming.held {
            let len = (incoming.held - offset).min(PIECE_BYTES as u64);
            let mut piece = BytesMut::zeroed(len as usize);
            incoming
                .file
                .read_exact_at(&mut piece, offset)
                .map_err(|error| io_error("read", &incoming.path, &error))?;
            offset += len;
            decoder.feed(&piece);
            while let Some((table, key, value)) = decoder.next_row().map_err(unusable)? {
                // This replica's own rows are the last of their table.
                if table > Table::Meta
                    && let Some(meta) = local.take()
                {
                    write_local(&mut |key| ingestion.write(key, &meta[..])).map_err(failed)?;
                }
                ingestion.write(row_key(table, &key), &value[..]).map_err(failed)?;
            }
        }
        decoder.finish().map_err(unusable)?;
        if let Some(meta) = local.take() {
            write_local(&mut |key| ingestion.write(key, &meta[..])).map_err(failed)?;
        }
        ingestion.finish().map_err(failed)
    }
}

/// Writes the rows that say what the tables stand for.
fn write_local(write: &mut dyn FnMut(Vec<u8>) -> fjall::Result<()>) -> fjall::Result<()> {
    write(row_key(Table::Meta, local::APPLIED))?;
    write(row_key(Table::Meta, local::INSTALLED))
}
