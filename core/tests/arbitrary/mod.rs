//! Arbitrary messages and what they are made of. `number` says from which range.

use bytes::Bytes;
use kvorum_core::raft::*;
use quickcheck::{Arbitrary, Gen};

/// Numbers near the borders of the varint, not only small ones.
#[allow(dead_code)] // not every test draws from the whole range
pub fn number(g: &mut Gen) -> u64 {
    let shift = u32::arbitrary(g) % 64;
    u64::arbitrary(g) >> shift
}

pub fn entry_id(g: &mut Gen, number: fn(&mut Gen) -> u64) -> EntryId {
    EntryId { term: Term(number(g)), index: Index(number(g)) }
}

pub fn chain(g: &mut Gen) -> Chain {
    Chain(u64::arbitrary(g))
}

/// Makes a message that speaks of entries follow from what the receiver holds, as a leader's would.
#[allow(dead_code)] // not every test has a receiver
pub fn relink(message: &mut Message, chain_of: impl Fn(EntryId) -> Option<Chain>) {
    match message {
        Message::Append { prev, prev_chain, entries, .. } => {
            *prev_chain = chain_of(*prev).unwrap_or(*prev_chain);
            let mut parent = *prev_chain;
            for entry in entries {
                *entry = Entry::new(parent, entry.id, entry.payload.clone());
                parent = entry.chain;
            }
        }
        Message::InstallSnapshot { meta, .. } => {
            meta.chain = chain_of(meta.last).unwrap_or(meta.chain);
        }
        _ => {}
    }
}

pub fn bytes(g: &mut Gen) -> Bytes {
    Bytes::from(Vec::<u8>::arbitrary(g))
}

pub fn membership(g: &mut Gen, number: fn(&mut Gen) -> u64) -> Membership {
    // Of epoch 0, as what the tests' nodes belong to.
    let mut membership = Membership::default();
    for _ in 0..usize::arbitrary(g) % 6 {
        let id = NodeId(number(g));
        if membership.contexts.contains_key(&id) {
            continue;
        }
        match u8::arbitrary(g) % 6 {
            0 => drop(membership.voters.insert(id)),
            1 => drop(membership.outgoing.insert(id)),
            2 => drop(membership.learners.insert(id)),
            4 => drop((membership.learners.insert(id), membership.demoted.insert(id))),
            5 => drop((membership.outgoing.insert(id), membership.demoted.insert(id))),
            _ => drop((membership.voters.insert(id), membership.outgoing.insert(id))),
        }
        membership.contexts.insert(id, bytes(g));
    }
    membership
}

pub fn meta(g: &mut Gen, number: fn(&mut Gen) -> u64) -> SnapshotMeta {
    SnapshotMeta {
        last: entry_id(g, number),
        chain: chain(g),
        membership: membership(g, number),
        membership_index: Index(number(g)),
    }
}

pub fn entry(g: &mut Gen, number: fn(&mut Gen) -> u64) -> Entry {
    let payload = match u8::arbitrary(g) % 3 {
        0 => Payload::Noop,
        1 => Payload::Command(bytes(g)),
        _ => Payload::Membership(membership(g, number)),
    };
    Entry::new(chain(g), entry_id(g, number), payload)
}

fn staged(g: &mut Gen, number: fn(&mut Gen) -> u64) -> Staged {
    Staged { last: entry_id(g, number), end: number(g), digest: StreamDigest(number(g)) }
}

pub fn message(g: &mut Gen, number: fn(&mut Gen) -> u64) -> Message {
    let sequence = number(g);
    match u8::arbitrary(g) % 14 {
        0 => Message::PreVote { last: entry_id(g, number) },
        1 => Message::PreVoteReply { granted: bool::arbitrary(g) },
        2 => Message::RequestVote { last: entry_id(g, number), transfer: bool::arbitrary(g) },
        3 => Message::VoteReply { granted: bool::arbitrary(g) },
        4 => Message::Append {
            prev: entry_id(g, number),
            prev_chain: chain(g),
            entries: (0..usize::arbitrary(g) % 5).map(|_| entry(g, number)).collect(),
            commit: Index(number(g)),
            sequence,
        },
        5 => Message::AppendReply {
            outcome: AppendOutcome::Matched { last: Index(number(g)) },
            sequence,
        },
        6 => Message::AppendReply {
            outcome: AppendOutcome::Rejected {
                prev: entry_id(g, number),
                hint: entry_id(g, number),
                staged: bool::arbitrary(g).then(|| staged(g, number)),
            },
            sequence,
        },
        7 => Message::Heartbeat {
            commit: Index(number(g)),
            sequence,
            compare: bool::arbitrary(g).then(|| Index(number(g))),
            proven: bool::arbitrary(g)
                .then(|| StateDigest { index: Index(number(g)), digest: u64::arbitrary(g) }),
        },
        8 => Message::HeartbeatReply {
            sequence,
            state: bool::arbitrary(g).then(|| StateReport {
                index: Index(number(g)),
                digest: bool::arbitrary(g).then(|| u64::arbitrary(g)),
            }),
            staged: bool::arbitrary(g).then(|| staged(g, number)),
        },
        9 => Message::InstallSnapshot {
            meta: meta(g, number),
            offset: number(g),
            data: bytes(g),
            before: StreamDigest(if bool::arbitrary(g) { 0 } else { number(g) }),
            last: bool::arbitrary(g),
            sequence,
        },
        10 => Message::SnapshotReply {
            last: entry_id(g, number),
            end: number(g),
            digest: StreamDigest(number(g)),
            installed: bool::arbitrary(g),
            sequence,
        },
        11 => Message::TimeoutNow,
        12 => Message::ReadIndex { id: ReadId(number(g)) },
        _ => Message::ReadIndexReply {
            id: ReadId(number(g)),
            index: bool::arbitrary(g).then(|| Index(number(g))),
        },
    }
}
