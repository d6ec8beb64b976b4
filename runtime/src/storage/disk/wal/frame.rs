//! A frame: what one sync makes durable.
//!
//! Rule: `epoch u64 | length u32 | before u32 | payload checksum u32 | header checksum u32`, then
//! the payload, then zeros up to the next multiple of 8. The epoch belongs to one segment in one
//! life, the header checksum covers the frame's offset, and `before` is the header checksum of the
//! frame before (of the first frame: the segment header's): stale bytes of a recycled segment, a
//! frame in the wrong place and a missing frame are all seen. Must never: believe a length whose
//! header does not verify.

use bytes::{BufMut, BytesMut};

/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 24;
/// Frames begin at multiples of this.
pub(super) const ALIGN: u64 = 8;

/// A verified frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of payload.
    pub len: u32,
    /// Header checksum of the frame before.
    pub before: u32,
    /// Checksum of the payload.
    pub payload: u32,
    /// This header's checksum: the next frame's `before`.
    pub checksum: u32,
}

impl Header {
    /// Bytes from one frame to the next.
    pub fn stride(&self) -> u64 {
        stride(self.len as usize)
    }

    /// Reads the header at `offset` of the segment; `None` when there is no valid one.
    pub fn parse(bytes: &[u8], epoch: u64, offset: u64) -> Option<Header> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        if bytes[..8] != epoch.to_le_bytes() {
            return None;
        }
        let [len, before, payload, checksum] =
            [8, 12, 16, 20].map(|at| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i])));
        let expected = header_checksum(&bytes[..20], offset);
        (checksum == expected).then_some(Header { len, before, payload, checksum })
    }

    /// Whether the payload is the one that was written.
    pub fn verifies(&self, payload: &[u8]) -> bool {
        payload.len() == self.len as usize && crc32c::crc32c(payload) == self.payload
    }
}

/// Bytes a frame with such a payload takes.
pub(super) fn stride(payload: usize) -> u64 {
    ((HEADER_BYTES + payload) as u64).next_multiple_of(ALIGN)
}

/// Room for the header, at the front of a buffer that gets the payload next.
pub(super) fn begin(buffer: &mut BytesMut) {
    buffer.clear();
    buffer.put_bytes(0, HEADER_BYTES);
}

/// Fills the header in and the padding up. Returns the header's checksum.
pub(super) fn seal(buffer: &mut BytesMut, epoch: u64, offset: u64, before: u32) -> u32 {
    let payload = &buffer[HEADER_BYTES..];
    let len = u32::try_from(payload.len()).expect("a frame is bounded far below 4 GiB");
    let payload = crc32c::crc32c(payload);
    buffer[..8].copy_from_slice(&epoch.to_le_bytes());
    buffer[8..12].copy_from_slice(&len.to_le_bytes());
    buffer[12..16].copy_from_slice(&before.to_le_bytes());
    buffer[16..20].copy_from_slice(&payload.to_le_bytes());
    let checksum = header_checksum(&buffer[..20], offset);
    buffer[20..24].copy_from_slice(&checksum.to_le_bytes());
    let padding = stride(len as usize) as usize - buffer.len();
    buffer.put_bytes(0, padding);
    checksum
}

/// The first valid frame header at or after `from`; `bytes` begin at offset 0 of the segment.
pub(super) fn find(bytes: &[u8], epoch: u64, from: u64) -> Option<u64> {
    let mut offset = from.next_multiple_of(ALIGN);
    while let Some(rest) = bytes.get(offset as usize..).filter(|rest| rest.len() >= HEADER_BYTES) {
        if Header::parse(rest, epoch, offset).is_some() {
            return Some(offset);
        }
        offset += ALIGN;
    }
    None
}

fn header_checksum(header: &[u8], offset: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), header)
}
