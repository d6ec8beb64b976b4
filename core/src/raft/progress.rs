//! What a leader knows of one peer.
//!
//! Rule: a peer is probed until it acknowledges, then streamed to, and sent a snapshot when what it
//! needs is gone from the log. Each state carries its own data, so nothing of one survives into
//! another. Must never: lower `matched` within a term, or stay paused without something that ends
//! the pause (an answer, or the next heartbeat's).
//!
//! | event | Probe | Replicate | Snapshot |
//! |---|---|---|---|
//! | `Matched` | → Replicate | window slides | → Replicate once the log suffices |
//! | `Rejected` | next probe, a term earlier | → Probe at the hint | – |
//! | connection lost | probe again | → Probe | starts again |
//! | next entry compacted | → Snapshot | → Snapshot | – |
//! | installed | – | – | → Replicate |

use super::{
    chain::Chain,
    inflight::Inflight,
    message::{Staged, StateReport},
    output::SnapshotRequest,
    stream_digest::StreamDigest,
    types::{Entry, Index, Instant, NodeId, SnapshotMeta},
};
use alloc::{boxed::Box, collections::VecDeque};
use bytes::Bytes;

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The last entry known to be durable there. Only grows.
    pub matched: Index,
    /// How it is being replicated to.
    pub state: State,
    /// When it last answered anything.
    pub heard: Instant,
    /// The highest read sequence number it has echoed.
    pub sequence: u64,
    /// The highest commit index it can have learnt from what was sent.
    pub commit_sent: Index,
    /// Cold entries read for it. At most `Config::max_append_bytes` plus one entry.
    pub fetched: VecDeque<Entry>,
    /// A log read for it is under way.
    pub fetching: bool,
    /// The last entry that came and went through `fetched`, with its chain.
    pub passed: Option<(Index, Chain)>,
    /// How a learner catches up.
    pub catch_up: CatchUp,
    /// What it last said it holds of a snapshot.
    pub staged: Option<Staged>,
    /// What it last said about its state.
    pub report: Option<StateReport>,
}

/// How a peer is being replicated to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum State {
    /// Where the logs agree is not known; one append at a time.
    Probe {
        /// The next entry to send.
        next: Index,
        /// When the probe under way left, if one is.
        sent: Option<Instant>,
    },
    /// The logs agree; appends are streamed.
    Replicate {
        /// The next entry to send.
        next: Index,
        /// What is under way.
        inflight: Inflight,
        /// When the window last slid, or last became busy, or was last nudged.
        progressed: Instant,
    },
    /// What it needs is gone from the log.
    Snapshot(Box<Transfer>),
}

/// A snapshot on its way to a peer, one chunk at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transfer {
    /// What it stands for; known with the first chunk.
    pub meta: Option<SnapshotMeta>,
    /// Bytes that the peer holds.
    pub offset: u64,
    /// Digest of those bytes.
    pub digest: StreamDigest,
    /// While reading: what the peer holds of a stream that is to go on.
    pub resume: Option<Staged>,
    /// What is being waited for.
    pub phase: Phase,
    /// When the phase began, or the chunk was last sent.
    pub since: Instant,
    /// The chunk under way was sent more than once: what the peer says it holds is news.
    pub resent: bool,
}

/// What a transfer waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The next poll, to start (where the peer says it holds something, else from the beginning).
    Due,
    /// The next answered heartbeat: then it starts.
    Idle,
    /// The state machine, for the chunk at `offset`.
    Reading,
    /// The peer, for its answer to this chunk. The one chunk held in memory per peer.
    Sent {
        /// The chunk at `offset`.
        data: Bytes,
        /// Whether it is the last.
        last: bool,
    },
}

/// A learner's rounds (§4.2.1): each round replicates what the log held when the round began.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CatchUp {
    /// The end of the log when the round began.
    pub target: Index,
    /// When the round began.
    pub since: Instant,
    /// The last round took less than an election time-out.
    pub done: bool,
    /// Rounds that took longer, one after another.
    pub rounds: u32,
}

impl Peer {
    /// A peer of which nothing is known; `next` is the first guess.
    pub fn new(next: Index, now: Instant) -> Peer {
        Peer {
            matched: Index::ZERO,
            state: State::Probe { next, sent: None },
            heard: now,
            sequence: 0,
            commit_sent: Index::ZERO,
            fetched: VecDeque::new(),
            fetching: false,
            passed: None,
            catch_up: CatchUp {
                target: next.prev().unwrap_or(Index::ZERO),
                since: now,
                done: false,
                rounds: 0,
            },
            staged: None,
            report: None,
        }
    }

    /// The chain of an entry, if it is the last one that was read for it.
    pub fn passed_chain(&self, index: Index) -> Option<Chain> {
        self.passed.filter(|passed| passed.0 == index).map(|passed| passed.1)
    }

    /// Starts or resumes streaming after `matched`.
    pub fn replicate(&mut self, now: Instant) {
        self.state = State::Replicate {
            next: self.matched.next(),
            inflight: Inflight::default(),
            progressed: now,
        };
    }

    /// What was under way may be lost, and what is sent now would be: an answered heartbeat comes
    /// first.
    pub fn wait(&mut self, next: Index, now: Instant) {
        self.state = State::Probe { next: next.max(self.matched.next()), sent: Some(now) };
    }

    /// Goes back to probing, never below what is known to match.
    pub fn probe(&mut self, next: Index) {
        self.state = State::Probe { next: next.max(self.matched.next()), sent: None };
    }

    /// A snapshot is what it needs. It starts with the next poll, or, when the peer is silent or a
    /// transfer has just failed, with the next answered heartbeat.
    pub fn snapshot(&mut self, phase: Phase, now: Instant) {
        self.fetched.clear();
        self.state = State::Snapshot(Box::new(Transfer {
            meta: None,
            offset: 0,
            digest: StreamDigest::default(),
            resume: None,
            phase,
            since: now,
            resent: false,
        }));
    }

    /// The transfer's first read, or the one that goes on where the peer says.
    pub fn read_from(&mut self, peer: NodeId, max_bytes: u64, now: Instant) -> SnapshotRequest {
        let resume = self.staged;
        if let State::Snapshot(transfer) = &mut self.state {
            transfer.phase = Phase::Reading;
            transfer.since = now;
            transfer.resume = resume;
            transfer.offset = 0;
            transfer.digest = StreamDigest::default();
        }
        let offset = resume.map_or(0, |staged| staged.end);
        SnapshotRequest::Read { peer, offset, max_bytes, resume }
    }

    /// Whether the state machine holds a snapshot open for it.
    pub fn pins_snapshot(&self) -> bool {
        match &self.state {
            State::Snapshot(transfer) => match transfer.phase {
                Phase::Due | Phase::Idle => false,
                Phase::Reading | Phase::Sent { .. } => true,
            },
            State::Probe { .. } | State::Replicate { .. } => false,
        }
    }

    /// Appends under way, and bytes of entries in them.
    pub fn held(&self) -> (usize, u64) {
        match &self.state {
            State::Replicate { inflight, .. } => inflight.held(),
            State::Probe { .. } | State::Snapshot(_) => (0, 0),
        }
    }

    /// Bytes that the peer holds of the snapshot under way to it.
    pub fn snapshot_bytes(&self) -> u64 {
        match &self.state {
            State::Snapshot(transfer) => transfer.offset,
            State::Probe { .. } | State::Replicate { .. } => 0,
        }
    }

    /// The name of the state.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Probe { .. } => "probe",
            State::Replicate { .. } => "replicate",
            State::Snapshot(_) => "snapshot",
        }
    }

    /// The first entry it still needs from the log, as far as can be told: compaction minds it.
    pub fn needs_after(&self) -> Option<Index> {
        match &self.state {
            State::Probe { .. } => (self.matched > Index::ZERO).then_some(self.matched),
            State::Replicate { .. } => Some(self.matched),
            State::Snapshot(transfer) => transfer.meta.as_ref().map(|meta| meta.last.index),
        }
    }
}
