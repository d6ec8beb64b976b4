//! Frames: how messages lie in the byte stream of a connection.
//!
//! Rule: length (u32), crc32c of what follows (u32), kind (u8), body; little-endian. The length is
//! judged before anything is allocated, the checksum before anything is believed. Must never:
//! panic on, or allocate for, what a stranger sends.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Length and checksum.
const HEAD: usize = 8;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The dialler's introduction.
    Hello,
    /// The acceptor's introduction.
    Welcome,
    /// The acceptor's refusal.
    Reject,
    /// A Raft envelope.
    Message,
    /// Are you there?
    Ping,
    /// I am.
    Pong,
}

/// Why a stream cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadFrame {
    /// The length is zero or above the limit.
    Length(usize),
    /// The checksum does not fit.
    Checksum,
    /// No such kind.
    Kind(u8),
}

impl std::fmt::Display for BadFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BadFrame::Length(length) => write!(f, "a frame of {length} bytes is out of bounds"),
            BadFrame::Checksum => f.write_str("a frame's checksum does not fit"),
            BadFrame::Kind(kind) => write!(f, "frames of kind {kind} are unknown"),
        }
    }
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Hello,
            2 => Kind::Welcome,
            3 => Kind::Reject,
            4 => Kind::Message,
            5 => Kind::Ping,
            6 => Kind::Pong,
            _ => return None,
        })
    }

    fn byte(self) -> u8 {
        match self {
            Kind::Hello => 1,
            Kind::Welcome => 2,
            Kind::Reject => 3,
            Kind::Message => 4,
            Kind::Ping => 5,
            Kind::Pong => 6,
        }
    }
}

/// Appends a frame whose body `write` appends.
pub fn put(out: &mut BytesMut, kind: Kind, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_bytes(0, HEAD);
    out.put_u8(kind.byte());
    write(out);
    let length = out.len() - start - HEAD;
    let sum = crc32c::crc32c(&out[start + HEAD..]);
    let length = u32::try_from(length).expect("what is sent is below the frame limit");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + HEAD].copy_from_slice(&sum.to_le_bytes());
}

/// Takes the next whole frame off the front of `input`, if it is all there.
///
/// # Errors
/// `BadFrame`: the connection is of no more use.
pub fn take(input: &mut BytesMut, max: usize) -> Result<Option<(Kind, Bytes)>, BadFrame> {
    let Some(head) = input.first_chunk::<HEAD>() else { return Ok(None) };
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let sum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if length == 0 || length > max {
        return Err(BadFrame::Length(length));
    }
    if input.len() < HEAD + length {
        input.reserve(HEAD + length - input.len());
        return Ok(None);
    }
    let mut frame = input.split_to(HEAD + length).freeze();
    frame.advance(HEAD);
    if crc32c::crc32c(&frame) != sum {
        return Err(BadFrame::Checksum);
    }
    let byte = frame.get_u8();
    let kind = Kind::from_byte(byte).ok_or(BadFrame::Kind(byte))?;
    Ok(Some((kind, frame)))
}
