//! Where along the log the chain is known without reading an entry.
//!
//! Rule: always at the base and at the last entry, and at marks of a fixed step between them (the
//! cached entries bring theirs). That is enough to move the base close to any index, whatever is
//! still cached. Must never: grow with the number of entries between two steps, or keep a mark of
//! an entry that is gone.

use crate::raft::{chain::Chain, types::Index};
use alloc::collections::VecDeque;

/// The known chains.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chains {
    base: Chain,
    last: Chain,
    /// Index grows. At most one per `step` bytes retained.
    marks: VecDeque<(Index, Chain)>,
    /// Bytes since the last mark.
    since: u64,
    step: u64,
}

impl Chains {
    /// A log whose entries between `base` and `last` are not known.
    pub fn new(base: Chain, last: Chain, step: u64) -> Chains {
        Chains { base, last, marks: VecDeque::new(), since: 0, step: step.max(1) }
    }

    /// The base's.
    pub fn base(&self) -> Chain {
        self.base
    }

    /// The last entry's, or the base's of an empty log.
    pub fn last(&self) -> Chain {
        self.last
    }

    /// The mark at `index`, if there is one.
    pub fn mark_at(&self, index: Index) -> Option<Chain> {
        let at = self.marks.binary_search_by_key(&index, |mark| mark.0).ok()?;
        Some(self.marks[at].1)
    }

    /// The latest mark at or before `index`.
    pub fn mark_up_to(&self, index: Index) -> Option<Index> {
        let at = self.marks.partition_point(|mark| mark.0 <= index);
        at.checked_sub(1).map(|at| self.marks[at].0)
    }

    /// An entry was appended.
    pub fn append(&mut self, index: Index, bytes: u64, chain: Chain) {
        self.last = chain;
        self.since = self.since.saturating_add(bytes);
        if self.since >= self.step {
            self.since = 0;
            self.marks.push_back((index, chain));
        }
    }

    /// The chain at an entry inside the log is learnt from elsewhere. `bytes` of log lie between it
    /// and the mark before.
    pub fn learn(&mut self, index: Index, chain: Chain, bytes: u64) {
        let at = self.marks.partition_point(|mark| mark.0 < index);
        let known = self.marks.get(at).is_some_and(|mark| mark.0 == index);
        if !known && bytes >= self.step {
            self.marks.insert(at, (index, chain));
        }
    }

    /// The entries from `from` on are gone; `chain` is that of the one before.
    pub fn truncate(&mut self, from: Index, chain: Chain) {
        while self.marks.back().is_some_and(|mark| mark.0 >= from) {
            self.marks.pop_back();
        }
        self.last = chain;
    }

    /// The entries up to `to` are gone; `chain` is the last one's.
    pub fn compact(&mut self, to: Index, chain: Chain) {
        while self.marks.front().is_some_and(|mark| mark.0 <= to) {
            self.marks.pop_front();
        }
        self.base = chain;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries 1 to 9 of three bytes, a mark for at least every five: at 2, 4, 6 and 8.
    fn marked() -> Chains {
        let mut chains = Chains::new(Chain(0), Chain(0), 5);
        for index in 1..=9 {
            chains.append(Index(index), 3, Chain(index));
        }
        chains
    }

    fn marks(chains: &Chains) -> alloc::vec::Vec<u64> {
        chains.marks.iter().map(|mark| mark.0.0).collect()
    }

    #[test]
    fn a_step_of_bytes_has_one_mark() {
        let chains = marked();
        assert_eq!(marks(&chains), [2, 4, 6, 8]);
        assert_eq!((chains.base(), chains.last()), (Chain(0), Chain(9)));
        assert_eq!([4, 5].map(|index| chains.mark_at(Index(index))), [Some(Chain(4)), None]);
        let up_to = [1, 4, 5, 99].map(|index| chains.mark_up_to(Index(index)));
        assert_eq!(up_to, [None, Some(Index(4)), Some(Index(4)), Some(Index(8))]);
        // An entry that fills the step exactly is the one that is marked.
        let mut exact = Chains::new(Chain(0), Chain(0), 6);
        for index in 1..=4 {
            exact.append(Index(index), 3, Chain(index));
        }
        assert_eq!(marks(&exact), [2, 4]);
    }

    #[test]
    fn what_is_learnt_is_marked_a_step_after_the_mark_before_and_once() {
        let mut chains = marked();
        chains.learn(Index(5), Chain(5), 4);
        assert_eq!(marks(&chains), [2, 4, 6, 8]);
        chains.learn(Index(5), Chain(5), 5);
        chains.learn(Index(5), Chain(7), 5);
        chains.learn(Index(6), Chain(7), 5);
        chains.learn(Index(9), Chain(9), 6);
        assert_eq!(marks(&chains), [2, 4, 5, 6, 8, 9]);
        assert_eq!(chains.mark_at(Index(5)), Some(Chain(5)));
        assert_eq!(chains.mark_at(Index(6)), Some(Chain(6)));
    }

    #[test]
    fn what_is_gone_has_no_marks() {
        let mut chains = marked();
        chains.truncate(Index(8), Chain(7));
        assert_eq!((marks(&chains), chains.last()), (alloc::vec![2, 4, 6], Chain(7)));
        chains.compact(Index(4), Chain(4));
        assert_eq!((marks(&chains), chains.base()), (alloc::vec![6], Chain(4)));
    }
}
