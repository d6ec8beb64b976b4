//! whole clusters
#![cfg(madsim)]
use kvorum_sim::{
    run::{Plan, run},
    trace::Keep,
};

#[test]
fn smoke() {
    let seeds = std::env::var("KVORUM_SEEDS").unwrap_or("1..2".into());
    let (a, b) = seeds.split_once("..").unwrap();
    let print = std::env::var_os("KVORUM_PRINT").is_some();
    for seed in a.parse::<u64>().unwrap()..b.parse().unwrap() {
        let mut plan = Plan::of(seed);
        if std::env::var_os("KVORUM_CALM").is_some() {
            plan.nemesis.faults.clear();
        }
        if std::env::var_os("KVORUM_MEM").is_some() {
            plan.cluster.disks = false;
        }
        let t = std::time::Instant::now();
        let report = run(seed, &plan, if print { Keep::Print } else { Keep::Last(60) });
        println!(
            "seed {seed} {:016x} lines {} {:?} violations {} {:?}",
            report.hash,
            report.lines,
            t.elapsed(),
            report.violations.len(),
            report.coverage
        );
        if !report.violations.is_empty() {
            if !print {
                for line in &report.trace {
                    println!("{line}");
                }
            }
            println!("{report}");
        }
    }
}
