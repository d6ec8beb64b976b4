//! Random commands: the machine and the model agree on everything that can be seen, on different
//! tables, through the codecs, and across snapshots taken at any point.

use crate::{
    agree::{agree, check, same},
    generate,
    model::Model,
    sorted::Sorted,
};
use bytes::BytesMut;
use kvorum_core::kv::{
    self, Body, Command, MemoryTables, Reply, Tables, TxnReply,
    snapshot::{Decoder, Reader},
};
use quickcheck::Gen;

#[test]
fn the_machine_agrees_with_the_model() {
    check(|commands| agree(&commands.0, &mut MemoryTables::default()), 400);
}

#[test]
fn the_machine_agrees_with_the_model_on_other_tables() {
    check(|commands| agree(&commands.0, &mut Sorted::default()), 200);
}

#[test]
fn replicas_on_different_tables_agree_after_every_command_read_from_its_bytes() {
    check(
        |commands| {
            let (mut left, mut right) = (MemoryTables::default(), Sorted::default());
            for command in &commands.0 {
                let mut bytes = BytesMut::new();
                command.encode(&mut bytes);
                let bytes = bytes.freeze();
                let reply = kv::apply_bytes(&mut left, bytes.clone()).unwrap();
                same!(Command::decode(bytes), Ok(command.clone()), "decoded command");
                same!(Ok(reply.clone()), kv::apply(&mut right, command), "reply");
                same!(kv::digest(&left), kv::digest(&right), "digest");
                let mut bytes = BytesMut::new();
                reply.encode(&mut bytes);
                same!(Reply::decode(bytes.freeze()), Ok(reply), "decoded reply");
            }
            same!(stream(&left, 64), stream(&right, 1000), "snapshot");
            Ok(())
        },
        200,
    );
}

#[test]
fn a_replica_restored_from_a_snapshot_taken_anywhere_goes_on_as_the_others() {
    check(
        |commands| {
            let mut original = MemoryTables::default();
            let mut restored = Sorted::default();
            let mut g = Gen::from_size_and_seed(50, commands.0.len() as u64);
            for command in &commands.0 {
                if generate::one_in(&mut g, 4) {
                    let size = 1 + generate::below(&mut g, 40) as usize;
                    restored = restore(&stream(&original, size), size)?;
                    same!(kv::digest(&restored), kv::digest(&original), "digest");
                    same!(stream(&restored, 99), stream(&original, 99), "snapshot");
                } else {
                    let expected = kv::apply(&mut original, command);
                    same!(kv::apply(&mut restored, command), expected, "reply");
                }
            }
            same!(kv::digest(&restored), kv::digest(&original), "digest");
            Ok(())
        },
        200,
    );
}

#[test]
fn a_refused_command_writes_nothing() {
    check(
        |commands| {
            let mut tables = MemoryTables::default();
            for command in &commands.0 {
                let before = tables.clone();
                let reply = kv::apply(&mut tables, command).unwrap();
                if reply.result.is_err() || reply.replayed {
                    same!(tables, before, format!("tables after {command:?}"));
                }
            }
            Ok(())
        },
        100,
    );
}

/// The random commands must reach every outcome often enough to mean something.
#[test]
fn random_commands_reach_every_outcome() {
    use kvorum_core::kv::CommandError as E;
    let mut seen = std::collections::BTreeMap::<&str, u32>::new();
    for seed in 0..300 {
        let mut g = Gen::from_size_and_seed(50, seed);
        let (mut model, mut tables) = (Model::default(), MemoryTables::default());
        for _ in 0..60 {
            let command = generate::command(&mut g);
            let reply = model.apply(&command, kv::status(&tables).unwrap().bytes);
            kv::apply(&mut tables, &command).unwrap();
            let outcome = match reply.result {
                _ if reply.replayed => "replayed",
                Ok(txn) if !txn.succeeded => "guards failed",
                Ok(_) if command.fence.is_some() => "held",
                Ok(txn) if ends_a_lease(&command, &txn) => "expired",
                Ok(_) => "succeeded",
                Err(E::EmptyKey) => "empty key",
                Err(E::DuplicateKey) => "duplicate key",
                Err(E::Compacted { .. }) => "compacted",
                Err(E::FutureRevision) => "future revision",
                Err(E::LeaseNotFound) => "lease not found",
                Err(E::IdempotencyMismatch) => "idempotency mismatch",
                Err(E::KeyNotFound) => "key not found",
                Err(E::LeaseExists) => "lease exists",
                Err(E::LeaseTtlTooLarge) => "ttl too large",
                Err(E::LeaseIdTooLarge) => "lease id too large",
                Err(E::LeaseConflict) => "lease conflict",
                Err(E::Fenced { .. }) => "fenced",
                Err(E::NoSpace { .. }) => "no space",
                Err(E::Unreadable | E::ReplyNotKept) => {
                    unreachable!("commands are always readable here")
                }
            };
            *seen.entry(outcome).or_default() += 1;
        }
    }
    assert_eq!(seen.len(), 18, "{seen:?}");
    assert!(seen.values().all(|&times| times >= 20), "{seen:?}");
}

fn ends_a_lease(command: &Command, reply: &TxnReply) -> bool {
    matches!(command.body, Body::Expire { .. }) && !reply.results.is_empty()
}

fn stream(tables: &dyn Tables, piece: usize) -> Vec<u8> {
    let mut reader = Reader::new();
    let mut bytes = Vec::new();
    loop {
        let (piece, last) = reader.read(tables, piece).unwrap();
        bytes.extend_from_slice(&piece);
        if last {
            return bytes;
        }
    }
}

fn restore(bytes: &[u8], piece: usize) -> Result<Sorted, String> {
    let mut decoder = Decoder::new();
    let mut tables = Sorted::default();
    for piece in bytes.chunks(piece) {
        decoder.feed(piece);
        while let Some((table, key, value)) = decoder.next_row().map_err(|e| e.to_string())? {
            tables.put(table, &key, value);
        }
    }
    decoder.finish().map(|_| tables).map_err(|e| e.to_string())
}
