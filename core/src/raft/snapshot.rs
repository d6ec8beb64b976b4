//! Snapshots on their way: the leader's and the follower's side (§7).
//!
//! Rule: one chunk at a time; the follower says how many bytes it holds and the leader goes on from
//! there or starts again; a snapshot is identified by what it stands for, and chunk 0 of another one
//! replaces what was staged. What is committed here already is never replaced; a snapshot that ends
//! in an entry this log holds merely tells that the entry is committed. Installed is said once the
//! log's new base is durable. Must never: mix two transfers, install what is older than the commit
//! index, keep entries that the snapshot contradicts, or touch term and vote.

use super::{
    chain::Chain,
    event::SnapshotEvent,
    message::Message,
    output::SnapshotRequest,
    progress::{Phase, State},
    raft::{NUMBER_LIMIT, Raft},
    refused::{Evidence, Ignored},
    replicate::matched_up_to,
    role::Role,
    types::{EntryId, Index, NodeId, SnapshotMeta},
};
use bytes::Bytes;

/// A snapshot being received. At most one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Incoming {
    from: NodeId,
    meta: SnapshotMeta,
    /// Bytes staged.
    end: u64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    /// The next chunk.
    Waiting,
    /// The state machine, to stage a chunk that ends at `end`.
    Storing { end: u64, last: bool },
    /// The own disk, until it holds the term and the log as they are.
    Staged,
    /// The state machine, to replace its state.
    Installing,
}

impl Raft {
    /// Whether the state machine's state is being replaced right now.
    pub(super) fn is_installing(&self) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| incoming.stage == Stage::Installing)
    }

    /// A new term: a transfer that is not being installed yet is over.
    pub(super) fn abandon_incoming_snapshot(&mut self) {
        if !self.is_installing() {
            self.incoming = None;
        }
    }

    /// The state machine's side of snapshots.
    pub(super) fn snapshot_event(&mut self, event: SnapshotEvent) {
        match event {
            SnapshotEvent::Durable { meta } => self.state_durable(meta),
            SnapshotEvent::ChunkRead { peer, meta, offset, data, last } => {
                self.chunk_read(peer, meta, offset, data, last);
            }
            SnapshotEvent::ChunkStored { last, end } => self.chunk_stored(last, end),
            SnapshotEvent::Installed { meta } => self.installed(&meta),
            SnapshotEvent::Failed { peer } => self.transfer_failed(peer),
        }
    }

    /// A chunk from the leader that is followed.
    pub(super) fn accept_chunk(
        &mut self,
        from: NodeId,
        meta: SnapshotMeta,
        offset: u64,
        data: Bytes,
        last: bool,
    ) {
        let id = meta.last;
        let end = offset.saturating_add(data.len() as u64);
        let impossible = id.index == Index::ZERO
            || id.index.0 >= NUMBER_LIMIT
            || id.term > self.vote.term
            || meta.membership_index > id.index
            || meta.membership.voters.is_empty()
            || !meta.membership.is_consistent()
            || end == u64::MAX
            || (data.is_empty() && !last);
        if impossible {
            return self.ignore(Ignored::Nonsense);
        }
        if self.is_installing() {
            return self.answer_while_installing(from, id);
        }
        if self.has_already(from, id, meta.chain) {
            return;
        }
        let fits =
            self.incoming.as_ref().is_some_and(|held| held.from == from && held.meta == meta);
        if !fits {
            let newer = self
                .incoming
                .as_ref()
                .is_none_or(|held| held.from != from || held.meta.last.index <= id.index);
            if offset != 0 || !newer {
                return self.answer_chunk(from, id, 0, false);
            }
            self.incoming = Some(Incoming { from, meta, end: 0, stage: Stage::Waiting });
        }
        let incoming = self.incoming.as_mut().expect("just made or found");
        match incoming.stage {
            // Not the chunk under way again: the leader started over. The stage forgets the rest.
            Stage::Waiting if offset == 0 || offset == incoming.end => {
                incoming.stage = Stage::Storing { end, last };
                let meta = incoming.meta.clone();
                self.snapshots.push(SnapshotRequest::Store { from, meta, offset, data });
            }
            Stage::Waiting => {
                let end = incoming.end;
                self.answer_chunk(from, id, end, false);
            }
            Stage::Storing { .. } | Stage::Staged | Stage::Installing => self.ignore(Ignored::Busy),
        }
    }

    /// Whether this node needs no such snapshot; then the leader is told so.
    fn has_already(&mut self, from: NodeId, id: EntryId, chain: Chain) -> bool {
        let ours = self.log.id_at(id.index);
        if id.index <= self.commit {
            if let Some(ours) = ours.filter(|&ours| ours != id) {
                self.halt(Evidence::CommittedConflict { ours, theirs: id, leader: from });
                return true;
            }
        } else if ours != Some(id) {
            return false;
        }
        if !self.matches(from, id, chain) {
            return true;
        }
        self.commit = self.commit.max(id.index);
        self.incoming = None;
        self.send_installed(from, id);
        true
    }

    fn answer_while_installing(&mut self, from: NodeId, id: EntryId) {
        match &self.incoming {
            Some(held) if held.from == from && held.meta.last == id => {
                let end = held.end;
                self.answer_chunk(from, id, end, false);
            }
            Some(_) | None => self.ignore(Ignored::Busy),
        }
    }

    fn answer_chunk(&mut self, to: NodeId, last: EntryId, end: u64, installed: bool) {
        let sequence = self.sequence_seen;
        self.send(to, Message::SnapshotReply { last, end, installed, sequence });
    }

    fn send_installed(&mut self, to: NodeId, last: EntryId) {
        let sequence = self.sequence_seen;
        let reply = Message::SnapshotReply { last, end: 0, installed: true, sequence };
        self.send_gated(to, reply, last.index);
    }

    fn chunk_stored(&mut self, id: EntryId, end: u64) {
        let Some(incoming) = &mut self.incoming else { return };
        let Stage::Storing { end: expected, last } = incoming.stage else { return };
        if incoming.meta.last != id || end != expected {
            return;
        }
        incoming.end = end;
        let from = incoming.from;
        incoming.stage = if last { Stage::Staged } else { Stage::Waiting };
        if self.leader() == Some(from) {
            self.answer_chunk(from, id, end, false);
        }
    }

    /// Replaces the state once everything is staged. Part of `poll`.
    pub(super) fn consider_installing(&mut self) {
        let Some(incoming) = &mut self.incoming else { return };
        let id = incoming.meta.last;
        // A crash between installing and the write of the new base leaves the state with whatever
        // log the disk holds then: that must be this log, and this term.
        let on_disk = self.durable_vote == self.vote
            && !self.log.is_dirty()
            && self.log.writes.oldest().is_none();
        if incoming.stage != Stage::Staged || !on_disk {
            return;
        }
        // Whoever campaigns keeps its log until then: it may lead with it.
        let follows = matches!(self.role, Role::Follower(_));
        if !follows || self.log.contains(id) || id.index <= self.commit {
            // Appends of a new leader were faster, or there is none.
            self.incoming = None;
            return;
        }
        incoming.stage = Stage::Installing;
        let (from, meta) = (incoming.from, incoming.meta.clone());
        self.snapshots.push(SnapshotRequest::Install { from, meta });
    }

    /// The state machine's state is the snapshot now. The log follows.
    fn installed(&mut self, meta: &SnapshotMeta) {
        assert!(self.is_installing(), "a snapshot is installed only on request");
        let incoming = self.incoming.take().expect("just seen");
        assert_eq!(incoming.meta.last, meta.last, "what was installed is what was asked for");
        let Incoming { from, meta, .. } = incoming;
        assert!(meta.last.index > self.commit, "nothing older than the commit index is installed");
        assert!(!self.log.contains(meta.last), "the log stood still while the state was replaced");
        self.log.replace(&meta, self.commit);
        self.commit = meta.last.index;
        self.state_replaced(meta.last.index);
        if self.leader() == Some(from) {
            self.send_installed(from, meta.last);
        }
    }

    fn transfer_failed(&mut self, peer: NodeId) {
        let now = self.now;
        if let Role::Leader(leader) = &mut self.role {
            if let Some(progress) = leader.peers.get_mut(&peer)
                && progress.pins_snapshot()
            {
                self.snapshots.push(SnapshotRequest::Close { peer });
                progress.snapshot(Phase::Idle, now);
            }
            return;
        }
        if let Some(incoming) = self.incoming.take_if(|incoming| incoming.from == peer)
            && self.leader() == Some(peer)
        {
            self.answer_chunk(peer, incoming.meta.last, 0, false);
        }
    }

    /// The state machine answered `SnapshotRequest::Read`.
    fn chunk_read(
        &mut self,
        peer: NodeId,
        meta: SnapshotMeta,
        offset: u64,
        data: Bytes,
        last: bool,
    ) {
        let now = self.now;
        // The configuration is the log's word; the state machine only says where it stands.
        let read_at = meta.last;
        if let Some(expected) = self.log.chain_at(read_at.index)
            && self.log.contains(read_at)
            && expected != meta.chain
        {
            return self.halt(Evidence::DiskChanged { at: read_at, expected, found: meta.chain });
        }
        let exact = self.log.meta_at(read_at.index, meta.chain);
        let exact = exact.filter(|exact| exact.last == read_at && read_at.index > Index::ZERO);
        let commit = self.commit;
        let Role::Leader(leader) = &mut self.role else { return };
        let sequence = leader.reads.sequence();
        let Some(progress) = leader.peers.get_mut(&peer) else { return };
        let State::Snapshot(transfer) = &mut progress.state else { return };
        if transfer.phase != Phase::Reading || transfer.offset != offset {
            return;
        }
        let meta = match &transfer.meta {
            // The base may have moved beyond a transfer under way; it stays what it stands for.
            Some(begun) => Some(begun.clone()).filter(|begun| begun.last == read_at),
            None => exact.filter(|meta| meta.last.index <= commit),
        };
        let Some(meta) = meta else {
            self.snapshots.push(SnapshotRequest::Close { peer });
            progress.snapshot(Phase::Idle, now);
            return;
        };
        transfer.meta = Some(meta.clone());
        transfer.phase = Phase::Sent { data: data.clone(), last };
        transfer.since = now;
        transfer.resent = false;
        self.send(peer, Message::InstallSnapshot { meta, offset, data, last, sequence });
    }

    /// A follower's answer to a chunk.
    pub(super) fn count_chunk(&mut self, from: NodeId, id: EntryId, end: u64, installed: bool) {
        let (now, max_bytes) = (self.now, self.config.snapshot_chunk_bytes);
        let base = self.log.base();
        let agrees = id.index < base.index || self.log.contains(id);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        if installed {
            if !agrees {
                return self.ignore(Ignored::Nonsense);
            }
            let pinned = peer.pins_snapshot();
            matched_up_to(peer, id.index, &self.log, now);
            if let State::Snapshot(transfer) = &peer.state
                && transfer.meta.as_ref().is_some_and(|meta| meta.last == id)
            {
                // The log's base has moved beyond it meanwhile: once more.
                peer.snapshot(Phase::Due, now);
            }
            if pinned && !peer.pins_snapshot() {
                self.snapshots.push(SnapshotRequest::Close { peer: from });
            }
            return self.advance_commit();
        }
        let State::Snapshot(transfer) = &mut peer.state else {
            return self.ignore(Ignored::Duplicate);
        };
        let Phase::Sent { data, last } = &transfer.phase else {
            return self.ignore(Ignored::Duplicate);
        };
        if transfer.meta.as_ref().is_none_or(|meta| meta.last != id) {
            return self.ignore(Ignored::Duplicate);
        }
        let sent_end = transfer.offset + data.len() as u64;
        if end == sent_end && *last {
            // Being installed; the answer comes.
            transfer.since = now;
        } else if end == sent_end {
            transfer.offset = end;
            transfer.phase = Phase::Reading;
            transfer.since = now;
            self.snapshots.push(SnapshotRequest::Read { peer: from, offset: end, max_bytes });
        } else if end < transfer.offset && (end == 0 || transfer.resent) {
            // It has lost some of what it held (it restarted, or a late duplicate of the first
            // chunk made it start over): from the beginning, with a fresh snapshot.
            self.snapshots.push(SnapshotRequest::Close { peer: from });
            peer.snapshot(Phase::Idle, now);
        } else {
            self.ignore(Ignored::Duplicate);
        }
    }
}
