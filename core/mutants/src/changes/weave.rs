//! All changes in one text: each function's body once as it is, and once for each of its changes.
//!
//! Rule: a body becomes `{ match chosen { 7 => return { body with change 7 }, … } body }`; nothing is
//! parsed, so that a change means exactly what it means where cargo-mutants puts it. A function
//! that returns `impl Trait` returns a box of it, for its bodies are of different types. Must
//! never: change what the text means while the switch is off.

use super::list::Change;
use crate::source::Sources;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// The sources with all alternatives, and where each is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Woven {
    /// The files.
    pub sources: Sources,
    /// By file: lines (from 1) and the position in the list of the change that stands there.
    pub lines: BTreeMap<String, Vec<(Range<usize>, usize)>>,
}

/// Weaves every change but those at `left_out` positions; a switch's number is the position plus 1.
#[must_use]
pub fn weave(sources: &Sources, changes: &[Change], left_out: &BTreeSet<usize>) -> Woven {
    let mut woven = Woven { sources: sources.clone(), lines: BTreeMap::new() };
    let mut files: BTreeMap<&str, Bodies> = BTreeMap::new();
    for (position, change) in changes.iter().enumerate() {
        if let (Some(body), false) = (&change.body, left_out.contains(&position)) {
            let bodies = files.entry(&change.file).or_default();
            bodies.entry((body.start, body.end)).or_default().push(position);
        }
    }
    for (file, bodies) in files {
        let (text, lines) = weave_file(&sources[file], changes, &bodies);
        woven.sources.insert(file.to_owned(), text);
        woven.lines.insert(file.to_owned(), lines);
    }
    woven
}

type Lines = Vec<(Range<usize>, usize)>;
/// Positions by the body that they change.
type Bodies = BTreeMap<(usize, usize), Vec<usize>>;

fn weave_file(text: &str, changes: &[Change], bodies: &Bodies) -> (String, Lines) {
    let (mut out, mut lines, mut at) = (String::new(), Lines::new(), 0);
    for (&(start, end), positions) in bodies {
        // A function within another would be woven twice.
        assert!(at <= start, "functions do not overlap");
        let head = &text[at..start];
        let (head, opaque) = boxed(head);
        out += &head;
        let (first, last) = (positions[0] + 1, positions[positions.len() - 1] + 1);
        out += &format!(" if crate::planted::among({first}, {last}) {{\n");
        out += "match crate::planted::chosen() {\n";
        let (open, close) = if opaque { ("alloc::boxed::Box::new({", "})") } else { ("{", "}") };
        for &position in positions {
            let change = &changes[position];
            let begin = out.matches('\n').count() + 1;
            let (number, changed) = (position + 1, change.changed(text));
            // On a line of its own, so that what a compiler says of it is known to be of it.
            out += &format!("{number} => return {open} {changed} {close},\n");
            lines.push((begin..out.matches('\n').count() + 1, position));
        }
        out += "_ => {}\n}\n}\n";
        if opaque {
            out += &format!("return {open} {} {close};", &text[start..end]);
        } else {
            out += &text[start..end];
        }
        at = end;
    }
    out += &text[at..];
    (out, lines)
}

/// The text before a body, with a box of a trait in place of `impl Trait` as what is returned.
fn boxed(head: &str) -> (String, bool) {
    let signature = head.rfind("fn ").unwrap_or(0);
    let Some(at) = head[signature..].find("-> impl ").map(|at| signature + at) else {
        return (head.to_owned(), false);
    };
    let returned = head[at + "-> impl ".len()..].trim_end_matches(['{', ' ']);
    let returned = returned.trim_end_matches("+ '_").trim_end();
    (format!("{}-> alloc::boxed::Box<dyn {returned} + '_> {{", &head[..at]), true)
}

/// The module that the switch is in; the copy's core has it beside its own.
pub const SWITCH: &str = "\
/// The number of the change that is on; 0: none.
pub fn chosen() -> u32 {
    static CHOSEN: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {
        std::env::var(\"KVORUM_PLANTED\").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    });
    *CHOSEN
}

/// Whether the change that is on is one of these.
pub fn among(first: u32, last: u32) -> bool {
    (first..=last).contains(&chosen())
}
";
