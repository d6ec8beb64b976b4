//! Messages that nobody honest would send.
//!
//! Rule: anything the types allow, often nearly plausible: small terms and indexes, members and
//! strangers, now and then the largest numbers. Must never: be judged by what honest peers promise.

use crate::disk::Image;
use crate::rng::Rng;
use crate::schedule::Step;
use bytes::Bytes;
use kvorum_core::raft::{
    AppendOutcome, Chain, Entry, EntryId, Envelope, Index, Membership, Message, NodeId, Payload,
    ReadId, SnapshotMeta, Staged, StateDigest, StateReport, StreamDigest, Term,
};

/// Bytes of a command or a chunk, at most.
pub const MAX_DATA: u64 = 100;
/// Entries of an append, at most.
pub const MAX_ENTRIES: u64 = 4;

/// The epoch of every cluster here.
const EPOCH: u64 = 1;

/// The chain of a peer that speaks of a history which nobody shares.
const OTHER_HISTORY: Chain = Chain(u64::MAX);

/// Makes what a peer says of entries follow from what the receiver holds, mostly: a chain drawn at
/// random would never fit, and nothing behind that check would be met.
pub fn relink(message: &mut Message, held: &Image) {
    let chain_of = |id: EntryId| {
        let entry = held.entry(id.index).filter(|entry| entry.id == id);
        let base = (id == held.base.last).then_some(held.base.chain);
        entry.map(|entry| entry.chain).or(base).unwrap_or_default()
    };
    match message {
        Message::Append { prev, prev_chain, entries, .. } if *prev_chain != OTHER_HISTORY => {
            *prev_chain = chain_of(*prev);
            let mut parent = *prev_chain;
            for entry in entries {
                *entry = Entry::new(parent, entry.id, entry.payload.clone());
                parent = entry.chain;
            }
        }
        Message::InstallSnapshot { meta, .. } => meta.chain = chain_of(meta.last),
        _ => {}
    }
}

/// A message, as it is or through a wire that flips bits.
pub fn step(rng: &mut Rng, ids: &[u64]) -> Step {
    let envelope = Box::new(envelope(rng, ids));
    if rng.chance(850) {
        return Step::Say(envelope);
    }
    let flips = (0..=rng.between(0, 3)).map(|_| rng.next() as u16).collect();
    Step::Garble(envelope, flips)
}

fn envelope(rng: &mut Rng, ids: &[u64]) -> Envelope {
    let to = if rng.chance(950) { NodeId(rng.pick(ids)) } else { NodeId(rng.next()) };
    let term = if rng.chance(10) { Term(u64::MAX) } else { term(rng) };
    let from = who(rng, ids);
    let message = message(rng, ids);
    // Of another life of the cluster now and then: it is not heard.
    let epoch = if rng.chance(30) { rng.between(0, 3) } else { EPOCH };
    Envelope { from, to, epoch, term, message }
}

/// A member often, sometimes a stranger.
fn who(rng: &mut Rng, ids: &[u64]) -> NodeId {
    match rng.between(0, 3) {
        0 => NodeId(rng.between(0, 12)),
        1 if rng.chance(300) => NodeId(rng.next()),
        _ => NodeId(rng.pick(ids)),
    }
}

fn small(rng: &mut Rng) -> u64 {
    match rng.between(0, 99) {
        0 => u64::MAX,
        1 => u64::MAX - 1,
        2 => 1 << 62,
        n => n % 12,
    }
}

fn term(rng: &mut Rng) -> Term {
    Term(rng.between(0, 5))
}

fn id(rng: &mut Rng) -> EntryId {
    EntryId { term: term(rng), index: Index(small(rng)) }
}

fn data(rng: &mut Rng) -> Bytes {
    let byte = rng.next() as u8;
    let length = rng.between(0, MAX_DATA) * u64::from(rng.chance(700));
    Bytes::from(vec![byte; usize::try_from(length).expect("small")])
}

fn membership(rng: &mut Rng, ids: &[u64]) -> Membership {
    let epoch = if rng.chance(30) { rng.between(0, 3) } else { EPOCH };
    let mut membership = Membership { epoch, ..Membership::default() };
    for _ in 0..rng.between(0, 8) {
        let id = who(rng, ids);
        match rng.between(0, 4) {
            0..=2 => membership.voters.insert(id),
            3 => membership.learners.insert(id),
            _ => membership.outgoing.insert(id),
        };
        // Now and then a member without a context, which no honest peer has.
        if !rng.chance(60) {
            membership.contexts.insert(id, Bytes::from_static(b"m"));
        }
    }
    membership
}

fn entries(rng: &mut Rng, prev: EntryId, ids: &[u64]) -> Vec<Entry> {
    let honest = rng.chance(750);
    let mut last = prev;
    (0..rng.between(0, MAX_ENTRIES))
        .map(|_| {
            let next = EntryId {
                term: Term(last.term.0 + u64::from(rng.chance(300))),
                index: Index(last.index.0.wrapping_add(1)),
            };
            last = if honest { next } else { id(rng) };
            let payload = match rng.between(0, 4) {
                0 => Payload::Noop,
                1 => Payload::Membership(membership(rng, ids)),
                _ => Payload::Command(command(rng)),
            };
            Entry::new(Chain::START, last, payload)
        })
        .collect()
}

/// Long enough for the model state machine.
fn command(rng: &mut Rng) -> Bytes {
    let mut bytes = rng.next().to_le_bytes().to_vec();
    bytes.extend_from_slice(&data(rng));
    bytes.into()
}

fn meta(rng: &mut Rng, ids: &[u64]) -> SnapshotMeta {
    let membership = membership(rng, ids);
    let membership_index = Index(small(rng));
    SnapshotMeta { last: id(rng), chain: Chain::START, membership, membership_index }
}

fn staged(rng: &mut Rng) -> Staged {
    Staged { last: id(rng), end: small(rng), digest: StreamDigest(small(rng)) }
}

fn message(rng: &mut Rng, ids: &[u64]) -> Message {
    let (sequence, granted) = (small(rng), rng.chance(500));
    match rng.between(0, 17) {
        0 => Message::PreVote { last: id(rng) },
        1 => Message::PreVoteReply { granted },
        2 => Message::RequestVote { last: id(rng), transfer: rng.chance(500) },
        3 | 4 => Message::VoteReply { granted },
        5..=8 => {
            let prev = if rng.chance(300) { EntryId::default() } else { id(rng) };
            let entries = entries(rng, prev, ids);
            let prev_chain = if rng.chance(30) { OTHER_HISTORY } else { Chain::START };
            Message::Append { prev, prev_chain, entries, commit: Index(small(rng)), sequence }
        }
        9 => Message::AppendReply {
            outcome: AppendOutcome::Matched { last: Index(small(rng)) },
            sequence,
        },
        10 => Message::AppendReply {
            outcome: AppendOutcome::Rejected {
                prev: id(rng),
                hint: id(rng),
                staged: rng.chance(300).then(|| staged(rng)),
            },
            sequence,
        },
        11 => Message::Heartbeat {
            commit: Index(small(rng)),
            sequence,
            compare: granted.then(|| Index(small(rng))),
            proven: rng.chance(200).then(|| StateDigest { index: Index(small(rng)), digest: 1 }),
        },
        12 => Message::HeartbeatReply {
            sequence,
            state: granted.then(|| StateReport {
                index: Index(small(rng)),
                digest: rng.chance(500).then(|| small(rng)),
            }),
            staged: rng.chance(300).then(|| staged(rng)),
        },
        13 => Message::InstallSnapshot {
            meta: meta(rng, ids),
            offset: if rng.chance(600) { 0 } else { small(rng) },
            data: data(rng),
            before: StreamDigest(if rng.chance(700) { 0 } else { small(rng) }),
            last: rng.chance(500),
            sequence,
        },
        14 => {
            let Staged { last, end, digest } = staged(rng);
            Message::SnapshotReply { last, end, digest, installed: granted, sequence }
        }
        15 => Message::TimeoutNow,
        16 => Message::ReadIndex { id: ReadId(small(rng)) },
        _ => Message::ReadIndexReply {
            id: ReadId(small(rng)),
            index: granted.then(|| Index(small(rng))),
        },
    }
}
