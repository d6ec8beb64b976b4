//! Who wants to hear of a key.
//!
//! Rule: finding them costs a look-up per length of a watched prefix and one per watched range that
//! is neither a key nor a prefix, however many watchers there are. Must never: name a watcher that
//! does not watch the key.

use bytes::Bytes;
use kvorum_core::kv::KeyRange;
use std::collections::{BTreeMap, BTreeSet};

/// Watchers by what they watch.
#[derive(Debug, Default)]
pub(super) struct Interest {
    keys: BTreeMap<Bytes, BTreeSet<u64>>,
    prefixes: BTreeMap<Bytes, BTreeSet<u64>>,
    /// How many watched prefixes have each length.
    lengths: BTreeMap<usize, usize>,
    ranges: BTreeMap<u64, KeyRange>,
}

impl Interest {
    /// `watcher` watches `range` from now on.
    pub fn add(&mut self, watcher: u64, range: &KeyRange) {
        match (range, prefix(range)) {
            (KeyRange::One(key), _) => {
                self.keys.entry(key.clone()).or_default().insert(watcher);
            }
            (_, Some(prefix)) => {
                let watchers = self.prefixes.entry(prefix.clone()).or_default();
                if watchers.is_empty() {
                    *self.lengths.entry(prefix.len()).or_default() += 1;
                }
                watchers.insert(watcher);
            }
            (range, None) => {
                self.ranges.insert(watcher, range.clone());
            }
        }
    }

    /// `watcher`, which watched `range`, watches no more.
    pub fn remove(&mut self, watcher: u64, range: &KeyRange) {
        match (range, prefix(range)) {
            (KeyRange::One(key), _) => {
                forget(&mut self.keys, key, watcher);
            }
            (_, Some(prefix)) => {
                if forget(&mut self.prefixes, &prefix, watcher)
                    && let Some(count) = self.lengths.get_mut(&prefix.len())
                {
                    *count -= 1;
                    if *count == 0 {
                        self.lengths.remove(&prefix.len());
                    }
                }
            }
            (_, None) => {
                self.ranges.remove(&watcher);
            }
        }
    }

    /// Adds everybody who watches `key`.
    pub fn find(&self, key: &[u8], found: &mut BTreeSet<u64>) {
        if let Some(watchers) = self.keys.get(key) {
            found.extend(watchers);
        }
        for &length in self.lengths.keys().take_while(|length| **length <= key.len()) {
            if let Some(watchers) = self.prefixes.get(&key[..length]) {
                found.extend(watchers);
            }
        }
        let ranges = self.ranges.iter().filter(|(_, range)| range.contains(key));
        found.extend(ranges.map(|(watcher, _)| watcher));
    }
}

/// The prefix that `range` is, if it is one.
fn prefix(range: &KeyRange) -> Option<Bytes> {
    let KeyRange::Between { start, .. } = range else { return None };
    (KeyRange::prefix(start.clone()) == *range).then(|| start.clone())
}

/// Removes `watcher` under `key`; whether nobody is left there.
fn forget(map: &mut BTreeMap<Bytes, BTreeSet<u64>>, key: &Bytes, watcher: u64) -> bool {
    let Some(watchers) = map.get_mut(key) else { return false };
    watchers.remove(&watcher);
    let empty = watchers.is_empty();
    if empty {
        map.remove(key);
    }
    empty
}
