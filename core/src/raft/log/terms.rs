//! The terms of the whole retained log, as runs.
//!
//! Rule: terms only grow along a log, so `(first index, term)` of each run of one term says
//! everything about which entry stands where; two logs with the same `EntryId` agree up to it
//! (log matching, §5.3). A few dozen bytes per change of leader. Must never: answer for an index
//! before the base or after the last entry.

use crate::raft::types::{EntryId, Index, Term};
use alloc::vec::Vec;

/// The runs of a log that begins after `base`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Terms {
    base: EntryId,
    /// First entry of each run after `base`; index and term strictly grow. One per term retained.
    runs: Vec<EntryId>,
    last: EntryId,
}

impl Terms {
    /// An empty log after `base`.
    pub fn new(base: EntryId) -> Terms {
        Terms { base, runs: Vec::new(), last: base }
    }

    /// Rebuilds the runs a disk holds; `None` when they contradict each other.
    pub fn restore(base: EntryId, runs: &[EntryId], last: EntryId) -> Option<Terms> {
        let mut previous = base;
        for (position, run) in runs.iter().enumerate() {
            let fits = if position == 0 {
                run.index == base.index.next() && run.term >= base.term
            } else {
                run.index > previous.index && run.term > previous.term
            };
            if !fits {
                return None;
            }
            previous = *run;
        }
        let fits = match runs.last() {
            None => last == base,
            Some(run) => last.index >= run.index && last.term == run.term,
        };
        fits.then(|| Terms { base, runs: runs.to_vec(), last })
    }

    /// How many runs there are.
    pub fn count(&self) -> usize {
        self.runs.len()
    }

    /// What the log begins after.
    pub fn base(&self) -> EntryId {
        self.base
    }

    /// The last entry, or the base of an empty log.
    pub fn last(&self) -> EntryId {
        self.last
    }

    /// First entry of each run, in order.
    #[cfg(test)]
    pub fn runs(&self) -> &[EntryId] {
        &self.runs
    }

    /// The term of the entry at `index`, the base included.
    pub fn at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || index > self.last.index {
            return None;
        }
        let run = self.runs.partition_point(|run| run.index <= index);
        Some(self.runs[run - 1].term)
    }

    /// Whether this very entry is in the log (or is its base).
    pub fn contains(&self, id: EntryId) -> bool {
        self.at(id.index) == Some(id.term)
    }

    /// The latest entry whose index and term are both at most `bound`'s: the latest at which a log
    /// that ends in `bound` could agree with this one. `None` when that lies before the base.
    ///
    /// Used by the follower for its hint and by the leader on it, so that each probe skips a whole
    /// term on one side.
    pub fn latest_up_to(&self, bound: EntryId) -> Option<EntryId> {
        let index = bound.index.min(self.last.index);
        let run = self.runs.partition_point(|run| run.index <= index && run.term <= bound.term);
        if run == 0 {
            let fits = self.base.index <= index && self.base.term <= bound.term;
            return fits.then_some(self.base);
        }
        let end = match self.runs.get(run) {
            Some(next) => Index(next.index.0 - 1),
            None => self.last.index,
        };
        Some(EntryId { index: index.min(end), term: self.runs[run - 1].term })
    }

    /// Adds the next entry.
    pub fn append(&mut self, id: EntryId) {
        assert_eq!(id.index, self.last.index.next(), "a log has no gaps (§5.3)");
        assert!(id.term >= self.last.term, "terms never shrink along a log (§5.3)");
        if self.runs.is_empty() || id.term > self.last.term {
            self.runs.push(id);
        }
        self.last = id;
    }

    /// Removes the entries from `from` on.
    pub fn truncate(&mut self, from: Index) {
        assert!(from > self.base.index, "what lies before the base cannot be truncated");
        if from > self.last.index {
            return;
        }
        let keep = self.runs.partition_point(|run| run.index < from);
        self.runs.truncate(keep);
        self.last = match self.runs.last() {
            Some(run) => EntryId { index: Index(from.0 - 1), term: run.term },
            None => self.base,
        };
    }

    /// Moves the base to an entry of the log.
    pub fn compact(&mut self, to: Index) {
        let term = self.at(to).expect("the new base is an entry of the log");
        let first_kept = self.runs.partition_point(|run| run.index <= to);
        let straddles = first_kept > 0 && {
            let end = self.runs.get(first_kept).map_or(self.last.index.0, |next| next.index.0 - 1);
            end > to.0
        };
        self.runs.drain(..first_kept);
        if straddles {
            self.runs.insert(0, EntryId { index: to.next(), term });
        }
        self.base = EntryId { index: to, term };
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use quickcheck::quickcheck;
    use std::{vec, vec::Vec};

    fn id(index: u64, term: u64) -> EntryId {
        EntryId { index: Index(index), term: Term(term) }
    }

    /// The log as a plain list of terms; `oracle[0]` is the base.
    struct Oracle {
        base: u64,
        terms: Vec<u64>,
    }

    impl Oracle {
        fn ids(&self) -> impl DoubleEndedIterator<Item = EntryId> + '_ {
            self.terms.iter().enumerate().map(|(at, &term)| id(self.base + at as u64, term))
        }
    }

    quickcheck! {
        fn runs_answer_like_the_plain_list(steps: Vec<(u8, u8)>, asked: Vec<(u8, u8)>) -> bool {
            let mut terms = Terms::default();
            let mut oracle = Oracle { base: 0, terms: vec![0] };
            for (kind, n) in steps {
                let last = terms.last();
                match kind % 8 {
                    0 => {
                        let from = terms.base().index.0 + 1 + u64::from(n % 8);
                        terms.truncate(Index(from));
                        oracle.terms.truncate((from - oracle.base) as usize);
                    }
                    1 => {
                        let to = (terms.base().index.0 + u64::from(n % 4)).min(last.index.0);
                        terms.compact(Index(to));
                        oracle.terms.drain(..(to - oracle.base) as usize);
                        oracle.base = to;
                    }
                    _ => {
                        let next = id(last.index.0 + 1, last.term.0 + u64::from(n % 4 == 0));
                        terms.append(next);
                        oracle.terms.push(next.term.0);
                    }
                }
                let rebuilt = Terms::restore(terms.base(), terms.runs(), terms.last());
                if rebuilt.as_ref() != Some(&terms) {
                    return false;
                }
            }
            asked.into_iter().all(|(index, term)| {
                let bound = id(u64::from(index % 32), u64::from(term % 8));
                let at = oracle.ids().find(|id| id.index == bound.index).map(|id| id.term);
                let latest = oracle
                    .ids()
                    .rev()
                    .find(|id| id.index <= bound.index && id.term <= bound.term);
                terms.at(bound.index) == at
                    && terms.latest_up_to(bound) == latest
                    && terms.last() == oracle.ids().next_back().unwrap()
            })
        }
    }

    #[test]
    fn runs_that_contradict_each_other_are_not_restored() {
        let base = id(3, 2);
        for (runs, last) in [
            (&[][..], id(4, 2)),               // entries without a run
            (&[id(5, 2)], id(6, 2)),           // a gap after the base
            (&[id(4, 1)], id(4, 1)),           // a term before the base's
            (&[id(4, 2), id(6, 2)], id(7, 2)), // two runs of one term
            (&[id(4, 2), id(4, 3)], id(7, 3)), // two runs at one index
            (&[id(4, 2), id(6, 3)], id(7, 2)), // the last entry in no run
            (&[id(4, 2), id(6, 3)], id(5, 3)), // the last entry before its run
        ] {
            assert_eq!(Terms::restore(base, runs, last), None, "{runs:?} {last}");
        }
        assert!(Terms::restore(base, &[id(4, 2), id(6, 3)], id(7, 3)).is_some());
    }
}
