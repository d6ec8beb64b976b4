//! The codecs: total, canonical, without copies.

use crate::{
    generate::{self, Commands},
    shorthand::{command, put, then},
};
use bytes::{Bytes, BytesMut};
use kvorum_core::kv::{
    self, Body, Command, CommandError, Idempotency, MAX_TXN_DEPTH, MemoryTables, Op, Reply, Txn,
    TxnError,
};
use quickcheck::{Gen, QuickCheck};

fn encoded(command: &Command) -> Bytes {
    let mut out = BytesMut::new();
    command.encode(&mut out);
    out.freeze()
}

/// What decodes is the encoding of what it decodes to; nothing panics.
fn total(bytes: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(bytes);
    let command = Command::decode(bytes.clone()).ok().map(|command| encoded(&command));
    let reply = Reply::decode(bytes.clone()).ok().map(|reply| {
        let mut out = BytesMut::new();
        reply.encode(&mut out);
        out.freeze()
    });
    command.is_none_or(|again| again == bytes) && reply.is_none_or(|again| again == bytes)
}

#[test]
fn decoders_are_total_on_arbitrary_bytes() {
    QuickCheck::new().tests(5000).quickcheck((|bytes: Vec<u8>| total(&bytes)) as fn(_) -> _);
}

#[test]
fn decoders_are_total_and_canonical_on_damaged_encodings() {
    fn property(commands: Commands, at: usize, with: u8) -> bool {
        commands.0.iter().all(|command| {
            let bytes = encoded(command);
            let mut altered = bytes.to_vec();
            let at = at % altered.len();
            altered[at] = with;
            let mut reply = BytesMut::new();
            kv::apply(&mut MemoryTables::default(), command).unwrap().encode(&mut reply);
            let mut altered_reply = reply.to_vec();
            let reply_at = at % altered_reply.len();
            altered_reply[reply_at] = with;
            total(&altered)
                && total(&altered[..at])
                && total(&altered_reply)
                && total(&reply)
                && Command::decode(bytes).as_ref() == Ok(command)
        })
    }
    QuickCheck::new().tests(200).quickcheck(property as fn(_, _, _) -> _);
}

#[test]
fn a_truncated_or_lengthened_command_is_refused() {
    let mut g = Gen::from_size_and_seed(50, 1);
    for _ in 0..200 {
        let bytes = encoded(&generate::command(&mut g));
        for len in 0..bytes.len() {
            assert!(Command::decode(bytes.slice(..len)).is_err());
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Command::decode(Bytes::from(longer)).is_err());
    }
}

#[test]
fn byte_fields_are_slices_of_the_input() {
    let bytes = encoded(&command(Body::Txn(then(vec![put("key", "value")]))));
    let decoded = Command::decode(bytes.clone()).unwrap();
    let Body::Txn(txn) = decoded.body else { panic!() };
    let Op::Put(put) = &txn.then[0] else { panic!() };
    for field in [&put.key, &put.value] {
        assert!(bytes.as_ptr_range().contains(&field.as_ptr()));
    }
}

#[test]
fn an_unreadable_command_changes_nothing_and_says_so() {
    let mut tables = MemoryTables::default();
    let valid = encoded(&command(Body::Txn(then(vec![put("a", "1")]))));
    kv::apply_bytes(&mut tables, valid.clone()).unwrap();
    let before = tables.clone();
    // The body number follows format, flags, time, date and the empty principal; 8 is reserved.
    let mut body = valid.to_vec();
    assert_eq!(body[5], 1);
    body[5] = 8;
    let mut flag = valid.to_vec();
    flag[1] = 4;
    for bytes in [vec![], vec![0], body, flag] {
        let reply = kv::apply_bytes(&mut tables, Bytes::from(bytes)).unwrap();
        let unreadable = Err(CommandError::Unreadable);
        assert_eq!(reply, Reply { revision: 2, result: unreadable, replayed: false });
        assert_eq!(tables, before);
    }
}

/// Others apply it: passing over it would make this replica another store.
#[test]
fn a_command_of_a_newer_format_stops_the_node() {
    let mut tables = MemoryTables::default();
    let mut newer = encoded(&command(Body::Txn(then(vec![put("a", "1")])))).to_vec();
    newer[0] += 1;
    for bytes in [newer, vec![0xFF]] {
        let stopped = kv::apply_bytes(&mut tables, Bytes::from(bytes)).unwrap_err();
        assert!(stopped.0.contains("newer version"), "{stopped}");
        assert_eq!(tables, MemoryTables::default());
    }
}

#[test]
fn an_idempotency_key_is_1_to_128_bytes() {
    for (len, fits) in [(0, false), (1, true), (128, true), (129, false)] {
        let key = Bytes::from(vec![b'k'; len]);
        let idempotency = Some(Idempotency { key, fingerprint: u64::MAX });
        let command = Command { idempotency, ..command(Body::Compact { revision: 1 }) };
        assert_eq!(Command::decode(encoded(&command)) == Ok(command), fits, "{len} bytes");
    }
}

/// The bytes of a command are in the logs of all nodes: they must not change by accident.
#[test]
fn the_encoding_of_a_plain_put_is_this() {
    let bytes = encoded(&command(Body::Txn(then(vec![put("k", "vv")]))));
    assert_eq!(bytes, [1, 0, 0, 0, 0, 1, 0, 1, 1, 1, b'k', 2, b'v', b'v', 0, 0, 0, 0][..]);
}

fn nested(depth: usize) -> Txn {
    (1..depth).fold(Txn::default(), |txn, _| then(vec![Op::Txn(txn)]))
}

#[test]
fn transactions_nest_to_the_limit_and_no_deeper() {
    let deepest = command(Body::Txn(nested(MAX_TXN_DEPTH)));
    assert_eq!(Command::decode(encoded(&deepest)), Ok(deepest));
    assert_eq!(nested(MAX_TXN_DEPTH).check(100), Ok(()));
    let deeper = command(Body::Txn(nested(MAX_TXN_DEPTH + 1)));
    assert!(Command::decode(encoded(&deeper)).is_err());
    assert_eq!(nested(MAX_TXN_DEPTH + 1).check(100), Err(TxnError::TooDeep));
    // A hundred thousand levels must not exhaust the stack either.
    let mut bytes = encoded(&command(Body::Txn(nested(2)))).to_vec();
    let level = [0, 1, 4];
    let start = bytes.len() - 2 - 3 - 3;
    bytes.truncate(start);
    for _ in 0..100_000 {
        bytes.extend_from_slice(&level);
    }
    assert!(Command::decode(Bytes::from(bytes)).is_err());
}
