//! How a law is put to the test: thousands of schedules, and the smallest one that breaks it.
//!
//! Rule: schedule number n of a law is the same everywhere and always. A failure prints the minimal
//! schedule as a trace in arrow notation, in Rust, and as one line that runs it again. Must never:
//! pass because nothing happened: what a law must have met is listed with it.
//!
//! `KVORUM_LAWS_TIMES=100` multiplies the count, `KVORUM_LAWS_FROM=n` begins elsewhere,
//! `KVORUM_LAWS_SEED=n` runs one schedule, `KVORUM_LAWS_SCHEDULES=n` another count than usual.

use crate::cluster::{Cover, Run, Verdict, broken};
use crate::planted::Planted;
use crate::schedule::Schedule;
use quickcheck::{Arbitrary, Gen, QuickCheck, TestResult, Testable};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::rc::Rc;
use std::sync::Once;

/// Schedules of an ordinary `cargo test`, for each law.
const SCHEDULES: u64 = 10_000;
/// Schedules among which a planted violation must be found.
const BUDGET: u64 = 2_000;
/// Runs that shrinking may take.
const SHRINKS: usize = 20_000;

/// One law.
pub struct Law {
    /// Its name, which is also the name of its test.
    pub name: &'static str,
    pub draw: fn(&mut Gen) -> Schedule,
    /// Whether it holds for one schedule.
    pub holds: fn(&Schedule, Option<Planted>, &mut Run) -> Verdict,
    /// What all schedules together must have met.
    pub must_happen: &'static [&'static str],
}

struct Trial {
    law: &'static Law,
    next: Cell<u64>,
    cover: Rc<RefCell<Cover>>,
    report: Rc<RefCell<Option<String>>>,
}

impl Testable for Trial {
    fn result(&self, _: &mut Gen) -> TestResult {
        let seed = self.next.replace(self.next.get() + 1);
        let mut run = Run::default();
        let schedule = self.law.schedule(seed);
        let verdict = self.law.attempt(&schedule, None, &mut run);
        for (what, times) in run.cover {
            *self.cover.borrow_mut().entry(what).or_default() += times;
        }
        if verdict.is_ok() {
            return TestResult::passed();
        }
        let report = self.law.report(seed, &self.law.shrink(schedule, None));
        *self.report.borrow_mut() = Some(report.clone());
        TestResult::error(report)
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// What `act` panics with, if it does; nothing is printed.
pub fn panics<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !SILENT.get() {
                before(info);
            }
        }));
    });
    let outside = SILENT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(act));
    SILENT.set(outside);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
    })
}

impl Law {
    /// Schedule number `seed`.
    fn schedule(&self, seed: u64) -> Schedule {
        (self.draw)(&mut Gen::from_size_and_seed(100, seed))
    }

    /// Runs one schedule; a panic is a broken rule like any other.
    fn attempt(&self, schedule: &Schedule, planted: Option<Planted>, run: &mut Run) -> Verdict {
        panics(|| (self.holds)(schedule, planted, run))
            .unwrap_or_else(|text| Err(broken("panic", text)))
    }

    fn rule(&self, schedule: &Schedule, planted: Option<Planted>) -> Option<&'static str> {
        self.attempt(schedule, planted, &mut Run::default()).err().map(|broken| broken.rule)
    }

    /// The smallest schedule found that breaks the same rule.
    fn shrink(&self, mut schedule: Schedule, planted: Option<Planted>) -> Schedule {
        let rule = self.rule(&schedule, planted);
        let mut left = SHRINKS;
        loop {
            let smaller = schedule.shrink().find(|smaller| {
                left = left.saturating_sub(1);
                left == 0 || self.rule(smaller, planted) == rule
            });
            match smaller {
                Some(smaller) if left > 0 => schedule = smaller,
                _ => return schedule,
            }
        }
    }

    /// The trace without its middle, if it is long.
    fn trace(run: &Run) -> String {
        const SHOWN: usize = 60;
        let lines = &run.lines;
        if lines.len() <= 3 * SHOWN {
            return lines.join("\n");
        }
        let (head, tail) = (&lines[..2 * SHOWN], &lines[lines.len() - SHOWN..]);
        format!(
            "{}\n         … {} lines …\n{}",
            head.join("\n"),
            lines.len() - 3 * SHOWN,
            tail.join("\n")
        )
    }

    fn report(&self, seed: u64, minimal: &Schedule) -> String {
        let mut run = Run { tracing: true, ..Run::default() };
        let verdict = self.attempt(minimal, None, &mut run);
        let what = verdict.err().map(|broken| format!("{}: {}", broken.rule, broken.what));
        format!(
            "{}, schedule {seed}: {}\n{}\nminimal: {minimal:?}\nagain: KVORUM_LAWS_SEED={seed} \
             cargo test -p kvorum-core --test laws {}\n",
            self.name,
            what.unwrap_or_else(|| "does not fail again".to_owned()),
            Law::trace(&run),
            self.name,
        )
    }

    /// The law holds for all schedules, and they were worth it.
    pub fn holds(&'static self) {
        let one = number("KVORUM_LAWS_SEED");
        let usual = number("KVORUM_LAWS_SCHEDULES").unwrap_or(SCHEDULES);
        let count = one.map_or(usual * number("KVORUM_LAWS_TIMES").unwrap_or(1), |_| 1);
        let first = one.or(number("KVORUM_LAWS_FROM")).unwrap_or(0);
        let (cover, report) = (Rc::new(RefCell::default()), Rc::new(RefCell::default()));
        let (trial_cover, trial_report) = (Rc::clone(&cover), Rc::clone(&report));
        let trial =
            Trial { law: self, next: Cell::new(first), cover: trial_cover, report: trial_report };
        let outcome = QuickCheck::new().tests(count).max_tests(count).quicktest(trial);
        let text: Option<String> = report.take();
        assert!(text.is_none(), "\n{}", text.unwrap_or_default());
        assert_eq!(outcome.ok(), Some(count), "every schedule ran");
        let cover: Cover = cover.take();
        println!("{}: {count} schedules from {first}", self.name);
        for (what, times) in &cover {
            println!("{times:>9}  {what}");
        }
        if count >= SCHEDULES {
            let met = |what: &&str| cover.contains_key(*what);
            let missing: Vec<_> = self.must_happen.iter().filter(|what| !met(what)).collect();
            assert!(missing.is_empty(), "never happened: {missing:?}");
        }
    }

    /// Looks for a planted violation and returns, shrunk, the schedule that shows it.
    pub fn finds(&self, planted: Planted, rules: &[&str], steps: usize) -> Schedule {
        let seed =
            (0..BUDGET).find(|seed| self.rule(&self.schedule(*seed), Some(planted)).is_some());
        let seed = seed.unwrap_or_else(|| panic!("{planted:?}: not found in {BUDGET} schedules"));
        let schedule = self.shrink(self.schedule(seed), Some(planted));
        let mut run = Run { tracing: true, ..Run::default() };
        let verdict = self.attempt(&schedule, Some(planted), &mut run);
        let broken = verdict.expect_err("the minimal schedule fails");
        println!(
            "{planted:?}: schedule {seed}, {} steps: {}: {}\n{}\n{schedule:?}",
            schedule.steps.len(),
            broken.rule,
            broken.what,
            Law::trace(&run),
        );
        assert!(rules.contains(&broken.rule), "{planted:?} is caught by {}", broken.rule);
        assert!(schedule.steps.len() <= steps, "{planted:?} is shrunk to {schedule:#?}");
        schedule
    }
}
