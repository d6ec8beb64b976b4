//! Everything that can happen to a node, as data.
//!
//! Rule: an event is a fact and is never refused; what cannot be used is ignored and counted. Must
//! never: carry an error of the disk. After a failed fsync the page cache lies, so the runtime
//! stops the node; the only way on is `Write::durable`.

use super::{
    message::Envelope,
    output::{LogRead, Written},
    types::{Entry, EntryId, Index, NodeId, SnapshotMeta},
};
use alloc::vec::Vec;
use bytes::Bytes;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A peer's message arrived. The transport has verified `envelope.from`.
    Received(Envelope),
    /// `Raft::deadline` has passed. Early ones are no-ops.
    Deadline,
    /// A write is on the disk. Unforgeable: only `Write::durable` makes one.
    Written(Written),
    /// The state machine has applied everything up to `index`.
    Applied {
        /// The last entry applied.
        index: Index,
        /// Digest of the whole state after each of the latest entries, the last one's last: one
        /// per newly applied entry. None at all if the state machine has no digest.
        digests: Vec<u64>,
    },
    /// The answer to one `Output::log_reads`.
    LogRead {
        /// The request, given back.
        request: LogRead,
        /// What the disk holds: entries from the first of the range, without a gap, at least one
        /// unless the range is gone (compacted or truncated meanwhile).
        entries: Vec<Entry>,
    },
    /// The state machine's side of snapshots.
    Snapshot(SnapshotEvent),
    /// The transport lost its connection to this node, or cannot make one. A hint, never a proof:
    /// if it was the leader, this node stops protecting it and soon asks around (pre-vote).
    Unreachable(NodeId),
}

/// What the state machine tells about snapshots. Answers to `SnapshotRequest`, and `Durable`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotEvent {
    /// The state machine can restart from `meta.last` without the log up to it (its own store is
    /// durable there; in memory mode: it has applied that far). The log may be compacted up to it.
    Durable {
        /// Where the durable state stands.
        meta: SnapshotMeta,
    },
    /// The answer to `SnapshotRequest::Read`.
    ChunkRead {
        /// Who the chunk is for.
        peer: NodeId,
        /// The snapshot it was read from.
        meta: SnapshotMeta,
        /// Where in the snapshot's byte stream it starts.
        offset: u64,
        /// The bytes.
        data: Bytes,
        /// Whether the stream ends with them.
        last: bool,
    },
    /// The answer to `SnapshotRequest::Store`: the chunk is staged.
    ChunkStored {
        /// The snapshot it belongs to.
        last: EntryId,
        /// Bytes of the stream held now.
        end: u64,
    },
    /// The answer to `SnapshotRequest::Install`: the state machine now *is* this snapshot, durably
    /// (in memory mode: it is in place).
    Installed {
        /// What was installed.
        meta: SnapshotMeta,
    },
    /// A staged snapshot did not verify or could not be read; the transfer starts again.
    Failed {
        /// The peer being sent to, or the leader being received from.
        peer: NodeId,
    },
}
