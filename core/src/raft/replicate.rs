//! The leader's side of replication (§5.3), and heartbeats.
//!
//! Rule: what to send is derived at `poll` from each peer's progress: one probe at a time until the
//! logs agree, then a stream bounded by a window of appends and bytes; the leader's own disk is not
//! waited for (§10.2.1). A rejection moves the probe back by a whole term (§5.3, end). Must never:
//! send entries after a `prev` that is not known, or answer every answer with a message (an event
//! storm): what is sent because of an answer is either news or bounded by the heartbeat's period.

use super::{
    chain::Chain,
    config::Config,
    log::Log,
    message::{AppendOutcome, Message, Staged},
    output::{LogRead, LogReader, SnapshotRequest},
    progress::{Peer, Phase, State},
    raft::Raft,
    refused::{Full, Ignored, Refused},
    role::{Beat, Role},
    timer::Timer,
    types::{Entry, EntryId, Index, Instant, NodeId, Payload},
};
use alloc::{collections::VecDeque, vec::Vec};
use bytes::Bytes;
use core::ops::RangeInclusive;

/// A peer that is being sent a snapshot may be silent for so many election time-outs (it restarts)
/// before what the transfer pins is let go.
pub(super) const SILENCE_OF_A_RECEIVER: u32 = 20;

impl Raft {
    /// See `Raft::propose`.
    pub(super) fn append_commands(
        &mut self,
        commands: Vec<Bytes>,
    ) -> Result<RangeInclusive<Index>, Refused> {
        let leader_id = self.leader();
        let Role::Leader(leader) = &self.role else {
            return Err(Refused::NotLeader { leader: leader_id });
        };
        if leader.transfer.is_some() {
            return Err(Refused::Transferring);
        }
        if commands.iter().any(|command| command.len() as u64 > self.config.max_entry_bytes) {
            return Err(Refused::TooLarge);
        }
        let first = self.log.last().index.next();
        let mut chain = self.log.last_chain();
        let entries: Vec<Entry> = (first.0..)
            .zip(commands)
            .map(|(index, command)| {
                let id = EntryId { index: Index(index), term: self.vote.term };
                let entry = Entry::new(chain, id, Payload::Command(command));
                chain = entry.chain;
                entry
            })
            .collect();
        let bytes: u64 = entries.iter().map(Entry::size).sum();
        if let Some(full) = self.is_full(entries.len() as u64, bytes) {
            return Err(Refused::Overloaded(full));
        }
        let Role::Leader(leader) = &mut self.role else { unreachable!("just seen") };
        let last = Index(first.0 - 1 + entries.len() as u64);
        if bytes > 0 {
            leader.proposed.push_back((last, bytes));
            leader.proposed_bytes += bytes;
        }
        for entry in entries {
            self.log.append(entry);
        }
        Ok(first..=last)
    }

    /// Which bound does not admit so many more proposals. One is always admitted when none waits.
    fn is_full(&self, entries: u64, bytes: u64) -> Option<Full> {
        let Role::Leader(leader) = &self.role else { return None };
        let (config, commit, applied) = (&self.config, self.commit, self.apply.applied);
        let held = leader.proposed_bytes;
        let uncommitted = self.log.last().index.distance(commit);
        if held > 0 && held + bytes > config.max_uncommitted_bytes {
            Some(Full::UncommittedBytes)
        } else if held > 0 && uncommitted + entries > config.max_uncommitted_entries {
            Some(Full::UncommittedEntries)
        } else if commit.distance(applied) > config.max_apply_lag_entries
            || self.log.bytes_between(applied, commit) > config.max_apply_lag_bytes
        {
            Some(Full::Apply)
        } else {
            None
        }
    }

    /// Everything a leader owes, derived from its state. Part of `poll`.
    pub(super) fn lead(&mut self) {
        if !matches!(self.role, Role::Leader(_)) {
            return;
        }
        self.advance_commit();
        // A change of the members changes what a quorum is, and may commit more.
        while self.drive_membership() {
            self.advance_commit();
        }
        self.drive_reads();
        self.replicate();
        self.drive_transfer();
    }

    /// Appends, snapshots and commit notices for every peer.
    fn replicate(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let (sequence, beat) = (leader.reads.sequence(), leader.beat());
        for (&id, peer) in &mut leader.peers {
            let mut share = Share {
                log: &self.log,
                config: &self.config,
                now: self.now,
                commit: self.commit,
                sequence,
                beat,
                id,
                messages: Vec::new(),
                log_reads: &mut self.log_reads,
                snapshots: &mut self.snapshots,
            };
            share.replicate(peer);
            let messages = share.messages;
            for message in messages {
                let term = self.vote.term;
                self.outbox.push(super::message::Envelope { from: self.id, to: id, term, message });
            }
        }
    }

    /// Says to everybody that this node leads.
    pub(super) fn broadcast_heartbeat(&mut self) {
        self.ask_for_states();
        let Role::Leader(leader) = &mut self.role else { return };
        let beat = leader.beat();
        let mut messages = Vec::new();
        for (&id, peer) in &mut leader.peers {
            let commit = self.commit.min(peer.matched);
            peer.commit_sent = peer.commit_sent.max(commit);
            messages.push((id, beat.heartbeat(commit)));
            let patience = self.config.election_timeout * SILENCE_OF_A_RECEIVER;
            if self.now.since(peer.heard) >= patience && peer.pins_snapshot() {
                self.snapshots.push(SnapshotRequest::Close { peer: id });
                peer.snapshot(Phase::Idle, self.now);
            }
        }
        for (id, message) in messages {
            self.send(id, message);
        }
        self.timers.set(Timer::Heartbeat, self.now.after(self.config.heartbeat_interval));
    }

    /// A peer answered something of this term. False when nobody asked it.
    pub(super) fn heard_from_peer(&mut self, from: NodeId, sequence: u64) -> bool {
        if let Role::Leader(leader) = &mut self.role
            && let Some(peer) = leader.peers.get_mut(&from)
        {
            if sequence > leader.reads.sequence() {
                self.ignore(Ignored::Nonsense);
                return false;
            }
            peer.heard = self.now;
            peer.sequence = peer.sequence.max(sequence);
            return true;
        }
        self.ignore(Ignored::Unsolicited);
        false
    }

    /// A follower's answer to an append.
    pub(super) fn count_append(&mut self, from: NodeId, outcome: AppendOutcome) {
        let last = self.log.last().index;
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        match outcome {
            // More than there is: a node restored from an old backup, or nonsense.
            AppendOutcome::Matched { last: matched } if matched > last => {
                self.ignore(Ignored::Nonsense);
            }
            AppendOutcome::Matched { last: matched } => {
                let pinned = peer.pins_snapshot();
                matched_up_to(peer, matched, &self.log, self.now);
                if pinned && !peer.pins_snapshot() {
                    self.snapshots.push(SnapshotRequest::Close { peer: from });
                }
                self.advance_commit();
            }
            AppendOutcome::Rejected { prev, hint, staged } => {
                if hint.index > prev.index || hint >= prev {
                    return self.ignore(Ignored::Nonsense);
                }
                if !rejected(peer, prev, hint, &self.log, self.now) {
                    return self.ignore(Ignored::Duplicate);
                }
                peer.staged = staged;
            }
        }
    }

    /// A peer that answers heartbeats but nothing else has missed something: what paused goes on.
    pub(super) fn resume_peer(&mut self, from: NodeId, staged: Option<Staged>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        let now = self.now;
        let heartbeat = self.config.heartbeat_interval;
        let sequence = leader.reads.sequence();
        let message = match &mut peer.state {
            State::Probe { sent, .. } => {
                if sent.is_some_and(|at| now.since(at) >= heartbeat) {
                    *sent = None;
                }
                None
            }
            State::Replicate { next, inflight, progressed } => {
                if inflight.is_empty() || now.since(*progressed) < heartbeat {
                    return;
                }
                // An empty append at the end: acknowledged if all arrived, rejected if not.
                *progressed = now;
                let prev = next.prev().and_then(|index| self.log.id_at(index));
                let prev = prev.expect("what was sent is in the log");
                let chain = self.log.chain_at(prev.index).or(peer.passed_chain(prev.index));
                if chain.is_none() {
                    peer.probe(peer.matched.next());
                }
                chain.map(|prev_chain| Message::Append {
                    prev,
                    prev_chain,
                    entries: Vec::new(),
                    commit: self.commit,
                    sequence,
                })
            }
            State::Snapshot(transfer) => match &transfer.phase {
                Phase::Idle if now.since(transfer.since) >= heartbeat => {
                    let max_bytes = self.config.snapshot_chunk_bytes;
                    peer.staged = staged;
                    self.snapshots.push(peer.read_from(from, max_bytes, now));
                    None
                }
                Phase::Sent { data, last } if now.since(transfer.since) >= heartbeat * 4 => {
                    transfer.since = now;
                    transfer.resent = true;
                    transfer.meta.as_ref().map(|meta| Message::InstallSnapshot {
                        meta: meta.clone(),
                        offset: transfer.offset,
                        data: data.clone(),
                        before: transfer.digest,
                        last: *last,
                        sequence,
                    })
                }
                Phase::Due | Phase::Idle | Phase::Reading | Phase::Sent { .. } => None,
            },
        };
        if let Some(message) = message {
            self.send(from, message);
        }
    }

    /// The connection to a peer broke: what was under way may be lost.
    pub(super) fn lost_connection(&mut self, node: NodeId) {
        let now = self.now;
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&node) else { return };
        match &peer.state {
            State::Probe { next, .. } => peer.wait(*next, now),
            State::Replicate { .. } => peer.wait(peer.matched.next(), now),
            // What it holds it keeps, over a restart too: the chunk under way is sent again once it
            // is heard.
            State::Snapshot(transfer) if matches!(transfer.phase, Phase::Due) => {
                peer.snapshot(Phase::Idle, now);
            }
            State::Snapshot(_) => {}
        }
    }

    /// Cold entries for a peer arrived.
    pub(super) fn fetched_for_peer(&mut self, id: NodeId, start: Index, entries: VecDeque<Entry>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&id) else { return };
        peer.fetching = false;
        let next = match &peer.state {
            State::Probe { next, .. } | State::Replicate { next, .. } => *next,
            State::Snapshot(_) => return,
        };
        // Or from the one before, for its chain.
        if start != next && start.next() != next {
            return;
        }
        if entries.is_empty() {
            // Gone from the disk: compacted, which the log tells by itself; or the disk lags. Either
            // way the next heartbeat's answer asks again.
            peer.state = State::Probe { next, sent: Some(self.now) };
        }
        peer.fetched = entries;
    }
}

/// The peer's log is known to agree, durably, up to `matched`.
pub(super) fn matched_up_to(peer: &mut Peer, matched: Index, log: &Log, now: Instant) {
    let grown = matched > peer.matched;
    peer.matched = peer.matched.max(matched);
    match &mut peer.state {
        // Only the answer to the probe tells that the logs agree there; a late one to something
        // earlier would open the window anew, again and again.
        State::Probe { next, .. } if matched.next() >= *next => peer.replicate(now),
        State::Probe { .. } => {}
        State::Replicate { next, inflight, progressed } => {
            inflight.acknowledge(matched);
            *next = (*next).max(peer.matched.next());
            if grown {
                *progressed = now;
            }
        }
        State::Snapshot(_) => {
            if peer.matched >= log.base().index {
                peer.replicate(now);
            }
        }
    }
}

/// The peer does not hold `prev`. False when this answers nothing that is still open, or denies what
/// was acknowledged.
fn rejected(peer: &mut Peer, prev: EntryId, hint: EntryId, log: &Log, now: Instant) -> bool {
    let open = match &peer.state {
        State::Probe { next, .. } => next.prev() == Some(prev.index),
        State::Replicate { .. } => prev.index > peer.matched,
        State::Snapshot(_) => false,
    };
    if !open {
        return false;
    }
    if prev.index <= peer.matched {
        // It denies what it has acknowledged: its disk was put back to an older image. To send that
        // again would be to believe it twice; asked at once, it would deny it for ever.
        peer.wait(prev.index.next(), now);
        return false;
    }
    let agreed = log.terms().latest_up_to(hint).map(|id| id.index);
    let next = agreed.unwrap_or(Index::ZERO).max(peer.matched).next();
    if next > log.base().index && (agreed.is_some() || peer.matched >= log.base().index) {
        peer.probe(next);
    } else {
        peer.snapshot(Phase::Due, now);
    }
    true
}

/// One peer's share of a poll.
struct Share<'a> {
    log: &'a Log,
    config: &'a Config,
    now: Instant,
    commit: Index,
    sequence: u64,
    beat: Beat,
    id: NodeId,
    messages: Vec<Message>,
    log_reads: &'a mut Vec<LogRead>,
    snapshots: &'a mut Vec<SnapshotRequest>,
}

impl Share<'_> {
    fn replicate(&mut self, peer: &mut Peer) {
        if let State::Probe { next, .. } | State::Replicate { next, .. } = peer.state
            && next <= self.log.base().index
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
