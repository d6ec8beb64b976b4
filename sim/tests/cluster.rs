//! Whole clusters under trouble: nothing acknowledged is lost, nothing is told wrongly, and the
//! cluster comes back.
//!
//! `KVORUM_SEED=7 cargo sim the_cluster -- --nocapture` replays one seed and prints its trace;
//! `KVORUM_SEEDS=1000..2000 cargo sim the_cluster` searches further.
#![cfg(madsim)]

use kvorum_sim::{
    campaign::{Seeds, explain, first_difference, sweep},
    client::Proxy,
    nemesis::ALL,
    plan::{Canary, Plan},
    run::{Report, run},
    trace::Keep,
};
use std::{collections::BTreeMap, time::Duration};

/// Seeds of a plain `cargo sim`.
const BUDGET: u64 = 120;

#[test]
fn the_cluster_survives_every_seed() {
    let seeds = Seeds::from_env(BUDGET);
    let reports = sweep(&seeds, Plan::of);
    let failed: Vec<&Report> =
        reports.iter().filter(|report| !report.violations.is_empty()).collect();
    // A few are enough to work on.
    for report in failed.iter().take(3) {
        println!("{}", explain(report, &Plan::of(report.seed), "the_cluster"));
    }
    let numbers: Vec<u64> = failed.iter().map(|report| report.seed).collect();
    assert!(failed.is_empty(), "{} of {} seeds failed: {numbers:?}", failed.len(), reports.len());
    if reports.len() as u64 >= BUDGET {
        everything_was_exercised(&reports);
    }
}

/// A sweep that does not meet what it is there for has proven nothing.
fn everything_was_exercised(reports: &[Report]) {
    let sum = |count: fn(&Report) -> u64| reports.iter().map(count).sum::<u64>();
    let mut faults = BTreeMap::new();
    for report in reports {
        for (fault, count) in &report.coverage.faults {
            *faults.entry(*fault).or_insert(0) += count;
        }
    }
    let unused: Vec<_> = ALL.iter().filter(|fault| !faults.contains_key(fault)).collect();
    assert!(unused.is_empty(), "faults never used: {unused:?}");
    let counts = [
        ("answered operations", sum(|r| r.coverage.answered)),
        ("refused operations", sum(|r| r.coverage.refused)),
        ("operations of unknown outcome", sum(|r| r.coverage.unknown)),
        ("terms after the first", sum(|r| r.coverage.terms.saturating_sub(1))),
        ("states compared between replicas", sum(|r| r.coverage.compared)),
        ("keys searched for an order", sum(|r| r.coverage.searched)),
        ("segments held by cuts", sum(|r| r.coverage.traffic.held)),
        ("resets", sum(|r| r.coverage.traffic.resets)),
        ("connects that hung", sum(|r| r.coverage.traffic.syn_retries)),
        ("power cuts", sum(|r| r.coverage.disks.cuts)),
        ("power cuts inside a system call", sum(|r| r.coverage.disks.cuts_inside)),
        ("pages lost", sum(|r| r.coverage.disks.damage.reverted)),
        ("pages torn", sum(|r| r.coverage.disks.damage.torn)),
        ("failed syncs", sum(|r| r.coverage.disks.failed_syncs)),
        ("snapshots installed", sum(|r| said(r, "snapshot installed"))),
        ("nodes that joined", sum(|r| said(r, "joined the cluster"))),
        ("leaders lost", sum(|r| said(r, "no leader"))),
        ("leaderships handed over", sum(|r| said(r, "handing leadership over"))),
        ("answers worked out by the model", sum(|r| r.coverage.explained.answers)),
        ("revisions made by requests nobody was answered", sum(|r| r.coverage.explained.unknown)),
        ("watches that went on at another node", sum(|r| r.coverage.heard.elsewhere)),
        ("messages of watches", sum(|r| r.coverage.heard.changes)),
        ("messages of watches in silence", sum(|r| r.coverage.heard.progress)),
        ("requests repeated under their key", sum(|r| r.coverage.repeats.repeated)),
        ("answers marked as repeats", sum(|r| r.coverage.repeats.replayed)),
        ("other requests under a used key", sum(|r| r.coverage.repeats.misused)),
        ("leases that ran out", sum(|r| r.coverage.held.expired)),
        ("leases that ran out after a sign of life", sum(|r| r.coverage.held.kept)),
        ("locks acquired", sum(|r| r.coverage.held.acquired)),
        ("writes under a fence", sum(|r| r.coverage.held.fenced_in)),
        ("writes stopped by a fence", sum(|r| r.coverage.held.fenced_out)),
    ];
    println!("{faults:?}");
    for (what, count) in counts {
        println!("{count:>9} {what}");
    }
    for (what, count) in counts {
        assert!(count > 0, "no {what} in {} seeds", reports.len());
    }
    let (right, unjudged) =
        (sum(|r| r.coverage.explained.answers), sum(|r| r.coverage.explained.unjudged));
    assert!(unjudged * 10 < right, "{unjudged} answers could not be judged, {right} were");
    let (searched, cut_off) = (sum(|r| r.coverage.searched), sum(|r| r.coverage.unsearched));
    assert!(cut_off * 10 < searched, "{cut_off} searches were cut off, {searched} were not");
}

fn said(report: &Report, message: &str) -> u64 {
    report.coverage.said.get(message).copied().unwrap_or(0)
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let mut hashes = Vec::new();
    for seed in 0..6 {
        let plan = Plan::of(seed);
        let (first, second) = (run(seed, &plan, Keep::All), run(seed, &plan, Keep::All));
        if first.hash != second.hash {
            let difference = first_difference(&first, &second);
            panic!("seed {seed} is not deterministic: {}", difference.unwrap_or_default());
        }
        assert!(first.lines > 100, "seed {seed} has a trace worth comparing");
        hashes.push(first.hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 6);
}

/// Runs seeds with a planted bug until one is caught, and returns what caught it.
fn hunt(canary: Canary, most: u64, adapt: fn(&mut Plan)) -> BTreeMap<&'static str, u64> {
    let seeds = Seeds { seeds: (0..most).collect(), single: false };
    let reports = sweep(&seeds, |seed| {
        let mut plan = Plan::of(seed);
        adapt(&mut plan);
        plan.canary = Some(canary);
        plan
    });
    let mut caught = BTreeMap::new();
    for violation in reports.iter().filter_map(|report| report.violations.first()) {
        *caught.entry(violation.promise).or_default() += 1;
    }
    println!("{canary:?}: {caught:?} in {most} seeds");
    caught
}

fn is_caught(proxy: Proxy) {
    let caught = hunt(Canary::Proxy(proxy), 3, |plan| {
        plan.workload.shoppers = 4;
        plan.workload.watchers = 4;
        plan.workload.holders = 3;
        plan.storm = Duration::from_secs(8);
    });
    assert!(!caught.is_empty(), "{proxy:?}");
}

#[test]
fn repeats_that_take_effect_again_are_caught() {
    is_caught(Proxy::ForgetsKeys);
}

#[test]
fn reads_of_the_past_that_show_the_present_are_caught() {
    is_caught(Proxy::ForgetsThePast);
}

#[test]
fn watches_that_skip_at_reconnect_are_caught() {
    is_caught(Proxy::SkipsOne);
}

#[test]
fn watches_that_repeat_at_reconnect_are_caught() {
    is_caught(Proxy::RepeatsOne);
}

#[test]
fn watches_that_lose_a_part_of_a_revision_are_caught() {
    is_caught(Proxy::LosesAChange);
}

#[test]
fn fences_that_are_not_looked_at_are_caught() {
    is_caught(Proxy::ForgetsFences);
}

#[test]
fn clocks_that_hurry_leases_to_their_end_are_caught() {
    let caught = hunt(Canary::FastClocks, 4, |plan| plan.workload.holders = 3);
    assert!(!caught.is_empty());
}

#[test]
fn disks_that_lie_about_syncs_are_caught() {
    let caught = hunt(Canary::LyingDisks, 8, |plan| plan.cluster.disks = true);
    assert!(!caught.is_empty());
}

#[test]
fn a_read_from_the_past_is_caught() {
    let caught = hunt(Canary::StaleRead, 4, |_| {});
    assert!(!caught.is_empty());
}

#[test]
fn reads_that_ask_no_leader_are_caught() {
    let caught = hunt(Canary::LocalReads, 4, |_| {});
    assert!(!caught.is_empty());
}

#[test]
fn an_unknown_outcome_told_as_no_is_caught() {
    let caught = hunt(Canary::UnknownIsNo, 8, |_| {});
    assert!(!caught.is_empty());
}
