//! That the machine and the model agree, step by step: on every reply, on everything that can be
//! seen, and on what a leader would do unasked. Used by the storage tests of the runtime as well.

use crate::{
    generate::{self, Commands},
    model::Model,
};
use kvorum_core::kv::{self, Body, Changes, Command, KeyRange, Query, Tables};
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
    let mut pair = Pair::new(commands.len() as u64);
    for command in commands {
        pair.step(command, tables)?;
    }
    pair.agree_on_the_past(tables)
}

/// The model, and what is random about comparing with it.
pub struct Pair {
    model: Model,
    g: Gen,
    steps: u64,
}

impl Pair {
    pub fn new(seed: u64) -> Pair {
        Pair { model: Model::default(), g: Gen::from_size_and_seed(50, seed), steps: 0 }
    }

    /// Applies a command to both, and compares.
    pub fn step(&mut self, command: &Command, tables: &mut dyn Tables) -> Verdict {
        let Pair { model, g, steps } = self;
        let what = format!("after command {steps}, {command:?}");
        *steps += 1;
        apply_both(command, model, tables, &what)?;
        if generate::one_in(g, 4) {
            chores(model, tables, &what)?;
        }
        for _ in 0..3 {
            let query = generate::query(g);
            same!(kv::query(tables, &query), Ok(model.query(&query)), format!("{what}: {query:?}"));
        }
        Ok(())
    }

    /// Every revision, from both ends, every retained change, and every lease.
    pub fn agree_on_the_past(&self, tables: &dyn Tables) -> Verdict {
        agree_at(&self.model, tables, 0..=self.model.revision + 1)
    }
}

pub(crate) use same;

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

/// These revisions, from both ends, and every retained change.
pub fn agree_at(
    model: &Model,
    tables: &dyn Tables,
    revisions: impl IntoIterator<Item = u64>,
) -> Verdict {
    for revision in revisions {
        for descending in [false, true] {
            let query = Query { descending, revision, count: true, ..Query::of(KeyRange::all()) };
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
