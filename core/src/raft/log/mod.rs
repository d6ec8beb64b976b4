//! The log as the rules see it: terms of all of it, entries of its end, configurations along it,
//! and how much of it is on the disk.
//!
//! Rule: the configuration in force is a function of the base and the log up to its end, so an
//! append sets it and a truncation of any length reverts it (§4.1). The chain is known at the base,
//! at the last entry and at every cached one. Must never: change an entry in place, or truncate
//! without capping the writes under way.

pub mod chains;
pub mod tail;
pub mod terms;
pub mod weight;
pub mod writes;

use self::{chains::Chains, tail::Tail, terms::Terms, weight::Weight, writes::Writes};
use super::{
    chain::Chain,
    config::Config,
    restored::{Corrupt, Restored},
    types::{Entry, EntryId, Index, Membership, Payload, SnapshotMeta, Term},
};
use alloc::{format, string::ToString, vec::Vec};

/// Marks of `Weight` per `Config::compact_after_bytes`.
const MARKS: u64 = 8;

/// The log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Log {
    terms: Terms,
    chains: Chains,
    tail: Tail,
    /// The configuration in force at the base, and the entry that set it.
    born: (Index, Membership),
    /// Every configuration after the base, in order. One per membership entry retained.
    memberships: Vec<(Index, Membership)>,
    weight: Weight,
    /// Cursors of the disk.
    pub writes: Writes,
    base_moved: bool,
    cache_bytes: u64,
    weight_step: u64,
}

impl Log {
    /// Rebuilds the log a disk holds.
    pub fn restore(config: &Config, restored: Restored) -> Result<Log, Corrupt> {
        let Restored { base, runs, last, chain, tail, memberships, .. } = restored;
        let corrupt = |what: &str| Corrupt(what.to_string());
        let terms = Terms::restore(base.last, &runs, last).ok_or_else(|| {
            Corrupt(format!("the log's terms contradict each other up to {last}"))
        })?;
        if base.membership_index > base.last.index {
            return Err(corrupt("the base's membership was set after the base"));
        }
        let mut previous = base.last.index;
        if !base.membership.is_consistent() {
            return Err(corrupt("the base's membership has a member without context, or twice"));
        }
        for (index, membership) in &memberships {
            if !membership.is_consistent() {
                return Err(Corrupt(format!("the membership at {index} contradicts itself")));
            }
            if *index <= previous || *index > last.index {
                return Err(Corrupt(format!("a membership at {index} lies outside the log")));
            }
            previous = *index;
        }
        if last == base.last && chain != base.chain {
            return Err(corrupt("the chain of an empty log is its base's"));
        }
        let weight_step = config.compact_after_bytes / MARKS;
        let mut log = Log {
            terms,
            chains: Chains::new(base.chain, chain, weight_step),
            tail: Tail::after(last.index, chain),
            born: (base.membership_index, base.membership),
            memberships,
            weight: Weight::new(base.last.index, weight_step),
            writes: Writes::new(last.index),
            base_moved: false,
            cache_bytes: config.cache_bytes,
            weight_step,
        };
        log.restore_tail(tail)?;
        Ok(log)
    }

    fn restore_tail(&mut self, tail: Vec<Entry>) -> Result<(), Corrupt> {
        let count = tail.len() as u64;
        let last = self.last();
        let Some(first) = tail.first().map(Entry::index) else {
            let chain = self.chains.last();
            self.weigh_cold(last.index, Entry::new(chain, last, Payload::Noop).size());
            return Ok(());
        };
        let fits = first > self.base().index
            && first.0.checked_add(count - 1) == Some(last.index.0)
            && tail.iter().zip(first.0..).all(|(entry, index)| {
                entry.id.index == Index(index) && self.terms.contains(entry.id)
            });
        if !fits {
            return Err(Corrupt(format!(
                "the cached entries are not the end of the log at {last}"
            )));
        }
        self.check_tail(&tail)?;
        let average = tail.iter().map(Entry::size).sum::<u64>() / count;
        self.weigh_cold(Index(first.0 - 1), average);
        self.tail = Tail::default();
        for entry in tail {
            self.weight.append(entry.index(), entry.size());
            self.chains.append(entry.index(), entry.size(), entry.chain);
            self.tail.push(entry);
        }
        self.tail.evict(self.cache_bytes, last.index);
        Ok(())
    }

    /// Whether the cached entries follow from each other, and end as the log does.
    fn check_tail(&self, tail: &[Entry]) -> Result<(), Corrupt> {
        let mut parent = None;
        for entry in tail {
            if entry.index() == self.base().index.next() {
                parent = Some(self.chains.base());
            }
            if parent.is_some_and(|parent| !entry.follows(parent)) {
                return Err(Corrupt(format!(
                    "entry {} does not follow from the one before it",
                    entry.id
                )));
            }
            parent = Some(entry.chain);
        }
        if parent == Some(self.chains.last()) {
            return Ok(());
        }
        Err(Corrupt(format!("entry {} is not the one the log ends in", self.last())))
    }

    /// Entries on the disk have a size that is not known: an estimate decides when to compact.
    fn weigh_cold(&mut self, up_to: Index, average: u64) {
        let count = up_to.distance(self.base().index);
        if count > 0 {
            self.weight.append(up_to, count.saturating_mul(average));
        }
    }

    /// What the log begins after.
    pub fn base(&self) -> EntryId {
        self.terms.base()
    }

    /// The last entry, or the base of an empty log.
    pub fn last(&self) -> EntryId {
        self.terms.last()
    }

    /// Terms of the whole log.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Which entry stands at `index` (the base included).
    pub fn id_at(&self, index: Index) -> Option<EntryId> {
        self.terms.at(index).map(|term| EntryId { index, term })
    }

    /// The term at `index` (the base included).
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.terms.at(index)
    }

    /// Whether this very entry is in the log (or is its base).
    pub fn contains(&self, id: EntryId) -> bool {
        self.terms.contains(id)
    }

    /// The chain at the last entry, or at the base of an empty log.
    pub fn last_chain(&self) -> Chain {
        self.chains.last()
    }

    /// The chain at `index` (the base included), where it is known without reading the disk.
    pub fn chain_at(&self, index: Index) -> Option<Chain> {
        if index == self.last().index {
            Some(self.chains.last())
        } else if index == self.base().index {
            Some(self.chains.base())
        } else {
            self.tail.chain_at(index).or_else(|| self.chains.mark_at(index))
        }
    }

    /// The latest index up to `to` at which the chain is known; at least the base.
    pub fn known_up_to(&self, to: Index) -> Index {
        if self.chain_at(to).is_some() {
            return to;
        }
        self.chains.mark_up_to(to).unwrap_or(self.base().index)
    }

    /// The state machine says what the chain is at an entry of the log.
    pub fn learn_chain(&mut self, index: Index, chain: Chain) {
        if index > self.base().index && self.chain_at(index).is_none() {
            let mark = self.chains.mark_up_to(index).unwrap_or(self.base().index);
            self.chains.learn(index, chain, self.weight.between(mark, index));
        }
    }

    /// The cached entries.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The first index that is cached; the one after the last when nothing is.
    pub fn cached_from(&self) -> Index {
        self.tail.first().unwrap_or_else(|| self.last().index.next())
    }

    /// The durable prefix.
    pub fn written(&self) -> Index {
        self.writes.written()
    }

    /// The configuration in force.
    pub fn membership(&self) -> &Membership {
        self.memberships.last().map_or(&self.born.1, |(_, membership)| membership)
    }

    /// The entry that set the configuration in force.
    pub fn membership_index(&self) -> Index {
        self.memberships.last().map_or(self.born.0, |(index, _)| *index)
    }

    /// Every configuration after the base with the entry that set it.
    pub fn memberships(&self) -> &[(Index, Membership)] {
        &self.memberships
    }

    /// The configuration in force at `index`, and the entry that set it.
    pub fn membership_at(&self, index: Index) -> (Index, &Membership) {
        match self.memberships.partition_point(|(set, _)| *set <= index) {
            0 => (self.born.0, &self.born.1),
            n => (self.memberships[n - 1].0, &self.memberships[n - 1].1),
        }
    }

    /// The entry that began the epoch in force, if the log still holds it and one came before.
    pub fn epoch_begins(&self) -> Index {
        let mut epoch = self.born.1.epoch;
        let mut begins = Index::ZERO;
        for (index, membership) in &self.memberships {
            if epoch != 0 && membership.epoch != epoch {
                begins = *index;
            }
            epoch = membership.epoch;
        }
        begins
    }

    /// What a snapshot at an entry of the log, of such a chain, stands for.
    pub fn meta_at(&self, index: Index, chain: Chain) -> Option<SnapshotMeta> {
        let last = self.id_at(index)?;
        let (membership_index, membership) = self.membership_at(index);
        Some(SnapshotMeta { last, chain, membership: membership.clone(), membership_index })
    }

    /// Bytes of log in `(from, to]`, roughly.
    pub fn bytes_between(&self, from: Index, to: Index) -> u64 {
        self.weight.between(from, to)
    }

    /// A position such that at most `bytes` of log lie between it and `to`, roughly.
    pub fn keep_bytes(&self, to: Index, bytes: u64) -> Index {
        self.weight.keep(to, bytes)
    }

    /// Bytes that are not yet durable.
    pub fn unwritten_bytes(&self) -> u64 {
        self.tail.bytes_after(self.written())
    }

    /// Adds the next entry.
    pub fn append(&mut self, entry: Entry) {
        debug_assert!(entry.follows(self.last_chain()), "an entry follows from the log before it");
        self.terms.append(entry.id);
        self.chains.append(entry.index(), entry.size(), entry.chain);
        if let Payload::Membership(membership) = &entry.payload {
            self.memberships.push((entry.index(), membership.clone()));
        }
        self.weight.append(entry.index(), entry.size());
        self.tail.push(entry);
        self.evict();
    }

    /// Removes the entries from `from` on; `chain` is that of the entry before.
    pub fn truncate(&mut self, from: Index, chain: Chain) {
        self.terms.truncate(from);
        self.tail.truncate(from, chain);
        self.chains.truncate(from, chain);
        self.weight.truncate(from);
        self.writes.truncate(from);
        while self.memberships.last().is_some_and(|(index, _)| *index >= from) {
            self.memberships.pop();
        }
    }

    /// Moves the base to an entry of the log whose chain is known (`known_up_to`).
    pub fn compact(&mut self, to: Index) {
        let chain = self.chain_at(to).expect("the base's chain is known");
        self.chains.compact(to, chain);
        let (index, membership) = self.membership_at(to);
        self.born = (index, membership.clone());
        self.memberships.retain(|(index, _)| *index > to);
        self.terms.compact(to);
        self.tail.compact(to);
        self.weight.compact(to);
        self.base_moved = true;
    }

    /// Replaces the whole log by a snapshot that it does not contain. `agreed` is the prefix that
    /// is known to agree with the snapshot: the committed one.
    pub fn replace(&mut self, meta: &SnapshotMeta, agreed: Index) {
        self.writes.truncate(agreed.next());
        self.writes.replace(meta.last.index);
        self.terms = Terms::new(meta.last);
        self.chains = Chains::new(meta.chain, meta.chain, self.weight_step);
        self.tail = Tail::after(meta.last.index, meta.chain);
        self.weight = Weight::new(meta.last.index, self.weight_step);
        self.memberships.clear();
        self.born = (meta.membership_index, meta.membership.clone());
        self.base_moved = true;
    }

    /// Whether there is something to write.
    pub fn is_dirty(&self) -> bool {
        self.base_moved
            || self.writes.pending_truncation().is_some()
            || self.writes.submitted() < self.last().index
    }

    /// The entries that are not yet on their way to the disk.
    pub fn unsubmitted(&self) -> Vec<Entry> {
        let from = self.writes.submitted().next();
        self.tail.slice(from, usize::MAX, u64::MAX)
    }

    /// The new base, once per move.
    pub fn take_base(&mut self) -> Option<SnapshotMeta> {
        core::mem::take(&mut self.base_moved).then(|| SnapshotMeta {
            last: self.base(),
            chain: self.chains.base(),
            membership: self.born.1.clone(),
            membership_index: self.born.0,
        })
    }

    /// Forgets cached entries beyond the cache's bound.
    pub fn evict(&mut self) {
        self.tail.evict(self.cache_bytes, self.writes.written());
    }
}
