//! The write-ahead log: entries, term and vote, in segments of our own.
//!
//! Rule: one batch of changes is one frame, one write and one sync, and a frame is written only
//! after the sync of the one before has returned: at most the last frame can be torn. A segment
//! goes only when its entries are all covered by a base that is itself durable further on. Must
//! never: return `Ok` before the sync has, write again after anything failed, or read an entry
//! without verifying its frame.

mod frame;
mod places;
mod record;
mod recover;
mod segment;

use self::{
    places::{Place, Places},
    record::Record,
    segment::{Header, Outline},
};
use super::{DiskOptions, files::io_error};
use crate::storage::{Identity, LogChange, LogStore, StorageError, view::LogView};
use bytes::{Bytes, BytesMut};
use kvorum_core::raft::{Entry, Index, LogRead, Restored};
use std::{
    collections::VecDeque,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A batch is cut into frames of about this size (a single change is never cut).
const MAX_FRAME_BYTES: usize = 16 << 20;
/// Segments kept for use again.
const MAX_FREE: usize = 4;

/// The log of a node.
pub(super) struct Wal {
    dir: PathBuf,
    identity: Identity,
    segment_bytes: u64,
    view: LogView,
    /// What the log said after the last frame.
    outline: Outline,
    segments: VecDeque<Segment>,
    /// Where in the last segment the next frame goes.
    end: u64,
    /// The last header's checksum: the next frame's `before`.
    chain: u32,
    places: Places,
    free: Vec<PathBuf>,
    buffer: BytesMut,
    /// The payload read last, for a reader that goes through it in small steps.
    cached: Option<(u64, u64, Bytes)>,
    failed: Option<StorageError>,
    /// Held as long as anybody writes here.
    _lock: Arc<File>,
}

struct Segment {
    seq: u64,
    file: File,
    size: u64,
    /// The log's last entry when it began.
    last_before: Index,
}

impl Wal {
    /// Makes a new log that begins with `restored` (all of its entries in the tail).
    pub fn create(
        dir: &Path,
        identity: &Identity,
        options: &DiskOptions,
        restored: &Restored,
        lock: Arc<File>,
    ) -> Result<Wal, StorageError> {
        let outline = Outline {
            vote: restored.vote,
            last: restored.base.last,
            chain: Some(restored.base.chain),
            base: restored.base.clone(),
        };
        let view = LogView::new(outline.vote, outline.base.clone(), outline.last, outline.chain);
        let mut wal = Wal::around(dir, identity, options, view, outline, lock);
        wal.roll(0)?;
        if !restored.tail.is_empty() {
            wal.store(&[LogChange { append: &restored.tail, ..LogChange::default() }])?;
        }
        Ok(wal)
    }

    /// Opens a log and reads it through. Also returns its last entries, as many as fit into
    /// `options.log_cache_bytes`.
    pub fn open(
        dir: &Path,
        identity: &Identity,
        options: &DiskOptions,
        lock: Arc<File>,
    ) -> Result<(Wal, Vec<Entry>), StorageError> {
        recover::open(dir, identity, options, lock)
    }

    /// What the log says.
    pub fn view(&self) -> &LogView {
        &self.view
    }

    /// Whether this is the log of a node that has never run: its first segment, and in it no more
    /// than the one frame that formatting writes. Anything else, damage included, is not.
    pub fn is_unused(dir: &Path) -> Result<bool, StorageError> {
        recover::is_unused(dir)
    }

    fn around(
        dir: &Path,
        identity: &Identity,
        options: &DiskOptions,
        view: LogView,
        outline: Outline,
        lock: Arc<File>,
    ) -> Wal {
        Wal {
            dir: dir.to_owned(),
            identity: identity.clone(),
            segment_bytes: options.segment_bytes.max(super::MIN_SEGMENT_BYTES),
            view,
            outline,
            segments: VecDeque::new(),
            end: 0,
            chain: 0,
            places: Places::default(),
            free: Vec::new(),
            buffer: BytesMut::new(),
            cached: None,
            failed: None,
            _lock: lock,
        }
    }

    fn write_all(&mut self, changes: &[LogChange<'_>]) -> Result<(), StorageError> {
        let mut appends = Vec::new();
        frame::begin(&mut self.buffer);
        for (number, change) in changes.iter().enumerate() {
            self.view
                .apply(change)
                .map_err(|cause| StorageError::Corrupt(format!("the log was given {cause}")))?;
            if let Some(from) = change.truncate_from {
                appends.retain(|(first, _)| *first < from);
                self.places.truncate(from);
            }
            if let Some(at) = record::put_change(&mut self.buffer, change) {
                appends.push((change.append[0].index(), at - frame::HEADER_BYTES));
            }
            if change.base.is_some() {
                self.places.compact(self.view.base().last.index, self.view.last().index);
                if self.view.last() == self.view.base().last {
                    appends.clear();
                }
            }
            if self.buffer.len() >= MAX_FRAME_BYTES || number + 1 == changes.len() {
                self.write_frame(&mut appends)?;
                frame::begin(&mut self.buffer);
            }
        }
        self.places.compact(self.view.base().last.index, self.view.last().index);
        self.let_go()
    }

    /// Writes and syncs the buffer as one frame.
    fn write_frame(&mut self, appends: &mut Vec<(Index, usize)>) -> Result<(), StorageError> {
        let len = frame::stride(self.buffer.len() - frame::HEADER_BYTES);
        if self.segments.back().is_none_or(|last| self.end + len > last.size) {
            self.roll(len)?;
        }
        let last = self.segments.back().expect("there is a segment to write to");
        let epoch = segment::epoch(&self.identity, last.seq);
        let checksum = frame::seal(&mut self.buffer, epoch, self.end, self.chain);
        last.file
            .write_all_at(&self.buffer, self.end)
            .and_then(|()| last.file.sync_data())
            .map_err(|error| {
                io_error("write the log", &segment::path(&self.dir, last.seq), &error)
            })?;
        for (first, record) in appends.drain(..) {
            self.places.add(Place { first, seq: last.seq, frame: self.end, record });
        }
        self.chain = checksum;
        self.end += len;
        self.note_outline();
        Ok(())
    }

    fn note_outline(&mut self) {
        self.outline.vote = self.view.vote();
        self.outline.last = self.view.last();
        self.outline.chain = self.view.chain();
        if self.outline.base.last != self.view.base().last {
            self.outline.base = self.view.base().clone();
        }
    }

    /// Begins the next segment, with room for a frame of `need` bytes.
    fn roll(&mut self, need: u64) -> Result<(), StorageError> {
        let header = Header {
            seq: self.segments.back().map_or(1, |last| last.seq + 1),
            cluster: self.identity.cluster,
            node: self.identity.node.0,
            before_end: self.end,
            before: self.chain,
            outline: self.outline.clone(),
        };
        let made = segment::create(&self.dir, &header, self.segment_bytes, need, &mut self.free)?;
        self.segments.push_back(Segment {
            seq: header.seq,
            file: made.file,
            size: made.size,
            last_before: self.outline.last.index,
        });
        self.end = made.start;
        self.chain = made.checksum;
        Ok(())
    }

    /// Lets the segments go of which the base covers every entry, the oldest first.
    fn let_go(&mut self) -> Result<(), StorageError> {
        let base = self.outline.base.last.index;
        while self.segments.get(1).is_some_and(|next| next.last_before <= base) {
            let oldest = &self.segments[0];
            let keep = oldest.size == self.segment_bytes && self.free.len() < MAX_FREE;
            let free = segment::release(&self.dir, oldest.seq, keep)?;
            self.free.extend(free);
            self.segments.pop_front();
        }
        Ok(())
    }

    fn read_range(&mut self, read: &LogRead) -> Result<Vec<Entry>, StorageError> {
        let range = self.view.readable(read);
        let mut entries = Vec::new();
        let mut bytes = 0u64;
        let mut at = Index(range.start);
        while at.0 < range.end {
            let (place, next) = self.places.find(at).ok_or_else(|| {
                StorageError::Corrupt(format!("{}: entry {at} is not there", self.dir.display()))
            })?;
            let end = next.map_or(range.end, |next| next.0.min(range.end));
            let payload = self.payload(place)?;
            let bad = |what: String| self.damaged(place.seq, place.frame, &what);
            let mut input = payload.slice(place.record..);
            match record::get_record(&mut input) {
                Ok(Record::Append(_)) => {}
                other => return Err(bad(format!("no append where one was: {other:?}"))),
            }
            let mut index = place.first;
            while index.0 < end {
                let entry = Entry::decode(&mut input).map_err(|error| bad(error.to_string()))?;
                if entry.index() != index {
                    return Err(bad(format!("entry {} where {index} was", entry.id)));
                }
                if index >= at {
                    bytes = bytes.saturating_add(entry.size());
                    if !entries.is_empty() && bytes > read.max_bytes {
                        return Ok(entries);
                    }
                    entries.push(entry);
                }
                index = index.next();
            }
            at = index;
        }
        Ok(entries)
    }

    /// The verified payload of the frame at a place.
    fn payload(&mut self, place: Place) -> Result<Bytes, StorageError> {
        if let Some((seq, frame, payload)) = &self.cached
            && (*seq, *frame) == (place.seq, place.frame)
        {
            return Ok(payload.clone());
        }
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.seq == place.seq)
            .ok_or_else(|| self.damaged(place.seq, place.frame, "the segment is gone"))?;
        let path = segment::path(&self.dir, place.seq);
        let read = |offset, buffer: &mut [u8]| {
            segment
                .file
                .read_exact_at(buffer, offset)
                .map_err(|error| io_error("read the log", &path, &error))
        };
        let mut header = [0; frame::HEADER_BYTES];
        read(place.frame, &mut header)?;
        let epoch = segment::epoch(&self.identity, place.seq);
        let Some(header) = frame::Header::parse(&header, epoch, place.frame) else {
            return Err(self.damaged(place.seq, place.frame, "the frame's header is damaged"));
        };
        let mut payload = vec![0; header.len as usize];
        read(place.frame + frame::HEADER_BYTES as u64, &mut payload)?;
        if !header.verifies(&payload) {
            return Err(self.damaged(place.seq, place.frame, "the frame's checksum is wrong"));
        }
        let payload = Bytes::from(payload);
        self.cached = Some((place.seq, place.frame, payload.clone()));
        Ok(payload)
    }

    fn damaged(&self, seq: u64, offset: u64, what: &str) -> StorageError {
        damaged(&segment::path(&self.dir, seq), offset, what)
    }
}

/// What was written and synced is not there any more.
fn damaged(path: &Path, offset: u64, what: &str) -> StorageError {
    StorageError::Corrupt(format!(
        "{} is damaged at offset {offset}: {what}; this node forgot what it promised: remove it \
         from the cluster, delete its directory and let it join again",
        path.display()
    ))
}

impl LogStore for Wal {
    fn store(&mut self, changes: &[LogChange<'_>]) -> Result<(), StorageError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.cached = None;
        let written = self.write_all(changes);
        self.failed = written.as_ref().err().cloned();
        written
    }

    fn disk_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    fn read(&mut self, read: &LogRead) -> Result<Vec<Entry>, StorageError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let entries = self.read_range(read);
        self.failed = entries.as_ref().err().cloned();
        entries
    }
}
