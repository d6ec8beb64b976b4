//! Seeds: the real runs, and the runs that must fail.
//!
//! Rule: a failure is reported with all that is needed to see it again. Must never: pass because
//! nothing happened: what every batch of seeds must have met is listed.

use crate::lab::{Cover, Outcome, run};
use crate::plan::Plan;
use crate::planted::Planted;
use std::ops::Range;

/// Seeds of an ordinary `cargo test`.
const SEEDS: u64 = 1_500;

/// What a few hundred seeds must have met at least once, or they have proven little.
const MUST_HAPPEN: [&str; 28] = [
    "cold log read",
    "crash",
    "crash that lost writes",
    "disk wiped",
    "joint configuration",
    "leader elected",
    "log compacted",
    "log truncated",
    "membership change accepted",
    "membership change refused",
    "partition",
    "pause",
    "power cut of all",
    "proposal accepted",
    "proposal refused",
    "read confirmed by a follower",
    "read confirmed by a leader",
    "read failed",
    "read refused",
    "recovered",
    "recovery with a part still broken",
    "snapshot installed",
    "snapshot resumed",
    "snapshot that did not verify",
    "transfer begun",
    "trap",
    "learner promoted",
    "entry committed",
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// `KVORUM_LAB_SEED=n`: that one; `KVORUM_LAB_SEEDS=n` or `a..b`: those; otherwise the usual ones.
fn chosen() -> Range<u64> {
    if let Some(seed) = number("KVORUM_LAB_SEED") {
        return seed..seed + 1;
    }
    let seeds = std::env::var("KVORUM_LAB_SEEDS").unwrap_or_default();
    match seeds.split_once("..") {
        Some((from, to)) => from.parse().unwrap_or(0)..to.parse().unwrap_or(SEEDS),
        None => 0..seeds.parse().unwrap_or(SEEDS),
    }
}

fn report(seed: u64, outcome: &Outcome) -> Option<String> {
    let failure = outcome.failure.as_ref()?;
    let traced = run(&Plan::draw(seed), true);
    let mut text = format!(
        "seed {seed}: {}: {} (at {:.3} ms, event {})\n",
        failure.violation.rule,
        failure.violation.what,
        failure.at as f64 / 1e6,
        failure.event
    );
    text += &format!(
        "again: KVORUM_LAB_SEED={seed} cargo test -p kvorum-core --test lab chaos -- --nocapture\n"
    );
    text += &format!("plan: {:?}\n", Plan::draw(seed));
    for line in &traced.lines {
        text += line;
        text += "\n";
    }
    Some(text)
}

#[test]
fn chaos_breaks_no_promise() {
    let seeds = chosen();
    let mut cover = Cover::new();
    let (mut events, mut slowest) = (0, 0);
    let mut failures = Vec::new();
    let give_up = number("KVORUM_LAB_FAILURES").unwrap_or(1);
    for seed in seeds.clone() {
        let outcome = run(&Plan::draw(seed), false);
        events += outcome.events;
        slowest = slowest.max(outcome.recovery);
        for (what, times) in &outcome.cover {
            *cover.entry(what).or_default() += times;
        }
        if let Some(text) = report(seed, &outcome) {
            println!("{text}");
            failures.push(text.lines().next().unwrap_or_default().to_owned());
            if failures.len() as u64 >= give_up {
                break;
            }
        }
    }
    println!("seeds {seeds:?}: {events} events, slowest recovery {slowest} election timeouts");
    for (what, times) in &cover {
        println!("{times:>9}  {what}");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    if seeds.end - seeds.start >= SEEDS {
        let missing: Vec<&&str> =
            MUST_HAPPEN.iter().filter(|what| !cover.contains_key(**what)).collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
    }
}

/// Runs seeds with a planted bug until a checker sees it: the rule, and the seed.
fn hunt(
    planted: Planted,
    without: &'static [&'static str],
    budget: u64,
) -> Option<(&'static str, u64)> {
    (0..budget).find_map(|seed| {
        let mut plan = Plan::draw(seed).with(planted);
        plan.without = without;
        run(&plan, false).failure.map(|failure| (failure.violation.rule, seed))
    })
}

/// Every planted bug, checkers that must look away, and the checkers that may catch it then.
const BUGS: [(Planted, &[&str], &[&str]); 35] = [
    (Planted::SentBeforeDurable, &[], &["gate"]),
    (Planted::SentBeforeDurable, &["gate"], &["committed is durable"]),
    (
        Planted::SentBeforeDurable,
        &["gate", "committed is durable"],
        &[
            "leader completeness",
            "election safety",
            "one vote per term",
            "log matching",
            "committed is immutable",
            "monotone",
            "panic",
            "evidence",
        ],
    ),
    (Planted::LyingDisk, &[], &["gate", "status mirrors the writes"]),
    (
        Planted::LyingDisk,
        &["gate", "status mirrors the writes"],
        &["committed is durable", "one vote per term", "state-machine safety"],
    ),
    (Planted::VoteLost, &[], &["one vote per term"]),
    (Planted::TermLost, &[], &["monotone"]),
    (
        Planted::TermLost,
        &["monotone"],
        &["one vote per term", "election safety", "restore", "gate"],
    ),
    (Planted::TailLost, &[], &["committed is durable", "compaction"]),
    (
        Planted::TailLost,
        &["committed is durable"],
        &[
            "committed outlives a power cut",
            "leader completeness",
            "state-machine safety",
            "panic",
            "liveness",
            "compaction",
            "evidence",
        ],
    ),
    (Planted::Amnesia, &[], &["committed is durable", "monotone"]),
    (
        Planted::Amnesia,
        &["committed is durable", "monotone"],
        &[
            "leader completeness",
            "one vote per term",
            "state-machine safety",
            "liveness",
            "panic",
            "bounds",
            "evidence",
        ],
    ),
    (Planted::MembershipForgotten, &[], &["membership", "restore"]),
    (Planted::VoteNotWritten, &[], &["status mirrors the writes"]),
    (Planted::SkippedEntry, &[], &["state-machine safety"]),
    (Planted::TwiceApplied, &[], &["state-machine safety"]),
    // The core itself halts the node whose state differs from a majority's.
    (Planted::SkippedEntry, &["state-machine safety", "linearizable reads"], &["evidence"]),
    (Planted::TwiceApplied, &["state-machine safety", "linearizable reads"], &["evidence"]),
    (Planted::SnapshotWithoutRows, &[], &["state-machine safety"]),
    (Planted::EarlyCheckpoint, &[], &["compaction"]),
    (Planted::StaleRead, &[], &["linearizable reads"]),
    (Planted::LostAnswer, &[], &["every read is answered"]),
    (Planted::DoubleAnswer, &[], &["linearizable reads"]),
    (Planted::CorruptEntry, &[], &["log matching"]),
    (Planted::CorruptEntry, &["log matching"], &["committed is immutable", "state-machine safety"]),
    // Nobody takes it in, so nothing goes on.
    (Planted::AlteredEntry, &[], &["liveness"]),
    (Planted::ForgedVote, &[], &["one vote per term"]),
    (
        Planted::ForgedVote,
        &["one vote per term"],
        &["election safety", "leader completeness", "evidence"],
    ),
    (Planted::ForgedCommit, &[], &["committed is immutable"]),
    (Planted::ForgedMatch, &[], &["committed is durable"]),
    (
        Planted::ForgedMatch,
        &["committed is durable"],
        &["leader completeness", "committed is immutable", "panic", "evidence", "liveness"],
    ),
    (Planted::ProtectionOff, &[], &["a leader that is heard is protected"]),
    (Planted::OutgoingForgotten, &["membership"], &["joint consensus"]),
    (Planted::HandlesBetween, &[], &["quiet"]),
    (Planted::Chatter, &[], &["bounds"]),
];

#[test]
fn every_planted_bug_is_caught_by_the_checker_that_should() {
    const BUDGET: u64 = 60;
    let mut wrong = Vec::new();
    for (planted, without, expected) in BUGS {
        match hunt(planted, without, BUDGET) {
            Some((rule, seed)) => {
                println!("{planted:?} without {without:?}: seed {seed}: {rule}");
                if !expected.contains(&rule) {
                    wrong.push(format!("{planted:?} without {without:?}: caught by {rule}"));
                }
            }
            None => {
                wrong.push(format!("{planted:?} without {without:?}: not caught in {BUDGET} seeds"))
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_node_whose_state_diverges_halts_and_nobody_else() {
    const SEEDS: u64 = 60;
    const BLIND: [&str; 2] = ["state-machine safety", "linearizable reads"];
    let mut halted = 0;
    for seed in 0..SEEDS {
        let mut plan = Plan::draw(seed).with(Planted::OneOddMachine);
        plan.without = &BLIND;
        let outcome = run(&plan, false);
        let broken = outcome.failure.map(|failure| failure.violation);
        assert_eq!(broken, None, "seed {seed}");
        halted += u64::from(outcome.cover.contains_key("diverged node halted"));
    }
    println!("the odd node halted in {halted} of {SEEDS} seeds");
    assert!(halted > SEEDS / 4, "it halted in {halted} of {SEEDS} seeds");
}

#[test]
fn what_was_altered_under_its_old_chain_is_taken_in_by_nobody() {
    const SEEDS: u64 = 60;
    let mut noticed = 0;
    for seed in 0..SEEDS {
        let outcome = run(&Plan::draw(seed).with(Planted::AlteredNowAndThen), false);
        let broken = outcome.failure.map(|failure| failure.violation);
        assert_eq!(broken, None, "seed {seed}");
        noticed += u64::from(outcome.cover.contains_key("damaged message ignored"));
    }
    println!("it was noticed in {noticed} of {SEEDS} seeds");
    assert!(noticed > SEEDS / 4, "it was noticed in {noticed} of {SEEDS} seeds");
}

#[test]
fn a_cluster_without_time_is_not_alive() {
    let caught = hunt(Planted::Timeless, &[], 1);
    assert_eq!(caught.map(|(rule, _)| rule), Some("liveness"));
}

#[test]
fn one_seed_is_one_run() {
    for seed in 0..8 {
        let (a, b) = (run(&Plan::draw(seed), true), run(&Plan::draw(seed), true));
        assert_eq!((a.events, &a.lines, &a.cover), (b.events, &b.lines, &b.cover), "seed {seed}");
    }
}
