//! What one node of a script has on its disk, and its state machine: a list of commands.

use bytes::Bytes;
use kvorum_core::raft::*;

/// A disk. The state machine is its own checkpoint: whatever is applied is durable.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    pub vote: Vote,
    pub base: SnapshotMeta,
    pub log: Vec<Entry>,
    pub applied: SnapshotMeta,
    pub state: Vec<String>,
    pub staged: Vec<u8>,
}

impl Disk {
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
        let indexes = self.log.iter().map(|entry| entry.index().0);
        assert!(indexes.eq((self.base.last.index.0 + 1..).take(self.log.len())), "a gap on disk");
    }

    pub fn last(&self) -> EntryId {
        self.log.last().map_or(self.base.last, |entry| entry.id)
    }

    pub fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.index(), self.applied.last.index.next(), "applied in order, each once");
        self.applied.last = entry.id;
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

    pub fn install(&mut self, meta: SnapshotMeta) {
        let text = String::from_utf8(std::mem::take(&mut self.staged)).unwrap();
        self.state = text.split_whitespace().map(str::to_string).collect();
        self.applied = meta;
    }

    pub fn read(&self, read: &LogRead) -> Vec<Entry> {
        let in_range = |entry: &&Entry| read.range.contains(&entry.index());
        self.log.iter().filter(in_range).cloned().collect()
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
        Restored {
            vote: self.vote,
            base: self.base.clone(),
            runs,
            last: self.last(),
            tail: self.log[self.log.len().saturating_sub(cached)..].to_vec(),
            memberships: memberships.collect(),
            applied: applied.index,
        }
    }
}

/// `3@2=x` is a command, `3@2=:n1:n2` a configuration of these voters, `3@2` a no-op.
pub fn entry(text: &str) -> Entry {
    let (id, command) = text.split_once('=').map_or((text, None), |(id, c)| (id, Some(c)));
    let payload = match command {
        Some(members) if members.starts_with(':') => {
            let ids: Vec<NodeId> = members[1..].split(':').map(node_id).collect();
            Payload::Membership(membership(&ids, &[]))
        }
        Some(command) => Payload::Command(Bytes::copy_from_slice(command.as_bytes())),
        None => Payload::Noop,
    };
    Entry { id: entry_id(id), payload }
}

/// `index@term`.
pub fn entry_id(text: &str) -> EntryId {
    let (index, term) = text.split_once('@').expect("index@term");
    EntryId { index: Index(number(index)), term: Term(number(term)) }
}

pub fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is not a number"))
}

pub fn node_id(text: &str) -> NodeId {
    NodeId(number(text.strip_prefix('n').expect("nodes are n1, n2, …")))
}

pub fn context(id: NodeId) -> Bytes {
    Bytes::from(format!("{id}:7000"))
}

pub fn membership(voters: &[NodeId], learners: &[NodeId]) -> Membership {
    Membership {
        voters: voters.iter().copied().collect(),
        learners: learners.iter().copied().collect(),
        contexts: voters.iter().chain(learners).map(|&id| (id, context(id))).collect(),
        ..Membership::default()
    }
}
