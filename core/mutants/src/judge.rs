//! Which check finds a bug, and after how much.
//!
//! Rule: first the scripts, then unit and property tests, then the laws, then the lab with more and
//! more seeds, then the model; the first finding is the verdict. The lab looks at every bug for at
//! least some seeds, so that the table also says what random schedules alone would find. Must
//! never: call a bug found by a check that the unchanged core does not pass.

use crate::{
    binaries::Binaries,
    mutant::Mutant,
    output,
    process::{self, Ended},
};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Seeds at which the lab stops and looks whether it is time to give up.
const STEPS: [u64; 7] = [20, 100, 300, 700, 1_400, 2_100, 2_800];
/// Seeds for a bug that another check has found.
const SEEDS_WHEN_FOUND: u64 = 20;
/// Seeds for a bug that another guard makes harmless.
const SEEDS_WHEN_GUARDED: u64 = 100;
/// Seeds for the others: of priority A, and of B and C.
const SEEDS_FOR_A: u64 = 2_800;
const SEEDS_FOR_OTHERS: u64 = 1_400;

/// How many seeds a bug that nothing else finds is given: fewer when it is known to be harmless.
#[must_use]
pub fn seeds_for(mutant: &Mutant, priority: char) -> u64 {
    match (&mutant.guarded, priority) {
        (Some(_), _) => SEEDS_WHEN_GUARDED,
        (None, 'A') => SEEDS_FOR_A,
        (None, _) => SEEDS_FOR_OTHERS,
    }
}

/// What a run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Seconds of processor time for all scripts.
    pub golden: u64,
    /// For a binary of unit tests.
    pub unit: u64,
    /// For the laws.
    pub laws: u64,
    /// For the lab, beside a fifth of a second for each seed.
    pub lab: u64,
    /// Schedules of each law; an ordinary `cargo test` has 10,000.
    pub schedules: u64,
    /// KiB of address space.
    pub memory: u64,
    /// Whether the first script that differs is enough.
    pub first: bool,
}

impl Bounds {
    /// For planted bugs.
    pub const PLANTED: Bounds = Bounds {
        golden: 60,
        unit: 60,
        laws: 180,
        lab: 30,
        schedules: 1_000,
        memory: 6 << 20,
        first: false,
    };
}

/// Binaries with an order of their own; all others are unit and property tests.
const SPECIAL: [&str; 4] = ["golden", "laws", "lab", "model"];

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// Which kind of check: `golden`, `unit`, `laws`, `lab`, `model`.
    pub check: String,
    /// The script, test or rule.
    pub name: String,
    /// After how much.
    pub after: String,
}

/// What became of a bug.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// The first check that found it.
    pub first: Option<Kill>,
    /// What the lab alone says.
    pub lab: Option<Kill>,
    /// Seeds that the lab was given.
    pub seeds: u64,
    /// Seconds to the first finding, or spent in vain.
    pub seconds: f64,
}

/// A test bench: one layer's binaries.
#[derive(Debug, Clone)]
pub struct Bench {
    /// The binaries.
    pub binaries: Binaries,
    /// Where runs write what they say.
    pub scratch: PathBuf,
    /// What a run may take.
    pub bounds: Bounds,
}

impl Bench {
    /// Runs the checks against the bug of this number.
    ///
    /// # Errors
    /// When a binary cannot be run at all.
    pub fn judge(&self, mutant: &Mutant, number: usize, seeds: u64) -> Result<Verdict, String> {
        let began = Instant::now();
        let mut verdict = Verdict::default();
        let in_tables = mutant.edits().iter().all(|edit| edit.file.starts_with("kv/"));
        if !in_tables {
            verdict.first = self.golden(number)?;
        }
        if verdict.first.is_none() {
            verdict.first = self.units(number, in_tables)?;
        }
        if in_tables {
            verdict.seconds = began.elapsed().as_secs_f64();
            return Ok(verdict);
        }
        if verdict.first.is_none() {
            verdict.first = self.laws(number)?;
        }
        verdict.seconds = began.elapsed().as_secs_f64();
        let found = verdict.first.is_some();
        let budget = if found { seeds.min(SEEDS_WHEN_FOUND) } else { seeds };
        (verdict.lab, verdict.seeds) = self.lab(number, budget)?;
        if verdict.first.is_none() {
            verdict.first.clone_from(&verdict.lab);
            if verdict.first.is_none() {
                verdict.first = self.model(number)?;
            }
            verdict.seconds = began.elapsed().as_secs_f64();
        }
        Ok(verdict)
    }

    /// The unchanged core passes everything.
    ///
    /// # Errors
    /// What it does not pass.
    pub fn baseline(&self, seeds: u64) -> Result<(), String> {
        let found = [
            self.golden(0)?,
            self.units(0, false)?,
            self.units(0, true)?,
            self.laws(0)?,
            self.lab(0, seeds)?.0,
            self.model(0)?,
        ];
        let names: Vec<String> = found
            .into_iter()
            .flatten()
            .map(|kill| format!("{}: {}", kill.check, kill.name))
            .collect();
        if names.is_empty() { Ok(()) } else { Err(names.join(", ")) }
    }

    fn run(
        &self,
        target: &str,
        arguments: &[&str],
        environment: &[(&str, String)],
        number: usize,
        seconds: u64,
    ) -> Result<Option<Ended>, String> {
        let Some(binary) = self.binaries.get(target) else { return Ok(None) };
        let scratch = self.scratch.join(format!("said-{number}"));
        let limit = Duration::from_secs(seconds);
        let ended = process::run(
            binary,
            arguments,
            environment,
            number,
            process::Limit { time: limit, memory: self.bounds.memory },
            &scratch,
        );
        let _ = std::fs::remove_file(&scratch);
        ended.map(Some)
    }

    pub(crate) fn golden(&self, number: usize) -> Result<Option<Kill>, String> {
        let first = self.bounds.first.then(|| ("KVORUM_GOLDEN_FIRST", "1".to_owned()));
        let first = first.as_slice();
        let limit = self.bounds.golden;
        let Some(ended) = self.run("golden", &["every_scenario"], first, number, limit)? else {
            return Ok(None);
        };
        Ok(finding(&ended, "golden", || match output::script(&ended.said) {
            Some((name, 1)) => (name, "1 script".to_owned()),
            Some((name, n)) => (name, format!("{n} scripts differ")),
            None => ("no script, but the run".to_owned(), "1 run".to_owned()),
        }))
    }

    fn units(&self, number: usize, in_tables: bool) -> Result<Option<Kill>, String> {
        self.units_of(number, |target| target.starts_with("kv") == in_tables)
    }

    /// Those unit and property tests whose name is chosen.
    pub(crate) fn units_of(
        &self,
        number: usize,
        chosen: impl Fn(&str) -> bool,
    ) -> Result<Option<Kill>, String> {
        let mine = |target: &&String| !SPECIAL.contains(&target.as_str()) && chosen(target);
        let targets: Vec<&str> = self.binaries.keys().filter(mine).map(String::as_str).collect();
        for target in ["lib"].into_iter().chain(targets.into_iter().filter(|&name| name != "lib")) {
            let Some(ended) = self.run(target, &[], &[], number, self.bounds.unit)? else {
                continue;
            };
            let kill = finding(&ended, "unit", || {
                let test = output::failed_test(&ended.said).unwrap_or_default();
                (format!("{target}: {test}"), "1 run".to_owned())
            });
            if kill.is_some() {
                return Ok(kill);
            }
        }
        Ok(None)
    }

    pub(crate) fn laws(&self, number: usize) -> Result<Option<Kill>, String> {
        let budget = [("KVORUM_LAWS_SCHEDULES", self.bounds.schedules.to_string())];
        let Some(ended) =
            self.run("laws", &["--skip", "bites"], &budget, number, self.bounds.laws)?
        else {
            return Ok(None);
        };
        Ok(finding(&ended, "laws", || match output::schedule(&ended.said) {
            Some((law, rule, schedule)) => {
                (format!("{law}: {rule}"), format!("{} schedules", schedule + 1))
            }
            None => (output::failed_test(&ended.said).unwrap_or_default(), "1 run".to_owned()),
        }))
    }

    fn model(&self, number: usize) -> Result<Option<Kill>, String> {
        let Some(ended) = self.run("model", &[], &[], number, 240)? else { return Ok(None) };
        Ok(finding(&ended, "model", || {
            (output::failed_test(&ended.said).unwrap_or_default(), "1 run".to_owned())
        }))
    }

    /// More and more seeds, until one fails or the budget is spent.
    pub(crate) fn lab(&self, number: usize, budget: u64) -> Result<(Option<Kill>, u64), String> {
        let mut from = 0;
        for to in STEPS.into_iter().take_while(|&to| to <= budget) {
            let seeds = [("KVORUM_LAB_SEEDS", format!("{from}..{to}"))];
            let Some(ended) =
                self.run("lab", &["chaos"], &seeds, number, self.bounds.lab + (to - from) / 5)?
            else {
                return Ok((None, 0));
            };
            let kill = finding(&ended, "lab", || match output::seed(&ended.said) {
                Some((rule, what, seed)) => (rule_with(&rule, &what), seeds_after(seed + 1)),
                None => ("the process died".to_owned(), format!("≤ {to} seeds")),
            });
            if let Some(mut kill) = kill {
                if ended.passed.is_none() {
                    kill.after = format!("≤ {to} seeds");
                }
                return Ok((Some(kill), to));
            }
            from = to;
        }
        Ok((None, from))
    }

    /// The bugs of the lab's own adapters: name, seed, rule.
    ///
    /// # Errors
    /// When the lab cannot be run or finds one of them too little.
    pub fn adapters(&self) -> Result<Vec<(String, u64, String)>, String> {
        let filter = ["every_planted_bug", "--nocapture"];
        let ended = self.run("lab", &filter, &[], 0, 300)?.ok_or("there is no lab")?;
        if ended.passed == Some(true) {
            Ok(output::adapters(&ended.said))
        } else {
            Err(format!("the lab does not find its own planted bugs:\n{}", ended.said))
        }
    }
}

fn seeds_after(seeds: u64) -> String {
    if seeds == 1 { "1 seed".to_owned() } else { format!("{seeds} seeds") }
}

/// A panic is named by what it says: that is the invariant.
fn rule_with(rule: &str, what: &str) -> String {
    if rule != "panic" {
        return rule.to_owned();
    }
    let first = what.lines().next().unwrap_or_default();
    format!("invariant: {first}")
}

fn finding(ended: &Ended, check: &str, name: impl Fn() -> (String, String)) -> Option<Kill> {
    let (name, after) = match ended.passed {
        Some(true) => return None,
        Some(false) => name(),
        None => ("does not end".to_owned(), "time-out".to_owned()),
    };
    Some(Kill { check: check.to_owned(), name, after })
}

/// Where a run of the lab alone leaves what it says.
#[must_use]
pub fn scratch(workshop: &Path) -> PathBuf {
    workshop.join("scratch")
}
