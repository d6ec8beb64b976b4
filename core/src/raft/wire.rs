//! Bytes of messages, entries, votes and snapshot metas: one format for the wire and the log.
//!
//! Rule: decoding is total, and what it accepts has exactly one encoding. An envelope begins with
//! the format's version; entries, votes and metas carry none, because the frame or file around them
//! does. Payloads are slices of the input. Must never: panic, allocate by a number that was read,
//! or accept a membership whose sets contradict each other.

use super::*;
use crate::codec::{
    Malformed, get_bool, get_bytes, get_list, get_u8, get_u64, put_bool, put_bytes, put_u64,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Version of the envelope's format. A receiver refuses any other.
pub const VERSION: u8 = 2;

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

/// Kinds of message.
mod kind {
    pub const PRE_VOTE: u8 = 1;
    pub const PRE_VOTE_REPLY: u8 = 2;
    pub const REQUEST_VOTE: u8 = 3;
    pub const VOTE_REPLY: u8 = 4;
    pub const APPEND: u8 = 5;
    pub const APPEND_REPLY: u8 = 6;
    pub const HEARTBEAT: u8 = 7;
    pub const HEARTBEAT_REPLY: u8 = 8;
    pub const INSTALL_SNAPSHOT: u8 = 9;
    pub const SNAPSHOT_REPLY: u8 = 10;
    pub const TIMEOUT_NOW: u8 = 11;
    pub const READ_INDEX: u8 = 12;
    pub const READ_INDEX_REPLY: u8 = 13;
}

impl Envelope {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(VERSION);
        put_u64(out, self.from.0);
        put_u64(out, self.to.0);
        put_u64(out, self.term.0);
        put_message(out, &self.message);
    }

    /// Reads one envelope; payloads are slices of `bytes`.
    ///
    /// # Errors
    /// `Malformed` for anything `encode` does not produce.
    pub fn decode(mut bytes: Bytes) -> Result<Envelope, Malformed> {
        let input = &mut bytes;
        if get_u8(input, "version")? != VERSION {
            return Err(Malformed("version"));
        }
        let from = NodeId(get_u64(input, "from")?);
        let to = NodeId(get_u64(input, "to")?);
        let term = Term(get_u64(input, "term")?);
        let message = get_message(input)?;
        if input.is_empty() {
            Ok(Envelope { from, to, term, message })
        } else {
            Err(Malformed("end of envelope"))
        }
    }
}

fn put_message(out: &mut BytesMut, message: &Message) {
    match message {
        Message::PreVote { last } => {
            out.put_u8(kind::PRE_VOTE);
            put_entry_id(out, *last);
        }
        Message::PreVoteReply { granted } => {
            out.put_u8(kind::PRE_VOTE_REPLY);
            put_bool(out, *granted);
        }
        Message::RequestVote { last, transfer } => {
            out.put_u8(kind::REQUEST_VOTE);
            put_entry_id(out, *last);
            put_bool(out, *transfer);
        }
        Message::VoteReply { granted } => {
            out.put_u8(kind::VOTE_REPLY);
            put_bool(out, *granted);
        }
        Message::Append { prev, prev_chain, entries, commit, sequence } => {
            out.put_u8(kind::APPEND);
            put_entry_id(out, *prev);
            put_chain(out, *prev_chain);
            put_u64(out, commit.0);
            put_u64(out, *sequence);
            put_u64(out, entries.len() as u64);
            for entry in entries {
                entry.encode(out);
            }
        }
        Message::AppendReply { outcome, sequence } => {
            out.put_u8(kind::APPEND_REPLY);
            put_u64(out, *sequence);
            match outcome {
                AppendOutcome::Matched { last } => {
                    put_bool(out, true);
                    put_u64(out, last.0);
                }
                AppendOutcome::Rejected { prev, hint, staged } => {
                    put_bool(out, false);
                    put_entry_id(out, *prev);
                    put_entry_id(out, *hint);
                    put_option(out, *staged, put_staged);
                }
            }
        }
        Message::Heartbeat { commit, sequence, compare, proven } => {
            out.put_u8(kind::HEARTBEAT);
            put_u64(out, commit.0);
            put_u64(out, *sequence);
            put_option(out, compare.map(|index| index.0), put_u64);
            put_option(out, *proven, |out, StateDigest { index, digest }| {
                put_u64(out, index.0);
                out.put_u64(digest);
            });
        }
        Message::HeartbeatReply { sequence, state, staged } => {
            out.put_u8(kind::HEARTBEAT_REPLY);
            put_u64(out, *sequence);
            put_option(out, *state, |out, StateReport { index, digest }| {
                put_u64(out, index.0);
                put_option(out, digest, |out, digest| out.put_u64(digest));
            });
            put_option(out, *staged, put_staged);
        }
        Message::InstallSnapshot { meta, offset, data, before, last, sequence } => {
            out.put_u8(kind::INSTALL_SNAPSHOT);
            meta.encode(out);
            put_u64(out, *offset);
            out.put_u64(before.0);
            put_bool(out, *last);
            put_u64(out, *sequence);
            put_bytes(out, data);
        }
        Message::SnapshotReply { last, end, digest, installed, sequence } => {
            out.put_u8(kind::SNAPSHOT_REPLY);
            put_entry_id(out, *last);
            put_u64(out, *end);
            out.put_u64(digest.0);
            put_bool(out, *installed);
            put_u64(out, *sequence);
        }
        Message::TimeoutNow => out.put_u8(kind::TIMEOUT_NOW),
        Message::ReadIndex { id } => {
            out.put_u8(kind::READ_INDEX);
            put_u64(out, id.0);
        }
        Message::ReadIndexReply { id, index } => {
            out.put_u8(kind::READ_INDEX_REPLY);
            put_u64(out, id.0);
            put_option(out, index.map(|index| index.0), put_u64);
        }
    }
}

fn get_message(input: &mut Bytes) -> Result<Message, Malformed> {
    Ok(match get_u8(input, "kind")? {
        kind::PRE_VOTE => Message::PreVote { last: get_entry_id(input)? },
        kind::PRE_VOTE_REPLY => Message::PreVoteReply { granted: get_bool(input, "granted")? },
        kind::REQUEST_VOTE => Message::RequestVote {
            last: get_entry_id(input)?,
            transfer: get_bool(input, "transfer")?,
        },
        kind::VOTE_REPLY => Message::VoteReply { granted: get_bool(input, "granted")? },
        kind::APPEND => Message::Append {
            prev: get_entry_id(input)?,
            prev_chain: get_chain(input)?,
            commit: Index(get_u64(input, "commit")?),
            sequence: get_u64(input, "sequence")?,
            entries: get_list(input, "entries", Entry::decode)?,
        },
        kind::APPEND_REPLY => {
            let sequence = get_u64(input, "sequence")?;
            let outcome = if get_bool(input, "matched")? {
                AppendOutcome::Matched { last: Index(get_u64(input, "last")?) }
            } else {
                AppendOutcome::Rejected {
                    prev: get_entry_id(input)?,
                    hint: get_entry_id(input)?,
                    staged: get_option(input, "staged", get_staged)?,
                }
            };
            Message::AppendReply { outcome, sequence }
        }
        kind::HEARTBEAT => Message::Heartbeat {
            commit: Index(get_u64(input, "commit")?),
            sequence: get_u64(input, "sequence")?,
            compare: get_option(input, "compare", get_index)?,
            proven: get_option(input, "proven", |input| {
                Ok(StateDigest { index: get_index(input)?, digest: get_fixed(input)? })
            })?,
        },
        kind::HEARTBEAT_REPLY => Message::HeartbeatReply {
            sequence: get_u64(input, "sequence")?,
            state: get_option(input, "state", |input| {
                let index = get_index(input)?;
                Ok(StateReport { index, digest: get_option(input, "digest", get_fixed)? })
            })?,
            staged: get_option(input, "staged", get_staged)?,
        },
        kind::INSTALL_SNAPSHOT => Message::InstallSnapshot {
            meta: SnapshotMeta::decode(input)?,
            offset: get_u64(input, "offset")?,
            before: StreamDigest(get_fixed(input)?),
            last: get_bool(input, "last")?,
            sequence: get_u64(input, "sequence")?,
            data: get_bytes(input, "data")?,
        },
        kind::SNAPSHOT_REPLY => Message::SnapshotReply {
            last: get_entry_id(input)?,
            end: get_u64(input, "end")?,
            digest: StreamDigest(get_fixed(input)?),
            installed: get_bool(input, "installed")?,
            sequence: get_u64(input, "sequence")?,
        },
        kind::TIMEOUT_NOW => Message::TimeoutNow,
        kind::READ_INDEX => Message::ReadIndex { id: ReadId(get_u64(input, "id")?) },
        kind::READ_INDEX_REPLY => Message::ReadIndexReply {
            id: ReadId(get_u64(input, "id")?),
            index: get_option(input, "confirmed", get_index)?,
        },
        _ => return Err(Malformed("kind")),
    })
}

fn put_option<T>(out: &mut BytesMut, value: Option<T>, put: impl FnOnce(&mut BytesMut, T)) {
    put_bool(out, value.is_some());
    if let Some(value) = value {
        put(out, value);
    }
}

fn get_option<T>(
    input: &mut Bytes,
    what: &'static str,
    get: impl FnOnce(&mut Bytes) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    if get_bool(input, what)? { get(input).map(Some) } else { Ok(None) }
}

fn get_index(input: &mut Bytes) -> Result<Index, Malformed> {
    Ok(Index(get_u64(input, "index")?))
}

fn put_staged(out: &mut BytesMut, Staged { last, end, digest }: Staged) {
    put_entry_id(out, last);
    put_u64(out, end);
    out.put_u64(digest.0);
}

fn get_staged(input: &mut Bytes) -> Result<Staged, Malformed> {
    let (last, end) = (get_entry_id(input)?, get_u64(input, "end")?);
    Ok(Staged { last, end, digest: StreamDigest(get_fixed(input)?) })
}

/// Eight bytes: digests are as long as they come, a varint would only make them longer.
fn get_fixed(input: &mut Bytes) -> Result<u64, Malformed> {
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

fn put_entry_id(out: &mut BytesMut, id: EntryId) {
    put_u64(out, id.term.0);
    put_u64(out, id.index.0);
}

fn get_entry_id(input: &mut Bytes) -> Result<EntryId, Malformed> {
    Ok(EntryId { term: Term(get_u64(input, "term")?), index: Index(get_u64(input, "index")?) })
}

fn put_chain(out: &mut BytesMut, chain: Chain) {
    out.put_u64_le(chain.0);
}

fn get_chain(input: &mut Bytes) -> Result<Chain, Malformed> {
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
    /// Appends the encoding: each member once, in order of id, with what it is and its context.
    /// A member without a context gets an empty one.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut members: alloc::vec::Vec<NodeId> = self.contexts.keys().copied().collect();
        for set in [&self.voters, &self.outgoing, &self.learners] {
            members.extend(set);
        }
        members.sort_unstable();
        members.dedup();
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
        let mut previous = None;
        let members = get_list(bytes, "members", |input| {
            let id = NodeId(get_u64(input, "member")?);
            if previous.is_some_and(|previous| previous >= id) {
                return Err(Malformed("member"));
            }
            previous = Some(id);
            Ok((id, get_u8(input, "member kind")?, get_bytes(input, "context")?))
        })?;
        let mut membership = Membership::default();
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
