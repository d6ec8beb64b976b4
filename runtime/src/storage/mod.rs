//! Where a node keeps itself: the log with term and vote, and the state machine's tables.
//!
//! Rule: one seam, two implementations: a write-ahead log of our own plus fjall when there is a
//! directory, plain memory otherwise. Must never: return `Ok` from `LogStore::write` before fsync
//! has; go on after a failed fsync; or pass over damage in silence.

use bytes::Bytes;
use kvorum_core::{
    kv::Tables,
    raft::{Entry, Index, LogRead, NodeId, Restored, SnapshotMeta, Staged, Vote, Write},
};
use std::fmt;

pub mod disk;
pub mod memory;
mod stream;
mod view;

/// The log, the term and the vote.
pub trait LogStore: Send {
    /// Makes all of `writes`, in order, durable with one sync.
    ///
    /// # Errors
    /// Fatal: the caller stops the node.
    fn write(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        let changes: Vec<LogChange<'_>> = writes.iter().map(LogChange::from).collect();
        self.store(&changes)
    }

    /// `write` by what the writes say.
    ///
    /// # Errors
    /// Fatal: the caller stops the node.
    fn store(&mut self, changes: &[LogChange<'_>]) -> Result<(), StorageError>;

    /// Reads entries; empty when the range is no longer there.
    ///
    /// # Errors
    /// Fatal: the caller stops the node.
    fn read(&mut self, read: &LogRead) -> Result<Vec<Entry>, StorageError>;

    /// Bytes of its files; 0 in memory.
    fn disk_bytes(&self) -> u64 {
        0
    }
}

/// What one `Write` does to the log. In this order: vote, truncate, append, base, commit.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogChange<'a> {
    /// New term and vote.
    pub vote: Option<Vote>,
    /// Entries from this index on are void.
    pub truncate_from: Option<Index>,
    /// Entries to append, without a gap.
    pub append: &'a [Entry],
    /// The log now begins after this.
    pub base: Option<&'a SnapshotMeta>,
    /// What is committed: a hint for the next start.
    pub commit: Option<Index>,
}

impl<'a> From<&'a Write> for LogChange<'a> {
    fn from(write: &'a Write) -> LogChange<'a> {
        LogChange {
            vote: write.vote,
            truncate_from: write.truncate_from,
            append: &write.append,
            base: write.base.as_ref(),
            commit: write.commit,
        }
    }
}

/// The state machine's tables with what they stand for.
pub trait StateStore: Send {
    /// The tables, including what was put since the last `commit`.
    fn tables(&self) -> &dyn Tables;

    /// The tables, to write to.
    fn tables_mut(&mut self) -> &mut dyn Tables;

    /// What the tables stand for as of the last `commit` or `install`.
    fn applied(&self) -> &SnapshotMeta;

    /// Stores everything put since the last commit, and `applied`, as one atomic batch. Not synced:
    /// the log is what makes it durable.
    ///
    /// # Errors
    /// Fatal: the caller stops the node.
    fn commit(&mut self, applied: &SnapshotMeta) -> Result<(), StorageError>;

    /// Makes all commits durable and returns what then is; from here on the log up to there is not
    /// needed for a restart.
    ///
    /// # Errors
    /// Fatal: the caller stops the node.
    fn checkpoint(&mut self) -> Result<SnapshotMeta, StorageError>;

    /// Bytes of its files, roughly; 0 in memory.
    fn disk_bytes(&self) -> u64 {
        0
    }

    /// Reads a chunk of a point-in-time snapshot for `peer`: `(what it stands for, bytes, whether
    /// they are the last)`. Offset 0 takes a fresh snapshot of the last commit.
    ///
    /// # Errors
    /// Fatal, except `StorageError::Snapshot` (no such open snapshot, offset not the next one).
    fn read_snapshot(
        &mut self,
        peer: NodeId,
        offset: u64,
        max_bytes: u64,
    ) -> Result<(SnapshotMeta, Bytes, bool), StorageError>;

    /// Goes on with the stream whose beginning `peer` holds: `read_snapshot` at `staged.end` comes
    /// next. `false` when it cannot be made (again): a fresh one from offset 0 comes next.
    ///
    /// # Errors
    /// As `read_snapshot`.
    fn resume_snapshot(&mut self, peer: NodeId, staged: &Staged) -> Result<bool, StorageError>;

    /// Releases the snapshot open for `peer`.
    fn close_snapshot(&mut self, peer: NodeId);

    /// Stages a received chunk, durably if there is a disk, and returns how many bytes of the stream
    /// are held. Offset 0 starts over, any other one continues what is staged (the core has compared
    /// the digests); a gap is `StorageError::Snapshot`.
    ///
    /// # Errors
    /// Fatal, except `StorageError::Snapshot`.
    fn stage_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        offset: u64,
        data: &Bytes,
    ) -> Result<u64, StorageError>;

    /// Verifies the staged stream and replaces all tables by it, durably and atomically.
    ///
    /// # Errors
    /// Fatal, except `StorageError::Snapshot` (it does not verify; nothing was changed).
    fn install_snapshot(&mut self, meta: &SnapshotMeta) -> Result<(), StorageError>;
}

/// Who a node is. Written last when a directory is formatted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Drawn at random by the node that started the cluster.
    pub cluster: u64,
    /// This incarnation: drawn at random when the node was born.
    pub node: NodeId,
    /// `NODE_ID`.
    pub name: String,
}

/// A store in use.
pub struct Opened {
    /// Who the store belongs to.
    pub identity: Identity,
    /// What Raft starts from. `restored.applied` is `state.applied().last.index`.
    pub restored: Restored,
    /// The log.
    pub log: Box<dyn LogStore>,
    /// The state machine's tables.
    pub state: Box<dyn StateStore>,
}

/// Why a store cannot be used (any more). The text is one line: cause, place, cure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageError {
    /// Somebody else has the directory open.
    Locked(String),
    /// The directory belongs to another node or format.
    Foreign(String),
    /// What is on the disk is not what was written.
    Corrupt(String),
    /// The system refused: no space, I/O error, permissions.
    Io(String),
    /// A snapshot transfer cannot go on; it starts again. Not fatal.
    Snapshot(String),
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (StorageError::Locked(text)
        | StorageError::Foreign(text)
        | StorageError::Corrupt(text)
        | StorageError::Io(text)
        | StorageError::Snapshot(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for StorageError {}
