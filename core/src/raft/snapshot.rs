//! Snapshots on their way: the follower's side (§7).
//!
//! Rule: one chunk at a time; the follower says how many bytes it holds, and their digest, and the
//! leader goes on from there if that is its own stream, or starts again. What is staged outlives
//! terms, leaders and restarts: a chunk continues it if it starts at its end and names its digest.
//! Chunk 0 replaces it. What is committed here already is never replaced; a snapshot that ends
//! in an entry this log holds merely tells that the entry is committed. Installed is said once the
//! log's new base is durable. Must never: mix two transfers, install what is older than the commit
//! index, keep entries that the snapshot contradicts, or touch term and vote.

use super::{
    chain::Chain,
    event::SnapshotEvent,
    message::{Message, Staged},
    output::SnapshotRequest,
    progress::Phase,
    raft::{NUMBER_LIMIT, Raft},
    refused::{Evidence, Ignored},
    restored::StagedSnapshot,
    role::Role,
    stream_digest::StreamDigest,
    types::{EntryId, Index, NodeId, SnapshotMeta, Term},
};
use bytes::Bytes;

/// A snapshot being received. At most one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Incoming {
    /// Who sends it; after a restart nobody yet.
    from: Option<NodeId>,
    /// The term of its last chunk.
    term: Term,
    meta: SnapshotMeta,
    /// Bytes staged.
    end: u64,
    /// Digest of the bytes staged.
    digest: StreamDigest,
    stage: Stage,
}

/// What a chunk is, beside whose.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Where it starts.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
    /// Digest of the stream before it.
    pub before: StreamDigest,
    /// Whether the stream ends with it.
    pub last: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    /// The next chunk.
    Waiting,
    /// The state machine, to stage a chunk that ends at `end`.
    Storing { end: u64, digest: StreamDigest, last: bool },
    /// The own disk, until it holds the term and the log as they are.
    Staged,
    /// The state machine, to replace its state.
    Installing,
}

impl Incoming {
    /// What a disk remembers of one.
    pub fn restored(staged: StagedSnapshot) -> Incoming {
        let StagedSnapshot { meta, end, digest } = staged;
        Incoming { from: None, term: Term(0), meta, end, digest, stage: Stage::Waiting }
    }

    fn staged(&self) -> Staged {
        Staged { last: self.meta.last, end: self.end, digest: self.digest }
    }
}

impl Raft {
    /// Whether the state machine's state is being replaced right now.
    pub(super) fn is_installing(&self) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| incoming.stage == Stage::Installing)
    }

    /// What is held of a snapshot that waits for more, from whichever leader it came.
    pub(super) fn staged(&self) -> Option<Staged> {
        let waiting = |incoming: &&Incoming| {
            incoming.stage == Stage::Waiting
                && incoming.end > 0
                && incoming.meta.last.index > self.commit
        };
        self.incoming.as_ref().filter(waiting).map(Incoming::staged)
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
    pub(super) fn accept_chunk(&mut self, from: NodeId, meta: SnapshotMeta, chunk: Chunk) {
        let id = meta.last;
        let end = chunk.offset.saturating_add(chunk.data.len() as u64);
        let impossible = id.index == Index::ZERO
            || id.index.0 >= NUMBER_LIMIT
            || id.term > self.vote.term
            || meta.membership_index > id.index
            || meta.membership.voters.is_empty()
            || !meta.membership.is_consistent()
            || end >= NUMBER_LIMIT
            || (chunk.data.is_empty() && !chunk.last);
        if impossible {
            return self.ignore(Ignored::Nonsense);
        }
        if self.is_installing() {
            return self.answer_while_installing(from, id);
        }
        if self.has_already(from, id, meta.chain) {
            return;
        }
        match &self.incoming {
            Some(held) if held.stage != Stage::Waiting => self.ignore(Ignored::Busy),
            // A late one: what came since is not thrown away for it.
            Some(held) if held.term == self.vote.term && held.meta.last.index > id.index => {
                self.answer_chunk(from, Staged { last: id, ..Staged::default() });
            }
            Some(_) if chunk.offset != 0 => self.go_on(from, meta, chunk),
            // A new stream, or the same from its beginning: the leader started over.
            Some(_) | None if chunk.offset == 0 => {
                let (begun, digest) = (meta.clone(), StreamDigest::default());
                let begun = StagedSnapshot { meta: begun, end: 0, digest };
                self.incoming = Some(Incoming::restored(begun));
                self.go_on(from, meta, chunk);
            }
            Some(_) | None => self.answer_chunk(from, Staged { last: id, ..Staged::default() }),
        }
    }

    /// Stages a chunk if it continues the very bytes that are staged, whoever sends it. A state
    /// that has gone on without changing (a new leader's first entry) has the same stream.
    fn go_on(&mut self, from: NodeId, meta: SnapshotMeta, chunk: Chunk) {
        let Chunk { offset, data, before, last } = chunk;
        let incoming = self.incoming.as_mut().expect("the caller found or made it");
        let mut held = Staged { last: meta.last, ..incoming.staged() };
        let end = offset + data.len() as u64;
        if last && end == held.end && before.then(offset, &data) == held.digest {
            // All of it is here, but this node campaigned when it was to be put in place.
            (incoming.from, incoming.term, incoming.meta) = (Some(from), self.vote.term, meta);
            incoming.stage = Stage::Staged;
            return;
        }
        if offset != held.end {
            return self.answer_chunk(from, held);
        }
        if before != held.digest {
            held.end = 0;
            self.ignore(Ignored::OtherStream);
            return self.answer_chunk(from, held);
        }
        let digest = before.then(offset, &data);
        (incoming.from, incoming.term) = (Some(from), self.vote.term);
        incoming.meta = meta.clone();
        incoming.stage = Stage::Storing { end, digest, last };
        self.snapshots.push(SnapshotRequest::Store { from, meta, offset, data });
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
        let commit = self.commit;
        self.incoming.take_if(|held| held.meta.last.index <= commit);
        self.send_installed(from, id);
        true
    }

    fn answer_while_installing(&mut self, from: NodeId, id: EntryId) {
        match &self.incoming {
            Some(held) if held.from == Some(from) && held.meta.last == id => {
                let held = held.staged();
                self.answer_chunk(from, held);
            }
            Some(_) | None => self.ignore(Ignored::Busy),
        }
    }

    fn answer_chunk(&mut self, to: NodeId, held: Staged) {
        let Staged { last, end, digest } = held;
        let sequence = self.sequence_seen;
        self.send(to, Message::SnapshotReply { last, end, digest, installed: false, sequence });
    }

    fn send_installed(&mut self, to: NodeId, last: EntryId) {
        let (sequence, digest) = (self.sequence_seen, StreamDigest::default());
        let reply = Message::SnapshotReply { last, end: 0, digest, installed: true, sequence };
        self.send_gated(to, reply, last.index);
    }

    fn chunk_stored(&mut self, id: EntryId, end: u64) {
        let Some(incoming) = &mut self.incoming else { return };
        let Stage::Storing { end: expected, digest, last } = incoming.stage else { return };
        if incoming.meta.last != id || end != expected {
            return;
        }
        incoming.end = end;
        incoming.digest = digest;
        incoming.stage = if last { Stage::Staged } else { Stage::Waiting };
        let (from, held) = (incoming.from, incoming.staged());
        if let Some(from) = from.filter(|&from| self.leader() == Some(from)) {
            self.answer_chunk(from, held);
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
        if self.log.contains(id) || id.index <= self.commit {
            // Appends of a new leader were faster.
            self.incoming = None;
            return;
        }
        // Whoever campaigns keeps its log until then: it may lead with it. A leader will ask for
        // the rest of the stream, which is nothing.
        let sender = incoming.from.filter(|_| matches!(self.role, Role::Follower(_)));
        let Some(from) = sender else {
            incoming.stage = Stage::Waiting;
            return;
        };
        incoming.stage = Stage::Installing;
        let meta = incoming.meta.clone();
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
        if let Some(from) = from.filter(|&from| self.leader() == Some(from)) {
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
                progress.staged = None;
                progress.snapshot(Phase::Idle, now);
            }
            return;
        }
        if let Some(incoming) = self.incoming.take_if(|incoming| incoming.from == Some(peer))
            && self.leader() == Some(peer)
        {
            self.answer_chunk(peer, Staged { last: incoming.meta.last, ..Staged::default() });
        }
    }
}
