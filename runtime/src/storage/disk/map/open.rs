//! Making and opening the tables.
//!
//! Rule: everything that should be there is checked before fjall is asked for it, because fjall
//! silently makes what it does not find. Must never: open tables whose rows do not add up to the
//! digest kept with them.

use super::{
    Map, damaged, encode, failure, install, journal, keyspace_name, local, tables,
    tables::FjallTables,
};
use crate::storage::{
    StorageError,
    disk::{DiskOptions, files::names},
    stream::Senders,
};
use bytes::Bytes;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use kvorum_core::{
    kv::{self, Table, Tables},
    raft::SnapshotMeta,
};
use std::{fs::File, path::Path, sync::Arc};

/// The keyspace that says which generation is in use, and its only row.
const SWITCH: &str = "meta";
pub(super) const GENERATION: &[u8] = b"generation";
/// Journals may take so much before fjall flushes what pins them.
const JOURNAL_BYTES: u64 = 128 << 20;
/// Switches fjall's own rotation off.
const NEVER: u64 = 1 << 40;

impl Map {
    /// Makes the tables of a new node.
    pub fn create(
        path: &Path,
        options: &DiskOptions,
        base: &SnapshotMeta,
        lock: Arc<File>,
    ) -> Result<Map, StorageError> {
        let failed = |error| failure(path, "create", &error);
        let database = open_database(path, options).map_err(failed)?;
        let switch = keyspace(&database, SWITCH).map_err(failed)?;
        let state = keyspace(&database, &keyspace_name(1)).map_err(failed)?;
        let mut batch = database.batch();
        let applied = encode(base);
        for key in [local::APPLIED, local::INSTALLED] {
            batch.insert(&state, tables::row_key(Table::Meta, key), &applied[..]);
        }
        batch.insert(&switch, GENERATION, 1u64.to_be_bytes());
        batch.durability(Some(PersistMode::SyncAll)).commit().map_err(failed)?;
        Ok(Map::assemble(path, options, database, switch, state, base.clone(), base.clone(), lock))
    }

    /// Opens the tables.
    pub fn open(path: &Path, options: &DiskOptions, lock: Arc<File>) -> Result<Map, StorageError> {
        install::forget_staged(path)?;
        expect_files(path)?;
        let database = match open_database(path, options) {
            Err(fjall::Error::JournalRecovery(_)) => {
                journal::cut_torn_tail(path)?;
                open_database(path, options)
            }
            opened => opened,
        };
        let database = database.map_err(|error| failure(path, "open", &error))?;
        let failed = |error| failure(path, "read", &error);
        let existing = |name: &str| {
            if database.keyspace_exists(name) {
                keyspace(&database, name).map_err(failed)
            } else {
                Err(damaged(path, &format!("keyspace {name} is gone")))
            }
        };
        let switch = existing(SWITCH)?;
        let row = switch.get(GENERATION).map_err(failed)?;
        let generation = row
            .and_then(|row| row[..].try_into().ok())
            .map(u64::from_be_bytes)
            .ok_or_else(|| damaged(path, "its generation is unknown"))?;
        let state = existing(&keyspace_name(generation))?;
        let [applied, installed] = [local::APPLIED, local::INSTALLED].map(|key| {
            let row = state.get(tables::row_key(Table::Meta, key)).map_err(failed)?;
            row.and_then(|row| SnapshotMeta::decode(&mut Bytes::copy_from_slice(&row)).ok())
                .ok_or_else(|| damaged(path, "it does not say what it stands for"))
        });
        let (applied, installed) = (applied?, installed?);
        // What an interrupted installation left behind, before or after the switch.
        for name in database.list_keyspace_names() {
            if *name != *SWITCH && *name != *keyspace_name(generation) {
                let orphan = keyspace(&database, &name).map_err(failed)?;
                database.delete_keyspace(orphan).map_err(failed)?;
            }
        }
        let mut map =
            Map::assemble(path, options, database, switch, state, applied, installed, lock);
        map.generation = generation;
        if options.verify {
            map.verify()?;
        }
        Ok(map)
    }

    #[allow(clippy::too_many_arguments)] // The parts of one value, put together in two places.
    fn assemble(
        path: &Path,
        options: &DiskOptions,
        database: Database,
        switch: Keyspace,
        state: Keyspace,
        applied: SnapshotMeta,
        installed: SnapshotMeta,
        lock: Arc<File>,
    ) -> Map {
        Map {
            path: path.to_owned(),
            database,
            switch,
            generation: 1,
            tables: FjallTables::new(state, path.to_owned()),
            applied,
            installed,
            senders: Senders::default(),
            incoming: None,
            memtable_bytes: options.memtable_bytes,
            inline: options.fjall_workers == 0,
            failed: None,
            _lock: lock,
        }
    }

    /// Whether the rows add up to the digest that the state machine keeps with them.
    fn verify(&self) -> Result<(), StorageError> {
        let unreadable = |failure: kv::TableFailure| damaged(&self.path, &failure.0);
        let tables: &dyn Tables = &self.tables;
        let kept = kv::digest(tables).map_err(unreadable)?;
        let found = kv::digest::recompute(tables).map_err(unreadable)?;
        if kept == found {
            return Ok(());
        }
        Err(damaged(&self.path, &format!("its rows come to {found:032x}, not to {kept:032x}")))
    }
}

/// What fjall would make anew without a word if it were missing.
fn expect_files(path: &Path) -> Result<(), StorageError> {
    for name in ["version", "keyspaces/0/current"] {
        if !path.join(name).is_file() {
            return Err(damaged(path, &format!("{name} is gone")));
        }
    }
    if !names(path)?.iter().any(|name| name.ends_with(".jnl")) {
        return Err(damaged(path, "its journal is gone"));
    }
    Ok(())
}

fn open_database(path: &Path, options: &DiskOptions) -> fjall::Result<Database> {
    let workers = match options.fjall_workers {
        0 => 0,
        // One alone deadlocks: it sends into the queue that only it drains.
        n => n.max(2),
    };
    Database::builder(path)
        .worker_threads_unchecked(workers)
        // fjall compresses again to verify a checksum: another version of the compressor would
        // make the journal unreadable.
        .journal_compression(CompressionType::None)
        .manual_journal_persist(true)
        .max_journaling_size(JOURNAL_BYTES)
        .cache_size(options.cache_bytes)
        .open()
}

/// Opens or makes a keyspace.
pub(super) fn keyspace(database: &Database, name: &str) -> fjall::Result<Keyspace> {
    database.keyspace(name, || {
        KeyspaceCreateOptions::default().manual_journal_persist(true).max_memtable_size(NEVER)
    })
}
