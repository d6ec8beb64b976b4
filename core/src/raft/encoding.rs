//! Bytes of what the log holds: ids, entries, memberships, snapshot metas, votes. One format for the
//! wire and for the disk.
//!
//! Rule: decoding is total, and what it accepts has exactly one encoding; no version, because the
//! frame or file around has one. Payloads are slices of the input. Must never: panic, allocate by a
//! number that was read, or accept a membership whose sets contradict each other.

use super::*;
use crate::codec::{
    Malformed, get_bool, get_bytes, get_list, get_u8, get_u64, put_bool, put_bytes, put_u64,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Kinds of payload.
mod payload {
    pub const NOOP: u8 = 0;
    pub const COMMAND: u8 = 1;
    pub const MEMBERSHIP: u8 = 2;
}

/// What a member is, as bits: a voter of either half or a learner, and whether it was demoted.
mod member {
    pub const VOTER: u8 = 1;
    pub const OUTGOING: u8 = 2;
    pub const LEARNER: u8 = 4;
    pub const DEMOTED: u8 = 8;
}

pub(super) fn put_option<T>(
    out: &mut BytesMut,
    value: Option<T>,
    put: impl FnOnce(&mut BytesMut, T),
) {
    put_bool(out, value.is_some());
    if let Some(value) = value {
        put(out, value);
    }
}

pub(super) fn get_option<T>(
    input: &mut Bytes,
    what: &'static str,
    get: impl FnOnce(&mut Bytes) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    if get_bool(input, what)? { get(input).map(Some) } else { Ok(None) }
}

pub(super) fn get_index(input: &mut Bytes) -> Result<Index, Malformed> {
    Ok(Index(get_u64(input, "index")?))
}

pub(super) fn put_staged(out: &mut BytesMut, Staged { last, end, digest }: Staged) {
    put_entry_id(out, last);
    put_u64(out, end);
    out.put_u64(digest.0);
}

pub(super) fn get_staged(input: &mut Bytes) -> Result<Staged, Malformed> {
    let (last, end) = (get_entry_id(input)?, get_u64(input, "end")?);
    Ok(Staged { last, end, digest: StreamDigest(get_fixed(input)?) })
}

/// Eight bytes: digests are as long as they come, a varint would only make them longer.
pub(super) fn get_fixed(input: &mut Bytes) -> Result<u64, Malformed> {
    input.try_get_u64().map_err(|_| Malformed("digest"))
}

impl EntryId {
    /// Appends the encoding: term, then index.
    pub fn encode(&self, out: &mut BytesMut) {
        put_entry_id(out, *self);
    }

    /// Reads one id off the front of `bytes`.
    ///
    /// # Errors
    /// `Malformed` for anything `encode` does not produce.
    pub fn decode(bytes: &mut Bytes) -> Result<EntryId, Malformed> {
        get_entry_id(bytes)
    }
}

pub(super) fn put_entry_id(out: &mut BytesMut, id: EntryId) {
    put_u64(out, id.term.0);
    put_u64(out, id.index.0);
}

pub(super) fn get_entry_id(input: &mut Bytes) -> Result<EntryId, Malformed> {
    Ok(EntryId { term: Term(get_u64(input, "term")?), index: Index(get_u64(input, "index")?) })
}

pub(super) fn put_chain(out: &mut BytesMut, chain: Chain) {
    out.put_u64_le(chain.0);
}

pub(super) fn get_chain(input: &mut Bytes) -> Result<Chain, Malformed> {
    input.try_get_u64_le().map(Chain).map_err(|_| Malformed("chain"))
}

impl Entry {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        put_entry_id(out, self.id);
        put_chain(out, self.chain);
        match &self.payload {
            Payload::Noop => out.put_u8(payload::NOOP),
            Payload::Command(bytes) => {
                out.put_u8(payload::COMMAND);
                put_bytes(out, bytes);
            }
            Payload::Membership(membership) => {
                out.put_u8(payload::MEMBERSHIP);
                membership.encode(out);
            }
        }
    }

    /// Reads one entry off the front of `bytes`. Whether it follows from another is not judged.
    ///
    /// # Errors
    /// `Malformed` for anything `encode` does not produce.
    pub fn decode(bytes: &mut Bytes) -> Result<Entry, Malformed> {
        let id = get_entry_id(bytes)?;
        let chain = get_chain(bytes)?;
        let payload = match get_u8(bytes, "payload")? {
            payload::NOOP => Payload::Noop,
            payload::COMMAND => Payload::Command(get_bytes(bytes, "command")?),
            payload::MEMBERSHIP => Payload::Membership(Membership::decode(bytes)?),
            _ => return Err(Malformed("payload")),
        };
        Ok(Entry { id, payload, chain })
    }
}

impl Membership {
    /// Appends the encoding: the epoch, then each member once, in order of id, with what it is and its context.
    /// A member without a context gets an empty one.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut members: alloc::vec::Vec<NodeId> = self.contexts.keys().copied().collect();
        for set in [&self.voters, &self.outgoing, &self.learners] {
            members.extend(set);
        }
        members.sort_unstable();
        members.dedup();
        put_u64(out, self.epoch);
        put_u64(out, members.len() as u64);
        for id in members {
            let bit = |set: bool, bit: u8| if set { bit } else { 0 };
            put_u64(out, id.0);
            out.put_u8(
                bit(self.voters.contains(&id), member::VOTER)
                    | bit(self.outgoing.contains(&id), member::OUTGOING)
                    | bit(self.learners.contains(&id), member::LEARNER)
                    | bit(self.demoted.contains(&id), member::DEMOTED),
            );
            put_bytes(out, self.contexts.get(&id).map_or(&[], |context| &context[..]));
        }
    }

    /// Reads one membership off the front of `bytes`.
    ///
    /// # Errors
    /// `Malformed` for anything `encode` does not produce from a consistent membership.
    pub fn decode(bytes: &mut Bytes) -> Result<Membership, Malformed> {
        let epoch = get_u64(bytes, "epoch")?;
        let mut previous = None;
        let members = get_list(bytes, "members", |input| {
            let id = NodeId(get_u64(input, "member")?);
            if previous.is_some_and(|previous| previous >= id) {
                return Err(Malformed("member"));
            }
            previous = Some(id);
            Ok((id, get_u8(input, "member kind")?, get_bytes(input, "context")?))
        })?;
        let mut membership = Membership { epoch, ..Membership::default() };
        for (id, kind, context) in members {
            if kind & member::DEMOTED != 0 {
                if kind & member::VOTER != 0 {
                    return Err(Malformed("member kind"));
                }
                membership.demoted.insert(id);
            }
            match kind & !member::DEMOTED {
                member::LEARNER => {
                    membership.learners.insert(id);
                }
                1..=3 => {
                    if kind & member::VOTER != 0 {
                        membership.voters.insert(id);
                    }
                    if kind & member::OUTGOING != 0 {
                        membership.outgoing.insert(id);
                    }
                }
                _ => return Err(Malformed("member kind")),
            }
            membership.contexts.insert(id, context);
        }
        Ok(membership)
    }
}

impl SnapshotMeta {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        put_entry_id(out, self.last);
        put_chain(out, self.chain);
        put_u64(out, self.membership_index.0);
        self.membership.encode(out);
    }

    /// Reads one meta off the front of `bytes`.
    ///
    /// # Errors
    /// `Malformed` for anything `encode` does not produce.
    pub fn decode(bytes: &mut Bytes) -> Result<SnapshotMeta, Malformed> {
        Ok(SnapshotMeta {
            last: get_entry_id(bytes)?,
            chain: get_chain(bytes)?,
            membership_index: Index(get_u64(bytes, "membership index")?),
            membership: Membership::decode(bytes)?,
        })
    }
}

impl Vote {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        put_u64(out, self.term.0);
        put_bool(out, self.voted_for.is_some());
        if let Some(node) = self.voted_for {
            put_u64(out, node.0);
        }
    }

    /// Reads one vote off the front of `bytes`.
    ///
    /// # Errors
    /// `Malformed` for anything `encode` does not produce.
    pub fn decode(bytes: &mut Bytes) -> Result<Vote, Malformed> {
        let term = Term(get_u64(bytes, "term")?);
        let voted_for = match get_bool(bytes, "voted")? {
            true => Some(NodeId(get_u64(bytes, "voted for")?)),
            false => None,
        };
        Ok(Vote { term, voted_for })
    }
}
