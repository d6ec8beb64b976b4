//! The leader's side of replication (§5.3).
//!
//! Rule: what to send is derived at `poll` from each peer's progress: one probe at a time until the
//! logs agree, then a stream bounded by a window of appends and bytes; the leader's own disk is not
//! waited for (§10.2.1). A rejection moves the probe back by a whole term (§5.3, end). Must never:
//! send entries after a `prev` that is not known, or answer every answer with a message (an event
//! storm): what is sent because of an answer is either news or bounded by the heartbeat's period.

use super::{
    log::Log,
    message::AppendOutcome,
    output::SnapshotRequest,
    progress::{Peer, Phase, State},
    raft::Raft,
    refused::Ignored,
    role::Role,
    share::Share,
    types::{Entry, EntryId, Index, Instant, NodeId},
};
use alloc::{collections::VecDeque, vec::Vec};

/// A peer that is being sent a snapshot may be silent for so many election time-outs (it restarts)
/// before what the transfer pins is let go.
pub(super) const SILENCE_OF_A_RECEIVER: u32 = 20;

impl Raft {
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
        let (epoch, floor) = (self.epoch(), self.log.base().index.max(self.log.epoch_begins()));
        let Role::Leader(leader) = &mut self.role else { return };
        let (sequence, beat) = (leader.reads.sequence(), leader.beat());
        for (&id, peer) in &mut leader.peers {
            let mut share = Share {
                floor,
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
                self.outbox.push(super::message::Envelope {
                    from: self.id,
                    to: id,
                    epoch,
                    term,
                    message,
                });
            }
        }
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
    let known = agreed.is_some() || peer.matched >= log.base().index;
    if next > log.base().index.max(log.epoch_begins()) && known {
        peer.probe(next);
    } else {
        peer.snapshot(Phase::Due, now);
    }
    true
}
