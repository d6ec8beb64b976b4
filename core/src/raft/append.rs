//! The follower's side of replication (§5.3).
//!
//! Rule: entries are taken in only after an entry that both logs hold; what is acknowledged and what
//! is committed is at most what *this* append validated. Must never: truncate what does not
//! conflict, touch what is committed (a leader that asks for that proves a fault), or commit up to
//! its own last entry merely because the leader's commit index is beyond it, or take in an entry
//! whose chain does not say that it follows (a message whose own entries do not is damaged and
//! ignored; one that disagrees about an entry that both logs hold proves a fault).
//!
//! | own log | append | afterwards | answer |
//! |---|---|---|---|
//! | 1@1 2@1 | prev 2@1, 3@2 | 1@1 2@1 3@2 | matched 3 |
//! | 1@1 2@1 3@1 | prev 2@1, 3@2 | 1@1 2@1 3@2 | matched 3 |
//! | 1@1 2@1 3@1 | prev 1@1, 2@1 (late) | 1@1 2@1 3@1 | matched 2, not 3 |
//! | 1@1 2@1 3@1 4@1 | prev 4@2 | as before | rejected, hint 4@1 |
//! | 1@1 2@3 3@3 | prev 3@2 | as before | rejected, hint 1@1 |

use super::{
    chain::Chain,
    message::{AppendOutcome, Message},
    raft::{NUMBER_LIMIT, Raft},
    refused::{Evidence, Ignored},
    role::Role,
    types::{Entry, EntryId, Index, NodeId, Payload},
};
use alloc::vec::Vec;

/// Writes a slow disk may fall behind before more is refused: what repeats itself costs no bytes,
/// but each answer waits in a write.
const MAX_WRITES_UNDER_WAY: usize = 4096;

/// Whether each entry follows from the one before it.
fn are_linked(mut parent: Chain, entries: &[Entry]) -> bool {
    entries.iter().all(|entry| {
        let follows = entry.follows(parent);
        parent = entry.chain;
        follows
    })
}

impl Raft {
    /// Entries from the leader that is followed.
    pub(super) fn accept_append(
        &mut self,
        from: NodeId,
        prev: EntryId,
        prev_chain: Chain,
        mut entries: Vec<Entry>,
        commit: Index,
    ) {
        if !self.makes_sense(prev, &entries) {
            return self.ignore(Ignored::Nonsense);
        }
        let behind = self.log.unwritten_bytes() > self.max_unwritten_bytes()
            || self.log.writes.under_way() >= MAX_WRITES_UNDER_WAY;
        if self.is_installing() || behind {
            // The leader tries again; its heartbeats are answered meanwhile.
            return self.ignore(Ignored::Busy);
        }
        if !are_linked(prev_chain, &entries) {
            return self.ignore(Ignored::Corrupt);
        }
        let validated = Index(prev.index.0 + entries.len() as u64);
        let base = self.log.base();
        if validated < base.index {
            // Long since committed here.
            return self.acknowledge(from, base.index);
        }
        let (mut prev, mut prev_chain) = (prev, prev_chain);
        if prev.index < base.index {
            let skip = usize::try_from(base.index.distance(prev.index)).expect("below its length");
            (prev, prev_chain) = (entries[skip - 1].id, entries[skip - 1].chain);
            entries.drain(..skip);
        }
        if !self.log.contains(prev) {
            return self.reject(from, prev);
        }
        if !self.matches(from, prev, prev_chain) || !self.merge(from, prev_chain, entries) {
            return;
        }
        self.acknowledge(from, validated);
        self.follow_commit(commit.min(validated));
    }

    /// What no leader sends.
    fn makes_sense(&self, prev: EntryId, entries: &[Entry]) -> bool {
        let mut previous = prev;
        let end_in_range = prev.index.0.saturating_add(entries.len() as u64) < NUMBER_LIMIT;
        end_in_range
            && prev.term <= self.vote.term
            && entries.iter().all(|entry| {
                let fits = entry.index() == previous.index.next()
                    && entry.term() >= previous.term
                    && entry.term() <= self.vote.term
                    && match &entry.payload {
                        Payload::Membership(membership) => membership.is_consistent(),
                        Payload::Command(_) | Payload::Noop => true,
                    };
                previous = entry.id;
                fits
            })
    }

    /// Whether an entry that this log holds has the history it has at the leader, as far as that
    /// is known here without reading the disk. Halts when not.
    pub(super) fn matches(&mut self, leader: NodeId, at: EntryId, theirs: Chain) -> bool {
        match self.log.chain_at(at.index) {
            Some(ours) if ours != theirs => {
                self.halt(Evidence::ChainBroken { at, ours, theirs, leader });
                false
            }
            Some(_) | None => true,
        }
    }

    /// Takes in what is new, after removing what conflicts. False when that is proof of a fault.
    fn merge(&mut self, leader: NodeId, mut prev: Chain, entries: Vec<Entry>) -> bool {
        let known = entries.iter().take_while(|entry| self.log.contains(entry.id)).count();
        for entry in &entries[..known] {
            if !self.matches(leader, entry.id, entry.chain) {
                return false;
            }
            prev = entry.chain;
        }
        let Some(first) = entries.get(known).map(|entry| entry.id) else {
            return true;
        };
        if first.index <= self.log.last().index {
            if let Some(ours) = self.log.id_at(first.index).filter(|id| id.index <= self.commit) {
                self.halt(Evidence::CommittedConflict { ours, theirs: first, leader });
                return false;
            }
            self.truncate(first.index, prev);
        }
        for entry in entries.into_iter().skip(known) {
            self.log.append(entry);
        }
        true
    }

    fn truncate(&mut self, from: Index, chain: Chain) {
        assert!(from > self.commit, "what is committed stays (Figure 3)");
        assert!(
            !matches!(self.role, Role::Leader(_)),
            "a leader never rewrites its log (Figure 3)"
        );
        self.log.truncate(from, chain);
    }

    /// The log agrees with the leader's up to `last`; said once that is durable.
    fn acknowledge(&mut self, leader: NodeId, last: Index) {
        let outcome = AppendOutcome::Matched { last };
        let reply = Message::AppendReply { outcome, sequence: self.sequence_seen };
        self.send_gated(leader, reply, last);
    }

    fn reject(&mut self, leader: NodeId, prev: EntryId) {
        if let Some(ours) = self.log.id_at(prev.index).filter(|id| id.index <= self.commit) {
            return self.halt(Evidence::CommittedConflict { ours, theirs: prev, leader });
        }
        // What is committed agrees in any case.
        let committed = self.log.id_at(self.commit).expect("the commit index lies in the log");
        let hint = self.log.terms().latest_up_to(prev).unwrap_or(committed);
        let hint = if hint.index < committed.index { committed } else { hint };
        let outcome = AppendOutcome::Rejected { prev, hint, staged: self.staged() };
        self.send(leader, Message::AppendReply { outcome, sequence: self.sequence_seen });
    }

    /// The leader lives; its commit index is capped at what it knows this node to hold.
    pub(super) fn accept_heartbeat(&mut self, leader: NodeId, commit: Index) {
        if commit <= self.log.last().index {
            self.follow_commit(commit);
        } else {
            self.ignore(Ignored::Nonsense);
        }
        let (sequence, state, staged) = (self.sequence_seen, self.state_report(), self.staged());
        self.send(leader, Message::HeartbeatReply { sequence, state, staged });
    }

    fn follow_commit(&mut self, commit: Index) {
        // A snapshot that is being installed says what is committed by itself.
        if !self.is_installing() {
            self.commit = self.commit.max(commit);
        }
    }

    /// Bytes a slow disk may fall behind before more is refused.
    fn max_unwritten_bytes(&self) -> u64 {
        self.config.max_uncommitted_bytes.saturating_add(self.config.max_inflight_bytes)
    }
}
