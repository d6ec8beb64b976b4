//! All bugs in one text, each behind its switch.
//!
//! Rule: an edit becomes `if on(n) { bug } else { as it was }`, as an expression, or as a statement
//! when what it replaces ends like one. Edits may lie within each other; those that cross go to
//! another layer, which is a copy of its own. Must never: change what the text means while every
//! switch is off.

use crate::{
    mutant::Mutant,
    source::{self, Sources},
};
use std::{collections::BTreeMap, ops::Range};

/// One edit at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed {
    range: Range<usize>,
    number: usize,
    replace: String,
}

/// Edits by file.
type Edits = BTreeMap<String, Vec<Placed>>;

/// Mutants that fit into one copy, and that copy's sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The files with every switch in them.
    pub sources: Sources,
    /// Positions in the list of mutants; a switch's number is the position plus one.
    pub mutants: Vec<usize>,
}

/// Every mutant of the core in as few layers as they need.
///
/// # Errors
/// Everything that cannot be found.
pub fn layers(sources: &Sources, mutants: &[Mutant]) -> Result<Vec<Layer>, String> {
    let mut layers: Vec<(Edits, Vec<usize>)> = Vec::new();
    let mut wrong = Vec::new();
    for (position, mutant) in mutants.iter().enumerate() {
        let mut placed = Vec::new();
        for edit in mutant.edits() {
            match source::locate(sources, edit) {
                Ok((file, range)) => {
                    let replace = edit.replace.trim().to_owned();
                    placed.push((file, Placed { range, number: position + 1, replace }));
                }
                Err(what) => wrong.push(format!("{}: {what}", mutant.id)),
            }
        }
        if placed.is_empty() {
            continue;
        }
        let room = layers.iter().position(|(files, _)| {
            placed.iter().all(|(file, edit)| {
                files.get(file).is_none_or(|there| there.iter().all(|other| !cross(other, edit)))
            })
        });
        let layer = room.unwrap_or(layers.len());
        if layer == layers.len() {
            layers.push((Edits::new(), Vec::new()));
        }
        for (file, edit) in placed {
            layers[layer].0.entry(file).or_default().push(edit);
        }
        layers[layer].1.push(position);
    }
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    let woven = |(files, mutants): (Edits, Vec<usize>)| {
        let mut sources = sources.clone();
        for (file, edits) in files {
            let text = sources.get_mut(&file).expect("found above");
            *text = weave(text, 0..text.len(), edits);
        }
        Layer { sources, mutants }
    };
    Ok(layers.into_iter().map(woven).collect())
}

fn cross(a: &Placed, b: &Placed) -> bool {
    let (a, b) = (&a.range, &b.range);
    let apart = a.end <= b.start || b.end <= a.start;
    let within = |outer: &Range<usize>, inner: &Range<usize>| {
        outer.start <= inner.start && inner.end <= outer.end
    };
    !apart && !within(a, b) && !within(b, a)
}

/// `text[range]` with the edits in it; each lies within the range.
fn weave(text: &str, range: Range<usize>, mut edits: Vec<Placed>) -> String {
    edits.sort_by_key(|edit| (edit.range.start, usize::MAX - edit.range.end, edit.number));
    let mut woven = String::new();
    let mut at = range.start;
    let mut edits = edits.into_iter().peekable();
    while let Some(first) = edits.next() {
        let place = first.range.clone();
        let (mut here, mut inner) = (vec![first], Vec::new());
        while let Some(next) = edits.next_if(|next| next.range.start < place.end) {
            if next.range == place { here.push(next) } else { inner.push(next) }
        }
        woven += &text[at..place.start];
        at = place.end;
        let original = weave(text, place.clone(), inner);
        let mut switch = String::new();
        for edit in here {
            let Placed { number, replace, .. } = edit;
            switch += &format!("if crate::planted::on({number}) {{ {replace} }} else ");
        }
        let is_statement = text[place].trim_end().ends_with([';', '}']);
        let (open, close) = if is_statement { ("", "") } else { ("(", ")") };
        woven += &format!("{open}{switch}{{ {original} }}{close}");
    }
    woven += &text[at..range.end];
    woven
}

/// The module that the switches ask; the copy's core has it beside its own.
pub const SWITCH: &str = "\
/// Whether the planted bug of this number is on.
pub fn on(number: u32) -> bool {
    static CHOSEN: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {
        std::env::var(\"KVORUM_PLANTED\").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    });
    *CHOSEN == number
}
";

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(text: &str, find: &str, number: usize, replace: &str) -> Placed {
        let start = text.find(find).unwrap();
        Placed { range: start..start + find.len(), number, replace: replace.to_owned() }
    }

    #[test]
    fn edits_lie_beside_within_and_upon_each_other() {
        let text = "let x = a + b; f(x);";
        let edits = vec![
            placed(text, "f(x);", 1, ""),
            placed(text, "a + b", 2, "0"),
            placed(text, "b", 3, "1"),
            placed(text, "a + b", 4, "2"),
        ];
        assert_eq!(
            weave(text, 0..text.len(), edits),
            "let x = (if crate::planted::on(2) { 0 } else if crate::planted::on(4) { 2 } else \
             { a + (if crate::planted::on(3) { 1 } else { b }) }); \
             if crate::planted::on(1) {  } else { f(x); }"
        );
    }

    #[test]
    fn only_what_overlaps_in_part_crosses() {
        let text = "abcdef";
        let edit = |find| placed(text, find, 1, "");
        assert!(cross(&edit("abc"), &edit("bcd")));
        assert!(!cross(&edit("abc"), &edit("def")));
        assert!(!cross(&edit("abcd"), &edit("bc")));
        assert!(!cross(&edit("bc"), &edit("abcd")));
    }
}
