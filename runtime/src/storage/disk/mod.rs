//! The store of a node with a directory: `RAFT_DIR/NODE_ID`.
//!
//! ```text
//! LOCK      locked by the process that has the directory open
//! VERSION   whose it is; written last when the directory is formatted
//! wal/      log, term and vote: segments of our own
//! fjall/    the state machine's tables
//! ```
//!
//! Rule: `LOCK` is taken before anything is looked at, and `VERSION` is written after everything
//! else is durable: without it there is no node here. Must never: touch a directory that is locked,
//! belongs to another node, or holds anything it did not write.

mod files;
mod map;
mod version;
mod wal;

use self::{
    files::{io_error, make_dir, names, remove, sync_dir},
    map::Map,
    wal::Wal,
};
use super::{Identity, LogChange, LogStore, Opened, StateStore, StorageError};
use kvorum_core::raft::{Entry, Index, Restored, SnapshotMeta};
use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

const LOCK: &str = "LOCK";
const WAL: &str = "wal";
const FJALL: &str = "fjall";
/// What an interrupted formatting can leave behind.
const LEFTOVERS: [&str; 4] = [LOCK, "VERSION.tmp", WAL, FJALL];
/// Smallest log segment.
pub const MIN_SEGMENT_BYTES: u64 = 64 << 10;

/// Sizes of a store on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskOptions {
    /// Bytes of a log segment; at least `MIN_SEGMENT_BYTES`. Default 16 MiB.
    pub segment_bytes: u64,
    /// Bytes of log kept in memory at start (`Restored::tail`). Default 64 MiB.
    pub log_cache_bytes: u64,
    /// fjall's threads for flush and compaction; at least 2 (one alone deadlocks), or 0 to do that
    /// work inline, as the simulator must. Default 2.
    pub fjall_workers: usize,
    /// fjall's block cache. Default 64 MiB.
    pub cache_bytes: u64,
    /// fjall's table in memory is written out when it is larger than this. Default 32 MiB.
    pub memtable_bytes: u64,
    /// Read all rows at start and compare them with the digest kept with them (about a second per
    /// million rows). Default true.
    pub verify: bool,
}

impl Default for DiskOptions {
    fn default() -> DiskOptions {
        DiskOptions {
            segment_bytes: 16 << 20,
            log_cache_bytes: 64 << 20,
            fjall_workers: 2,
            cache_bytes: 64 << 20,
            memtable_bytes: 32 << 20,
            verify: true,
        }
    }
}

/// A node's directory.
#[derive(Debug)]
pub struct Dir;

/// What a directory holds.
#[allow(clippy::large_enum_variant)] // One value per process; a box would be in the caller's way.
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
    name: String,
    options: DiskOptions,
    lock: Arc<File>,
}

impl Dir {
    /// Locks the directory (made if need be) and looks what it holds. Leftovers of an interrupted
    /// formatting are removed.
    ///
    /// # Errors
    /// `Locked`, `Foreign` (another node's, a newer format's, or not kvorum's at all), `Corrupt`
    /// (log or tables are not what was written), `Io`; each with a text of one line.
    pub fn open(path: &Path, name: &str, options: DiskOptions) -> Result<Found, StorageError> {
        if name.contains(['\n', '\r']) {
            return Err(StorageError::Foreign(format!(
                "NODE_ID {name:?} cannot be written to {}; choose one without line breaks",
                path.display()
            )));
        }
        make_dir(path)?;
        let lock = take_lock(path, name)?;
        let blank = BlankDir { path: path.to_owned(), name: name.to_owned(), options, lock };
        match version::read(path)? {
            None => {
                blank.wipe()?;
                Ok(Found::Blank(blank))
            }
            Some(identity) if identity.name != name => Err(StorageError::Foreign(format!(
                "{} belongs to NODE_ID {} of cluster {:016x}, but NODE_ID={name} was given",
                path.display(),
                identity.name,
                identity.cluster
            ))),
            Some(identity) => blank.load(identity).map(Found::Formatted),
        }
    }
}

/// Reads the log of a stopped node through, and nothing else: what a start would find.
///
/// # Errors
/// As `Dir::open`; `Foreign` also when there is no node.
pub fn read_log(path: &Path, options: &DiskOptions) -> Result<Restored, StorageError> {
    let Some(identity) = version::read(path)? else {
        return Err(StorageError::Foreign(format!("{} holds no node", path.display())));
    };
    let lock = take_lock(path, &identity.name)?;
    let (log, tail) = Wal::open(&path.join(WAL), &identity, options, lock)?;
    Ok(log.view().restored(tail, Index::ZERO))
}

impl BlankDir {
    /// Makes the directory a node's, durably: all of it or nothing. `restored` holds the whole of
    /// the new log in its tail.
    ///
    /// # Errors
    /// `Io`, with a text of one line; the directory is blank at the next start.
    pub fn format(self, identity: Identity, restored: Restored) -> Result<Opened, StorageError> {
        if identity.name != self.name {
            return Err(StorageError::Foreign(format!(
                "{} was opened for NODE_ID {}, not for {}",
                self.path.display(),
                self.name,
                identity.name
            )));
        }
        let (wal, fjall) = (self.path.join(WAL), self.path.join(FJALL));
        make_dir(&wal)?;
        make_dir(&fjall)?;
        let log = Wal::create(&wal, &identity, &self.options, &restored, Arc::clone(&self.lock))?;
        let state = Map::create(&fjall, &self.options, &restored.base, Arc::clone(&self.lock))?;
        sync_dir(&self.path)?;
        version::write(&self.path, &identity)?;
        let restored = log.view().restored(restored.tail, state.applied().last.index);
        Ok(Opened { identity, restored, log: Box::new(log), state: Box::new(state) })
    }

    /// Removes what an interrupted formatting left, and refuses to touch anything else.
    fn wipe(&self) -> Result<(), StorageError> {
        let dir = self.path.display();
        for name in names(&self.path)? {
            if !LEFTOVERS.contains(&name.as_str()) {
                return Err(StorageError::Foreign(format!(
                    "{dir} is not a kvorum data directory: it has no VERSION, but it has {name}; \
                     set RAFT_DIR to an empty directory"
                )));
            }
        }
        let wal = self.path.join(WAL);
        if wal.is_dir() && !Wal::is_unused(&wal)? {
            return Err(StorageError::Foreign(format!(
                "{dir} holds the log of a node but no VERSION; put VERSION back from a copy, or \
                 delete the directory and let the node join again"
            )));
        }
        remove(&wal)?;
        remove(&self.path.join(FJALL))?;
        remove(&self.path.join("VERSION.tmp"))?;
        sync_dir(&self.path)
    }

    fn load(self, identity: Identity) -> Result<Opened, StorageError> {
        let (wal, fjall) = (self.path.join(WAL), self.path.join(FJALL));
        for dir in [&wal, &fjall] {
            if !dir.is_dir() {
                return Err(StorageError::Corrupt(format!(
                    "{} is gone; put it back, or remove this node from the cluster, delete {} and \
                     let it join again",
                    dir.display(),
                    self.path.display()
                )));
            }
        }
        let (mut log, mut tail) =
            Wal::open(&wal, &identity, &self.options, Arc::clone(&self.lock))?;
        let state = Map::open(&fjall, &self.options, Arc::clone(&self.lock))?;
        // A crash between the installation of a snapshot and the record of it in the log.
        let installed = state.installed().clone();
        if installed.last.index > log.view().base().last.index {
            log.store(&[LogChange { base: Some(&installed), ..LogChange::default() }])?;
            let (base, last) = (log.view().base().last.index, log.view().last().index);
            tail.retain(|entry| entry.index() > base && entry.index() <= last);
        }
        self.agree(&log, &tail, state.applied())?;
        let mut restored = log.view().restored(tail, state.applied().last.index);
        restored.staged = state.staged()?;
        Ok(Opened { identity, restored, log: Box::new(log), state: Box::new(state) })
    }

    /// Whether log and tables belong together.
    fn agree(&self, log: &Wal, tail: &[Entry], meta: &SnapshotMeta) -> Result<(), StorageError> {
        let (view, applied) = (log.view(), meta.last);
        let (base, last) = (view.base().last, view.last());
        let cure = format!(
            "remove this node from the cluster, delete {} and let it join again",
            self.path.display()
        );
        if applied.index < base.index {
            return Err(StorageError::Corrupt(format!(
                "{} stands at entry {applied}, but the log begins after {base}: tables that were \
                 durable are gone; {cure}",
                self.path.join(FJALL).display()
            )));
        }
        if applied.index > last.index {
            return Err(StorageError::Corrupt(format!(
                "{} ends at entry {last}, but {applied} was applied: entries that were durable are \
                 gone; {cure}",
                self.path.join(WAL).display()
            )));
        }
        let entry = tail.iter().find(|entry| entry.index() == applied.index);
        let same_history = entry.is_none_or(|entry| entry.chain == meta.chain);
        if view.term_at(applied.index) != Some(applied.term) || !same_history {
            return Err(StorageError::Corrupt(format!(
                "{}: entry {applied} was applied, but the log has another one there; {cure}",
                self.path.display()
            )));
        }
        Ok(())
    }
}

/// Locks the directory for the life of the returned file; notes who has it.
fn take_lock(dir: &Path, name: &str) -> Result<Arc<File>, StorageError> {
    let path = dir.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| io_error("open", &path, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            return Err(StorageError::Locked(format!(
                "{} is locked by a running kvorum ({}); stop it, or choose another NODE_ID or \
                 RAFT_DIR",
                dir.display(),
                holder.trim()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(io_error("lock", &path, &error)),
    }
    // Only a hint for people: nobody depends on it being there.
    let noted =
        file.set_len(0).and_then(|()| writeln!(file, "pid {}, NODE_ID {name}", std::process::id()));
    noted.map_err(|error| io_error("write", &path, &error))?;
    Ok(Arc::new(file))
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Blank(blank) => f.debug_tuple("Blank").field(blank).finish(),
            Found::Formatted(opened) => f.debug_tuple("Formatted").field(&opened.identity).finish(),
        }
    }
}
