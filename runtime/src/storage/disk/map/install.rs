//! Receiving a snapshot.
//!
//! Rule: chunks are staged in a file of their own, each synced before it is reported, beside a note
//! of what they belong to: after a crash the transfer goes on where the file ends, and its digest
//! shows whether that is still what was sent. The installation reads it once, rows going into a new generation as they are verified. Only when
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
    disk::files::{io_error, remove, write_atomically},
    stream::{Senders, out_of_step, refuse_older, unusable},
};
use bytes::{Bytes, BytesMut};
use fjall::Keyspace;
use kvorum_core::{
    kv::{Table, snapshot::Decoder},
    raft::{SnapshotMeta, StagedSnapshot, StreamDigest},
};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Where chunks are staged, beside `fjall/`.
const STAGED: &str = "incoming.snapshot";
/// What the chunks belong to.
const NOTE: &str = "incoming.meta";
/// The staged file is read in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// A snapshot on its way in.
pub(super) struct Incoming {
    pub meta: SnapshotMeta,
    held: u64,
    file: File,
    path: PathBuf,
}

/// Removes what is left of a transfer. The note first: without it the chunks mean nothing.
fn forget_staged(map: &Path) -> Result<(), StorageError> {
    remove(&note(map))?;
    remove(&staged(map))
}

/// What an interrupted transfer left, if it is still of use.
pub(super) fn reopen(map: &Path, applied: &SnapshotMeta) -> Result<Option<Incoming>, StorageError> {
    let (path, note) = (staged(map), note(map));
    let meta = fs::read(&note).ok().and_then(|bytes| {
        let mut bytes = Bytes::from(bytes);
        SnapshotMeta::decode(&mut bytes).ok().filter(|_| bytes.is_empty())
    });
    let file = OpenOptions::new().read(true).write(true).open(&path).ok();
    let wanted = |(meta, _): &(SnapshotMeta, File)| meta.last.index > applied.last.index;
    let Some((meta, file)) = meta.zip(file).filter(wanted) else {
        forget_staged(map)?;
        return Ok(None);
    };
    let held = file.metadata().map_err(|error| io_error("read", &path, &error))?.len();
    Ok(Some(Incoming { meta, held, file, path }))
}

fn note(map: &Path) -> PathBuf {
    map.with_file_name(NOTE)
}

fn staged(map: &Path) -> PathBuf {
    map.with_file_name(STAGED)
}

impl Incoming {
    /// Some of what is staged, from `offset` on.
    fn piece(&self, offset: u64) -> Result<BytesMut, StorageError> {
        let len = (self.held - offset).min(PIECE_BYTES as u64);
        let mut piece = BytesMut::zeroed(len as usize);
        self.file
            .read_exact_at(&mut piece, offset)
            .map_err(|error| io_error("read", &self.path, &error))?;
        Ok(piece)
    }
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
            self.incoming = None;
            remove(&note(&self.path))?;
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
        if incoming.held != offset {
            return Err(out_of_step(offset, incoming.held));
        }
        incoming
            .file
            .write_all_at(data, offset)
            .and_then(|()| incoming.file.sync_data())
            .map_err(|error| io_error("write", &incoming.path, &error))?;
        if offset == 0 || incoming.meta != *meta {
            write_atomically(&note(&self.path), &encode(meta))?;
            incoming.meta = meta.clone();
        }
        incoming.held += data.len() as u64;
        Ok(incoming.held)
    }

    /// What is held of a snapshot, digested as the disk has it now.
    pub(in crate::storage::disk) fn staged(&self) -> Result<Option<StagedSnapshot>, StorageError> {
        let Some(incoming) = &self.incoming else { return Ok(None) };
        let mut digest = StreamDigest::default();
        let mut offset = 0;
        while offset < incoming.held {
            let piece = incoming.piece(offset)?;
            digest = digest.then(offset, &piece);
            offset += piece.len() as u64;
        }
        Ok(Some(StagedSnapshot { meta: incoming.meta.clone(), end: incoming.held, digest }))
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
        forget_staged(&self.path)
    }

    /// Verifies the stream while its rows go into `next`.
    fn ingest(&self, incoming: &Incoming, next: &Keyspace) -> Result<(), StorageError> {
        let failed = |error| failure(&self.path, "install a snapshot into", &error);
        let mut ingestion = next.start_ingestion().map_err(failed)?;
        let mut local = Some(encode(&incoming.meta));
        let mut decoder = Decoder::new();
        let mut offset = 0;
        while offset < incoming.held {
            let piece = incoming.piece(offset)?;
            offset += piece.len() as u64;
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
