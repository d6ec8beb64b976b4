//! The encoding of everything that travels or is stored: what is written is read back, and nothing
//! else is accepted.

use bytes::{Bytes, BytesMut};
use kvorum_core::raft::*;
use quickcheck::{Arbitrary, Gen, TestResult, quickcheck};

/// Numbers near the borders of the varint, not only small ones.
fn number(g: &mut Gen) -> u64 {
    let shift = u32::arbitrary(g) % 64;
    u64::arbitrary(g) >> shift
}

fn entry_id(g: &mut Gen) -> EntryId {
    EntryId { term: Term(number(g)), index: Index(number(g)) }
}

fn bytes(g: &mut Gen) -> Bytes {
    Bytes::from(Vec::<u8>::arbitrary(g))
}

fn membership(g: &mut Gen) -> Membership {
    let mut membership = Membership::default();
    for _ in 0..usize::arbitrary(g) % 6 {
        let id = NodeId(number(g));
        if membership.contexts.contains_key(&id) {
            continue;
        }
        match u8::arbitrary(g) % 4 {
            0 => drop(membership.voters.insert(id)),
            1 => drop(membership.outgoing.insert(id)),
            2 => drop(membership.learners.insert(id)),
            _ => drop((membership.voters.insert(id), membership.outgoing.insert(id))),
        }
        membership.contexts.insert(id, bytes(g));
    }
    membership
}

fn meta(g: &mut Gen) -> SnapshotMeta {
    SnapshotMeta {
        last: entry_id(g),
        membership: membership(g),
        membership_index: Index(number(g)),
    }
}

fn entry(g: &mut Gen) -> Entry {
    let payload = match u8::arbitrary(g) % 3 {
        0 => Payload::Noop,
        1 => Payload::Command(bytes(g)),
        _ => Payload::Membership(membership(g)),
    };
    Entry { id: entry_id(g), payload }
}

fn message(g: &mut Gen) -> Message {
    let sequence = number(g);
    match u8::arbitrary(g) % 14 {
        0 => Message::PreVote { last: entry_id(g) },
        1 => Message::PreVoteReply { granted: bool::arbitrary(g) },
        2 => Message::RequestVote { last: entry_id(g), transfer: bool::arbitrary(g) },
        3 => Message::VoteReply { granted: bool::arbitrary(g) },
        4 => Message::Append {
            prev: entry_id(g),
            entries: (0..usize::arbitrary(g) % 5).map(|_| entry(g)).collect(),
            commit: Index(number(g)),
            sequence,
        },
        5 => Message::AppendReply {
            outcome: AppendOutcome::Matched { last: Index(number(g)) },
            sequence,
        },
        6 => Message::AppendReply {
            outcome: AppendOutcome::Rejected { prev: entry_id(g), hint: entry_id(g) },
            sequence,
        },
        7 => Message::Heartbeat { commit: Index(number(g)), sequence },
        8 => Message::HeartbeatReply { sequence },
        9 => Message::InstallSnapshot {
            meta: meta(g),
            offset: number(g),
            data: bytes(g),
            last: bool::arbitrary(g),
            sequence,
        },
        10 => Message::SnapshotReply {
            last: entry_id(g),
            end: number(g),
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

#[derive(Debug, Clone)]
struct Any {
    envelope: Envelope,
    entry: Entry,
    meta: SnapshotMeta,
    vote: Vote,
}

impl Arbitrary for Any {
    fn arbitrary(g: &mut Gen) -> Any {
        Any {
            envelope: Envelope {
                from: NodeId(number(g)),
                to: NodeId(number(g)),
                term: Term(number(g)),
                message: message(g),
            },
            entry: entry(g),
            meta: meta(g),
            vote: Vote {
                term: Term(number(g)),
                voted_for: bool::arbitrary(g).then(|| NodeId(number(g))),
            },
        }
    }
}

fn encoded(write: impl Fn(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    write(&mut out);
    out.freeze()
}

quickcheck! {
    fn what_is_written_is_read_back(any: Any) -> bool {
        let mut entry = encoded(|out| any.entry.encode(out));
        let mut meta = encoded(|out| any.meta.encode(out));
        let mut vote = encoded(|out| any.vote.encode(out));
        Envelope::decode(encoded(|out| any.envelope.encode(out))) == Ok(any.envelope)
            && Entry::decode(&mut entry) == Ok(any.entry) && entry.is_empty()
            && SnapshotMeta::decode(&mut meta) == Ok(any.meta) && meta.is_empty()
            && Vote::decode(&mut vote) == Ok(any.vote) && vote.is_empty()
    }

    fn a_prefix_of_an_envelope_is_malformed(any: Any, cut: usize) -> TestResult {
        let whole = encoded(|out| any.envelope.encode(out));
        let cut = cut % whole.len();
        TestResult::from_bool(Envelope::decode(whole.slice(..cut)).is_err())
    }

    fn a_byte_behind_an_envelope_is_malformed(any: Any, byte: u8) -> bool {
        let whole = encoded(|out| {
            any.envelope.encode(out);
            out.extend_from_slice(&[byte]);
        });
        Envelope::decode(whole).is_err()
    }

    fn what_damaged_bytes_decode_to_encodes_to_the_same_bytes(
        any: Any, at: usize, to: u8
    ) -> bool {
        let mut bytes = encoded(|out| any.envelope.encode(out)).to_vec();
        let at = at % bytes.len();
        bytes[at] = to;
        let bytes = Bytes::from(bytes);
        match Envelope::decode(bytes.clone()) {
            Ok(envelope) => encoded(|out| envelope.encode(out)) == bytes,
            Err(_) => true,
        }
    }

    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, kind: u8) -> bool {
        let mut framed = vec![1, 1, 2, 3, kind % 16];
        framed.extend_from_slice(&bytes);
        for bytes in [Bytes::from(bytes), Bytes::from(framed)] {
            let _ = Envelope::decode(bytes.clone());
            let _ = Entry::decode(&mut bytes.clone());
            let _ = SnapshotMeta::decode(&mut bytes.clone());
            let _ = Vote::decode(&mut bytes.clone());
        }
        true
    }
}

#[test]
fn a_command_is_a_slice_of_the_input_and_not_a_copy() {
    let entry = Entry {
        id: EntryId { term: Term(3), index: Index(7) },
        payload: Payload::Command(Bytes::from_static(b"a payload of some length")),
    };
    let whole = encoded(|out| entry.encode(out));
    let Ok(Entry { payload: Payload::Command(command), .. }) = Entry::decode(&mut whole.clone())
    else {
        panic!("a command was written");
    };
    assert!(whole.as_ptr_range().contains(&command.as_ptr()));
}

#[test]
fn a_count_beyond_the_input_allocates_nothing_and_is_malformed() {
    // version, from, to, term, kind Append, prev (term, index), commit, sequence, then the count.
    let mut bytes = vec![1, 1, 2, 3, 5, 0, 0, 0, 0];
    bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    assert!(Envelope::decode(Bytes::from(bytes)).is_err());
}

#[test]
fn another_version_is_refused_by_name() {
    let error = Envelope::decode(Bytes::from_static(&[2, 1, 2, 3, 11])).unwrap_err();
    assert_eq!(error.to_string(), "malformed field `version`");
}

#[test]
fn the_encoding_of_version_1_stays_what_it_is() {
    let envelope = Envelope {
        from: NodeId(1),
        to: NodeId(300),
        term: Term(2),
        message: Message::Append {
            prev: EntryId { term: Term(1), index: Index(4) },
            entries: vec![
                Entry {
                    id: EntryId { term: Term(2), index: Index(5) },
                    payload: Payload::Command(Bytes::from_static(b"x")),
                },
                Entry {
                    id: EntryId { term: Term(2), index: Index(6) },
                    payload: Payload::Membership(Membership::sole(
                        NodeId(1),
                        Bytes::from_static(b"c"),
                    )),
                },
            ],
            commit: Index(4),
            sequence: 9,
        },
    };
    let expected: &[u8] = &[
        1, 1, 0xac, 2, 2, 5, 1, 4, 4, 9, 2, // envelope, kind, prev, commit, sequence, count
        2, 5, 1, 1, b'x', // 5@2 command
        2, 6, 2, 1, 1, 1, 1, b'c', // 6@2 membership {n1: voter, "c"}
    ];
    assert_eq!(encoded(|out| envelope.encode(out)), expected);
}
