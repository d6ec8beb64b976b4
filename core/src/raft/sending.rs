//! Snapshots on their way: the leader's side (§7).
//!
//! Rule: one chunk at a time; the follower says how many bytes it holds, and their digest, and the
//! leader goes on from there if that is its own stream, or starts again. Must never: mix two
//! transfers, send what is not committed, or keep a snapshot open for a peer that needs none.

use super::{
    message::{Message, Staged},
    output::SnapshotRequest,
    progress::{Phase, State},
    raft::Raft,
    refused::{Evidence, Ignored},
    replicate::matched_up_to,
    role::Role,
    types::{EntryId, Index, NodeId, SnapshotMeta},
};
use bytes::Bytes;

impl Raft {
    /// The state machine answered `SnapshotRequest::Read`.
    pub(super) fn chunk_read(
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
        // Nobody is sent a configuration of an earlier epoch.
        let epoch = self.epoch();
        let exact = exact.filter(|exact| exact.membership.epoch == epoch);
        let commit = self.commit;
        let Role::Leader(leader) = &mut self.role else { return };
        let sequence = leader.reads.sequence();
        let Some(progress) = leader.peers.get_mut(&peer) else { return };
        let State::Snapshot(transfer) = &mut progress.state else { return };
        if transfer.phase != Phase::Reading {
            return;
        }
        match transfer.resume.take() {
            // The very stream that the peer holds the beginning of.
            Some(Staged { end, digest, .. }) if offset == end => {
                transfer.offset = end;
                transfer.digest = digest;
                transfer.meta.take_if(|begun| begun.last != read_at);
            }
            // A fresh one instead.
            Some(_) if offset == 0 => transfer.meta = None,
            None if offset == transfer.offset => {}
            resume @ (Some(_) | None) => {
                transfer.resume = resume;
                return;
            }
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
        let before = transfer.digest;
        self.send(peer, Message::InstallSnapshot { meta, offset, data, before, last, sequence });
    }

    /// A follower has put a snapshot in place.
    pub(super) fn count_installed(&mut self, from: NodeId, id: EntryId) {
        let now = self.now;
        let agrees = id.index < self.log.base().index || self.log.contains(id);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        if !agrees {
            return self.ignore(Ignored::Nonsense);
        }
        let pinned = peer.pins_snapshot();
        peer.staged = None;
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
        self.advance_commit();
    }

    /// A follower's answer to a chunk.
    pub(super) fn count_chunk(&mut self, from: NodeId, held: Staged) {
        let (now, max_bytes) = (self.now, self.config.snapshot_chunk_bytes);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        let State::Snapshot(transfer) = &mut peer.state else {
            return self.ignore(Ignored::Duplicate);
        };
        let Phase::Sent { data, last } = &transfer.phase else {
            return self.ignore(Ignored::Duplicate);
        };
        if transfer.meta.as_ref().is_none_or(|meta| meta.last != held.last) {
            return self.ignore(Ignored::Duplicate);
        }
        let sent_end = transfer.offset + data.len() as u64;
        let digest = transfer.digest.then(transfer.offset, data);
        if held.end == sent_end && held.digest != digest {
            // It holds another stream.
            self.snapshots.push(SnapshotRequest::Close { peer: from });
            peer.staged = None;
            peer.snapshot(Phase::Idle, now);
        } else if held.end == sent_end && *last {
            // Being installed; the answer comes.
            transfer.since = now;
        } else if held.end == sent_end {
            transfer.offset = sent_end;
            transfer.digest = digest;
            transfer.phase = Phase::Reading;
            transfer.since = now;
            let read =
                SnapshotRequest::Read { peer: from, offset: sent_end, max_bytes, resume: None };
            self.snapshots.push(read);
        } else if held.end == 0 && transfer.offset > 0 {
            // It holds nothing, or another stream: from the beginning, with a fresh snapshot.
            self.snapshots.push(SnapshotRequest::Close { peer: from });
            peer.staged = None;
            peer.snapshot(Phase::Idle, now);
        } else if held.end != transfer.offset && transfer.resent {
            // It has lost some of what it held (it restarted, or a late duplicate of the first
            // chunk made it start over), or holds more than this leader knows: from there.
            peer.staged = Some(held);
            self.snapshots.push(peer.read_from(from, max_bytes, now));
        } else {
            self.ignore(Ignored::Duplicate);
        }
    }
}
