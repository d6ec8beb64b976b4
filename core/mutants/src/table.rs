//! `docs/mutants.md`: what is planted, and what finds it.
//!
//! Rule: made from rows, mutants and verdicts alone. Must never: be edited by hand.

use crate::{
    judge::{Kill, Verdict},
    mutant::{Mutant, Plant},
    rows::Row,
};
use std::fmt::Write;

/// What a mutant came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Found.
    Found,
    /// Not found, and harmless alone for a reason given.
    Guarded,
    /// Not found.
    Survived,
    /// Not judged.
    Open,
}

/// What became of a mutant.
#[must_use]
pub fn fate(mutant: &Mutant, verdict: Option<&Verdict>) -> Fate {
    match verdict {
        None => Fate::Open,
        Some(verdict) if verdict.first.is_some() => Fate::Found,
        Some(verdict) if verdict.seeds < crate::judge::seeds_for(mutant, 'C') => Fate::Open,
        Some(_) if mutant.guarded.is_some() => Fate::Guarded,
        Some(_) => Fate::Survived,
    }
}

/// Rows of priority A of which nothing was found, and mutants of them that survived.
#[must_use]
pub fn failures(rows: &[Row], judged: &[(Mutant, Option<Verdict>)]) -> Vec<String> {
    let mut failures = Vec::new();
    for row in rows.iter().filter(|row| row.priority == 'A' && row.absent.is_none()) {
        let mine = || judged.iter().filter(|(mutant, _)| mutant.row == row.id);
        let fates = || mine().map(|(mutant, verdict)| (mutant, fate(mutant, verdict.as_ref())));
        for (mutant, _) in fates().filter(|(_, fate)| *fate == Fate::Survived) {
            failures.push(format!("{} survived", mutant.id));
        }
        if fates().all(|(_, fate)| fate == Fate::Guarded) {
            failures.push(format!("{}: no mutant of it is found", row.id));
        }
    }
    failures
}

/// The whole document.
#[must_use]
pub fn document(rows: &[Row], judged: &[(Mutant, Option<Verdict>)]) -> String {
    let mut text = String::from(HEAD);
    totals(&mut text, rows, judged);
    let mut section = "";
    for row in rows {
        let mine: Vec<_> = judged.iter().filter(|(mutant, _)| mutant.row == row.id).collect();
        if mine.is_empty() {
            continue;
        }
        if row.section != section {
            section = &row.section;
            let _ = write!(text, "\n## {section}\n\n{COLUMNS}");
        }
        for (mutant, verdict) in mine {
            line(&mut text, row, mutant, verdict.as_ref());
        }
    }
    reasons(&mut text, judged);
    for (kind, heading) in ABSENT {
        let _ = write!(text, "\n## {heading}\n\n| row | P | bug | reason |\n|---|---|---|---|\n");
        for row in rows {
            if let Some((_, reason)) = row.absent.as_ref().filter(|(absent, _)| absent == kind) {
                let Row { id, priority, what, .. } = row;
                let _ = writeln!(text, "| {id} | {priority} | {what} | {reason} |");
            }
        }
    }
    text
}

const HEAD: &str = "\
# Planted bugs

Bugs that other Raft implementations had, planted one at a time into a copy of `core`, and the check that finds each. \
Made by `make mutants`; do not edit. What is planted where: `core/mutants/planted/<id>.mutant`.

The checks run in this order and the first finding counts: golden scripts, unit and property tests, laws, the lab with \
growing numbers of seeds, the model. The column *lab alone* says what random schedules find without the others. \
An *invariant* is one of `check_invariants()` or an assertion at a boundary; both are on in every test.
";

const COLUMNS: &str = "\
| mutant | bug | P | found by | after | time | lab alone |\n|---|---|---|---|---|---|---|\n";

const ABSENT: [(&str, &str); 3] = [
    ("types", "Rows that the types forbid"),
    ("node", "Rows left to the simulator of whole nodes"),
    ("design", "Rows about something that does not exist here"),
];

fn totals(text: &mut String, rows: &[Row], judged: &[(Mutant, Option<Verdict>)]) {
    let count = |wanted: Fate| {
        judged.iter().filter(|(mutant, verdict)| fate(mutant, verdict.as_ref()) == wanted).count()
    };
    let absent = |kind: &str| {
        rows.iter().filter(|row| row.absent.as_ref().is_some_and(|(is, _)| is == kind)).count()
    };
    let planted = rows.iter().filter(|row| row.absent.is_none());
    let urgent = planted.clone().filter(|row| row.priority == 'A').count();
    let by = |check: &str| {
        let firsts = judged.iter().filter_map(|(_, verdict)| verdict.as_ref()?.first.as_ref());
        firsts.filter(|kill| kill.check == check).count()
    };
    let lab = judged
        .iter()
        .filter(|(_, verdict)| verdict.as_ref().is_some_and(|verdict| verdict.lab.is_some()));
    let _ = write!(
        text,
        "\n| | |\n|---|---|\n\
         | mutants | {} |\n| found | {} |\n| guarded twice (reasons below) | {} |\n\
         | survived | {} |\n| not judged | {} |\n\
         | first found by golden / unit / laws / lab / model | {} / {} / {} / {} / {} |\n\
         | found by the lab alone | {} |\n\
         | rows with mutants (of priority A) | {} ({urgent}) |\n\
         | rows that the types forbid | {} |\n| rows left to the simulator of whole nodes | {} |\n\
         | rows about something that does not exist here | {} |\n",
        judged.len(),
        count(Fate::Found),
        count(Fate::Guarded),
        count(Fate::Survived),
        count(Fate::Open),
        by("golden"),
        by("unit"),
        by("laws"),
        by("lab"),
        by("model"),
        lab.count(),
        planted.count(),
        absent("types"),
        absent("node"),
        absent("design"),
    );
}

fn line(text: &mut String, row: &Row, mutant: &Mutant, verdict: Option<&Verdict>) {
    let (found, after, time) = match (fate(mutant, verdict), verdict) {
        (Fate::Found, Some(verdict)) => {
            let kill = verdict.first.as_ref().expect("found");
            let Kill { check, name, after } = kill;
            (format!("{check}: {}", cell(name)), after.clone(), class(verdict.seconds))
        }
        (Fate::Guarded, _) => ("guarded twice".to_owned(), String::new(), ""),
        (Fate::Survived, Some(verdict)) => {
            ("**survived**".to_owned(), format!("{} seeds", verdict.seeds), "")
        }
        _ => ("not judged".to_owned(), String::new(), ""),
    };
    let lab = match verdict {
        Some(Verdict { lab: Some(kill), .. }) => {
            format!("{}, {}", cell(&kill.name), kill.after)
        }
        Some(Verdict { seeds, .. }) if *seeds > 0 => format!("not in {seeds}"),
        _ => "–".to_owned(),
    };
    let place = match &mutant.plant {
        Plant::Core(_) => String::new(),
        Plant::Adapter(name) => format!(" (the lab's `{name}`)"),
    };
    let _ = writeln!(
        text,
        "| {} | {}{place} | {} | {found} | {after} | {time} | {lab} |",
        mutant.id,
        cell(&mutant.bug),
        row.priority
    );
}

fn reasons(text: &mut String, judged: &[(Mutant, Option<Verdict>)]) {
    text.push_str("\n## Guarded twice\n\nWhat these remove, another guard catches as well.\n\n");
    for (mutant, verdict) in judged {
        if let (Fate::Guarded, Some(reason)) = (fate(mutant, verdict.as_ref()), &mutant.guarded) {
            let _ = writeln!(text, "- **{}**: {reason}", mutant.id);
        }
    }
}

/// Times of a run differ; their class does not.
fn class(seconds: f64) -> &'static str {
    match seconds {
        s if s < 1.0 => "< 1 s",
        s if s < 10.0 => "< 10 s",
        s if s < 60.0 => "< 1 min",
        _ => "> 1 min",
    }
}

fn cell(text: &str) -> String {
    let text = text.replace('|', "\\|");
    let mut short: String = text.chars().take(110).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The ids that a document lists, in order.
#[must_use]
pub fn listed(document: &str) -> Vec<String> {
    let first = |line: &str| Some(line.strip_prefix("| ")?.split_once(" |")?.0.to_owned());
    let is_mutant = |cell: &String| {
        let mut parts = cell.splitn(3, '-');
        let (area, number) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let named = area.len() == 2 && number.parse::<u32>().is_ok();
        named && parts.next().is_some()
    };
    document.lines().filter_map(first).filter(is_mutant).collect()
}
