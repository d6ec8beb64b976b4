//! The gate itself: every planted bug fits today's sources, the table lists exactly them, and a
//! handful is built, planted and found.

use kvorum_mutants::{
    binaries::{self, Extent},
    changes::explained,
    copy,
    judge::{self, Bench, Bounds},
    mutant, root, rows, source, table, weave,
};
use std::{collections::BTreeSet, fs};

/// Found by scripts, by unit tests, by the lab, and by an assertion.
const HANDFUL: [&str; 8] = [
    "CM-2-half-is-a-majority",
    "CM-4-counts-itself-before-its-disk",
    "EL-3-second-vote-in-a-term",
    "EL-7-no-comparison",
    "LR-1-commits-its-own-tail",
    "LR-11-old-receipt-confirms-new-entries",
    "MB-2-second-change",
    "RD-1-no-quorum-asked",
];

#[test]
fn every_planted_bug_fits_the_sources_and_the_list() {
    let root = root();
    let mutants = mutant::all(&root).unwrap();
    let rows = rows::all(&root).unwrap();
    let sources = source::read(&root).unwrap();
    weave::layers(&sources, &mutants).unwrap_or_else(|stale| panic!("{stale}"));
    assert_eq!(rows::misfits(&rows, &mutants), Vec::<String>::new());
    let planted: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.row.as_str()).collect();
    assert!(mutants.len() >= 100 && planted.len() >= 70, "{} of {}", mutants.len(), planted.len());
    for (file, text) in sources {
        assert!(!text.contains("planted::"), "{file}: the product knows of no planted bug");
    }
}

#[test]
fn the_table_lists_exactly_the_planted_bugs() {
    let root = root();
    let document = fs::read_to_string(root.join("docs/mutants.md")).unwrap();
    let listed = table::listed(&document);
    let present: BTreeSet<String> =
        mutant::all(&root).unwrap().into_iter().map(|mutant| mutant.id).collect();
    assert_eq!(listed.len(), present.len(), "each once; `make mutants` writes it anew");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), present, "`make mutants`");
}

#[test]
fn a_handful_of_planted_bugs_is_found_and_nothing_without_them() {
    let root = root();
    let mutants = mutant::all(&root).unwrap();
    let layers = weave::layers(&source::read(&root).unwrap(), &mutants).unwrap();
    let copy = copy::make(&root, "layer0", &layers[0], weave::SWITCH, Extent::Few).unwrap();
    let scratch = judge::scratch(&copy::workshop(&root));
    fs::create_dir_all(&scratch).unwrap();
    let binaries = binaries::build(&root, &copy, Extent::Few).unwrap();
    assert_eq!(binaries.len(), 3, "{binaries:?}");
    let bench = Bench { binaries, scratch, bounds: Bounds::PLANTED };
    bench.baseline(20).unwrap();
    for id in HANDFUL {
        let at = mutants.iter().position(|mutant| mutant.id == id).expect("it is planted");
        assert!(layers[0].mutants.contains(&at), "{id} is in the first layer");
        let verdict = bench.judge(&mutants[at], at + 1, 300).unwrap();
        println!("{id}: {verdict:?}");
        assert!(verdict.first.is_some(), "{id} is not found");
    }
}

#[test]
fn every_survivor_of_cargo_mutants_is_explained() {
    let root = root();
    let reasons = explained::all(&root).unwrap();
    let document = fs::read_to_string(root.join("docs/mutants-survivors.md")).unwrap();
    assert!(!document.contains("not explained"), "{document}");
    let told = document.lines().filter(|line| line.starts_with("- `")).count();
    assert_eq!(told, reasons.len(), "`make cargo-mutants` writes it anew");
    for (id, reason) in reasons {
        let (_, what) = id.split_once(": ").expect("file: what");
        let line = format!("- `{}`", what.replace('`', "'"));
        assert!(document.contains(&line) && document.contains(&reason), "{id}");
    }
}
