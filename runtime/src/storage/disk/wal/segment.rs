//! A segment file: its header, its name, how it comes into being and is used again.
//!
//! Rule: a file gets the name `<seq>.wal` only when its header is durable, and the name is durable
//! before a frame is written into it. A segment that is let go is renamed to `<seq>.free` and that
//! is durable before its bytes are touched. New segments are filled with zeros, because an
//! overwrite needs no commit of the file system. Must never: leave a gap in the sequence.

use super::{
    super::files::{io_error, sync_dir},
    record::{get_vote, put_vote},
};
use crate::storage::{Identity, StorageError};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::{
    codec::{Malformed, get_bool, get_u64, put_bool, put_u64},
    raft::{Chain, EntryId, Index, SnapshotMeta, Term, Vote},
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"kvorumWL";
const FORMAT: u32 = 2;
/// The header takes a whole number of these.
const BLOCK_BYTES: usize = 4096;
/// Magic, format, length of the header, length of its body, checksum.
const FIXED_BYTES: usize = 24;
/// Largest header believed: a base with thousands of members.
const MAX_HEADER_BYTES: usize = 16 << 20;
/// Name of a segment that is being made.
pub(super) const UNFINISHED: &str = "new.tmp";

/// What a segment's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Its place in the sequence.
    pub seq: u64,
    /// Whose log it is.
    pub cluster: u64,
    /// Whose log it is.
    pub node: u64,
    /// Where the frames of the segment before end; 0 in the first one.
    pub before_end: u64,
    /// Checksum of the last header (of a frame or of the segment) before.
    pub before: u32,
    /// What the log says at this point.
    pub outline: Outline,
}

/// The log at the beginning of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Outline {
    /// Term and vote.
    pub vote: Vote,
    /// The last entry.
    pub last: EntryId,
    /// Its chain; not known right after a truncation.
    pub chain: Option<Chain>,
    /// The log begins after this.
    pub base: SnapshotMeta,
}

impl Header {
    /// The header block, and its checksum: the first frame's `before`.
    pub fn encode(&self) -> (BytesMut, u32) {
        let mut body = BytesMut::new();
        put_u64(&mut body, self.seq);
        body.put_u64_le(self.cluster);
        body.put_u64_le(self.node);
        put_u64(&mut body, self.before_end);
        body.put_u32_le(self.before);
        put_vote(&mut body, self.outline.vote);
        put_u64(&mut body, self.outline.last.term.0);
        put_u64(&mut body, self.outline.last.index.0);
        put_bool(&mut body, self.outline.chain.is_some());
        body.put_u64_le(self.outline.chain.unwrap_or_default().0);
        self.outline.base.encode(&mut body);

        let len = (FIXED_BYTES + body.len()).next_multiple_of(BLOCK_BYTES);
        let mut block = BytesMut::with_capacity(len);
        block.put_slice(MAGIC);
        block.put_u32_le(FORMAT);
        block.put_u32_le(len as u32);
        block.put_u32_le(body.len() as u32);
        block.put_u32_le(0);
        block.put_slice(&body);
        block.put_bytes(0, len - block.len());
        let checksum = crc32c::crc32c(&block);
        block[20..24].copy_from_slice(&checksum.to_le_bytes());
        (block, checksum)
    }

    /// Reads a header off the front of a segment: itself, its length and its checksum.
    pub fn decode(segment: &[u8]) -> Result<(Header, u64, u32), Malformed> {
        let mut fixed = segment.get(..FIXED_BYTES).ok_or(Malformed("segment header"))?;
        if !fixed.starts_with(MAGIC) {
            return Err(Malformed("magic"));
        }
        fixed.advance(MAGIC.len());
        if fixed.get_u32_le() != FORMAT {
            return Err(Malformed("format"));
        }
        let len = fixed.get_u32_le() as usize;
        let body = fixed.get_u32_le() as usize;
        let checksum = fixed.get_u32_le();
        if len > MAX_HEADER_BYTES
            || !len.is_multiple_of(BLOCK_BYTES)
            || len < FIXED_BYTES.saturating_add(body)
        {
            return Err(Malformed("header length"));
        }
        let mut block = segment.get(..len).ok_or(Malformed("header length"))?.to_vec();
        block[20..24].fill(0);
        if crc32c::crc32c(&block) != checksum {
            return Err(Malformed("header checksum"));
        }
        let mut body = Bytes::from(block).slice(FIXED_BYTES..FIXED_BYTES + body);
        let header = Header::decode_body(&mut body)?;
        if body.is_empty() { Ok((header, len as u64, checksum)) } else { Err(Malformed("header")) }
    }

    fn decode_body(body: &mut Bytes) -> Result<Header, Malformed> {
        let short = |_| Malformed("header body");
        Ok(Header {
            seq: get_u64(body, "sequence number")?,
            cluster: body.try_get_u64_le().map_err(short)?,
            node: body.try_get_u64_le().map_err(short)?,
            before_end: get_u64(body, "end before")?,
            before: body.try_get_u32_le().map_err(short)?,
            outline: Outline {
                vote: get_vote(body)?,
                last: EntryId {
                    term: Term(get_u64(body, "last term")?),
                    index: Index(get_u64(body, "last index")?),
                },
                chain: {
                    let known = get_bool(body, "chain known")?;
                    let chain = body.try_get_u64_le().map_err(short)?;
                    known.then_some(Chain(chain))
                },
                base: SnapshotMeta::decode(body)?,
            },
        })
    }
}

/// Marks the frames of one segment in one life. A sequence number is never used twice in a
/// directory, and the node's incarnation is random.
pub(super) fn epoch(identity: &Identity, seq: u64) -> u64 {
    // The finaliser of splitmix64: every bit of the input changes half of the output's.
    let mut x = identity.node.0 ^ identity.cluster.rotate_left(32) ^ seq.rotate_left(48);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)).wrapping_add(seq) | 1
}

/// Where the segment with this number is.
pub(super) fn path(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("{seq:016x}.wal"))
}

/// What a name in `wal/` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// A segment.
    Segment(u64),
    /// One that may be used again.
    Free(u64),
    /// One that was being made.
    Unfinished,
}

/// Reads a name; `None` for anything this program does not write.
pub(super) fn parse_name(name: &str) -> Option<Name> {
    if name == UNFINISHED {
        return Some(Name::Unfinished);
    }
    let (number, kind) = name.split_once('.')?;
    let seq = u64::from_str_radix(number, 16).ok()?;
    let name = match kind {
        "wal" => Name::Segment(seq),
        "free" => Name::Free(seq),
        _ => return None,
    };
    (number == format!("{seq:016x}")).then_some(name)
}

/// A segment that was just made.
pub(super) struct Made {
    pub file: File,
    /// Its length.
    pub size: u64,
    /// Where its frames begin.
    pub start: u64,
    /// Its header's checksum.
    pub checksum: u32,
}

/// Makes a segment of `size` bytes, or more if a frame of `need` bytes needs more; from a free file
/// if there is one of that size.
pub(super) fn create(
    dir: &Path,
    header: &Header,
    size: u64,
    need: u64,
    free: &mut Vec<PathBuf>,
) -> Result<Made, StorageError> {
    let (block, checksum) = header.encode();
    let start = block.len() as u64;
    let target = path(dir, header.seq);
    let recycled = if start + need <= size { free.pop() } else { None };
    let size = size.max(start + need);
    let source = recycled.clone().unwrap_or_else(|| dir.join(UNFINISHED));
    let written = || -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = if recycled.is_some() {
            options.open(&source)?
        } else {
            let file = options.create(true).truncate(true).open(&source)?;
            fill(&file, size)?;
            file
        };
        file.write_all_at(&block, 0)?;
        file.sync_all()?;
        fs::rename(&source, &target)?;
        Ok(file)
    };
    let file = written().map_err(|error| io_error("make the log segment", &target, &error))?;
    sync_dir(dir)?;
    Ok(Made { file, size, start, checksum })
}

/// Lets a segment go: keeps it for later use, or removes it. Durable afterwards.
pub(super) fn release(dir: &Path, seq: u64, keep: bool) -> Result<Option<PathBuf>, StorageError> {
    let from = path(dir, seq);
    let free = dir.join(format!("{seq:016x}.free"));
    let released = if keep { fs::rename(&from, &free) } else { fs::remove_file(&from) };
    released.map_err(|error| io_error("let go of the log segment", &from, &error))?;
    sync_dir(dir)?;
    Ok(keep.then_some(free))
}

fn fill(file: &File, size: u64) -> io::Result<()> {
    const CHUNK_BYTES: u64 = 1 << 20;
    let zeros = vec![0; CHUNK_BYTES.min(size) as usize];
    let mut offset = 0;
    while offset < size {
        let len = CHUNK_BYTES.min(size - offset);
        file.write_all_at(&zeros[..len as usize], offset)?;
        offset += len;
    }
    Ok(())
}
