//! Raft as a pure state machine: events and requests in, one `Output` out.
//!
//! See `raft.rs` for the surface and the loop a runtime runs.

mod agreement;
mod append;
mod apply;
mod canonical;
pub mod chain;
mod check_quorum;
mod commit;
mod compaction;
pub mod config;
mod disk;
mod dispatch;
mod election;
mod encoding;
mod epoch;
pub mod event;
mod fork;
mod heartbeat;
mod inflight;
mod invariants;
mod log;
pub mod membership;
pub mod message;
mod notation;
mod outgoing;
pub mod output;
mod progress;
mod promotion;
mod propose;
mod quorum;
#[allow(clippy::module_inception)] // the type that gives the module its name
mod raft;
mod read;
pub mod recovery;
pub mod refused;
mod replicate;
mod restore;
pub mod restored;
mod rng;
mod role;
mod sending;
mod share;
mod snapshot;
pub mod status;
mod stream_digest;
mod term;
mod timer;
mod transfer;
pub mod types;
pub mod wire;

pub use self::{
    chain::Chain,
    config::Config,
    event::{Event, SnapshotEvent},
    membership::Change,
    message::{AppendOutcome, Envelope, Message, Staged, StateDigest, StateReport},
    output::{
        Changed, Durable, LogRead, LogReader, Output, ReadReady, RoleName, SnapshotRequest, Write,
        Written,
    },
    raft::Raft,
    refused::{Evidence, Full, Ignored, ReadFailure, Refusal, Refused},
    restored::{Corrupt, Restored, StagedSnapshot},
    status::{PeerStatus, Status},
    stream_digest::StreamDigest,
    types::{
        Entry, EntryId, Index, Instant, Membership, NodeId, Payload, ReadId, SnapshotMeta, Term,
        Vote, WriteId,
    },
};
