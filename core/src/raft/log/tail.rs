//! The entries kept in memory: a suffix of the log.
//!
//! Rule: what is not yet on the disk is always here; beyond that, up to `Config::cache_bytes`.
//! Payloads are shared (`Bytes`), so the cache, a write and five messages hold one allocation. Must
//! never: serve an entry that was truncated.

use crate::raft::types::{Entry, Index};
use alloc::{collections::VecDeque, vec::Vec};

/// The cached suffix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tail {
    /// Contiguous; the last one is the log's last. Bounded by `Config::cache_bytes` plus what is
    /// not yet written.
    entries: VecDeque<Entry>,
    bytes: u64,
}

impl Tail {
    /// The first index held; `None` when nothing is.
    pub fn first(&self) -> Option<Index> {
        self.entries.front().map(Entry::index)
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The entry at `index`, if held.
    pub fn get(&self, index: Index) -> Option<&Entry> {
        let first = self.first()?;
        if index < first {
            return None;
        }
        self.entries.get(usize::try_from(index.distance(first)).ok()?)
    }

    /// Entries from `from` on, at most `max_entries` and `max_bytes`, but at least one.
    pub fn slice(&self, from: Index, max_entries: usize, max_bytes: u64) -> Vec<Entry> {
        let Some(first) = self.first().filter(|&first| first <= from) else {
            return Vec::new();
        };
        let skip = usize::try_from(from.distance(first)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        self.entries
            .iter()
            .skip(skip)
            .take(max_entries.max(1))
            .enumerate()
            .take_while(|(position, entry)| {
                bytes += entry.size();
                *position == 0 || bytes <= max_bytes
            })
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    /// Bytes of the entries after `index`.
    pub fn bytes_after(&self, index: Index) -> u64 {
        self.entries.iter().rev().take_while(|entry| entry.index() > index).map(Entry::size).sum()
    }

    /// Adds the log's next entry.
    pub fn push(&mut self, entry: Entry) {
        if let Some(last) = self.entries.back() {
            assert_eq!(entry.index(), last.index().next(), "the cached suffix has no gaps");
        }
        self.bytes += entry.size();
        self.entries.push_back(entry);
    }

    /// Removes the entries from `from` on.
    pub fn truncate(&mut self, from: Index) {
        while self.entries.back().is_some_and(|entry| entry.index() >= from) {
            let entry = self.entries.pop_back().expect("just seen");
            self.bytes -= entry.size();
        }
    }

    /// Removes the entries up to `to`.
    pub fn compact(&mut self, to: Index) {
        while self.entries.front().is_some_and(|entry| entry.index() <= to) {
            self.pop_front();
        }
    }

    /// Forgets old entries that are on the disk until at most `max_bytes` are held.
    pub fn evict(&mut self, max_bytes: u64, written: Index) {
        while self.bytes > max_bytes
            && self.entries.front().is_some_and(|entry| entry.index() <= written)
        {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.size();
        }
    }
}
