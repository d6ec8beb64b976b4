//! Bytes of messages, entries, votes and snapshot metas: one format for the wire and the log.

use super::*;
use crate::codec::Malformed;
use bytes::{Bytes, BytesMut};

impl Envelope {
    /// Appends the encoding.
    pub fn encode(&self, _out: &mut BytesMut) {
        todo!()
    }
    /// Reads one envelope; payloads are slices of `bytes`.
    ///
    /// # Errors
    /// `Malformed` for anything `encode` does not produce.
    pub fn decode(_bytes: Bytes) -> Result<Envelope, Malformed> {
        todo!()
    }
}

impl Entry {
    /// Appends the encoding.
    pub fn encode(&self, _out: &mut BytesMut) {
        todo!()
    }
    /// Reads one entry off the front of `bytes`.
    ///
    /// # Errors
    /// `Malformed` for anything `encode` does not produce.
    pub fn decode(_bytes: &mut Bytes) -> Result<Entry, Malformed> {
        todo!()
    }
}

impl SnapshotMeta {
    /// Appends the encoding.
    pub fn encode(&self, _out: &mut BytesMut) {
        todo!()
    }
    /// Reads one meta off the front of `bytes`.
    ///
    /// # Errors
    /// `Malformed` for anything `encode` does not produce.
    pub fn decode(_bytes: &mut Bytes) -> Result<SnapshotMeta, Malformed> {
        todo!()
    }
}
