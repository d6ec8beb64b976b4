//! The head row: the few numbers that every command reads and most commands change.
//!
//! Rule: one row, so that a command costs one look-up and one write for all of them. A store
//! without the row is empty, at revision 1 (as etcd). Must never: go back in revision, compact
//! revision or clock.

use super::{
    command::SettingsChange,
    digest,
    tables::{Table, TableFailure, Tables},
};
use crate::codec::{Malformed, get_u8, get_u64, put_u64};
use alloc::format;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Its key in `Table::Meta`.
pub(super) const HEAD_KEY: &[u8] = b"head";

/// The digest's sum is the last so many bytes of the row, little-endian.
pub(super) const SUM_BYTES: usize = 16;

const FORMAT: u8 = 3;

/// Settings that are replicated state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How many bytes may be stored, history and all; 0: no limit.
    pub quota_bytes: u64,
    /// For how long history is kept at least; `u64::MAX`: for ever.
    pub keep_ms: u64,
    /// How many revisions are kept at least.
    pub keep_revisions: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { quota_bytes: 0, keep_ms: 10 * 60 * 1000, keep_revisions: 10_000 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Of the last change; 1 in the empty store.
    pub revision: u64,
    /// History before it is forgotten; 0: none.
    pub compacted: u64,
    /// The replicated clock in milliseconds: the largest `time_ms` applied.
    pub clock_ms: u64,
    /// How far the removal of forgotten rows has come: the next row of `Revisions` to look at.
    pub sweep: (u64, u32),
    /// Sequence numbers of the stored replies: oldest, and the next to be given.
    pub replies: (u64, u64),
    /// When the last mark was made (`marks`).
    pub marked_ms: u64,
    /// How many lease ids were derived.
    pub derived: u64,
    /// What all replicas have agreed to.
    pub settings: Settings,
    /// Bytes of all rows but this one, keys and values.
    pub bytes: u64,
    /// Those of them that are in `Latest`: what no compaction frees.
    pub live_bytes: u64,
    /// How many keys there are.
    pub keys: u64,
    /// How many leases there are.
    pub leases: u64,
    /// Sum of `digest::of_row` over all rows but this one.
    pub sum: u128,
}

impl Default for Head {
    fn default() -> Head {
        Head {
            revision: 1,
            compacted: 0,
            clock_ms: 0,
            sweep: (0, 0),
            replies: (0, 0),
            marked_ms: 0,
            derived: 0,
            settings: Settings::default(),
            bytes: 0,
            live_bytes: 0,
            keys: 0,
            leases: 0,
            sum: 0,
        }
    }
}

impl Head {
    /// Reads the row.
    pub fn load(tables: &dyn Tables) -> Result<Head, TableFailure> {
        match tables.get(Table::Meta, HEAD_KEY)? {
            None => Ok(Head::default()),
            Some(row) => Head::decode(row).map_err(|malformed| {
                TableFailure(format!("the head row of the state is damaged: {malformed}"))
            }),
        }
    }

    /// The digest of the state whose head this is.
    pub fn digest(&self) -> u128 {
        if *self == Head::default() {
            return 0;
        }
        self.sum.wrapping_add(digest::of_row(Table::Meta, HEAD_KEY, &self.encode()))
    }

    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(96);
        out.put_u8(FORMAT);
        for number in [
            self.revision,
            self.compacted,
            self.clock_ms,
            self.sweep.0,
            u64::from(self.sweep.1),
            self.replies.0,
            self.replies.1,
            self.marked_ms,
            self.derived,
            self.settings.quota_bytes,
            self.settings.keep_ms,
            self.settings.keep_revisions,
            self.bytes,
            self.live_bytes,
            self.keys,
            self.leases,
        ] {
            put_u64(&mut out, number);
        }
        out.put_u128_le(self.sum);
        out.freeze()
    }

    pub fn decode(mut row: Bytes) -> Result<Head, Malformed> {
        if get_u8(&mut row, "format")? != FORMAT {
            return Err(Malformed("format"));
        }
        let head = Head {
            revision: get_u64(&mut row, "revision")?,
            compacted: get_u64(&mut row, "compacted")?,
            clock_ms: get_u64(&mut row, "clock")?,
            sweep: (
                get_u64(&mut row, "sweep")?,
                u32::try_from(get_u64(&mut row, "sweep")?).map_err(|_| Malformed("sweep"))?,
            ),
            replies: (get_u64(&mut row, "replies")?, get_u64(&mut row, "replies")?),
            marked_ms: get_u64(&mut row, "marked")?,
            derived: get_u64(&mut row, "derived")?,
            settings: Settings {
                quota_bytes: get_u64(&mut row, "quota")?,
                keep_ms: get_u64(&mut row, "retention")?,
                keep_revisions: get_u64(&mut row, "retention")?,
            },
            bytes: get_u64(&mut row, "bytes")?,
            live_bytes: get_u64(&mut row, "live bytes")?,
            keys: get_u64(&mut row, "keys")?,
            leases: get_u64(&mut row, "leases")?,
            sum: row.try_get_u128_le().map_err(|_| Malformed("sum"))?,
        };
        if row.is_empty() { Ok(head) } else { Err(Malformed("end of row")) }
    }
}

impl Settings {
    /// Takes over what is to be changed.
    pub(super) fn change(&mut self, change: &SettingsChange) {
        self.quota_bytes = change.quota_bytes.unwrap_or(self.quota_bytes);
        self.keep_ms = change.keep_ms.unwrap_or(self.keep_ms);
        self.keep_revisions = change.keep_revisions.unwrap_or(self.keep_revisions);
    }
}
