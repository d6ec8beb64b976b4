//! Signs of life: the leader's, and what a peer's tell it (§5.2).
//!
//! Rule: a leader that has nothing to send says so every heartbeat; a peer that answers those but
//! nothing else has missed something, and what paused goes on. Must never: answer every answer with a
//! message (an event storm): what is sent because of one is bounded by the heartbeat's period.

use super::{
    message::{Message, Staged},
    output::SnapshotRequest,
    progress::{Phase, State},
    raft::Raft,
    refused::Ignored,
    replicate::SILENCE_OF_A_RECEIVER,
    role::Role,
    timer::Timer,
    types::NodeId,
};
use alloc::vec::Vec;

impl Raft {
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
}
