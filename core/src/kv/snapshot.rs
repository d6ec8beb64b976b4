//! The snapshot's byte stream: what all replicas share, as rows in order, with a trailer that
//! proves that all of it arrived.
//!
//! Rule: two replicas that have applied the same commands produce the same bytes, so a transfer may
//! go on from another replica. The rows of one replica alone (`digest::is_local`) are left out: the
//! runtime of the receiver writes its own. Must never: hold more than a row beyond what was asked;
//! accept a stream of which a byte was lost, added or altered.
//!
//! ```text
//! header:  "kvsnap" 00 01
//! row:     table (1)  key length (4 LE)  value length (4 LE)  key  value
//! trailer: FF  row count (8 LE)  digest of the rows (16 LE)  xxh3-128 of all before (16 LE)
//! ```

mod decoder;

pub use self::decoder::{Decoder, Summary};

use super::{
    digest,
    head::{HEAD_KEY, Head},
    tables::{Order, Table, TableFailure, Tables},
};
use alloc::{format, string::ToString, vec::Vec};
use bytes::{BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::Xxh3;

/// The largest key or value a stream carries, in bytes. Commands are bounded far below it.
pub const MAX_FIELD_BYTES: usize = 256 << 20;

const HEADER: &[u8; 8] = b"kvsnap\x00\x01";
const ROW_HEADER_BYTES: usize = 9;
const TRAILER: u8 = 0xFF;
const TRAILER_BYTES: usize = 1 + 8 + 16 + 16;

/// What both ends keep of the rows that went by.
#[derive(Debug, Clone, Default)]
struct Tally {
    rows: u64,
    digest: u128,
    /// The digest that the head row says the others add up to, once it has gone by.
    recorded: Option<u128>,
    last: Option<(Table, Vec<u8>)>,
}

impl Tally {
    /// Counts a row; `false` when it does not come after the one before.
    fn add(&mut self, table: Table, key: &[u8], value: &Bytes) -> bool {
        let ordered = match &self.last {
            Some((last, last_key)) => (*last, &last_key[..]) < (table, key),
            None => true,
        };
        let mut last = self.last.take().map_or_else(Vec::new, |(_, key)| key);
        last.clear();
        last.extend_from_slice(key);
        self.last = Some((table, last));
        self.rows += 1;
        self.digest = self.digest.wrapping_add(digest::of_row(table, key, value));
        if table == Table::Meta && key == HEAD_KEY {
            self.recorded = Head::decode(value.clone()).ok().map(|head| head.digest());
        }
        ordered
    }

    /// Whether the rows are what the state machine recorded, as far as it has recorded anything.
    fn adds_up(&self) -> bool {
        self.recorded.is_none_or(|recorded| recorded == self.digest)
    }
}

/// Makes the stream from rows that are handed to it in order.
#[derive(Clone)]
pub struct Encoder {
    out: BytesMut,
    tally: Tally,
    checksum: Xxh3,
}

impl core::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Encoder")
            .field("buffered", &self.out.len())
            .field("rows", &self.tally.rows)
            .finish_non_exhaustive()
    }
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

impl Encoder {
    /// A stream with its header.
    #[must_use]
    pub fn new() -> Encoder {
        let mut checksum = Xxh3::new();
        checksum.update(HEADER);
        Encoder { out: BytesMut::from(&HEADER[..]), tally: Tally::default(), checksum }
    }

    /// Adds a row. Local rows are passed over.
    ///
    /// # Errors
    /// `TableFailure` when the row does not come after the one before (in the order of tables, then
    /// of keys) or is too large for the format: the tables are broken.
    pub fn row(&mut self, table: Table, key: &[u8], value: &Bytes) -> Result<(), TableFailure> {
        if digest::is_local(table, key) {
            return Ok(());
        }
        if key.len() > MAX_FIELD_BYTES || value.len() > MAX_FIELD_BYTES {
            return Err(TableFailure("a row is too large for a snapshot".to_string()));
        }
        if !self.tally.add(table, key, value) {
            return Err(TableFailure(format!(
                "rows of table {table:?} are out of order at key \"{}\"",
                key.escape_ascii()
            )));
        }
        let start = self.out.len();
        self.out.reserve(ROW_HEADER_BYTES + key.len() + value.len());
        self.out.put_u8(table as u8);
        self.out.put_u32_le(key.len() as u32);
        self.out.put_u32_le(value.len() as u32);
        self.out.extend_from_slice(key);
        self.out.extend_from_slice(value);
        self.checksum.update(&self.out[start..]);
        Ok(())
    }

    /// Ends the stream; call it once, after the last row.
    ///
    /// # Errors
    /// `TableFailure` when the rows do not add up to the digest kept with them: this replica is
    /// damaged and must not pass itself on.
    pub fn finish(&mut self) -> Result<(), TableFailure> {
        if !self.tally.adds_up() {
            return Err(TableFailure(
                "the state's rows do not add up to its digest: this replica is damaged".to_string(),
            ));
        }
        let start = self.out.len();
        self.out.put_u8(TRAILER);
        self.out.put_u64_le(self.tally.rows);
        self.out.put_u128_le(self.tally.digest);
        self.checksum.update(&self.out[start..]);
        self.out.put_u128_le(self.checksum.digest128());
        Ok(())
    }

    /// How many bytes wait to be taken.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.out.len()
    }

    /// Takes up to `max_bytes` off the front.
    pub fn take(&mut self, max_bytes: usize) -> Bytes {
        self.out.split_to(max_bytes.min(self.out.len())).freeze()
    }
}

/// Makes the stream of tables that stand still (a clone, a store's snapshot), a piece at a time.
#[derive(Debug, Clone)]
pub struct Reader {
    encoder: Encoder,
    /// Where the next scan begins; `None` after the last row.
    next: Option<(Table, Vec<u8>)>,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader::new()
    }
}

impl Reader {
    /// At the start of the stream.
    #[must_use]
    pub fn new() -> Reader {
        Reader { encoder: Encoder::new(), next: Some((Table::ALL[0], Vec::new())) }
    }

    /// The next piece: exactly `max_bytes`, unless it is the last, and whether it is the last.
    /// `tables` must be the same each time.
    ///
    /// # Errors
    /// As `Encoder`, and when the tables cannot be read.
    pub fn read(
        &mut self,
        tables: &dyn Tables,
        max_bytes: usize,
    ) -> Result<(Bytes, bool), TableFailure> {
        while self.encoder.buffered() < max_bytes && self.next.is_some() {
            self.fill(tables, max_bytes)?;
        }
        let piece = self.encoder.take(max_bytes);
        Ok((piece, self.next.is_none() && self.encoder.buffered() == 0))
    }

    /// Encodes rows of one table until there are enough bytes or the table ends.
    fn fill(&mut self, tables: &dyn Tables, max_bytes: usize) -> Result<(), TableFailure> {
        let Some((table, start)) = self.next.take() else { return Ok(()) };
        let encoder = &mut self.encoder;
        let mut failure = None;
        let mut stopped = None;
        tables.scan(table, &start, None, Order::Ascending, &mut |key, value| {
            failure = encoder.row(table, key, value).err();
            if failure.is_some() {
                return false;
            }
            if encoder.buffered() >= max_bytes {
                stopped = Some([key, &[0]].concat());
                return false;
            }
            true
        })?;
        failure.map_or(Ok(()), Err)?;
        self.next = match stopped {
            Some(key) => Some((table, key)),
            None => Table::from_number(table as u8 + 1).map(|table| (table, Vec::new())),
        };
        if self.next.is_none() {
            self.encoder.finish()?;
        }
        Ok(())
    }
}
