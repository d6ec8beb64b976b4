//! What a log says, without its entries: vote, base, term runs, memberships.
//!
//! Rule: the same function of the same changes, live and in recovery, in memory and on disk. Must
//! never: accept a gap, or void an entry that the base stands for.

use super::LogChange;
use kvorum_core::raft::{
    Chain, Entry, EntryId, Index, LogRead, Membership, Payload, Restored, SnapshotMeta, Term, Vote,
};
use std::ops::Range;

/// The outline of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogView {
    vote: Vote,
    base: SnapshotMeta,
    /// Entries after this one are known. It is `base.last`, except while a recovery reads segments
    /// whose predecessors went away under a base that is recorded further on.
    start: EntryId,
    last: EntryId,
    /// The chain of the last entry; not known between a truncation and the next entry.
    chain: Option<Chain>,
    runs: Vec<EntryId>,
    memberships: Vec<(Index, Membership)>,
    /// The last one recorded; only a hint.
    commit: Index,
}

impl LogView {
    /// A log whose entries up to `last` are not at hand.
    pub fn new(vote: Vote, base: SnapshotMeta, last: EntryId, chain: Option<Chain>) -> LogView {
        let (start, chain) = if last.index > base.last.index {
            (last, chain)
        } else {
            (base.last, Some(base.chain))
        };
        let (runs, memberships) = (Vec::new(), Vec::new());
        let commit = Index::ZERO;
        LogView { vote, base, start, last: start, chain, runs, memberships, commit }
    }

    pub fn vote(&self) -> Vote {
        self.vote
    }

    pub fn base(&self) -> &SnapshotMeta {
        &self.base
    }

    pub fn last(&self) -> EntryId {
        self.last
    }

    /// The chain of the last entry, where it is known.
    pub fn chain(&self) -> Option<Chain> {
        self.chain
    }

    /// The chain of the last entry was looked up.
    pub fn set_chain(&mut self, chain: Option<Chain>) {
        self.chain = chain;
    }

    /// Whether every entry after the base is known.
    pub fn is_whole(&self) -> bool {
        self.start.index <= self.base.last.index
    }

    /// The entry before the ones at hand.
    pub fn start(&self) -> EntryId {
        self.start
    }

    /// Applies one change; `Err` says what does not fit, and the view is then unusable.
    pub fn apply(&mut self, change: &LogChange<'_>) -> Result<(), String> {
        if let Some(vote) = change.vote {
            self.set_vote(vote)?;
        }
        if let Some(from) = change.truncate_from {
            self.truncate(from)?;
        }
        for entry in change.append {
            self.append(entry)?;
        }
        if let Some(base) = change.base {
            self.compact(base);
        }
        if let Some(commit) = change.commit {
            self.set_commit(commit);
        }
        Ok(())
    }

    pub fn set_commit(&mut self, commit: Index) {
        self.commit = self.commit.max(commit);
    }

    pub fn set_vote(&mut self, vote: Vote) -> Result<(), String> {
        if vote.term < self.vote.term {
            return Err(format!("term {} after term {}", vote.term, self.vote.term));
        }
        if vote.term == self.vote.term
            && self.vote.voted_for.is_some()
            && vote.voted_for != self.vote.voted_for
        {
            return Err(format!("a second vote in term {}", vote.term));
        }
        self.vote = vote;
        Ok(())
    }

    pub fn truncate(&mut self, from: Index) -> Result<(), String> {
        if from <= self.base.last.index {
            return Err(format!(
                "entries from {from} on voided, but the log begins after {}",
                self.base.last
            ));
        }
        if from > self.last.index {
            return Ok(());
        }
        let before = from.prev().unwrap_or_default();
        if before < self.start.index {
            // Only in recovery: the entries in between are in segments that are gone, so the base
            // that allowed that comes further on and covers them.
            self.start = EntryId { index: before, term: Term(0) };
        }
        self.last = EntryId { index: before, term: self.term_at(before).unwrap_or_default() };
        self.chain = (self.last == self.base.last).then_some(self.base.chain);
        self.runs.retain(|run| run.index < from);
        self.memberships.retain(|(index, _)| *index < from);
        Ok(())
    }

    pub fn append(&mut self, entry: &Entry) -> Result<(), String> {
        if entry.index() != self.last.index.next() || entry.term() < self.last.term {
            return Err(format!("entry {} after entry {}", entry.id, self.last));
        }
        if self.chain.is_some_and(|chain| !entry.follows(chain)) {
            return Err(format!(
                "entry {} with chain {}, which does not follow from entry {}",
                entry.id, entry.chain, self.last
            ));
        }
        if self.runs.last().map(|run| run.term) != Some(entry.term()) {
            self.runs.push(entry.id);
        }
        if let Payload::Membership(membership) = &entry.payload {
            self.memberships.push((entry.index(), membership.clone()));
        }
        self.last = entry.id;
        self.chain = Some(entry.chain);
        Ok(())
    }

    /// Moves the base forward; an older one changes nothing. When the log ends before it, or holds
    /// another entry there, the whole log goes (Raft §7).
    pub fn compact(&mut self, base: &SnapshotMeta) {
        if base.last.index < self.base.last.index {
            return;
        }
        self.base = base.clone();
        let (base, chain) = (base.last, base.chain);
        if base.index < self.start.index {
            return;
        }
        let holds_it = base.index == self.start.index
            || (base.index <= self.last.index && self.term_at(base.index) == Some(base.term));
        if holds_it && self.last.index > base.index {
            let at = self.runs.partition_point(|run| run.index <= base.index.next());
            self.runs.drain(..at.saturating_sub(1));
            if let Some(first) = self.runs.first_mut() {
                first.index = first.index.max(base.index.next());
            }
            self.memberships.retain(|(index, _)| *index > base.index);
        } else {
            self.last = base;
            self.chain = Some(chain);
            self.runs.clear();
            self.memberships.clear();
        }
        self.start = base;
    }

    /// The term of an entry that is known, or of the one before them.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        if index < self.start.index || index > self.last.index {
            return None;
        }
        let at = self.runs.partition_point(|run| run.index <= index);
        at.checked_sub(1).map(|at| self.runs[at].term)
    }

    /// The indexes that `read` can be answered with; empty when the range, or the entry expected
    /// before it, is not there.
    pub fn readable(&self, read: &LogRead) -> Range<u64> {
        let start = read.range.start;
        let end = read.range.end.min(self.last.index.next());
        let follows = start.prev() == Some(read.after.index)
            && self.term_at(read.after.index) == Some(read.after.term);
        if follows && start < end { start.0..end.0 } else { 0..0 }
    }

    /// What Raft starts from. `tail` is a suffix of the log.
    pub fn restored(&self, tail: Vec<Entry>, applied: Index) -> Restored {
        Restored {
            vote: self.vote,
            base: self.base.clone(),
            runs: self.runs.clone(),
            last: self.last,
            chain: self.chain.unwrap_or_default(),
            tail,
            memberships: self.memberships.clone(),
            applied,
            commit_hint: self.commit.min(self.last.index),
            staged: None,
        }
    }
}
