//! One peer's share of a poll: what is sent to it now.
//!
//! Rule: one probe at a time until the logs agree, then a stream bounded by a window of appends and
//! bytes, from the cache or from what was read back for this peer. Must never: send entries after a
//! `prev` that is not known, or read for a peer what it was sent already.

use super::{
    chain::Chain,
    config::Config,
    log::Log,
    message::Message,
    output::{LogRead, LogReader, SnapshotRequest},
    progress::{Peer, Phase, State},
    role::Beat,
    types::{Entry, Index, Instant, NodeId},
};
use alloc::vec::Vec;

/// One peer's share of a poll.
pub(super) struct Share<'a> {
    /// What lies up to here is sent as a snapshot only.
    pub(super) floor: Index,
    pub(super) log: &'a Log,
    pub(super) config: &'a Config,
    pub(super) now: Instant,
    pub(super) commit: Index,
    pub(super) sequence: u64,
    pub(super) beat: Beat,
    pub(super) id: NodeId,
    pub(super) messages: Vec<Message>,
    pub(super) log_reads: &'a mut Vec<LogRead>,
    pub(super) snapshots: &'a mut Vec<SnapshotRequest>,
}

impl Share<'_> {
    pub(super) fn replicate(&mut self, peer: &mut Peer) {
        if let State::Probe { next, .. } | State::Replicate { next, .. } = peer.state
            && next <= self.floor
        {
            // Before anything is sent, its word: it may hold a part of a snapshot already.
            let silent = self.now.since(peer.heard) >= self.config.election_timeout;
            let known = peer.matched > Index::ZERO && !silent;
            peer.snapshot(if known { Phase::Due } else { Phase::Idle }, self.now);
        }
        match peer.state {
            State::Probe { next, sent: None } => self.probe(peer, next),
            State::Replicate { .. } => self.stream(peer),
            State::Snapshot(ref transfer) if transfer.phase == Phase::Due => {
                let max_bytes = self.config.snapshot_chunk_bytes;
                self.snapshots.push(peer.read_from(self.id, max_bytes, self.now));
            }
            State::Probe { .. } | State::Snapshot(_) => {}
        }
        let known = self.commit.min(peer.matched);
        if known > peer.commit_sent {
            peer.commit_sent = known;
            self.messages.push(self.beat.heartbeat(known));
        }
    }

    /// One append, with entries if they are at hand.
    fn probe(&mut self, peer: &mut Peer, next: Index) {
        let Some(chain) = self.chain_before(peer, next) else {
            return self.wish(peer, next, None);
        };
        let entries = self.log.tail().slice(
            next,
            self.config.max_append_entries,
            self.config.max_append_bytes,
        );
        self.push_append(peer, next, chain, entries);
        peer.state = State::Probe { next, sent: Some(self.now) };
    }

    /// Appends until the log's end or the window's.
    fn stream(&mut self, peer: &mut Peer) {
        loop {
            let State::Replicate { next, inflight, .. } = &peer.state else { return };
            let next = *next;
            let full =
                inflight.is_full(self.config.max_inflight_appends, self.config.max_inflight_bytes);
            if full || next > self.log.last().index {
                return;
            }
            let Some(chain) = self.chain_before(peer, next) else {
                return self.wish(peer, next, None);
            };
            let entries = self.entries_from(peer, next, chain);
            let Some(last) = entries.last().map(Entry::index) else { return };
            let bytes = entries.iter().map(Entry::size).sum();
            self.push_append(peer, next, chain, entries);
            let State::Replicate { next, inflight, progressed } = &mut peer.state else { return };
            if inflight.is_empty() {
                *progressed = self.now;
            }
            inflight.push(last, bytes);
            *next = last.next();
        }
    }

    fn push_append(
        &mut self,
        peer: &mut Peer,
        next: Index,
        prev_chain: Chain,
        entries: Vec<Entry>,
    ) {
        let prev = next.prev().and_then(|index| self.log.id_at(index));
        let prev = prev.expect("what precedes the next entry is in the log or is its base");
        // If this one is lost, the next heartbeat brings the commit index.
        let end = Index(prev.index.0 + entries.len() as u64);
        peer.commit_sent = peer.commit_sent.max(self.commit.min(end));
        self.messages.push(Message::Append {
            prev,
            prev_chain,
            entries,
            commit: self.commit,
            sequence: self.sequence,
        });
    }

    /// The chain of the entry before `next`: from the log's memory, or from what was read for this
    /// peer.
    fn chain_before(&self, peer: &mut Peer, next: Index) -> Option<Chain> {
        while let Some(entry) = peer.fetched.pop_front_if(|entry| entry.index() < next) {
            peer.passed = Some((entry.index(), entry.chain));
        }
        let prev = next.prev()?;
        self.log.chain_at(prev).or_else(|| peer.passed_chain(prev))
    }

    /// Entries from the cache, or from what was read for this peer; else wishes for them. `chain`
    /// is that of the entry before.
    fn entries_from(&mut self, peer: &mut Peer, next: Index, chain: Chain) -> Vec<Entry> {
        let (count, bytes) = (self.config.max_append_entries, self.config.max_append_bytes);
        let cached = self.log.tail().slice(next, count, bytes);
        if !cached.is_empty() {
            peer.fetched.clear();
            return cached;
        }
        if peer.fetched.front().is_some_and(|entry| entry.index() == next) {
            let mut total = 0;
            let fits = peer
                .fetched
                .iter()
                .take(count.max(1))
                .enumerate()
                .take_while(|(position, entry)| {
                    total += entry.size();
                    *position == 0 || total <= bytes
                })
                .count();
            let taken: Vec<Entry> = peer.fetched.drain(..fits).collect();
            peer.passed = taken.last().map(|last| (last.index(), last.chain));
            return taken;
        }
        self.wish(peer, next, Some(chain));
        Vec::new()
    }

    /// Wishes for entries from `next` on. When the chain of the entry before is not known, for that
    /// one too: an append says what it follows from.
    fn wish(&mut self, peer: &mut Peer, next: Index, chain: Option<Chain>) {
        peer.fetched.clear();
        if peer.fetching {
            return;
        }
        peer.fetching = true;
        let count = self.config.max_append_entries as u64;
        let end = self.log.cached_from().min(Index(next.0.saturating_add(count)));
        let from = if chain.is_some() { Some(next) } else { next.prev() };
        let from = from.expect("the chain before the first entry is known");
        let after = from.prev().and_then(|index| self.log.id_at(index));
        self.log_reads.push(LogRead {
            reader: LogReader::Peer(self.id),
            range: from..end.max(from.next()),
            max_bytes: self.config.max_append_bytes,
            after: after.expect("what precedes a cold entry is in the log or is its base"),
            chain,
        });
    }
}
