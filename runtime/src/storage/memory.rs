//! The store of a node without a directory.
//!
//! Rule: the same answers as the disk gives, from plain maps; everything is gone with the process,
//! and so is the node (its next start is a new incarnation). Must never: reach for the disk.

use super::{
    Identity, LogChange, LogStore, Opened, StateStore, StorageError,
    stream::{Rows, Senders, Source, out_of_step, refuse_older, unusable},
    view::LogView,
};
use bytes::Bytes;
use kvorum_core::{
    kv::{MemoryTables, Order, Row, Table, Tables, snapshot::Decoder},
    raft::{Entry, LogRead, NodeId, Restored, SnapshotMeta, Staged},
};
use std::collections::VecDeque;

/// A store that begins with `restored` (all of its entries in `tail`).
///
/// # Panics
/// When `restored` does not fit together; it is the caller's own making.
#[must_use]
pub fn open(identity: Identity, restored: Restored) -> Opened {
    let mut log = MemoryLog {
        view: LogView::new(restored.vote, restored.base.clone(), restored.base.last, None),
        entries: VecDeque::new(),
        failed: None,
    };
    let change = LogChange { append: &restored.tail, ..LogChange::default() };
    log.store(&[change]).expect("a new node's log has no gap");
    let state = MemoryState {
        tables: MemoryTables::default(),
        applied: restored.base,
        open: false,
        senders: Senders::default(),
        incoming: None,
    };
    let restored = log.view.restored(restored.tail, state.applied.last.index);
    Opened { identity, restored, log: Box::new(log), state: Box::new(state) }
}

struct MemoryLog {
    view: LogView,
    /// The entries after the base, without a gap.
    entries: VecDeque<Entry>,
    failed: Option<StorageError>,
}

impl LogStore for MemoryLog {
    fn store(&mut self, changes: &[LogChange<'_>]) -> Result<(), StorageError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        for change in changes {
            if let Err(cause) = self.view.apply(change) {
                let error = StorageError::Corrupt(format!("the log was given {cause}"));
                self.failed = Some(error.clone());
                return Err(error);
            }
            if let Some(from) = change.truncate_from {
                while self.entries.back().is_some_and(|entry| entry.index() >= from) {
                    self.entries.pop_back();
                }
            }
            self.entries.extend(change.append.iter().cloned());
            if self.view.last() == self.view.base().last {
                self.entries.clear();
            }
            let base = self.view.base().last.index;
            while self.entries.front().is_some_and(|entry| entry.index() <= base) {
                self.entries.pop_front();
            }
        }
        Ok(())
    }

    fn read(&mut self, read: &LogRead) -> Result<Vec<Entry>, StorageError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let range = self.view.readable(read);
        let Some(first) = self.entries.front() else { return Ok(Vec::new()) };
        let skip = range.start.saturating_sub(first.index().0) as usize;
        let wanted = self.entries.iter().skip(skip).take((range.end - range.start) as usize);
        Ok(within(wanted.cloned(), read.max_bytes))
    }
}

/// Entries up to the limit, but at least one.
pub(super) fn within(entries: impl Iterator<Item = Entry>, max_bytes: u64) -> Vec<Entry> {
    let mut bytes = 0u64;
    let mut taken = Vec::new();
    for entry in entries {
        bytes = bytes.saturating_add(entry.size());
        if !taken.is_empty() && bytes > max_bytes {
            break;
        }
        taken.push(entry);
    }
    taken
}

struct MemoryState {
    tables: MemoryTables,
    applied: SnapshotMeta,
    /// Whether there are puts that no commit has covered yet.
    open: bool,
    senders: Senders,
    incoming: Option<Incoming>,
}

/// A snapshot on its way in.
struct Incoming {
    meta: SnapshotMeta,
    held: u64,
    decoder: Decoder,
    tables: MemoryTables,
}

impl StateStore for MemoryState {
    fn tables(&self) -> &dyn Tables {
        &self.tables
    }

    fn tables_mut(&mut self) -> &mut dyn Tables {
        self.open = true;
        &mut self.tables
    }

    fn applied(&self) -> &SnapshotMeta {
        &self.applied
    }

    fn commit(&mut self, applied: &SnapshotMeta) -> Result<(), StorageError> {
        self.applied = applied.clone();
        self.open = false;
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<SnapshotMeta, StorageError> {
        Ok(self.applied.clone())
    }

    fn read_snapshot(
        &mut self,
        peer: NodeId,
        offset: u64,
        max_bytes: u64,
    ) -> Result<(SnapshotMeta, Bytes, bool), StorageError> {
        if offset == 0 {
            if self.open {
                return Err(StorageError::Snapshot("puts are waiting for their commit".into()));
            }
            self.senders.start(peer, self.applied.clone(), source(self.tables.clone()))?;
        }
        self.senders.read(peer, offset, max_bytes)
    }

    fn resume_snapshot(&mut self, peer: NodeId, staged: &Staged) -> Result<bool, StorageError> {
        let (tables, applied, open) = (&self.tables, &self.applied, self.open);
        let now = || (!open).then(|| (applied.clone(), source(tables.clone())));
        self.senders.resume(peer, staged, now)
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
        if offset == 0 {
            self.incoming = Some(Incoming {
                meta: meta.clone(),
                held: 0,
                decoder: Decoder::new(),
                tables: MemoryTables::default(),
            });
        }
        let Some(incoming) = &mut self.incoming else { return Err(out_of_step(offset, 0)) };
        if incoming.held != offset {
            return Err(out_of_step(offset, incoming.held));
        }
        incoming.meta = meta.clone();
        incoming.decoder.feed(data);
        while let Some((table, key, value)) = incoming.decoder.next_row().map_err(unusable)? {
            incoming.tables.put(table, &key, value);
        }
        incoming.held += data.len() as u64;
        Ok(incoming.held)
    }

    fn install_snapshot(&mut self, meta: &SnapshotMeta) -> Result<(), StorageError> {
        let Some(incoming) = self.incoming.take().filter(|incoming| incoming.meta == *meta) else {
            return Err(out_of_step(0, 0));
        };
        incoming.decoder.finish().map_err(unusable)?;
        refuse_older(meta, &self.applied)?;
        self.tables = incoming.tables;
        self.applied = meta.clone();
        self.open = false;
        Ok(())
    }
}

fn source(tables: MemoryTables) -> Source {
    Box::new(move || rows_of(tables.clone()))
}

/// The rows of a point-in-time copy, a page at a time.
fn rows_of(tables: MemoryTables) -> Rows {
    const PAGE_ROWS: usize = 256;
    let mut at: Option<(usize, Vec<u8>)> = Some((0, Vec::new()));
    let mut page: VecDeque<Row> = VecDeque::new();
    Box::new(std::iter::from_fn(move || {
        while page.is_empty() {
            let (number, start) = at.take()?;
            let table = *Table::ALL.get(number)?;
            let found = tables.scan(table, &start, None, Order::Ascending, &mut |key, value| {
                page.push_back((table, Bytes::copy_from_slice(key), value.clone()));
                page.len() < PAGE_ROWS
            });
            if let Err(failure) = found {
                return Some(Err(StorageError::Io(failure.0)));
            }
            at = Some(match page.back() {
                Some((_, key, _)) if page.len() == PAGE_ROWS => (number, [key, &[0][..]].concat()),
                _ => (number + 1, Vec::new()),
            });
        }
        page.pop_front().map(Ok)
    }))
}
