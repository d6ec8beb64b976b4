//! What one node of a script has on its disk, and its state machine: a list of commands.

use crate::notation::{Words, entries, entry, entry_id, node_id, number};
use kvorum_core::raft::*;
use std::collections::BTreeMap;

/// A disk. The state machine is its own checkpoint: whatever is applied is durable.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub vote: Vote,
    pub base: SnapshotMeta,
    pub log: Vec<Entry>,
    pub applied: SnapshotMeta,
    /// What a write has said to be committed.
    pub commit: Index,
    pub state: Vec<String>,
    /// What was received of a snapshot, and of which.
    pub staged: Vec<u8>,
    pub staged_meta: Option<SnapshotMeta>,
    /// What a start is told of the state machine instead of the truth.
    pub claims: Option<Index>,
}

impl Disk {
    /// What `disk n1 term=2 vote=n2 base=1@1 log=2@1,3@2=x applied=1` says. `before=1@1=y` are
    /// the entries that the base stands for; without them its chain is what it is elsewhere.
    pub fn set(&mut self, words: &Words, chains: &mut BTreeMap<EntryId, Chain>) {
        for (&option, &value) in &words.options {
            match option {
                "term" => self.vote.term = Term(number(value)),
                "vote" => self.vote.voted_for = Some(node_id(value)),
                "before" => {}
                "epoch" => {
                    self.base.membership.epoch = number(value);
                    self.applied.membership.epoch = number(value);
                }
                "base" => {
                    let before = entries(Chain::START, words.option("before").unwrap_or(""));
                    chains.extend(before.iter().map(|entry| (entry.id, entry.chain)));
                    self.base.last = entry_id(value);
                    self.base.chain = chains.get(&self.base.last).copied().unwrap_or_default();
                    self.applied = self.base.clone();
                }
                "log" => self.log = entries(self.base.chain, value),
                "swap" => self.swap(value),
                "state" => self.state = value.split(',').map(str::to_string).collect(),
                "claims" => self.claims = Some(Index(number(value))),
                "applied" => {}
                _ => panic!("unknown option {option}"),
            }
        }
        let applied = Index(words.number("applied").unwrap_or(0));
        for entry in self.log.clone().iter().take_while(|entry| entry.index() <= applied) {
            self.apply(entry);
        }
    }

    /// `swap=3@1=x`: the entry there is another one, made after the same log.
    fn swap(&mut self, text: &str) {
        let index = entry_id(text.split('=').next().expect("an entry")).index;
        let at = self.log.iter().position(|held| held.index() == index).expect("it is held");
        let parent = at.checked_sub(1).map_or(self.base.chain, |before| self.log[before].chain);
        self.log[at] = entry(parent, text);
    }

    /// Recovery's order: vote, truncation, entries, base.
    pub fn write(&mut self, write: &Write) {
        if let Some(vote) = write.vote {
            self.vote = vote;
        }
        if let Some(from) = write.truncate_from {
            self.log.retain(|entry| entry.index() < from);
        }
        self.log.extend(write.append.iter().cloned());
        if let Some(base) = &write.base {
            if self.last().index < base.last.index {
                self.log.clear();
            }
            self.log.retain(|entry| entry.index() > base.last.index);
            self.base = base.clone();
        }
        self.commit = write.commit.unwrap_or(self.commit);
        let indexes = self.log.iter().map(|entry| entry.index().0);
        assert!(indexes.eq((self.base.last.index.0 + 1..).take(self.log.len())), "a gap on disk");
    }

    pub fn last(&self) -> EntryId {
        self.log.last().map_or(self.base.last, |entry| entry.id)
    }

    pub fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.index(), self.applied.last.index.next(), "applied in order, each once");
        self.applied.last = entry.id;
        self.applied.chain = entry.chain;
        match &entry.payload {
            Payload::Noop => {}
            Payload::Command(text) => self.state.push(String::from_utf8_lossy(text).into_owned()),
            Payload::Membership(membership) => {
                self.applied.membership = membership.clone();
                self.applied.membership_index = entry.index();
            }
        }
    }

    pub fn snapshot(&self) -> Vec<u8> {
        self.state.join(" ").into_bytes()
    }

    /// A digest of the state, short enough to read.
    pub fn digest(&self) -> u64 {
        let bytes = self.state.iter().flat_map(|row| row.bytes().chain([b' ']));
        bytes.fold(7, |sum, byte| (sum * 31 + u64::from(byte)) % 0x10000)
    }

    /// False, changing nothing, when what is staged does not verify.
    pub fn install(&mut self, meta: SnapshotMeta) -> bool {
        self.staged_meta = None;
        let text = String::from_utf8(std::mem::take(&mut self.staged)).unwrap();
        let verified = !text.contains('?');
        if verified {
            self.state = text.split_whitespace().map(str::to_string).collect();
            self.applied = meta;
        }
        verified
    }

    /// At least one entry, and no more bytes than were asked for.
    pub fn read(&self, read: &LogRead) -> Vec<Entry> {
        let in_range = |entry: &&Entry| read.range.contains(&entry.index());
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let first = bytes == 0;
            bytes += entry.size();
            first || bytes <= read.max_bytes
        };
        self.log.iter().filter(in_range).take_while(fits).cloned().collect()
    }

    /// What a start finds.
    pub fn restored(&mut self, cached: usize) -> Restored {
        let applied = self.applied.last;
        let known = self.base.last == applied || self.log.iter().any(|entry| entry.id == applied);
        if !known {
            // A crash between installing a snapshot and moving the log's base.
            self.base = self.applied.clone();
            self.log.clear();
        }
        let mut runs: Vec<EntryId> = Vec::new();
        for entry in &self.log {
            if runs.last().is_none_or(|run| run.term != entry.term()) {
                runs.push(entry.id);
            }
        }
        let memberships = self.log.iter().filter_map(|entry| match &entry.payload {
            Payload::Membership(membership) => Some((entry.index(), membership.clone())),
            Payload::Noop | Payload::Command(_) => None,
        });
        let digest = StreamDigest::default().then(0, &self.staged);
        let end = self.staged.len() as u64;
        let staged = self.staged_meta.clone().map(|meta| StagedSnapshot { meta, end, digest });
        Restored {
            staged,
            vote: self.vote,
            base: self.base.clone(),
            runs,
            last: self.last(),
            chain: self.log.last().map_or(self.base.chain, |entry| entry.chain),
            tail: self.log[self.log.len().saturating_sub(cached)..].to_vec(),
            memberships: memberships.collect(),
            applied: self.claims.unwrap_or(applied.index),
            commit_hint: self.commit,
        }
    }
}
