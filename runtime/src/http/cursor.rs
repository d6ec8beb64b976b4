//! Where a scan goes on: at the revision of its first page, after the last key it gave.
//!
//! Rule: a cursor belongs to the scan that made it, and says so; what other clients write between
//! two pages disturbs neither. Must never: be read with other bounds than it was made with.

use super::problem::{INVALID_CURSOR, Problem};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use kvorum_core::codec::{get_bytes, get_u64, put_bytes, put_u64};
use xxhash_rust::xxh3::xxh3_64;

/// The place after a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The revision of every page.
    pub revision: u64,
    /// The last key given.
    pub last: Bytes,
}

impl Cursor {
    /// The text a client hands back; `scan` is what the scan was asked, in any fixed form.
    pub(super) fn encode(&self, scan: &[u8]) -> String {
        let mut out = BytesMut::new();
        put_u64(&mut out, xxh3_64(scan));
        put_u64(&mut out, self.revision);
        put_bytes(&mut out, &self.last);
        let seal = xxh3_64(&out) as u32;
        out.extend_from_slice(&seal.to_be_bytes());
        URL_SAFE_NO_PAD.encode(out)
    }

    /// Reads the text of `encode`.
    pub(super) fn decode(text: &str, scan: &[u8]) -> Result<Cursor, Problem> {
        let damaged = || Problem::new(INVALID_CURSOR, "the cursor is not one of this server's");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| damaged())?;
        let (content, seal) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        if (xxh3_64(content) as u32).to_be_bytes() != *seal {
            return Err(damaged());
        }
        let mut input = Bytes::copy_from_slice(content);
        let read = |input: &mut Bytes| -> Option<(u64, Cursor)> {
            let scan = get_u64(input, "scan").ok()?;
            let revision = get_u64(input, "revision").ok()?;
            let last = get_bytes(input, "last key").ok()?;
            Some((scan, Cursor { revision, last }))
        };
        let (made_for, cursor) = read(&mut input).ok_or_else(damaged)?;
        if made_for != xxh3_64(scan) {
            return Err(Problem::new(INVALID_CURSOR, "the cursor belongs to another scan"));
        }
        Ok(cursor)
    }
}
