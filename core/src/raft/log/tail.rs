//! The entries kept in memory: a suffix of the log.
//!
//! Rule: what is not yet on the disk is always here; beyond that, up to `Config::cache_bytes`.
//! Payloads are shared (`Bytes`), so the cache, a write and five messages hold one allocation. Must
//! never: serve an entry that was truncated.

use crate::raft::{
    chain::Chain,
    types::{Entry, Index},
};
use alloc::{collections::VecDeque, vec::Vec};

/// The cached suffix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tail {
    /// Contiguous; the last one is the log's last. Bounded by `Config::cache_bytes` plus what is
    /// not yet written.
    entries: VecDeque<Entry>,
    bytes: u64,
    /// The entry before the first one held and its chain, where that is known.
    before: Option<(Index, Chain)>,
}

impl Tail {
    /// Nothing held of a log that ends in such an entry.
    pub fn after(last: Index, chain: Chain) -> Tail {
        Tail { before: Some((last, chain)), ..Tail::default() }
    }

    /// The chain of an entry that is held, or of the one before them.
    pub fn chain_at(&self, index: Index) -> Option<Chain> {
        match self.before {
            Some((before, chain)) if before == index => Some(chain),
            _ => self.get(index).map(|entry| entry.chain),
        }
    }

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
        let held = self.entries.range(skip.min(self.entries.len())..);
        let mut bytes = 0;
        let fits = held
            .take(max_entries.max(1))
            .enumerate()
            .take_while(|(position, entry)| {
                bytes += entry.size();
                *position == 0 || bytes <= max_bytes
            })
            .count();
        // Counted first, so that the copy is made in one allocation of the right size.
        self.entries.iter().skip(skip).take(fits).cloned().collect()
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

    /// Removes the entries from `from` on; `chain` is that of the entry before.
    pub fn truncate(&mut self, from: Index, chain: Chain) {
        while self.entries.back().is_some_and(|entry| entry.index() >= from) {
            let entry = self.entries.pop_back().expect("just seen");
            self.bytes -= entry.size();
        }
        if self.entries.is_empty() {
            self.before = from.prev().map(|before| (before, chain));
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
            self.before = Some((entry.index(), entry.chain));
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::raft::types::{EntryId, Payload, Term};
    use bytes::Bytes;
    use quickcheck::quickcheck;
    use std::vec::Vec;

    fn entry(index: u64, size: u8) -> Entry {
        let payload = Payload::Command(Bytes::from(std::vec![0; usize::from(size)]));
        Entry::new(Chain::START, EntryId { index: Index(index), term: Term(1) }, payload)
    }

    quickcheck! {
        fn the_cache_answers_like_a_plain_list(steps: Vec<(u8, u8)>, asked: Vec<(u8, u8, u8)>) -> bool {
            let mut tail = Tail::default();
            let mut oracle: Vec<Entry> = Vec::new();
            let mut next = 1;
            for (kind, n) in steps {
                match kind % 8 {
                    0 => {
                        let from = next - u64::from(n % 5).min(next - 1);
                        tail.truncate(Index(from), Chain::START);
                        oracle.retain(|entry| entry.index().0 < from);
                        next = from;
                    }
                    1 => {
                        let to = next.saturating_sub(1 + u64::from(n % 8));
                        tail.compact(Index(to));
                        oracle.retain(|entry| entry.index().0 > to);
                    }
                    2 => {
                        let (budget, written) = (u64::from(n), next.saturating_sub(3));
                        tail.evict(budget, Index(written));
                        while oracle.iter().map(Entry::size).sum::<u64>() > budget
                            && oracle[0].index().0 <= written
                        {
                            oracle.remove(0);
                        }
                    }
                    _ => {
                        // After everything was evicted or compacted, the log goes on from there.
                        tail.push(entry(next, n));
                        oracle.push(entry(next, n));
                        next += 1;
                    }
                }
                let bytes: u64 = oracle.iter().map(Entry::size).sum();
                if tail.bytes() != bytes || tail.first() != oracle.first().map(Entry::index) {
                    return false;
                }
            }
            asked.into_iter().all(|(from, count, bytes)| {
                let (from, count) = (Index(u64::from(from % 40)), usize::from(count % 6));
                let held = oracle.iter().position(|entry| entry.index() == from);
                let mut expected: Vec<Entry> = Vec::new();
                for entry in held.map_or(&[][..], |at| &oracle[at..]) {
                    let total: u64 = expected.iter().map(Entry::size).sum();
                    let fits = expected.len() < count && total + entry.size() <= u64::from(bytes);
                    if !expected.is_empty() && !fits {
                        break;
                    }
                    expected.push(entry.clone());
                }
                let after = oracle.iter().filter(|entry| entry.index() > from).map(Entry::size).sum();
                tail.slice(from, count, u64::from(bytes)) == expected
                    && tail.get(from) == held.map(|at| &oracle[at])
                    && tail.chain_at(from).is_none_or(|chain| held.is_none_or(|at| chain == oracle[at].chain))
                    && tail.bytes_after(from) == after
            })
        }
    }
}
