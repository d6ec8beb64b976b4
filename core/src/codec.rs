//! Reading and writing of bounded binary fields: varints, byte strings, options.
//!
//! Rule: every read checks what is left before it takes, and byte strings are slices of the input
//! (no copy). Must never: allocate by a length that was read but is not present.

use alloc::vec::Vec;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The bytes are not what the format says; names the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Malformed(pub &'static str);

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "malformed field `{}`", self.0)
    }
}

/// Appends an unsigned integer in LEB128: 7 bits a byte, the low ones first.
pub fn put_u64(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Reads what `put_u64` wrote. Rejects encodings longer than needed, so that equal values have
/// equal bytes.
///
/// # Errors
/// `Malformed(field)` when the input ends early, is too long, or is not minimal.
pub fn get_u64(input: &mut Bytes, field: &'static str) -> Result<u64, Malformed> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = get_u8(input, field)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(Malformed(field));
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return if byte == 0 && shift > 0 { Err(Malformed(field)) } else { Ok(value) };
        }
    }
    Err(Malformed(field))
}

/// Reads one byte.
///
/// # Errors
/// `Malformed(field)` when the input is at its end.
pub fn get_u8(input: &mut Bytes, field: &'static str) -> Result<u8, Malformed> {
    if input.is_empty() { Err(Malformed(field)) } else { Ok(input.get_u8()) }
}

/// Appends a byte string with its length in front.
pub fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what `put_bytes` wrote, as a slice of the input.
///
/// # Errors
/// `Malformed(field)` when fewer bytes are left than the length says.
pub fn get_bytes(input: &mut Bytes, field: &'static str) -> Result<Bytes, Malformed> {
    let len = get_u64(input, field)?;
    match usize::try_from(len) {
        Ok(len) if len <= input.len() => Ok(input.split_to(len)),
        _ => Err(Malformed(field)),
    }
}

/// Appends 0 or 1.
pub fn put_bool(out: &mut BytesMut, value: bool) {
    out.put_u8(u8::from(value));
}

/// Reads what `put_bool` wrote.
///
/// # Errors
/// `Malformed(field)` for anything but 0 and 1.
pub fn get_bool(input: &mut Bytes, field: &'static str) -> Result<bool, Malformed> {
    match get_u8(input, field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed(field)),
    }
}

/// Reads a count and then that many items; capacity grows with what is really there.
///
/// # Errors
/// Whatever an item's reader says; `Malformed(field)` for a count beyond the bytes left.
pub fn get_list<T>(
    input: &mut Bytes,
    field: &'static str,
    mut item: impl FnMut(&mut Bytes) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = get_u64(input, field)?;
    if count > input.len() as u64 {
        return Err(Malformed(field));
    }
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(input)?);
    }
    Ok(items)
}
