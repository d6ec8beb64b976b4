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

#[cfg(test)]
mod tests {
    use super::super::list;
    use super::*;

    const TEXT: &str = "impl A {\n    fn f(a: B { c }: B) -> bool {\n        a && b\n    }\n\n    \
                        fn g(&self) -> impl Iterator<Item = u8> + '_ {\n        h()\n    }\n}\n";

    fn changes() -> Vec<Change> {
        let place = |line, from, to| {
            format!(
                "{{\"start\":{{\"line\":{line},\"column\":{from}}},\
                 \"end\":{{\"line\":{line},\"column\":{to}}}}}"
            )
        };
        let function = |name: &str, from: u32, to: u32| {
            format!(
                "{{\"function_name\":\"A::{name}\",\"span\":{{\"start\":{{\"line\":{from},\
                 \"column\":5}},\"end\":{{\"line\":{to},\"column\":6}}}}}}"
            )
        };
        let item = |name: &str, genre: &str, span: String, with: &str, function: String| {
            format!(
                "{{\"file\":\"core/src/raft/a.rs\",\"name\":\"core/src/raft/a.rs:1:2: {name}\",\
                 \"genre\":\"{genre}\",\"span\":{span},\"replacement\":\"{with}\",\
                 \"function\":{function}}}"
            )
        };
        let json = [
            item(
                "replace f -> bool with true",
                "FnValue",
                place(3, 9, 15),
                "true",
                function("f", 2, 4),
            ),
            item(
                "replace && with || in f",
                "BinaryOperator",
                place(3, 11, 13),
                "||",
                function("f", 2, 4),
            ),
            item("replace g with i()", "FnValue", place(7, 9, 12), "i()", function("g", 6, 8)),
        ];
        let sources = Sources::from([("raft/a.rs".to_owned(), TEXT.to_owned())]);
        list::parse(&format!("[{}]", json.join(",")), &sources).unwrap()
    }

    #[test]
    fn a_change_is_known_by_what_it_does_and_its_line() {
        let ids: Vec<String> = changes().into_iter().map(|change| change.id).collect();
        assert_eq!(
            ids,
            [
                "raft/a.rs: replace f -> bool with true",
                "raft/a.rs: replace && with || in f: a && b",
                "raft/a.rs: replace g with i()",
            ]
        );
    }

    #[test]
    fn a_body_stands_once_as_it_is_and_once_for_each_change() {
        let sources = Sources::from([("raft/a.rs".to_owned(), TEXT.to_owned())]);
        let changes = changes();
        let woven = weave(&sources, &changes, &BTreeSet::from([0]));
        let text: String = woven.sources["raft/a.rs"].split_whitespace().collect();
        let expected = "implA{fnf(a:B{c}:B)->bool{ifcrate::planted::among(2,2){\
                        matchcrate::planted::chosen(){2=>return{a||b},_=>{}}}a&&b}\
                        fng(&self)->alloc::boxed::Box<dynIterator<Item=u8>+'_>{\
                        ifcrate::planted::among(3,3){matchcrate::planted::chosen(){\
                        3=>returnalloc::boxed::Box::new({i()}),_=>{}}}\
                        returnalloc::boxed::Box::new({h()});}}";
        assert_eq!(text, expected);
        // What the compiler says of a line is said of the change that stands there.
        for (lines, position) in &woven.lines["raft/a.rs"] {
            let there = woven.sources["raft/a.rs"].lines().nth(lines.start - 1).unwrap();
            assert!(there.starts_with(&format!("{} => return", position + 1)), "{there}");
        }
    }
}
