//! A model disk: what is durable, what is only submitted, and what a crash leaves.
//!
//! Rule: writes become durable whole and in order, each some time after it was submitted; a crash
//! keeps a prefix of those under way. Must never: lose what it has confirmed (unless a planted bug
//! says so).

use kvorum_core::raft::{
    Chain, Entry, EntryId, Index, Membership, Payload, Restored, SnapshotMeta, Vote, Write,
};
use std::collections::VecDeque;

/// A log with its vote, as read from a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Image {
    pub vote: Vote,
    pub base: SnapshotMeta,
    pub entries: VecDeque<Entry>,
    /// What a write has said to be committed.
    pub commit: Index,
}

/// A node's disk.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct Disk {
    /// What survives a crash for certain.
    pub durable: Image,
    /// What the node has asked for so far: `durable` and everything under way.
    pub shadow: Image,
    /// Writes under way, in order.
    pub queue: VecDeque<Write>,
}

impl Image {
    pub fn last(&self) -> EntryId {
        self.entries.back().map_or(self.base.last, |entry| entry.id)
    }

    /// The chain of the last entry.
    pub fn chain(&self) -> Chain {
        self.entries.back().map_or(self.base.chain, |entry| entry.chain)
    }

    pub fn entry(&self, index: Index) -> Option<&Entry> {
        let at = index.0.checked_sub(self.base.last.index.0 + 1)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// The entry at `index`, if the log still knows its term.
    pub fn id_at(&self, index: Index) -> Option<EntryId> {
        if index == self.base.last.index {
            return Some(self.base.last);
        }
        self.entry(index).map(|entry| entry.id)
    }

    /// Whether `id` is in the log, or covered by its base.
    pub fn covers(&self, id: EntryId) -> bool {
        id.index < self.base.last.index || self.id_at(id.index) == Some(id)
    }

    /// The configuration the log stands for, and the entry that set it.
    pub fn membership(&self) -> (Index, &Membership) {
        self.memberships()
            .next_back()
            .unwrap_or((self.base.membership_index, &self.base.membership))
    }

    /// Every configuration after the base, in order.
    pub fn memberships(&self) -> impl DoubleEndedIterator<Item = (Index, &Membership)> {
        self.entries.iter().filter_map(|entry| match &entry.payload {
            Payload::Membership(membership) => Some((entry.id.index, membership)),
            Payload::Noop | Payload::Command(_) => None,
        })
    }

    /// Does what recovery does with one write.
    ///
    /// # Errors
    /// Says which promise of `Write` is broken.
    pub fn apply(&mut self, write: &Write) -> Result<(), String> {
        if let Some(vote) = write.vote {
            self.vote = vote;
        }
        if let Some(from) = write.truncate_from {
            if from <= self.base.last.index {
                return Err(format!(
                    "truncates from {from}, but the log begins after {}",
                    self.base.last
                ));
            }
            let keep = from.0 - self.base.last.index.0 - 1;
            self.entries.truncate(usize::try_from(keep).expect("a short log"));
        }
        for entry in &write.append {
            let last = self.last();
            if entry.id.index != last.index.next() {
                return Err(format!("appends {} after {last}", entry.id));
            }
            // After a truncation the node may know the chain only by its leader's word.
            if write.truncate_from.is_none() && !entry.follows(self.chain()) {
                return Err(format!("appends {} after another history", entry.id));
            }
            if entry.id.term < last.term {
                return Err(format!("appends {} after {last}: terms go back", entry.id));
            }
            self.entries.push_back(entry.clone());
        }
        if let Some(base) = &write.base {
            self.rebase(base)?;
        }
        if let Some(commit) = write.commit {
            if commit > self.last().index {
                return Err(format!("says that {commit} is committed, beyond its log"));
            }
            if commit <= self.commit {
                return Err(format!("says that {commit} is committed after {}", self.commit));
            }
            self.commit = commit;
        }
        Ok(())
    }

    fn rebase(&mut self, base: &SnapshotMeta) -> Result<(), String> {
        if base.last.index < self.base.last.index {
            return Err(format!("the base goes back from {} to {}", self.base.last, base.last));
        }
        if self.last().index > base.last.index && self.id_at(base.last.index) != Some(base.last) {
            return Err(format!("keeps entries after {}, which is not in this log", base.last));
        }
        while self.entries.front().is_some_and(|entry| entry.id.index <= base.last.index) {
            self.entries.pop_front();
        }
        self.base = base.clone();
        Ok(())
    }

    /// What a start makes of this log and a state machine that stands at `applied`: a log that does
    /// not contain the state's last entry is older than an installed snapshot, and gives way to it.
    pub fn recovered(&self, applied: &SnapshotMeta) -> Image {
        let mut image = self.clone();
        let at = applied.last.index;
        if at > image.base.last.index && image.id_at(at) != Some(applied.last) {
            image.entries.clear();
            image.base = applied.clone();
        }
        image
    }

    /// Hands the log to `Raft::restore`, with the last `cached` entries in memory.
    pub fn restored(&self, applied: Index, cached: usize) -> Restored {
        let mut runs: Vec<EntryId> = Vec::new();
        let mut term = None;
        for entry in &self.entries {
            if term != Some(entry.id.term) {
                term = Some(entry.id.term);
                runs.push(entry.id);
            }
        }
        let skip = self.entries.len().saturating_sub(cached);
        Restored {
            vote: self.vote,
            base: self.base.clone(),
            runs,
            last: self.last(),
            chain: self.chain(),
            tail: self.entries.iter().skip(skip).cloned().collect(),
            memberships: self.memberships().map(|(index, m)| (index, m.clone())).collect(),
            applied,
            commit_hint: self.commit,
            staged: None,
        }
    }
}

impl Disk {
    /// A disk that holds `image`.
    pub fn holding(image: Image) -> Disk {
        Disk { durable: image.clone(), shadow: image, queue: VecDeque::new() }
    }

    /// Takes a write in.
    ///
    /// # Errors
    /// Says which promise of `Write` is broken.
    pub fn submit(&mut self, write: Write) -> Result<(), String> {
        self.shadow.apply(&write)?;
        self.queue.push_back(write);
        Ok(())
    }

    /// The oldest write under way is on the disk now.
    pub fn complete(&mut self) -> Option<Write> {
        let write = self.queue.pop_front()?;
        self.durable.apply(&write).expect("what the shadow took, the disk takes");
        Some(write)
    }

    /// Power fails: `kept` of the writes under way have reached the disk unconfirmed.
    pub fn crash(&mut self, kept: usize) {
        for _ in 0..kept {
            self.complete();
        }
        self.queue.clear();
        self.shadow = self.durable.clone();
    }

    /// Entries of `[from, end)` as the disk would answer now: at most `max_bytes`, at least one.
    pub fn read(&self, from: Index, end: Index, max_bytes: u64, short: bool) -> Vec<Entry> {
        let mut out = Vec::new();
        let (mut at, mut bytes) = (from, 0);
        while at < end
            && let Some(entry) = self.shadow.entry(at)
        {
            bytes += entry.size();
            if !out.is_empty() && (bytes > max_bytes || short) {
                break;
            }
            out.push(entry.clone());
            at = at.next();
        }
        out
    }
}
