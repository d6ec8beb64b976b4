//! The two ends of a snapshot transfer, common to both stores.
//!
//! Rule: the bytes are the core's (`kv::snapshot`); here is only which transfer they belong to.
//! Chunks come in order, and the one just read can be had once more; a stream can be gone through
//! again up to where a peer says it stopped. Must never: mix two transfers.

use super::StorageError;
use bytes::Bytes;
use kvorum_core::{
    kv::{Row, TableFailure, snapshot::Encoder},
    raft::{NodeId, SnapshotMeta, Staged, StreamDigest},
};
use std::collections::BTreeMap;

/// Snapshots being sent at once; one more fails and is tried again later.
pub(super) const MAX_SENDERS: usize = 64;

/// Rows in ascending order of (table, key), standing still.
pub(super) type Rows = Box<dyn Iterator<Item = Result<Row, StorageError>> + Send>;

/// A point in time that can be gone through more than once.
pub(super) type Source = Box<dyn Fn() -> Rows + Send>;

/// What a peer holds already is passed over in pieces of this size.
const PIECE_BYTES: u64 = 1 << 20;

/// All snapshots being sent, one per peer.
#[derive(Default)]
pub(super) struct Senders {
    open: BTreeMap<NodeId, Sender>,
}

impl Senders {
    /// Takes a new snapshot for `peer`, in place of the one before.
    pub fn start(
        &mut self,
        peer: NodeId,
        meta: SnapshotMeta,
        source: Source,
    ) -> Result<(), StorageError> {
        self.open.remove(&peer);
        self.add(peer, Sender::new(meta, source))
    }

    /// Goes on with the stream that `staged` is the beginning of: the one open for `peer`, or one
    /// of the state as it is now. `false`: neither is that stream, and none is open.
    pub fn resume(
        &mut self,
        peer: NodeId,
        staged: &Staged,
        now: impl FnOnce() -> Option<(SnapshotMeta, Source)>,
    ) -> Result<bool, StorageError> {
        if let Some(open) = self.open.remove(&peer) {
            let mut again = Sender::new(open.meta, open.source);
            if again.skip(staged)? {
                self.add(peer, again)?;
                return Ok(true);
            }
        }
        if let Some((meta, source)) = now() {
            let mut sender = Sender::new(meta, source);
            if sender.skip(staged)? {
                self.add(peer, sender)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn add(&mut self, peer: NodeId, sender: Sender) -> Result<(), StorageError> {
        if self.open.len() >= MAX_SENDERS {
            return Err(StorageError::Snapshot(format!(
                "{MAX_SENDERS} snapshots are being sent already; {peer} waits"
            )));
        }
        self.open.insert(peer, sender);
        Ok(())
    }

    /// The chunk of `peer`'s snapshot at `offset`.
    pub fn read(
        &mut self,
        peer: NodeId,
        offset: u64,
        max_bytes: u64,
    ) -> Result<(SnapshotMeta, Bytes, bool), StorageError> {
        let sender = self
            .open
            .get_mut(&peer)
            .ok_or_else(|| StorageError::Snapshot(format!("no snapshot is open for {peer}")))?;
        let (chunk, last) = sender.read(offset, max_bytes)?;
        Ok((sender.meta.clone(), chunk, last))
    }

    /// Releases `peer`'s snapshot.
    pub fn close(&mut self, peer: NodeId) {
        self.open.remove(&peer);
    }
}

struct Sender {
    meta: SnapshotMeta,
    source: Source,
    rows: Rows,
    encoder: Encoder,
    /// Where in the stream the encoder's buffer begins.
    offset: u64,
    /// The chunk handed out last: a chunk lost on the way is asked for again.
    before: Bytes,
    complete: bool,
}

impl Sender {
    fn new(meta: SnapshotMeta, source: Source) -> Sender {
        Sender {
            meta,
            rows: source(),
            source,
            encoder: Encoder::new(),
            offset: 0,
            before: Bytes::new(),
            complete: false,
        }
    }

    /// Passes over what a peer holds already; `false` when that is not the beginning of this stream.
    fn skip(&mut self, staged: &Staged) -> Result<bool, StorageError> {
        let mut digest = StreamDigest::default();
        while self.offset < staged.end {
            let at = self.offset;
            let (piece, last) = self.read(at, (staged.end - at).min(PIECE_BYTES))?;
            digest = digest.then(at, &piece);
            if last && self.offset < staged.end {
                return Ok(false);
            }
        }
        Ok(digest == staged.digest)
    }

    /// The chunk at `offset`, at most `max_bytes` long but never empty, and whether it is the last.
    fn read(&mut self, offset: u64, max_bytes: u64) -> Result<(Bytes, bool), StorageError> {
        let max = usize::try_from(max_bytes).unwrap_or(usize::MAX).max(1);
        let before_start = self.offset - self.before.len() as u64;
        if (before_start..self.offset).contains(&offset) {
            let skip = (offset - before_start) as usize;
            let end = self.before.len().min(skip.saturating_add(max));
            let ends_here = end == self.before.len() && self.is_at_end();
            return Ok((self.before.slice(skip..end), ends_here));
        }
        if offset != self.offset {
            return Err(StorageError::Snapshot(format!(
                "a snapshot is read in order: offset {offset} was asked for, {} is next",
                self.offset
            )));
        }
        while self.encoder.buffered() < max && !self.complete {
            match self.rows.next() {
                Some(row) => {
                    let (table, key, value) = row?;
                    self.encoder.row(table, &key, &value).map_err(damaged)?;
                }
                None => {
                    self.encoder.finish().map_err(damaged)?;
                    self.complete = true;
                }
            }
        }
        let chunk = self.encoder.take(max);
        self.offset += chunk.len() as u64;
        self.before = chunk.clone();
        Ok((chunk, self.is_at_end()))
    }

    fn is_at_end(&self) -> bool {
        self.complete && self.encoder.buffered() == 0
    }
}

fn damaged(failure: TableFailure) -> StorageError {
    StorageError::Corrupt(failure.0)
}

/// A chunk, or an install, that does not continue what is staged.
pub(super) fn out_of_step(offset: u64, held: u64) -> StorageError {
    StorageError::Snapshot(format!(
        "offset {offset} does not continue the snapshot being received ({held} bytes are held)"
    ))
}

/// A stream that does not verify.
pub(super) fn unusable(cause: impl std::fmt::Display) -> StorageError {
    StorageError::Snapshot(format!("the received snapshot is not usable: {cause}"))
}

/// A state never goes back.
pub(super) fn refuse_older(
    snapshot: &SnapshotMeta,
    applied: &SnapshotMeta,
) -> Result<(), StorageError> {
    if snapshot.last.index >= applied.last.index {
        return Ok(());
    }
    Err(unusable(format_args!(
        "it stands at {}, this node at {} already",
        snapshot.last, applied.last
    )))
}
