//! The encoding of everything that travels or is stored: what is written is read back, and nothing
//! else is accepted.

use bytes::{Bytes, BytesMut};
use kvorum_core::raft::*;
use quickcheck::{Arbitrary, Gen, TestResult, quickcheck};

mod arbitrary;
use arbitrary::{entry, membership, message, meta, number};

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
                epoch: number(g),
                term: Term(number(g)),
                message: message(g, number),
            },
            entry: entry(g, number),
            meta: SnapshotMeta {
                membership: Membership { epoch: number(g), ..membership(g, number) },
                ..meta(g, number)
            },
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
        let mut id = encoded(|out| any.entry.id.encode(out));
        Envelope::decode(encoded(|out| any.envelope.encode(out))) == Ok(any.envelope)
            && EntryId::decode(&mut id) == Ok(any.entry.id) && id.is_empty()
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
    let id = EntryId { term: Term(3), index: Index(7) };
    let payload = Payload::Command(Bytes::from_static(b"a payload of some length"));
    let entry = Entry::new(Chain::START, id, payload);
    let whole = encoded(|out| entry.encode(out));
    let Ok(Entry { payload: Payload::Command(command), .. }) = Entry::decode(&mut whole.clone())
    else {
        panic!("a command was written");
    };
    assert!(whole.as_ptr_range().contains(&command.as_ptr()));
}

#[test]
fn a_count_beyond_the_input_allocates_nothing_and_is_malformed() {
    // version, from, to, epoch, term, kind Append, prev (term, index), chain, commit, sequence, then the
    // count.
    let mut bytes = vec![2, 1, 2, 1, 3, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    assert!(Envelope::decode(Bytes::from(bytes)).is_err());
}

#[test]
fn another_version_is_refused_by_name() {
    let error = Envelope::decode(Bytes::from_static(&[1, 1, 2, 3, 11])).unwrap_err();
    assert_eq!(error.to_string(), "malformed field `version`");
}

#[test]
fn the_encoding_of_version_2_stays_what_it_is() {
    let envelope = Envelope {
        from: NodeId(1),
        to: NodeId(300),
        epoch: 7,
        term: Term(2),
        message: Message::Append {
            prev: EntryId { term: Term(1), index: Index(4) },
            prev_chain: Chain(3),
            entries: vec![
                Entry {
                    id: EntryId { term: Term(2), index: Index(5) },
                    payload: Payload::Command(Bytes::from_static(b"x")),
                    chain: Chain(0x0807_0605_0403_0201),
                },
                Entry {
                    id: EntryId { term: Term(2), index: Index(6) },
                    payload: Payload::Membership(Membership::sole(
                        NodeId(1),
                        Bytes::from_static(b"c"),
                    )),
                    chain: Chain(u64::MAX),
                },
            ],
            commit: Index(4),
            sequence: 9,
        },
    };
    let expected: &[u8] = &[
        2, 1, 0xac, 2, 7, 2, 5, 1, 4, // envelope, kind, prev
        3, 0, 0, 0, 0, 0, 0, 0, 4, 9, 2, // chain of prev, commit, sequence, count
        2, 5, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1, b'x', // 5@2, its chain, command
        2, 6, 255, 255, 255, 255, 255, 255, 255, 255, // 6@2, its chain
        2, 0, 1, 1, 1, 1, b'c', // membership {n1: voter, "c"} of epoch 0
    ];
    assert_eq!(encoded(|out| envelope.encode(out)), expected);
}
