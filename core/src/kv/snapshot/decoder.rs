//! The receiving end of a snapshot stream.
//!
//! Rule: takes pieces cut anywhere, gives back rows as they become whole, and says that all is well
//! only after the trailer agreed. Rows given before that are provisional: put them where they can
//! be thrown away. Must never: allocate for bytes that have not arrived.

use super::{HEADER, MAX_FIELD_BYTES, ROW_HEADER_BYTES, TRAILER, TRAILER_BYTES, Tally};
use crate::{
    codec::Malformed,
    kv::{Row, digest, tables::Table},
};
use bytes::{Buf, Bytes, BytesMut};
use xxhash_rust::xxh3::Xxh3;

/// What a verified stream held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How many rows.
    pub rows: u64,
    /// Their digest: what `kv::digest` returns for tables that hold them.
    pub digest: u128,
}

/// Reads the stream: `feed` pieces, take rows with `next_row`, at the end ask `finish`.
#[derive(Clone)]
pub struct Decoder {
    input: BytesMut,
    begun: bool,
    ended: bool,
    failed: Option<Malformed>,
    tally: Tally,
    checksum: Xxh3,
}

impl core::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Decoder")
            .field("buffered", &self.input.len())
            .field("rows", &self.tally.rows)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

impl Decoder {
    /// At the start of a stream.
    #[must_use]
    pub fn new() -> Decoder {
        Decoder {
            input: BytesMut::new(),
            begun: false,
            ended: false,
            failed: None,
            tally: Tally::default(),
            checksum: Xxh3::new(),
        }
    }

    /// Adds the next piece of the stream. Take the rows before feeding more, or they pile up.
    pub fn feed(&mut self, piece: &[u8]) {
        self.input.extend_from_slice(piece);
    }

    /// The next row; `None` when more bytes are needed, or at the end. Rows come in order of table
    /// and key. Key and value are copies: they do not hold the piece they came in.
    ///
    /// # Errors
    /// `Malformed` when the stream is none of ours or was altered. It stays so.
    pub fn next_row(&mut self) -> Result<Option<Row>, Malformed> {
        if let Some(malformed) = self.failed {
            return Err(malformed);
        }
        let next = self.advance();
        self.failed = next.as_ref().err().copied();
        next
    }

    /// Says whether the stream was whole.
    ///
    /// # Errors
    /// `Malformed` when the end has not been reached, or bytes follow it.
    pub fn finish(mut self) -> Result<Summary, Malformed> {
        if self.next_row()?.is_some() || !self.ended {
            return Err(Malformed("snapshot end"));
        }
        Ok(Summary { rows: self.tally.rows, digest: self.tally.digest })
    }

    fn advance(&mut self) -> Result<Option<Row>, Malformed> {
        if !self.begun {
            let arrived = self.input.len().min(HEADER.len());
            if self.input[..arrived] != HEADER[..arrived] {
                return Err(Malformed("snapshot header"));
            }
            if arrived < HEADER.len() {
                return Ok(None);
            }
            self.consume(HEADER.len());
            self.begun = true;
        }
        match self.input.first() {
            None => Ok(None),
            Some(_) if self.ended => Err(Malformed("snapshot end")),
            Some(&TRAILER) => self.trailer().map(|()| None),
            Some(&number) => {
                self.row(Table::from_number(number).ok_or(Malformed("snapshot table"))?)
            }
        }
    }

    fn row(&mut self, table: Table) -> Result<Option<Row>, Malformed> {
        let Some(mut lengths) = self.input.get(1..ROW_HEADER_BYTES) else { return Ok(None) };
        let key_len = lengths.get_u32_le() as usize;
        let value_len = lengths.get_u32_le() as usize;
        if key_len > MAX_FIELD_BYTES || value_len > MAX_FIELD_BYTES {
            return Err(Malformed("snapshot row length"));
        }
        let len = ROW_HEADER_BYTES + key_len + value_len;
        let Some(bytes) = self.input.get(ROW_HEADER_BYTES..len) else { return Ok(None) };
        let key = Bytes::copy_from_slice(&bytes[..key_len]);
        let value = Bytes::copy_from_slice(&bytes[key_len..]);
        self.consume(len);
        if digest::is_local(table, &key) {
            return Err(Malformed("snapshot row"));
        }
        if !self.tally.add(table, &key, &value) {
            return Err(Malformed("snapshot order"));
        }
        Ok(Some((table, key, value)))
    }

    fn trailer(&mut self) -> Result<(), Malformed> {
        if self.input.len() < TRAILER_BYTES {
            return Ok(());
        }
        self.checksum.update(&self.input[..TRAILER_BYTES - 16]);
        self.input.advance(1);
        let rows = self.input.get_u64_le();
        let digest = self.input.get_u128_le();
        let checksum = self.input.get_u128_le();
        if checksum != self.checksum.digest128() {
            return Err(Malformed("snapshot checksum"));
        }
        if rows != self.tally.rows {
            return Err(Malformed("snapshot row count"));
        }
        if digest != self.tally.digest || !self.tally.adds_up() {
            return Err(Malformed("snapshot digest"));
        }
        self.ended = true;
        if self.input.is_empty() { Ok(()) } else { Err(Malformed("snapshot end")) }
    }

    fn consume(&mut self, len: usize) {
        self.checksum.update(&self.input[..len]);
        self.input.advance(len);
    }
}
