//! Random commands: the machine and the model agree on everything that can be seen, on different
//! tables, through the codecs, and across snapshots taken at any point.

use crate::{
    generate::{self, Commands},
    model::Model,
    shorthand::ask,
    sorted::Sorted,
};
use bytes::BytesMut;
use kvorum_core::kv::{
    self, Body, Changes, Command, KeyRange, MemoryTables, Reply, Tables, TxnReply,
    snapshot::{Decoder, Reader},
};
use quickcheck::{Arbitrary, Gen, QuickCheck, TestResult, Testable};

/// Says what differs, if something does.
pub type Verdict = Result<(), String>;

macro_rules! same {
    ($left:expr, $right:expr, $what:expr) => {
        match (&$left, &$right) {
            (left, right) if left == right => {}
            (left, right) => {
                return Err(format!("{}: {left:?} is not {right:?}", $what));
            }
        }
    };
}

/// Applies the commands to the model and to `tables`, and compares after each.
pub fn agree(commands: &[Command], tables: &mut dyn Tables) -> Verdict {
    let mut model = Model::default();
    let mut g = Gen::from_size_and_seed(50, commands.len() as u64);
    for (at, command) in commands.iter().enumerate() {
        let what = format!("after command {at}, {command:?}");
        apply_both(command, &mut model, tables, &what)?;
        if generate::one_in(&mut g, 4) {
            chores(&mut model, tables, &what)?;
        }
        for _ in 0..3 {
            let query = generate::query(&mut g);
            same!(kv::query(tables, &query), Ok(model.query(&query)), format!("{what}: {query:?}"));
        }
    }
    agree_on_the_past(&model, tables)
}

fn apply_both(
    command: &Command,
    model: &mut Model,
    tables: &mut dyn Tables,
    what: &str,
) -> Verdict {
    let used = kv::status(tables).map_err(|error| error.to_string())?.bytes;
    let expected = model.apply(command, used);
    let reply = kv::apply(tables, command).map_err(|error| error.to_string())?;
    same!(reply, expected, what);
    let status = kv::status(tables).map_err(|error| error.to_string())?;
    let head = (status.revision, status.compacted, status.clock_ms, status.settings.quota_bytes);
    same!(head, (model.revision, model.compacted, model.clock, model.quota), what);
    same!(kv::digest(tables), kv::digest::recompute(tables), what);
    same!(Ok(status.bytes), kv::quota::recompute(tables), what);
    same!(kv::next_expiry(tables), Ok(model.leases.values().map(|lease| lease.1).min()), what);
    Ok(())
}

/// Does what a leader would do without being asked, until there is nothing left to do.
fn chores(model: &mut Model, tables: &mut dyn Tables, what: &str) -> Verdict {
    let now = model.clock + 500;
    for _ in 0..10 {
        let chore = kv::next_chore(tables, now).map_err(|error| error.to_string())?;
        let due = model.leases.values().any(|lease| lease.1 <= now);
        same!(matches!(chore, Some(Body::Expire { .. })), due, format!("{what}: {chore:?}"));
        let Some(body) = chore else { return Ok(()) };
        let before = kv::digest(tables);
        let command = Command { time_ms: now, ..Command::new(body) };
        apply_both(&command, model, tables, &format!("{what}: then {command:?}"))?;
        if kv::digest(tables) == before {
            return Err(format!("{what}: a chore that changes nothing: {command:?}"));
        }
    }
    Err(format!("{what}: the chores do not end"))
}

/// Every revision, from both ends, and every retained change.
fn agree_on_the_past(model: &Model, tables: &dyn Tables) -> Verdict {
    agree_at(model, tables, 0..=model.revision + 1)
}

/// These revisions, from both ends, and every retained change.
pub fn agree_at(
    model: &Model,
    tables: &dyn Tables,
    revisions: impl IntoIterator<Item = u64>,
) -> Verdict {
    for revision in revisions {
        for descending in [false, true] {
            let query = kv::Query { descending, ..ask(KeyRange::all(), revision) };
            same!(kv::query(tables, &query), Ok(model.query(&query)), format!("{query:?}"));
        }
    }
    agree_on_leases(model, tables)?;
    let page = kv::changes_page(tables, &Changes::since(model.compacted))
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("{error:?}"))?;
    same!((page.end, page.next), (true, (model.revision + 1, 0)), "the end of the changes");
    let changes: Vec<_> = page
        .items
        .into_iter()
        .map(|c| (c.revision, c.sub, c.key, c.now, c.before, c.principal))
        .collect();
    same!(changes, model.retained_changes(), "the changes");
    Ok(())
}

/// Every lease, its keys, and the list of all in pages.
fn agree_on_leases(model: &Model, tables: &dyn Tables) -> Verdict {
    let now = model.clock + 1;
    let expected = model.lease_views(now);
    let mut listed = vec![];
    loop {
        let after = listed.last().map_or(0, |view: &kv::LeaseView| view.id);
        let page = kv::leases(tables, after, now, 2).map_err(|error| error.to_string())?;
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    for view in &mut listed {
        let seen = kv::lease(tables, view.id, now, &[], usize::MAX);
        *view = seen.map_err(|error| error.to_string())?.map_err(|error| format!("{error:?}"))?;
    }
    same!(listed, expected, "the leases");
    Ok(())
}

/// Tries random sequences; prints the smallest that fails.
pub fn check(property: fn(Commands) -> Verdict, tests: u64) {
    struct Property(fn(Commands) -> Verdict);
    impl Testable for Property {
        fn result(&self, g: &mut Gen) -> TestResult {
            let mut commands = Commands::arbitrary(g);
            let mut verdict = (self.0)(commands.clone());
            while let Err(reason) = &verdict {
                let smaller = commands
                    .shrink()
                    .map(|less| ((self.0)(less.clone()), less))
                    .find(|(verdict, _)| verdict.is_err());
                match smaller {
                    Some(found) => (verdict, commands) = found,
                    None => return TestResult::error(format!("{reason}\n{:#?}", commands.0)),
                }
            }
            TestResult::passed()
        }
    }
    QuickCheck::new().tests(tests).max_tests(tests).quickcheck(Property(property));
}

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
