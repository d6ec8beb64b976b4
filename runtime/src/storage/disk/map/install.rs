//! Receiving a snapshot.
//!
//! Rule: chunks are staged in a file of their own (not synced: it is worth nothing after a crash);
//! the installation reads it once, rows going into a new generation as they are verified. Only when
//! count and digest agree is the new generation made the one in use, by one file. A crash before
//! that leaves the old state and an orphan, a crash after it the new state; both are tidied up at
//! the next start. Must never: go back to an earlier state.

use super::{
    Map, current, encode, failure, local,
    open::{create_store, switch_to},
    tables::row_key,
};
use crate::storage::{
    StorageError,
    disk::files::{io_error, remove},
    stream::{Senders, out_of_step, refuse_older, unusable},
};
use bytes::{Bytes, BytesMut};
use fjall::Keyspace;
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
        let generation = self.generation + 1;
        let path = current::database(&self.path, generation);
        // Left by a stream that did not verify.
        remove(&path)?;
        let next = create_store(&self.path, generation, &self.options)?;
        if let Err(error) = self.ingest(&incoming, &next.tables.keyspace) {
            drop(next);
            remove(&path)?;
            return Err(error);
        }
        switch_to(&self.path, generation, &next)?;

        // A node that installs a snapshot leads nobody; and the old rows are going away.
        self.senders = Senders::default();
        drop(std::mem::replace(&mut self.store, next));
        self.generation = generation;
        self.applied = incoming.meta.clone();
        self.installed = incoming.meta;
        current::tidy(&self.path, generation)?;
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
