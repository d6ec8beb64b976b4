//! What nodes say to each other: one struct or variant per kind, the term on the envelope.
//!
//! Rule: the term is common to all messages and is judged once, before dispatch (§5.1). Must never:
//! carry a size that a receiver allocates by.

use super::chain::Chain;
use super::stream_digest::StreamDigest;
use super::types::{Entry, EntryId, Index, NodeId, ReadId, SnapshotMeta, Term};
use alloc::vec::Vec;
use bytes::Bytes;

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// Sender.
    pub from: NodeId,
    /// Addressee: an incarnation, so that nothing reaches a successor by mistake.
    pub to: NodeId,
    /// The epoch the sender belongs to; 0 when it is blank.
    pub epoch: u64,
    /// The sender's term (of a pre-vote: the term it would campaign in).
    pub term: Term,
    /// What is said.
    pub message: Message,
}

/// The kinds of messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Message {
    /// Would you vote for me in `term`? Changes nothing at the receiver (§9.6).
    PreVote {
        /// The last entry of the sender's log.
        last: EntryId,
    },
    /// Answer to `PreVote`; the envelope's term echoes the question's, or is the refuser's own.
    PreVoteReply {
        /// Whether it would.
        granted: bool,
    },
    /// Vote for me in this term (§5.2).
    RequestVote {
        /// The last entry of the sender's log.
        last: EntryId,
        /// Sent on a leader's `TimeoutNow`: a live leader is no reason to refuse (§3.10).
        transfer: bool,
    },
    /// Answer to `RequestVote`. Gated: the vote is durable.
    VoteReply {
        /// Whether the vote was given.
        granted: bool,
    },
    /// Append these entries after `prev` (§5.3).
    Append {
        /// What must precede them.
        prev: EntryId,
        /// The chain of `prev`: the first entry follows from it.
        prev_chain: Chain,
        /// The entries; may be empty (a probe).
        entries: Vec<Entry>,
        /// The leader's commit index at the moment of sending.
        commit: Index,
        /// The leader's read sequence number (§6.4); echoed in the reply.
        sequence: u64,
    },
    /// Answer to `Append`. A `Matched` is gated: the entries are durable.
    AppendReply {
        /// What the follower found.
        outcome: AppendOutcome,
        /// The highest read sequence number seen in this term.
        sequence: u64,
    },
    /// I still lead. Never touches the log.
    Heartbeat {
        /// Commit index, capped at what the follower is known to hold.
        commit: Index,
        /// The leader's read sequence number.
        sequence: u64,
        /// Report the digest of the state after this entry.
        compare: Option<Index>,
        /// What a majority of the voters' states is; whoever differs halts.
        proven: Option<StateDigest>,
    },
    /// Answer to `Heartbeat`.
    HeartbeatReply {
        /// The highest read sequence number seen in this term.
        sequence: u64,
        /// The digest that was asked for, once the state has come so far.
        state: Option<StateReport>,
        /// What is held of a snapshot that waits for more.
        staged: Option<Staged>,
    },
    /// One chunk of a snapshot's byte stream (§7).
    InstallSnapshot {
        /// What the snapshot stands for.
        meta: SnapshotMeta,
        /// Where the chunk starts.
        offset: u64,
        /// The chunk.
        data: Bytes,
        /// Digest of the stream before the chunk.
        before: StreamDigest,
        /// Whether the stream ends with it.
        last: bool,
        /// The leader's read sequence number.
        sequence: u64,
    },
    /// Answer to `InstallSnapshot`.
    SnapshotReply {
        /// Which snapshot.
        last: EntryId,
        /// Bytes of the stream held; the next chunk starts here (0: start again).
        end: u64,
        /// Digest of those bytes.
        digest: StreamDigest,
        /// Installed, and the log's new base is durable. Gated when true.
        installed: bool,
        /// The highest read sequence number seen in this term.
        sequence: u64,
    },
    /// Campaign now: the leader hands over (§3.10).
    TimeoutNow,
    /// A follower asks for a confirmed read index (§6.4).
    ReadIndex {
        /// The follower's name for it.
        id: ReadId,
    },
    /// Answer to `ReadIndex`.
    ReadIndexReply {
        /// The follower's name for it.
        id: ReadId,
        /// The confirmed index; `None` when this node cannot confirm one.
        index: Option<Index>,
    },
}

/// The beginning of a snapshot's byte stream, as far as a node holds it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Staged {
    /// The last entry the snapshot contains.
    pub last: EntryId,
    /// Bytes held.
    pub end: u64,
    /// Digest of those bytes: another stream of the same state is told from it.
    pub digest: StreamDigest,
}

/// The state of a majority after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateDigest {
    /// The entry.
    pub index: Index,
    /// Digest of the whole state right after it.
    pub digest: u64,
}

/// One node's state after an entry that it has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateReport {
    /// The entry.
    pub index: Index,
    /// Digest of the whole state right after it; `None` when that is no longer (or was never)
    /// known here: after a restart, an installed snapshot, or too many entries since.
    pub digest: Option<u64>,
}

/// What a follower answers to an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AppendOutcome {
    /// The log agrees with the leader's, durably, up to here.
    Matched {
        /// The last entry of the append that was validated.
        last: Index,
    },
    /// `prev` was not found.
    Rejected {
        /// Echo of the append's `prev`.
        prev: EntryId,
        /// The latest entry of the follower at or before `prev` that could agree: the last entry
        /// of its term run there. One probe per term at most.
        hint: EntryId,
        /// What it holds of a snapshot that it lacks the rest of.
        staged: Option<Staged>,
    },
}
