//! Who wants to hear of a key.
//!
//! Rule: finding them costs a look-up among the watched keys and one among the watched ranges, and
//! then as much as there are watchers to be told; those of other keys cost nothing. Must never: name
//! a watcher that does not watch the key.

use super::intervals::Intervals;
use bytes::Bytes;
use kvorum_core::kv::KeyRange;
use std::collections::{BTreeMap, BTreeSet};

/// Watchers by what they watch.
#[derive(Debug, Default)]
pub(super) struct Interest {
    keys: BTreeMap<Bytes, BTreeSet<u64>>,
    ranges: Intervals,
}

impl Interest {
    /// Nobody. `seed` decides the shape of the tree of ranges.
    pub fn new(seed: u64) -> Interest {
        Interest { keys: BTreeMap::new(), ranges: Intervals::new(seed) }
    }

    /// `watcher` watches `range` from now on.
    pub fn add(&mut self, watcher: u64, range: &KeyRange) {
        match range {
            KeyRange::One(key) => {
                self.keys.entry(key.clone()).or_default().insert(watcher);
            }
            KeyRange::Between { start, end } => {
                self.ranges.add(watcher, start.clone(), end.clone());
            }
        }
    }

    /// `watcher`, which watched `range`, watches no more.
    pub fn remove(&mut self, watcher: u64, range: &KeyRange) {
        match range {
            KeyRange::One(key) => {
                let Some(watchers) = self.keys.get_mut(key) else { return };
                watchers.remove(&watcher);
                if watchers.is_empty() {
                    self.keys.remove(key);
                }
            }
            KeyRange::Between { start, .. } => self.ranges.remove(watcher, start),
        }
    }

    /// Adds everybody who watches `key`.
    pub fn find(&self, key: &[u8], found: &mut Vec<u64>) {
        if let Some(watchers) = self.keys.get(key) {
            found.extend(watchers);
        }
        self.ranges.find(key, found);
    }
}
