//! Everything that must now be done, in one value; and the types that make "persist before send"
//! impossible to get wrong.
//!
//! Rule: a message that follows from something not yet durable is inside the `Write` and comes out
//! only of `Write::durable`, which takes the write; so a write is neither cloned nor made by hand
//! (`tests/gate` shows that none of it compiles). Must never: offer another way to a gated message.

use super::{
    chain::Chain,
    message::{Envelope, Staged},
    refused::{Evidence, ReadFailure},
    types::{Entry, EntryId, Index, NodeId, ReadId, SnapshotMeta, Term, Vote, WriteId},
};
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::Range;

/// What one `Raft::poll` asks for. Empty when there is nothing to do.
#[derive(Debug, Default)]
#[must_use]
pub struct Output {
    /// At most one per poll; several may be under way, and complete in order of `WriteId`.
    pub write: Option<Write>,
    /// May leave at once.
    pub messages: Vec<Envelope>,
    /// The next entries to apply, in order, each exactly once per life of the node, bounded by
    /// `Config::max_apply_bytes` until `Event::Applied` makes room.
    pub committed: Vec<Entry>,
    /// Reads whose index is confirmed (serve when applied ≥ index), or that failed.
    pub reads: Vec<ReadReady>,
    /// Cold entries wanted from the disk.
    pub log_reads: Vec<LogRead>,
    /// What the state machine is asked to do about snapshots, in order.
    pub snapshots: Vec<SnapshotRequest>,
    /// Present when role, leader, term or membership changed since the last poll.
    pub changed: Option<Changed>,
    /// Proof of divergence: stop this node and keep the evidence.
    pub fatal: Option<Evidence>,
}

/// Must reach the disk as a whole and in order before what waits for it may leave.
///
/// Recovery reads writes in order and applies, within one, `vote`, `truncate_from`, `append`,
/// `base`, `commit`. A write without any of them carries messages that wait for the writes before
/// it: there is nothing to put on the disk, but it completes in order like any other.
///
/// Not `Clone`: of one write there is one completion. Checkers that copy whole worlds copy a node
/// together with its writes (`Raft::fork`).
#[derive(Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Write {
    /// New term and vote.
    pub vote: Option<Vote>,
    /// Entries from this index on are void.
    pub truncate_from: Option<Index>,
    /// Entries to append, without a gap.
    pub append: Vec<Entry>,
    /// The log now begins after `base.last`: entries up to it may go. When the log ends before it
    /// (a snapshot was installed), the log is empty and continues at `base.last.index + 1`.
    pub base: Option<SnapshotMeta>,
    /// What is committed, so that a restart may apply it at once. Rides along: it is no reason to
    /// sync, and may be lost.
    pub commit: Option<Index>,
    pub(super) id: WriteId,
    /// The life of the node that it belongs to.
    pub(super) life: u64,
    pub(super) gated: Vec<Envelope>,
}

impl Write {
    /// Call after fsync has returned `Ok` for all of this write and all before it.
    pub fn durable(self) -> Durable {
        Durable { messages: self.gated, written: Written { id: self.id, life: self.life } }
    }

    /// Its place in the order of writes.
    #[must_use]
    pub fn id(&self) -> WriteId {
        self.id
    }
}

/// What a durable write sets free.
#[derive(Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Durable {
    /// May leave now.
    pub messages: Vec<Envelope>,
    /// Hand back as `Event::Written`.
    pub written: Written,
}

/// Receipt for a durable write. Made by `Write::durable` alone.
///
/// `Clone`, as every event, so that what happened to a node can be recorded and replayed: a copy
/// sets no message free, and one that is handed in twice breaks the order of writes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[must_use]
pub struct Written {
    pub(super) id: WriteId,
    pub(super) life: u64,
}

/// The fate of one `Raft::read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReadReady {
    /// The caller's name for it.
    pub id: ReadId,
    /// Serve once the state machine has applied this index; or why not.
    pub result: Result<Index, ReadFailure>,
}

/// A wish for entries that are no longer cached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogRead {
    /// Who wants them.
    pub reader: LogReader,
    /// Indexes wanted, end exclusive; never empty.
    pub range: Range<Index>,
    /// Stop once this many bytes are read, but return at least one entry.
    pub max_bytes: u64,
    /// The entry the core expects right before the range: a truncation in between is seen.
    pub after: EntryId,
    /// The chain of `after`, where the core knows it: what is read is checked from there on.
    pub chain: Option<Chain>,
}

/// Who wants cold entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogReader {
    /// Replication to a peer that lags.
    Peer(NodeId),
    /// The own state machine after a restart.
    Apply,
}

/// Something the state machine must do about snapshots. Each is answered by one `SnapshotEvent`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SnapshotRequest {
    /// Read up to `max_bytes` at `offset` of a point-in-time snapshot for `peer`. Offset 0 takes a
    /// fresh snapshot; later offsets continue it. Answer: `ChunkRead` or `Failed`.
    Read {
        /// Who it is for; one snapshot is open per peer.
        peer: NodeId,
        /// Where to read.
        offset: u64,
        /// Upper bound of the chunk.
        max_bytes: u64,
        /// The peer holds this much of a stream (`offset` is its end): go on with the one open for
        /// the peer, or with a new one, if its beginning has that digest; else answer with a fresh
        /// snapshot at offset 0.
        resume: Option<Staged>,
    },
    /// The transfer to `peer` is over; release what it pinned. No answer.
    Close {
        /// Whose transfer.
        peer: NodeId,
    },
    /// Stage a chunk received from `from`. Offset 0 discards what was staged before; any other one
    /// continues it. Durable, if a restart is to resume (`Restored::staged`). Answer:
    /// `ChunkStored` or `Failed`.
    Store {
        /// The leader that sent it.
        from: NodeId,
        /// The snapshot it belongs to.
        meta: SnapshotMeta,
        /// Where its bytes go.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// The staged stream is complete: verify it and replace the whole state by it. Answer:
    /// `Installed` or `Failed`.
    Install {
        /// The leader that sent it.
        from: NodeId,
        /// What it must be.
        meta: SnapshotMeta,
    },
}

/// An edge of role, leader, term or membership, for the runtime's waiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Changed {
    /// The role now.
    pub role: RoleName,
    /// The leader now, if known.
    pub leader: Option<NodeId>,
    /// The term now.
    pub term: Term,
    /// Index of the entry that set the configuration in force.
    pub membership_index: Index,
}

/// A role without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleName {
    /// Follows a leader or waits for one.
    Follower,
    /// Asks whether an election could succeed (§9.6).
    PreCandidate,
    /// Asks for votes (§5.2).
    Candidate,
    /// Leads.
    Leader,
}

impl Output {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.write.is_none()
            && self.messages.is_empty()
            && self.committed.is_empty()
            && self.reads.is_empty()
            && self.log_reads.is_empty()
            && self.snapshots.is_empty()
            && self.changed.is_none()
            && self.fatal.is_none()
    }
}
