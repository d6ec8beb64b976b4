//! Reading a log back.
//!
//! Rule: the segments are one sequence without a gap, each begins where and as the one before
//! ended, and every frame of it verifies. In the last segment a bad frame with no valid one after
//! it is a torn tail (it was never acknowledged) and is cut; everything else refuses to start and
//! names file and offset. Must never: take a frame for durable that was only in the page cache (the
//! last segment is synced before anybody acts on it), or go on without an acknowledged frame.

use super::{
    Segment, Wal, damaged,
    frame::{self, HEADER_BYTES},
    places::Place,
    record::{self, Record},
    segment::{self, Header, Name, Outline},
};
use crate::storage::{
    Identity, StorageError,
    disk::{
        DiskOptions,
        files::{io_error, names, remove},
    },
    view::LogView,
};
use bytes::Bytes;
use kvorum_core::raft::{Chain, Entry, Index};
use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A segment in memory.
struct Loaded {
    path: PathBuf,
    bytes: Vec<u8>,
    header: Header,
    /// Where its frames begin.
    start: u64,
    checksum: u32,
}

pub(super) fn open(
    dir: &Path,
    identity: &Identity,
    options: &DiskOptions,
    lock: Arc<File>,
) -> Result<(Wal, Vec<Entry>), StorageError> {
    let (sequence, free) = listing(dir)?;
    let Some(&first) = sequence.first() else {
        return Err(StorageError::Corrupt(format!(
            "{}: the log is gone; remove this node from the cluster, delete its directory and let \
             it join again",
            dir.display()
        )));
    };
    let mut current = load(dir, first, identity)?;
    let outline = current.header.outline.clone();
    let view = LogView::new(outline.vote, outline.base.clone(), outline.last, outline.chain);
    let mut wal = Wal::around(dir, identity, options, view, outline, lock);
    wal.free = free;
    let mut tail = Tail { limit: options.log_cache_bytes, ..Tail::default() };
    for seq in sequence.iter().skip(1).copied() {
        let next = load(dir, seq, identity)?;
        if seq != current.header.seq + 1 {
            return Err(damaged(
                &segment::path(dir, current.header.seq + 1),
                0,
                "the segment is missing",
            ));
        }
        wal.replay(&current, Some(next.header.before_end), &mut tail)?;
        wal.add(&current)?;
        if wal.chain != next.header.before || !agrees(&wal.view, &next.header.outline) {
            return Err(damaged(&next.path, 0, "it does not continue the segment before it"));
        }
        current = next;
    }
    wal.replay(&current, None, &mut tail)?;
    wal.add(&current)?;
    wal.settle(&current)?;
    Ok((wal, tail.entries.into()))
}

/// The segments and the free files, in order; what was being made is removed.
fn listing(dir: &Path) -> Result<(Vec<u64>, Vec<PathBuf>), StorageError> {
    let mut sequence = Vec::new();
    let mut free = Vec::new();
    for name in names(dir)? {
        let path = dir.join(&name);
        match segment::parse_name(&name) {
            Some(Name::Segment(seq)) => sequence.push(seq),
            Some(Name::Free(_)) => free.push(path),
            Some(Name::Unfinished) => remove(&path)?,
            None => {
                return Err(StorageError::Foreign(format!(
                    "{} is not a file of kvorum's; move it away",
                    path.display()
                )));
            }
        }
    }
    Ok((sequence, free))
}

fn load(dir: &Path, seq: u64, identity: &Identity) -> Result<Loaded, StorageError> {
    let path = segment::path(dir, seq);
    let bytes = fs::read(&path).map_err(|error| io_error("read the log", &path, &error))?;
    let (header, start, checksum) = Header::decode(&bytes)
        .map_err(|error| damaged(&path, 0, &format!("its header: {error}")))?;
    if (header.cluster, header.node) != (identity.cluster, identity.node.0) {
        return Err(StorageError::Foreign(format!(
            "{} belongs to node {:016x} of cluster {:016x}, not to node {:016x} of cluster {:016x}; \
             put back the files of this node",
            path.display(),
            header.node,
            header.cluster,
            identity.node.0,
            identity.cluster
        )));
    }
    if header.seq != seq {
        return Err(damaged(
            &path,
            0,
            &format!("it is segment {:016x} under this name", header.seq),
        ));
    }
    Ok(Loaded { path, bytes, header, start, checksum })
}

/// Whether a segment's header says what the segments before came to. A term the recovery cannot
/// know (its segment is gone) reads as 0.
fn agrees(view: &LogView, outline: &Outline) -> bool {
    let last = view.last();
    view.vote() == outline.vote
        && *view.base() == outline.base
        && last.index == outline.last.index
        && (view.chain() == outline.chain || view.chain().is_none() || outline.chain.is_none())
        && (last.term == outline.last.term || last.term.0 == 0)
}

impl Wal {
    /// Applies the frames of a segment: up to `end`, or as far as they go in the last one.
    fn replay(
        &mut self,
        segment: &Loaded,
        end: Option<u64>,
        tail: &mut Tail,
    ) -> Result<(), StorageError> {
        let epoch = segment::epoch(&self.identity, segment.header.seq);
        self.chain = segment.checksum;
        self.end = segment.start;
        while end.is_none_or(|end| self.end < end) {
            let offset = self.end;
            let bytes = segment.bytes.get(offset as usize..).unwrap_or_default();
            let header = frame::Header::parse(bytes, epoch, offset);
            let payload = header.and_then(|header| {
                let payload = bytes.get(HEADER_BYTES..)?.get(..header.len as usize)?;
                header.verifies(payload).then_some((header, payload))
            });
            let Some((header, payload)) = payload else {
                if end.is_some() {
                    return Err(damaged(&segment.path, offset, "a frame does not verify"));
                }
                return match frame::find(&segment.bytes, epoch, offset + frame::ALIGN) {
                    None => Ok(()),
                    Some(next) => Err(damaged(
                        &segment.path,
                        offset,
                        &format!("a frame does not verify, but the one at {next} does"),
                    )),
                };
            };
            if header.before != self.chain {
                return Err(damaged(&segment.path, offset, "the frame before it is another one"));
            }
            self.apply(segment.header.seq, offset, Bytes::copy_from_slice(payload), tail)
                .map_err(|cause| damaged(&segment.path, offset, &cause))?;
            self.chain = header.checksum;
            self.end = offset + header.stride();
        }
        if end.is_some_and(|end| end != self.end) {
            return Err(damaged(&segment.path, self.end, "its frames end elsewhere"));
        }
        Ok(())
    }

    fn apply(
        &mut self,
        seq: u64,
        frame: u64,
        payload: Bytes,
        tail: &mut Tail,
    ) -> Result<(), String> {
        let mut input = payload.clone();
        while !input.is_empty() {
            let at = payload.len() - input.len();
            match record::get_record(&mut input).map_err(|error| error.to_string())? {
                Record::Vote(vote) => self.view.set_vote(vote)?,
                Record::Truncate(from) => {
                    self.view.truncate(from)?;
                    self.places.truncate(from);
                    tail.truncate(from);
                    if self.view.chain().is_none() {
                        self.view.set_chain(tail.chain_at(self.view.last().index));
                    }
                }
                Record::Append(count) => {
                    let first = self.view.last().index.next();
                    self.places.add(Place { first, seq, frame, record: at });
                    for _ in 0..count {
                        let entry = record::get_entry(&mut input).map_err(|e| e.to_string())?;
                        self.view.append(&entry)?;
                        tail.push(entry);
                    }
                }
                Record::Commit(commit) => self.view.set_commit(commit),
                Record::Base(base) => {
                    self.view.compact(&base);
                    let (base, last) = (self.view.base().last.index, self.view.last().index);
                    self.places.compact(base, last);
                    tail.compact(base, last);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, segment: &Loaded) -> Result<(), StorageError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&segment.path)
            .map_err(|error| io_error("open the log", &segment.path, &error))?;
        self.segments.push_back(Segment {
            seq: segment.header.seq,
            file,
            size: segment.bytes.len() as u64,
            last_before: segment.header.outline.last.index,
        });
        Ok(())
    }

    /// What remains to be done once everything is read.
    fn settle(&mut self, last: &Loaded) -> Result<(), StorageError> {
        if !self.view.is_whole() {
            return Err(damaged(
                &last.path,
                0,
                &format!(
                    "the log begins after {}, but its segments only after {}",
                    self.view.base().last,
                    self.view.start()
                ),
            ));
        }
        // What was read may never have left the page cache.
        let file = &self.segments.back().expect("the last segment was added").file;
        file.sync_all().map_err(|error| io_error("sync the log", &last.path, &error))?;
        self.note_outline();
        let segment_bytes = self.segment_bytes;
        let fits =
            |path: &PathBuf| fs::metadata(path).is_ok_and(|meta| meta.len() == segment_bytes);
        let (keep, drop): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.free).into_iter().partition(fits);
        self.free = keep;
        drop.iter().try_for_each(|path| remove(path))?;
        self.let_go()
    }
}

/// The last entries, as far as the limit allows.
#[derive(Default)]
struct Tail {
    /// The chain of every entry at hand, for the entry after a truncation. Bounded by the log: 16
    /// bytes for each of its entries, while it is read.
    chains: VecDeque<(Index, Chain)>,
    entries: VecDeque<Entry>,
    bytes: u64,
    limit: u64,
}

impl Tail {
    fn chain_at(&self, index: Index) -> Option<Chain> {
        let at = self.chains.binary_search_by_key(&index, |held| held.0).ok()?;
        Some(self.chains[at].1)
    }

    fn push(&mut self, entry: Entry) {
        self.chains.push_back((entry.index(), entry.chain));
        self.bytes += entry.size();
        self.entries.push_back(entry);
        while self.bytes > self.limit {
            self.pop_front();
        }
    }

    fn truncate(&mut self, from: Index) {
        while self.chains.pop_back_if(|held| held.0 >= from).is_some() {}
        while let Some(entry) = self.entries.pop_back_if(|entry| entry.index() >= from) {
            self.bytes -= entry.size();
        }
    }

    fn compact(&mut self, base: Index, last: Index) {
        while self.chains.pop_front_if(|held| held.0 <= base || last <= base).is_some() {}
        while self.entries.front().is_some_and(|entry| entry.index() <= base || last <= base) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.size();
        }
    }
}

pub(super) fn is_unused(dir: &Path) -> Result<bool, StorageError> {
    for name in names(dir)? {
        match segment::parse_name(&name) {
            Some(Name::Unfinished) => {}
            Some(Name::Segment(1)) => {
                let path = dir.join(&name);
                let bytes =
                    fs::read(&path).map_err(|error| io_error("read the log", &path, &error))?;
                let Ok((header, start, _)) = Header::decode(&bytes) else { return Ok(false) };
                let identity = Identity {
                    cluster: header.cluster,
                    node: kvorum_core::raft::NodeId(header.node),
                    name: String::new(),
                };
                let epoch = segment::epoch(&identity, 1);
                let first = frame::find(&bytes, epoch, start);
                let second = first.and_then(|at| frame::find(&bytes, epoch, at + frame::ALIGN));
                if first.is_some_and(|at| at != start) || second.is_some() {
                    return Ok(false);
                }
            }
            _ => return Ok(false),
        }
    }
    Ok(true)
}
