//! The frame: the unit in which bytes travel between nodes.
//!
//! Rule: every frame is sixteen bytes of header and then a payload; the header carries a checksum
//! of itself and one of the payload, so that a length is believed only when it is proven, and any
//! single flipped bit is noticed. The header's layout is the same in every wire version. Must
//! never: panic on what arrived, or allocate by a length larger than the limit (or by any length
//! much ahead of the bytes that are there).
//!
//! | bytes  | what                                                |
//! |--------|-----------------------------------------------------|
//! | 0..2   | `kv`                                                |
//! | 2      | wire version (1 during the handshake, then agreed)  |
//! | 3      | kind                                                |
//! | 4..8   | length of the payload, little-endian                |
//! | 8..12  | CRC-32C of the payload, little-endian               |
//! | 12..16 | CRC-32C of bytes 0..12, little-endian               |

use bytes::{Buf, Bytes, BytesMut};
use kvorum_core::raft::Envelope;
use std::fmt;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 16;

/// The first bytes of every frame. No HTTP method and no TLS record begins with them.
pub const MAGIC: [u8; 2] = *b"kv";

/// Bytes asked of the socket at once, and the most that is reserved ahead of arriving bytes.
pub const READ_STEP: usize = 64 << 10;

/// A message of at most this many bytes gets memory of its own; a larger one stays a slice of the
/// read buffer. A small entry that lives long in the log's cache must not pin a large buffer.
pub const COPY_BELOW: usize = 16 << 10;

/// What a frame is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The dialer's first frame: who calls, and for whom.
    Hello,
    /// The acceptor's consent.
    Welcome,
    /// The acceptor's refusal; the connection ends.
    Reject,
    /// Raft messages, any number.
    Messages,
    /// "I am here": sent by a side that had nothing else to say for a while.
    Ping,
    /// "I close this connection on purpose and live on."
    Bye,
    /// A ping to a caller that is not (or no longer) a member, and says so.
    NotMember,
}

/// A frame that has arrived whole and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The wire version it was written in.
    pub version: u8,
    /// What it is about.
    pub kind: Kind,
    /// What it says: a slice of the read buffer.
    pub payload: Bytes,
}

/// What arrived is not a frame. Nothing after it can be trusted: close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// It does not begin like a frame.
    Magic,
    /// The header's checksum does not match.
    HeaderSum,
    /// The payload's checksum does not match.
    PayloadSum,
    /// A kind that this version does not know.
    Kind(u8),
    /// Longer than the limit.
    TooLarge {
        /// The length it claims.
        len: usize,
        /// The limit.
        max: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Magic => f.write_str("not a kvorum frame"),
            FrameError::HeaderSum => f.write_str("the checksum of a frame's header is wrong"),
            FrameError::PayloadSum => f.write_str("the checksum of a frame's payload is wrong"),
            FrameError::Kind(kind) => write!(f, "unknown frame kind {kind}"),
            FrameError::TooLarge { len, max } => {
                write!(f, "a frame of {len} bytes exceeds the limit of {max}")
            }
        }
    }
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::Hello => 1,
            Kind::Welcome => 2,
            Kind::Reject => 3,
            Kind::Messages => 4,
            Kind::Ping => 5,
            Kind::Bye => 6,
            Kind::NotMember => 7,
        }
    }

    fn from_code(code: u8) -> Option<Kind> {
        Some(match code {
            1 => Kind::Hello,
            2 => Kind::Welcome,
            3 => Kind::Reject,
            4 => Kind::Messages,
            5 => Kind::Ping,
            6 => Kind::Bye,
            7 => Kind::NotMember,
            _ => return None,
        })
    }
}

/// Appends one frame whose payload is whatever `write` appends (below 4 GiB). The payload is
/// written in place; nothing is copied.
pub fn put(out: &mut BytesMut, version: u8, kind: Kind, write: impl FnOnce(&mut BytesMut)) {
    let start = begin(out);
    write(out);
    finish(out, start, version, kind);
}

/// Leaves room for a header; returns where.
fn begin(out: &mut BytesMut) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    start
}

/// Fills in the header at `start` of a frame that ends where `out` ends.
fn finish(out: &mut BytesMut, start: usize, version: u8, kind: Kind) {
    let (header, payload) = out[start..].split_at_mut(HEADER_BYTES);
    let len = u32::try_from(payload.len()).expect("a frame stays far below 4 GiB");
    header[..2].copy_from_slice(&MAGIC);
    header[2] = version;
    header[3] = kind.code();
    header[4..8].copy_from_slice(&len.to_le_bytes());
    header[8..12].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let sum = crc32c::crc32c(&header[..12]);
    header[12..].copy_from_slice(&sum.to_le_bytes());
}

/// Appends `batch` as `Messages` frames: one, unless it would exceed `max_payload`. Returns how
/// many messages were too large for a frame of their own and are left out.
pub fn put_messages(
    out: &mut BytesMut,
    version: u8,
    batch: &[Envelope],
    max_payload: usize,
) -> usize {
    let mut too_large = 0;
    let mut start = begin(out);
    let first = start;
    for envelope in batch {
        let mut at = put_one(out, envelope);
        if out.len() - start - HEADER_BYTES > max_payload && at > start + HEADER_BYTES {
            // It does not fit with those before it: it begins the next frame.
            out.truncate(at);
            finish(out, start, version, Kind::Messages);
            start = begin(out);
            at = put_one(out, envelope);
        }
        if out.len() - start - HEADER_BYTES > max_payload {
            out.truncate(at);
            too_large += 1;
        }
    }
    if out.len() > start + HEADER_BYTES || start > first {
        finish(out, start, version, Kind::Messages);
    } else {
        out.truncate(start);
    }
    too_large
}

/// Appends one message with its length in front; returns where it begins.
fn put_one(out: &mut BytesMut, envelope: &Envelope) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    envelope.encode(out);
    let len = u32::try_from(out.len() - at - 4).expect("a message stays far below 4 GiB");
    out[at..at + 4].copy_from_slice(&len.to_le_bytes());
    at
}

/// Takes the next message off the payload of a `Messages` frame; `None` at its end.
///
/// # Errors
/// One line that names what is malformed; the rest of the payload is then useless.
pub fn next_message(payload: &mut Bytes) -> Result<Option<Envelope>, String> {
    if payload.is_empty() {
        return Ok(None);
    }
    if payload.len() < 4 {
        return Err("a message's length is cut off".to_owned());
    }
    let len = payload.get_u32_le() as usize;
    if len > payload.len() {
        return Err(format!("a message of {len} bytes in a frame with {} left", payload.len()));
    }
    let bytes = payload.split_to(len);
    let bytes = if len <= COPY_BELOW { Bytes::copy_from_slice(&bytes) } else { bytes };
    Envelope::decode(bytes).map(Some).map_err(|error| error.to_string())
}

/// Cuts arriving bytes into frames.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    max_payload: usize,
}

impl Decoder {
    /// A decoder that refuses payloads above `max_payload` bytes.
    #[must_use]
    pub fn new(max_payload: usize) -> Decoder {
        Decoder { buffer: BytesMut::new(), max_payload }
    }

    /// Changes the limit: small during the handshake, the real one after it.
    pub fn set_max_payload(&mut self, max_payload: usize) {
        self.max_payload = max_payload;
    }

    /// Where the next bytes from the socket go, with room for what the frame under way still
    /// lacks, but at most `READ_STEP` more than has arrived.
    pub fn space(&mut self) -> &mut BytesMut {
        let missing = match self.frame_len() {
            Some(len) => len.saturating_sub(self.buffer.len()),
            None => HEADER_BYTES,
        };
        self.buffer.reserve(missing.clamp(READ_STEP / 4, READ_STEP));
        &mut self.buffer
    }

    /// What has arrived and is not yet cut off.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    /// The next whole frame, `None` while bytes are missing.
    ///
    /// # Errors
    /// See `FrameError`. The decoder is useless afterwards.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let known = self.buffer.len().min(MAGIC.len());
        if self.buffer[..known] != MAGIC[..known] {
            return Err(FrameError::Magic);
        }
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        if crc32c::crc32c(&header[..12]) != u32_at(header, 12) {
            return Err(FrameError::HeaderSum);
        }
        let kind = Kind::from_code(header[3]).ok_or(FrameError::Kind(header[3]))?;
        let len = u32_at(header, 4) as usize;
        if len > self.max_payload {
            return Err(FrameError::TooLarge { len, max: self.max_payload });
        }
        let (version, sum) = (header[2], u32_at(header, 8));
        if self.buffer.len() - HEADER_BYTES < len {
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        let payload = self.buffer.split_to(len).freeze();
        if crc32c::crc32c(&payload) != sum {
            return Err(FrameError::PayloadSum);
        }
        Ok(Some(Frame { version, kind, payload }))
    }

    /// Length of the frame under way, once its header is there and within the limit.
    fn frame_len(&self) -> Option<usize> {
        let header = self.buffer.first_chunk::<HEADER_BYTES>()?;
        Some(HEADER_BYTES + (u32_at(header, 4) as usize).min(self.max_payload))
    }
}

fn u32_at(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}
