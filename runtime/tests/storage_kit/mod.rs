//! What the storage tests share: temporary directories, both stores, entries and changes.

#![allow(dead_code)] // Each test binary uses its own part.

use bytes::Bytes;
use kvorum_core::raft::{
    Chain, Entry, EntryId, Index, LogRead, LogReader, Membership, NodeId, Payload, Restored,
    SnapshotMeta, Term, Vote,
};
use kvorum_runtime::storage::{
    Identity, LogChange, Opened,
    disk::{Dir, DiskOptions, Found},
    memory,
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// A directory that goes away with the value.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // In memory where the system has such a place: these tests look at bytes, not at syncs.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = parent.join(format!("kvorum-storage-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn node(&self) -> PathBuf {
        self.0.join("app1")
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub fn identity() -> Identity {
    Identity { cluster: 0xc1c1, node: NodeId(0x0de1), name: "app1".into() }
}

/// Small segments, no threads.
pub fn small() -> DiskOptions {
    DiskOptions {
        segment_bytes: 64 << 10,
        fjall_workers: 0,
        cache_bytes: 1 << 20,
        memtable_bytes: 256 << 10,
        verify: false,
        ..DiskOptions::default()
    }
}

/// Opens a directory, formatting it if it is blank.
pub fn open_disk(path: &Path, options: &DiskOptions) -> Opened {
    match Dir::open(path, "app1", options.clone()).unwrap() {
        Found::Blank(blank) => blank.format(identity(), Restored::default()).unwrap(),
        Found::Formatted(opened) => opened,
    }
}

pub fn open_error(path: &Path, name: &str) -> String {
    match Dir::open(path, name, small()) {
        Ok(found) => panic!("opened: {found:?}"),
        Err(error) => error.to_string(),
    }
}

/// A store of either kind that can be opened again.
pub enum Store {
    Memory(Option<Opened>),
    Disk { dir: TempDir, options: DiskOptions, opened: Option<Opened> },
}

impl Store {
    pub fn memory() -> Store {
        Store::Memory(Some(memory::open(identity(), Restored::default())))
    }

    pub fn disk(options: DiskOptions) -> Store {
        let dir = TempDir::new();
        let opened = Some(open_disk(&dir.node(), &options));
        Store::Disk { dir, options, opened }
    }

    pub fn both() -> [Store; 2] {
        [Store::memory(), Store::disk(small())]
    }

    pub fn get(&mut self) -> &mut Opened {
        match self {
            Store::Memory(opened) | Store::Disk { opened, .. } => opened.as_mut().unwrap(),
        }
    }

    /// Closes the disk store and opens it again; `false` for the memory store.
    pub fn reopen(&mut self) -> bool {
        match self {
            Store::Memory(_) => false,
            Store::Disk { dir, options, opened } => {
                drop(opened.take());
                *opened = Some(open_disk(&dir.node(), options));
                true
            }
        }
    }
}

pub fn id(index: u64, term: u64) -> EntryId {
    EntryId { index: Index(index), term: Term(term) }
}

thread_local! {
    /// The chain of the entry that was made last at each index.
    static CHAINS: RefCell<BTreeMap<u64, Chain>> = const { RefCell::new(BTreeMap::new()) };
}

/// The chain of the entry that this test made last at an index.
pub fn chain_at(index: u64) -> Option<Chain> {
    CHAINS.with_borrow(|chains| chains.get(&index).copied())
}

/// The entries of a test are one history: each follows from the one made last before it.
pub fn linked(index: u64, term: u64, payload: Payload) -> Entry {
    let parent = index.checked_sub(1).and_then(chain_at).unwrap_or_default();
    let entry = Entry::new(parent, id(index, term), payload);
    CHAINS.with_borrow_mut(|chains| chains.insert(index, entry.chain));
    entry
}

pub fn entry(index: u64, term: u64, payload: &str) -> Entry {
    linked(index, term, Payload::Command(Bytes::copy_from_slice(payload.as_bytes())))
}

pub fn membership_entry(index: u64, term: u64, context: &str) -> Entry {
    let membership = Membership::sole(NodeId(7), Bytes::copy_from_slice(context.as_bytes()));
    linked(index, term, Payload::Membership(membership))
}

pub fn meta(index: u64, term: u64) -> SnapshotMeta {
    SnapshotMeta {
        last: id(index, term),
        chain: chain_at(index).unwrap_or_default(),
        membership: Membership::sole(NodeId(7), Bytes::from_static(b"app1 somewhere:7000")),
        membership_index: Index(index.min(1)),
    }
}

pub fn vote(term: u64, voted_for: Option<u64>) -> Vote {
    Vote { term: Term(term), voted_for: voted_for.map(NodeId) }
}

pub fn append(entries: &[Entry]) -> LogChange<'_> {
    LogChange { append: entries, ..LogChange::default() }
}

/// A read of `[from, to)` after an entry of `after_term`.
pub fn read(from: u64, to: u64, after_term: u64, max_bytes: u64) -> LogRead {
    LogRead {
        reader: LogReader::Apply,
        range: Index(from)..Index(to),
        max_bytes,
        after: id(from - 1, after_term),
        chain: None,
    }
}
