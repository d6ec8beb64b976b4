//! `docs/mutants-survivors.md`: what was changed, and what nothing finds.
//!
//! Rule: made from changes, verdicts and reasons alone. Must never: be edited by hand.

use super::{explained::Reasons, list::Change};
use crate::judge::Verdict;
use std::{collections::BTreeMap, fmt::Write};

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It does not compile.
    Unviable,
    /// A check finds it.
    Found,
    /// Nothing does.
    Survived,
    /// Not judged.
    Open,
}

/// A change and its verdict; `UNVIABLE` stands as the check of what does not compile.
pub type Judged = (Change, Option<Verdict>);

/// In place of a check: the compiler.
pub const UNVIABLE: &str = "compiler";

/// What became of it.
#[must_use]
pub fn fate(verdict: Option<&Verdict>) -> Fate {
    match verdict.map(|verdict| &verdict.first) {
        None => Fate::Open,
        Some(None) => Fate::Survived,
        Some(Some(kill)) if kill.check == UNVIABLE => Fate::Unviable,
        Some(Some(_)) => Fate::Found,
    }
}

/// Survivors without a reason, reasons without a survivor, and what is not judged.
#[must_use]
pub fn failures(judged: &[Judged], reasons: &Reasons) -> Vec<String> {
    let mut failures = Vec::new();
    for (change, verdict) in judged {
        match (fate(verdict.as_ref()), reasons.contains_key(&change.id)) {
            (Fate::Open, _) => failures.push(format!("not judged: {}", change.id)),
            (Fate::Survived, false) => failures.push(format!("not explained: {}", change.id)),
            (Fate::Found | Fate::Unviable, true) => {
                failures.push(format!("explained, but found: {}", change.id));
            }
            (Fate::Survived, true) | (Fate::Found | Fate::Unviable, false) => {}
        }
    }
    for id in reasons.keys() {
        if !judged.iter().any(|(change, _)| change.id == *id) {
            failures.push(format!("explained, but there is no such change: {id}"));
        }
    }
    failures
}

const HEAD: &str = "\
# cargo-mutants: what was changed, and what survived

`make cargo-mutants` changes the consensus rules of the core at every place that [cargo-mutants](https://mutants.rs) \
knows how to change, and looks which check of the core finds each change. Made by that command; do not edit. \
Outside continuous integration: it takes an hour. What it examines is in `.cargo/mutants.toml`; what is changed is the \
list of `cargo mutants --list`, built all at once behind a switch ([why](decisions/0092-changes-behind-a-switch.md)).

The checks run in this order and the first finding ends it: golden scripts, unit and property tests, the laws (50 \
schedules of each), the lab (20 seeds). A run that does not end is a finding. *Unviable* is what does not compile. \
Every survivor is explained below, or the command fails; the reasons are kept in `core/mutants/survivors.txt`.
";

/// The whole document.
#[must_use]
pub fn document(judged: &[Judged], reasons: &Reasons) -> String {
    let mut text = String::from(HEAD);
    text.push_str("\n| file | changes | unviable | found | survived | not judged |\n|---|--:|--:|--:|--:|--:|\n");
    let mut files: BTreeMap<&str, Vec<Fate>> = BTreeMap::new();
    for (change, verdict) in judged {
        files.entry(&change.file).or_default().push(fate(verdict.as_ref()));
    }
    for (file, fates) in &files {
        row(&mut text, file, fates);
    }
    let all: Vec<Fate> = files.into_values().flatten().collect();
    row(&mut text, "all", &all);
    first_found(&mut text, judged);
    text.push_str("\n## Survivors, and why each is harmless\n");
    // What has one reason is told together.
    let mut told: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for (change, _) in judged.iter().filter(|(_, verdict)| fate(verdict.as_ref()) == Fate::Survived)
    {
        let reason = reasons.get(&change.id).map_or("**not explained**", String::as_str);
        let what = change.id.split_once(": ").map_or("", |(_, what)| what);
        match told.iter_mut().find(|(file, why, _)| *file == change.file && *why == reason) {
            Some((.., changes)) => changes.push(what),
            None => told.push((&change.file, reason, vec![what])),
        }
    }
    let mut file = "";
    for (of, reason, changes) in &told {
        if *of != file {
            let _ = writeln!(text, "\n### {of}");
            file = of;
        }
        let _ = writeln!(text, "\n{reason}\n");
        for change in changes {
            let _ = writeln!(text, "- `{}`", change.replace('`', "'"));
        }
    }
    text
}

fn row(text: &mut String, name: &str, fates: &[Fate]) {
    let count = |wanted: Fate| fates.iter().filter(|fate| **fate == wanted).count();
    let (unviable, found) = (count(Fate::Unviable), count(Fate::Found));
    let (survived, open) = (count(Fate::Survived), count(Fate::Open));
    let _ =
        writeln!(text, "| {name} | {} | {unviable} | {found} | {survived} | {open} |", fates.len());
}

fn first_found(text: &mut String, judged: &[Judged]) {
    let firsts = || judged.iter().filter_map(|(_, verdict)| verdict.as_ref()?.first.as_ref());
    let by = |check: &str| {
        firsts().filter(|kill| kill.check == check && kill.after != "time-out").count()
    };
    let endless = firsts().filter(|kill| kill.after == "time-out").count();
    let _ = writeln!(
        text,
        "\nFirst found by golden scripts {}, unit and property tests {}, laws {}, lab {}; \
         by not ending {endless}.",
        by("golden"),
        by("unit"),
        by("laws"),
        by("lab"),
    );
}
