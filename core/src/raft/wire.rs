//! Bytes of messages.
//!
//! Rule: decoding is total, and what it accepts has exactly one encoding. An envelope begins with
//! the format's version; what is inside (`encoding.rs`) has none. Must never: panic, or allocate by a
//! number that was read.

use super::{encoding::*, *};
use crate::codec::{
    Malformed, get_bool, get_bytes, get_list, get_u8, get_u64, put_bool, put_bytes, put_u64,
};
use bytes::{BufMut, Bytes, BytesMut};

/// Version of the envelope's format. A receiver refuses any other.
pub const VERSION: u8 = 2;

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
        put_u64(out, self.epoch);
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
        let epoch = get_u64(input, "epoch")?;
        let term = Term(get_u64(input, "term")?);
        let message = get_message(input)?;
        if input.is_empty() {
            Ok(Envelope { from, to, epoch, term, message })
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
