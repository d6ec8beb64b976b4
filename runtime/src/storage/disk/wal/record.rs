//! What a frame's payload says: changes to the log, in order.
//!
//! Rule: one record per part of a `LogChange`, in the order vote, truncate, append, base, commit;
//! recovery applies them one after the other. Must never: skip a record it does not know.

use crate::storage::LogChange;
use bytes::{BufMut, Bytes, BytesMut};
use kvorum_core::{
    codec::{Malformed, get_bool, get_u8, get_u64, put_bool, put_u64},
    raft::{Entry, Index, NodeId, SnapshotMeta, Term, Vote},
};

const VOTE: u8 = 1;
const TRUNCATE: u8 = 2;
const APPEND: u8 = 3;
const BASE: u8 = 4;
const COMMIT: u8 = 5;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    /// New term and vote.
    Vote(Vote),
    /// Entries from here on are void.
    Truncate(Index),
    /// So many entries follow, without a gap.
    Append(u64),
    /// The log begins after this.
    Base(SnapshotMeta),
    /// Everything up to here is committed.
    Commit(Index),
}

/// Appends a change's records. Returns where in `out` the append record begins, if there is one.
pub(super) fn put_change(out: &mut BytesMut, change: &LogChange<'_>) -> Option<usize> {
    if let Some(vote) = change.vote {
        out.put_u8(VOTE);
        put_vote(out, vote);
    }
    if let Some(from) = change.truncate_from {
        out.put_u8(TRUNCATE);
        put_u64(out, from.0);
    }
    let append = (!change.append.is_empty()).then_some(out.len());
    if append.is_some() {
        out.put_u8(APPEND);
        put_u64(out, change.append.len() as u64);
        for entry in change.append {
            entry.encode(out);
        }
    }
    if let Some(base) = change.base {
        out.put_u8(BASE);
        base.encode(out);
    }
    if let Some(commit) = change.commit {
        out.put_u8(COMMIT);
        put_u64(out, commit.0);
    }
    append
}

/// Reads the next record; after `Append(n)`, `n` entries follow.
pub(super) fn get_record(input: &mut Bytes) -> Result<Record, Malformed> {
    match get_u8(input, "record kind")? {
        VOTE => get_vote(input).map(Record::Vote),
        TRUNCATE => Ok(Record::Truncate(Index(get_u64(input, "truncate")?))),
        APPEND => {
            let count = get_u64(input, "entry count")?;
            if count > input.len() as u64 {
                return Err(Malformed("entry count"));
            }
            Ok(Record::Append(count))
        }
        BASE => SnapshotMeta::decode(input).map(Record::Base),
        COMMIT => Ok(Record::Commit(Index(get_u64(input, "commit")?))),
        _ => Err(Malformed("record kind")),
    }
}

/// Reads one entry of an append.
pub(super) fn get_entry(input: &mut Bytes) -> Result<Entry, Malformed> {
    Entry::decode(input)
}

/// Appends a vote.
pub(super) fn put_vote(out: &mut BytesMut, vote: Vote) {
    put_u64(out, vote.term.0);
    put_bool(out, vote.voted_for.is_some());
    if let Some(node) = vote.voted_for {
        put_u64(out, node.0);
    }
}

/// Reads a vote.
pub(super) fn get_vote(input: &mut Bytes) -> Result<Vote, Malformed> {
    let term = Term(get_u64(input, "term")?);
    let voted = get_bool(input, "voted")?;
    let voted_for = if voted { Some(NodeId(get_u64(input, "voted for")?)) } else { None };
    Ok(Vote { term, voted_for })
}
