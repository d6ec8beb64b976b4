//! Making and opening the tables.
//!
//! Rule: everything that should be there is checked before fjall is asked for it, because fjall
//! silently makes what it does not find. Must never: open tables whose rows do not add up to the
//! digest kept with them.

use super::{
    Map, Store, current, damaged, encode, failure, install, journal, local, tables,
    tables::FjallTables,
};
use crate::storage::{
    StorageError,
    disk::{
        DiskOptions,
        files::{make_dir, names, sync_dir, sync_tree},
    },
    stream::Senders,
};
use fjall::{CompressionType, Database, KeyspaceCreateOptions, PersistMode};
use kvorum_core::{
    kv::{self, Table, Tables},
    raft::SnapshotMeta,
};
use std::{fs::File, path::Path, sync::Arc};

/// The one keyspace of a database.
const KEYSPACE: &str = "state";
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
        let generation = 1;
        let store = create_store(path, generation, options)?;
        let failed = |error| failure(path, "create", &error);
        let mut batch = store.database.batch();
        let meta = encode(base);
        for key in [local::APPLIED, local::INSTALLED] {
            let key = tables::row_key(Table::Meta, key);
            batch.insert(&store.tables.keyspace, key, &meta[..]);
        }
        batch.commit().map_err(failed)?;
        switch_to(path, generation, &store)?;
        Ok(Map::around(path, options, generation, store, base.clone(), base.clone(), lock))
    }

    /// Opens the tables.
    pub fn open(path: &Path, options: &DiskOptions, lock: Arc<File>) -> Result<Map, StorageError> {
        let generation = current::read(path)?;
        let store = open_store(&current::database(path, generation), options)?;
        let [applied, installed] = [local::APPLIED, local::INSTALLED].map(|key| {
            let row = store.tables.get(Table::Meta, key);
            row.map_err(|failure| StorageError::Corrupt(failure.0))?
                .and_then(|mut row| SnapshotMeta::decode(&mut row).ok())
                .ok_or_else(|| damaged(path, "it does not say what it stands for"))
        });
        current::tidy(path, generation)?;
        let mut map = Map::around(path, options, generation, store, applied?, installed?, lock);
        map.incoming = install::reopen(path, &map.applied)?;
        if options.verify {
            map.verify()?;
        }
        Ok(map)
    }

    fn around(
        path: &Path,
        options: &DiskOptions,
        generation: u64,
        store: Store,
        applied: SnapshotMeta,
        installed: SnapshotMeta,
        lock: Arc<File>,
    ) -> Map {
        Map {
            path: path.to_owned(),
            generation,
            store,
            applied,
            installed,
            senders: Senders::default(),
            incoming: None,
            options: options.clone(),
            failed: None,
            _lock: lock,
        }
    }

    /// Whether the rows add up to the digest that the state machine keeps with them.
    fn verify(&self) -> Result<(), StorageError> {
        let unreadable = |failure: kv::TableFailure| damaged(&self.path, &failure.0);
        let tables: &dyn Tables = &self.store.tables;
        let kept = kv::digest(tables).map_err(unreadable)?;
        let found = kv::digest::recompute(tables).map_err(unreadable)?;
        if kept == found {
            return Ok(());
        }
        Err(damaged(&self.path, &format!("its rows come to {found:032x}, not to {kept:032x}")))
    }
}

/// Makes the database of a new generation, empty.
pub(super) fn create_store(
    map: &Path,
    generation: u64,
    options: &DiskOptions,
) -> Result<Store, StorageError> {
    let path = current::database(map, generation);
    make_dir(&path)?;
    let created = || {
        let database = open_database(&path, options)?;
        let keyspace = database.keyspace(KEYSPACE, || {
            KeyspaceCreateOptions::default().manual_journal_persist(true).max_memtable_size(NEVER)
        })?;
        Ok(Store { database, tables: FjallTables::new(keyspace, path.clone()) })
    };
    created().map_err(|error| failure(&path, "create", &error))
}

/// Makes a new generation durable, every name of it included, and then the one in use.
pub(super) fn switch_to(map: &Path, generation: u64, store: &Store) -> Result<(), StorageError> {
    let persisted = store.database.persist(PersistMode::SyncAll);
    persisted.map_err(|error| failure(map, "sync", &error))?;
    // fjall (3.1.13) syncs what is in a keyspace, but not the name of its directory.
    sync_tree(&current::database(map, generation))?;
    sync_dir(map)?;
    current::write(map, generation)
}

fn open_store(path: &Path, options: &DiskOptions) -> Result<Store, StorageError> {
    expect_files(path)?;
    let opened = match open_database(path, options) {
        Err(fjall::Error::JournalRecovery(_)) => {
            journal::cut_torn_tail(path)?;
            open_database(path, options)
        }
        opened => opened,
    };
    let database = opened.map_err(|error| failure(path, "open", &error))?;
    if !database.keyspace_exists(KEYSPACE) {
        return Err(damaged(path, &format!("keyspace {KEYSPACE} is gone")));
    }
    let keyspace = database
        .keyspace(KEYSPACE, KeyspaceCreateOptions::default)
        .map_err(|error| failure(path, "open", &error))?;
    Ok(Store { database, tables: FjallTables::new(keyspace, path.to_owned()) })
}

/// What fjall would make anew without a word if it were missing.
fn expect_files(path: &Path) -> Result<(), StorageError> {
    for name in ["version", "keyspaces/0/current", "keyspaces/1/current"] {
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
