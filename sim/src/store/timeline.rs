//! What every revision did, and so what the store held at any of them.
//!
//! Rule: a revision is known once somebody was told all of its changes; two who are told different
//! things are a contradiction. A stretch that nobody heard of ends where somebody listed the whole
//! store. Must never: guess what happened in between.

use super::{Change, Record, request::Bounds};
use std::collections::BTreeMap;

/// The revision of an empty store.
pub const EMPTY: u64 = 1;

/// The known history of a store.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    changes: BTreeMap<u64, Vec<Change>>,
    /// The whole store as it was listed at a revision.
    listed: BTreeMap<u64, BTreeMap<String, Record>>,
    /// Of each key, what it held from a revision on. Made by `seal`.
    versions: BTreeMap<String, BTreeMap<u64, Option<Record>>>,
    /// The store's last revision.
    top: u64,
    /// First and last revision of each stretch in which the state is not known.
    holes: Vec<(u64, u64)>,
}

/// The store at one revision.
#[derive(Debug, Clone, Copy)]
pub struct View<'t> {
    timeline: &'t Timeline,
    at: u64,
}

impl Timeline {
    /// Somebody was told that this is all that `revision` did.
    ///
    /// # Errors
    /// What somebody else was told.
    pub fn learn(&mut self, revision: u64, changes: &[Change]) -> Result<(), Vec<Change>> {
        let known = self.changes.entry(revision).or_insert_with(|| changes.to_vec());
        if known == changes { Ok(()) } else { Err(known.clone()) }
    }

    /// Somebody was told that this is the whole store at `revision`.
    pub fn list(&mut self, revision: u64, items: BTreeMap<String, Record>) {
        self.listed.entry(revision).or_insert(items);
    }

    /// Works out the states up to `top`. Call it once everything is learnt.
    pub fn seal(&mut self, top: u64) {
        self.versions.clear();
        self.holes.clear();
        self.top = top;
        let mut revision = EMPTY;
        while revision < top {
            revision += 1;
            if let Some(changes) = self.changes.get(&revision) {
                for change in changes {
                    let versions = self.versions.entry(change.key.clone()).or_default();
                    versions.insert(revision, change.now.clone());
                }
                continue;
            }
            let next = self.listed.range(revision..=top).next();
            let end = next.map_or(top, |(listed, _)| listed - 1);
            if revision <= end {
                self.holes.push((revision, end));
            }
            if let Some((at, items)) = next {
                let (at, items) = (*at, items.clone());
                self.replace(at, &items);
                revision = at;
            } else {
                revision = top;
            }
        }
    }

    fn replace(&mut self, at: u64, items: &BTreeMap<String, Record>) {
        for (key, versions) in &mut self.versions {
            if !items.contains_key(key) {
                versions.insert(at, None);
            }
        }
        for (key, record) in items {
            let versions = self.versions.entry(key.clone()).or_default();
            versions.insert(at, Some(record.clone()));
        }
    }

    /// The last revision there is.
    #[must_use]
    pub fn top(&self) -> u64 {
        self.top
    }

    /// Whether the state at `revision` is known.
    #[must_use]
    pub fn knows(&self, revision: u64) -> bool {
        !self.holes.iter().any(|(first, last)| (*first..=*last).contains(&revision))
    }

    /// The stretches in which the state is not known.
    #[must_use]
    pub fn holes(&self) -> &[(u64, u64)] {
        &self.holes
    }

    /// All that `revision` did, if somebody was told.
    #[must_use]
    pub fn changes(&self, revision: u64) -> Option<&[Change]> {
        self.changes.get(&revision).map(Vec::as_slice)
    }

    /// Every revision that somebody was told of.
    pub fn all(&self) -> impl Iterator<Item = (u64, &[Change])> {
        self.changes.iter().map(|(revision, changes)| (*revision, changes.as_slice()))
    }

    /// The revisions in `first..=last` that somebody was told of.
    pub fn between(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, &[Change])> {
        let range = (first <= last).then(|| self.changes.range(first..=last));
        range.into_iter().flatten().map(|(revision, changes)| (*revision, changes.as_slice()))
    }

    /// The store at `at`.
    #[must_use]
    pub fn view(&self, at: u64) -> View<'_> {
        View { timeline: self, at }
    }

    /// The last revision that somebody was told of.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.changes.last_key_value().map_or(EMPTY, |(revision, _)| *revision)
    }
}

impl<'t> View<'t> {
    /// What `key` holds.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'t Record> {
        let versions = self.timeline.versions.get(key)?;
        versions.range(..=self.at).next_back().and_then(|(_, record)| record.as_ref())
    }

    /// The keys of `bounds` and what they hold, in order.
    #[must_use]
    pub fn range(&self, bounds: &Bounds) -> Vec<(&'t str, &'t Record)> {
        match bounds {
            Bounds::One(key) => {
                let found = self.timeline.versions.get_key_value(key.as_str());
                found
                    .and_then(|(key, _)| Some((key.as_str(), self.get(key)?)))
                    .into_iter()
                    .collect()
            }
            Bounds::Prefix(prefix) => self
                .timeline
                .versions
                .range(prefix.clone()..)
                .take_while(|(key, _)| key.starts_with(prefix.as_str()))
                .filter_map(|(key, _)| Some((key.as_str(), self.get(key)?)))
                .collect(),
        }
    }

    /// The revision.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }
}
