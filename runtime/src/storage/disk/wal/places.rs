//! Where the entries are: for each append, the frame that holds it.
//!
//! Rule: of two appends that cover an index, the later one counts; a truncation forgets appends
//! that begin in it, and what is left of one it cuts is bounded by the next append. Must never:
//! point before the base.

use kvorum_core::raft::Index;
use std::collections::VecDeque;

/// Where one append is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Its first entry.
    pub first: Index,
    /// Number of its segment.
    pub seq: u64,
    /// Where in the segment its frame begins.
    pub frame: u64,
    /// Where in the frame's payload its record begins.
    pub record: usize,
}

/// All of them, in order.
#[derive(Debug, Default)]
pub(super) struct Places {
    places: VecDeque<Place>,
}

impl Places {
    /// An append; its first entry follows all that is kept.
    pub fn add(&mut self, place: Place) {
        self.places.push_back(place);
    }

    /// Entries from here on are void.
    pub fn truncate(&mut self, from: Index) {
        while self.places.back().is_some_and(|place| place.first >= from) {
            self.places.pop_back();
        }
    }

    /// Entries up to `base` are gone; `last` is the last of the log.
    pub fn compact(&mut self, base: Index, last: Index) {
        if last <= base {
            self.places.clear();
        }
        while self.places.get(1).is_some_and(|next| next.first <= base.next()) {
            self.places.pop_front();
        }
    }

    /// The append that holds `index`, and the first index that is no longer its.
    pub fn find(&self, index: Index) -> Option<(Place, Option<Index>)> {
        let after = self.places.partition_point(|place| place.first <= index);
        let place = *self.places.get(after.checked_sub(1)?)?;
        Some((place, self.places.get(after).map(|next| next.first)))
    }
}
