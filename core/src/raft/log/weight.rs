//! How many bytes of log lie where, roughly: what compaction decides by.
//!
//! Rule: marks `(index, bytes of log up to it)` at a fixed step; answers are lower bounds, off by
//! less than a step. Must never: grow with the number of entries between two steps.

use crate::raft::types::Index;
use alloc::collections::VecDeque;

/// The marks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Weight {
    /// Grows in both parts. At most one per `step` bytes retained, plus one.
    marks: VecDeque<(Index, u64)>,
    total: u64,
    step: u64,
}

impl Weight {
    /// A log that begins after `base`.
    pub fn new(base: Index, step: u64) -> Weight {
        Weight { marks: VecDeque::from([(base, 0)]), total: 0, step: step.max(1) }
    }

    /// An entry was appended (or, at start, a stretch of entries up to `index`).
    pub fn append(&mut self, index: Index, bytes: u64) {
        self.total += bytes;
        if self.total - self.marks.back().map_or(0, |mark| mark.1) >= self.step {
            self.marks.push_back((index, self.total));
        }
    }

    /// The entries from `from` on are gone.
    pub fn truncate(&mut self, from: Index) {
        while self.marks.len() > 1 && self.marks.back().is_some_and(|mark| mark.0 >= from) {
            self.marks.pop_back();
        }
        self.total = self.marks.back().map_or(0, |mark| mark.1);
    }

    /// The entries up to `to` are gone.
    pub fn compact(&mut self, to: Index) {
        let before = self.up_to(to);
        while self.marks.front().is_some_and(|mark| mark.0 <= to) {
            self.marks.pop_front();
        }
        self.marks.push_front((to, before));
    }

    /// Bytes in `(from, to]`.
    pub fn between(&self, from: Index, to: Index) -> u64 {
        self.up_to(to).saturating_sub(self.up_to(from))
    }

    /// The first mark after which at most `bytes` lie up to `to`.
    pub fn keep(&self, to: Index, bytes: u64) -> Index {
        let end = self.up_to(to);
        let mark = self.marks.partition_point(|mark| end.saturating_sub(mark.1) > bytes);
        self.marks.get(mark).map_or(to, |mark| mark.0.min(to))
    }

    fn up_to(&self, index: Index) -> u64 {
        match self.marks.partition_point(|mark| mark.0 <= index) {
            0 => self.marks.front().map_or(0, |mark| mark.1),
            mark => self.marks[mark - 1].1,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use quickcheck::quickcheck;
    use std::vec::Vec;

    quickcheck! {
        fn answers_are_off_by_less_than_two_steps_and_an_entry(
            sizes: Vec<u8>, step: u8, compact: u8, asked: Vec<(u8, u8)>
        ) -> bool {
            let step = u64::from(step).max(1);
            let mut weight = Weight::new(Index(0), step);
            for (at, &size) in sizes.iter().enumerate() {
                weight.append(Index(at as u64 + 1), u64::from(size));
            }
            let last = sizes.len() as u64;
            let base = u64::from(compact) % (last + 1);
            weight.compact(Index(base));
            let exact = |from: u64, to: u64| -> u64 {
                sizes[from as usize..to as usize].iter().map(|&size| u64::from(size)).sum()
            };
            asked.into_iter().all(|(a, b)| {
                let (a, b) = (u64::from(a) % (last + 1), u64::from(b) % (last + 1));
                let (from, to) = (a.min(b).max(base), a.max(b).max(base));
                let slack = 2 * (step + 255);
                let kept = weight.keep(Index(to), exact(from, to)).0;
                weight.between(Index(from), Index(to)).abs_diff(exact(from, to)) <= slack
                    && kept <= to
                    && exact(kept.max(base), to) <= exact(from, to) + slack
            })
        }

        fn a_truncation_takes_the_bytes_with_it(kept: Vec<u8>, gone: Vec<u8>) -> bool {
            let append = |weight: &mut Weight, from: usize, sizes: &[u8]| {
                for (at, &size) in sizes.iter().enumerate() {
                    weight.append(Index((from + at) as u64 + 1), u64::from(size));
                }
            };
            let mut weight = Weight::new(Index(0), 1);
            append(&mut weight, 0, &kept);
            let alone = weight.clone();
            append(&mut weight, kept.len(), &gone);
            weight.truncate(Index(kept.len() as u64 + 1));
            weight == alone
        }
    }

    /// Ten entries of four bytes, a mark for at least every ten: at 3, 6 and 9.
    fn marked() -> Weight {
        let mut weight = Weight::new(Index(0), 10);
        for index in 1..=10 {
            weight.append(Index(index), 4);
        }
        weight
    }

    #[test]
    fn a_step_of_bytes_has_one_mark() {
        let weight = marked();
        let marks: Vec<(u64, u64)> = weight.marks.iter().map(|mark| (mark.0.0, mark.1)).collect();
        assert_eq!(marks, [(0, 0), (3, 12), (6, 24), (9, 36)]);
        let between = |from, to| weight.between(Index(from), Index(to));
        assert_eq!([between(0, 10), between(3, 9), between(4, 8), between(9, 9)], [36, 24, 12, 0]);
        // An entry that fills the step exactly is marked.
        let mut exact = Weight::new(Index(0), 8);
        for index in 1..=4 {
            exact.append(Index(index), 4);
        }
        assert_eq!(exact.marks.len(), 3);
    }

    #[test]
    fn as_much_is_kept_as_fits_between_two_marks() {
        let weight = marked();
        let keep = |bytes| weight.keep(Index(10), bytes).0;
        assert_eq!([keep(36), keep(35), keep(12), keep(11), keep(0)], [0, 3, 6, 9, 9]);
        assert_eq!(weight.keep(Index(2), 0), Index(0));
    }

    #[test]
    fn what_is_gone_has_no_marks() {
        let mut weight = marked();
        weight.truncate(Index(6));
        assert_eq!((weight.total, weight.marks.len()), (12, 2));
        let mut weight = marked();
        weight.compact(Index(4));
        assert_eq!(weight.marks, [(Index(4), 12), (Index(6), 24), (Index(9), 36)]);
        weight.truncate(Index(5));
        assert_eq!((weight.total, weight.marks.len()), (12, 1));
    }
}
