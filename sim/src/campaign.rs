//! Many seeds, and a report a developer can act on.
//!
//! Rule: fixed seeds by default, so that a change either passes or does not; `KVORUM_SEEDS=a..b`
//! widens, `KVORUM_SEED=n` replays one and prints everything. A failed seed is run again, and the
//! report says whether it replayed. Must never: end well when a seed did not.

use crate::{
    plan::Plan,
    run::{Report, run},
    trace::Keep,
};
use std::{
    env,
    fmt::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Runs one seed and prints everything.
const ONE: &str = "KVORUM_SEED";
/// Runs these seeds: `a..b`, without `b`.
const MANY: &str = "KVORUM_SEEDS";
/// Lines of the trace in a report.
const SHOWN_LINES: usize = 60;

/// Which seeds to run, and what to keep of what they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeds {
    /// The seeds.
    pub seeds: Vec<u64>,
    /// Whether a single seed was asked for.
    pub single: bool,
}

impl Seeds {
    /// What the environment asks for, or `0..budget`.
    ///
    /// # Panics
    /// With one line when a variable makes no sense.
    #[must_use]
    pub fn from_env(budget: u64) -> Seeds {
        if let Ok(text) = env::var(ONE) {
            let seed = number(ONE, &text);
            return Seeds { seeds: vec![seed], single: true };
        }
        let range = match env::var(MANY) {
            Ok(text) => {
                let (from, to) = text.split_once("..").unwrap_or_else(|| {
                    panic!("{MANY}={text} is not a range; write {MANY}=1..1000")
                });
                number(MANY, from)..number(MANY, to)
            }
            Err(_) => 0..budget,
        };
        Seeds { seeds: range.collect(), single: false }
    }
}

fn number(name: &str, text: &str) -> u64 {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("{name}={text} is not a number; write {name}=42 or 0x2a"))
}

/// Runs all seeds, as many at once as there are cores, and returns the reports in order.
pub fn sweep(seeds: &Seeds, plan: impl Fn(u64) -> Plan + Sync) -> Vec<Report> {
    let keep = if seeds.single { Keep::Print } else { Keep::Last(SHOWN_LINES) };
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(Vec::new());
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..jobs.min(seeds.seeds.len()) {
            scope.spawn(|| {
                while let Some(seed) = seeds.seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = run(*seed, &plan(*seed), keep);
                    if let Some(violation) = report.violations.first() {
                        println!("seed {seed}: {violation}");
                    }
                    reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    reports.sort_by_key(|report| report.seed);
    reports
}

/// What to print of a seed that failed. Runs it once more to see whether it replays.
#[must_use]
pub fn explain(report: &Report, plan: &Plan, test: &str) -> String {
    let again = run(report.seed, plan, Keep::Last(1));
    let mut text = String::from("\n==== simulation failure ====\n");
    for violation in &report.violations {
        let _ = writeln!(text, "{violation}");
    }
    let _ = writeln!(text, "seed:    {}", report.seed);
    let _ = writeln!(
        text,
        "hash:    {:016x} over {} lines; {}",
        report.hash,
        report.lines,
        if again.hash == report.hash {
            "a second run is identical".to_owned()
        } else {
            format!("NOT DETERMINISTIC: a second run gives {:016x}", again.hash)
        }
    );
    let _ = writeln!(text, "replay:  KVORUM_SEED={} cargo sim {test} -- --nocapture", report.seed);
    let _ = writeln!(
        text,
        "plan:    {} nodes {}, {} clients on {} keys, faults {:?}",
        plan.cluster.nodes,
        if plan.cluster.disks { "with disks" } else { "in memory" },
        plan.workload.clients,
        plan.workload.keys,
        plan.nemesis.faults
    );
    let _ = writeln!(text, "covered: {:?}", report.coverage);
    let _ = writeln!(text, "the last lines of {}:", report.lines);
    for line in &report.trace {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// The first line in which two runs of a seed differ, with the one before it.
#[must_use]
pub fn first_difference(a: &Report, b: &Report) -> Option<String> {
    let at =
        a.trace.iter().zip(&b.trace).position(|(a, b)| a != b).or_else(|| {
            (a.trace.len() != b.trace.len()).then(|| a.trace.len().min(b.trace.len()))
        })?;
    let line = |report: &Report, at: usize| {
        report.trace.get(at).map_or("(the end)".to_owned(), Clone::clone)
    };
    let before = at.checked_sub(1).map_or("(the beginning)".to_owned(), |at| line(a, at));
    Some(format!(
        "line {at}\n  before: {before}\n  first:  {}\n  second: {}",
        line(a, at),
        line(b, at)
    ))
}
