//! Raft as a pure state machine: events and requests in, one `Output` out.
//!
//! See `raft.rs` for the surface and the loop a runtime runs.

pub mod config;
pub mod event;
pub mod membership;
pub mod message;
pub mod output;
#[allow(clippy::module_inception)]
mod raft;
pub mod refused;
pub mod restored;
pub mod status;
pub mod types;
pub mod wire;

pub use self::{
    config::Config,
    event::{Event, SnapshotEvent},
    membership::Change,
    message::{AppendOutcome, Envelope, Message},
    output::{
        Changed, Durable, LogRead, LogReader, Output, ReadReady, RoleName, SnapshotRequest, Write,
        Written,
    },
    raft::Raft,
    refused::{Evidence, Ignored, ReadFailure, Refused},
    restored::{Corrupt, Restored},
    status::{PeerStatus, Status},
    types::{
        Entry, EntryId, Index, Instant, Membership, NodeId, Payload, ReadId, SnapshotMeta, Term,
        Vote, WriteId,
    },
};
