//! What a disk holds, as the runtime hands it over at start.
//!
//! Rule: `Raft` is a function of this, a seed and the events. Must never: hold more of the log than
//! the cache may.

use super::chain::Chain;
use super::stream_digest::StreamDigest;
use super::types::{Entry, EntryId, Index, Membership, SnapshotMeta, Vote};
use alloc::vec::Vec;

/// A node as its disk remembers it. `Restored::default()` is a node that has never been a member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Restored {
    /// Term and vote.
    pub vote: Vote,
    /// The log begins after this.
    pub base: SnapshotMeta,
    /// `(index, term)` of the first entry of each run of one term, in order, after `base`.
    pub runs: Vec<EntryId>,
    /// The last entry, or `base.last` when the log is empty.
    pub last: EntryId,
    /// The chain of `last`.
    pub chain: Chain,
    /// The entries cached at first: a suffix of the log (possibly all of it, possibly nothing).
    pub tail: Vec<Entry>,
    /// Every membership entry after `base`, in order.
    pub memberships: Vec<(Index, Membership)>,
    /// The state machine's durable state already contains everything up to here.
    pub applied: Index,
    /// The last `Write::commit`. Believed as far as the log goes; 0 is as good as any.
    pub commit_hint: Index,
    /// What was received of a snapshot before the restart.
    pub staged: Option<StagedSnapshot>,
}

/// The beginning of a snapshot, as a disk remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StagedSnapshot {
    /// What the whole snapshot stands for.
    pub meta: SnapshotMeta,
    /// Bytes held; the next chunk continues there.
    pub end: u64,
    /// Digest of those bytes, computed from what the disk holds now.
    pub digest: StreamDigest,
}

/// What `Raft::restore` refuses, naming what does not fit together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Corrupt(pub alloc::string::String);
