//! Which changes compile.
//!
//! Rule: the copy is checked again and again, each time without the changes that the compiler's
//! errors lie in, until none is left. What is left out is what cargo-mutants calls unviable. Must
//! never: leave a change out for an error that does not lie in it.

use super::{
    list::Change,
    weave::{self, Woven},
};
use crate::{
    binaries,
    copy::{self, Copy},
    source::Sources,
    weave::Layer,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// The name of the copy's directory.
pub const COPY: &str = "changes";

/// Weaves and checks until the copy compiles. Returns it, and what does not compile with the first
/// thing the compiler said of it.
///
/// # Errors
/// An error of the compiler that lies in no change.
pub fn settle(
    root: &Path,
    sources: &Sources,
    changes: &[Change],
    known: BTreeMap<usize, String>,
) -> Result<(Copy, BTreeMap<usize, String>), String> {
    let mut unviable = known;
    loop {
        let left_out: BTreeSet<usize> = unviable.keys().copied().collect();
        let woven = weave::weave(sources, changes, &left_out);
        let layer = Layer { sources: woven.sources.clone(), mutants: Vec::new() };
        let copy = copy::make(root, COPY, &layer, weave::SWITCH, binaries::Extent::Changes)?;
        let (compiles, said) = binaries::check(root, &copy)?;
        if compiles {
            return Ok((copy, unviable));
        }
        let blamed = blame(&said, &woven)?;
        for (position, what) in &blamed {
            println!("does not compile: {}: {what}", changes[*position].id);
        }
        unviable.extend(blamed);
    }
}

/// The changes that errors lie in.
fn blame(said: &str, woven: &Woven) -> Result<BTreeMap<usize, String>, String> {
    let mut blamed = BTreeMap::new();
    let mut others = Vec::new();
    for line in said.lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let message = &line["message"];
        if line["reason"] != "compiler-message" || message["level"] != "error" {
            continue;
        }
        let what = message["message"].as_str().unwrap_or_default();
        let spans = message["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut primary_first: Vec<&Value> = spans.iter().collect();
        primary_first.sort_by_key(|span| span["is_primary"] != true);
        match primary_first.iter().find_map(|span| change_at(span, woven)) {
            Some(position) => drop(blamed.entry(position).or_insert_with(|| what.to_owned())),
            None if what.starts_with("aborting due to") => {}
            None => others.push(message["rendered"].as_str().unwrap_or(what).to_owned()),
        }
    }
    if blamed.is_empty() { Err(others.join("\n")) } else { Ok(blamed) }
}

fn change_at(span: &Value, woven: &Woven) -> Option<usize> {
    let file = span["file_name"].as_str()?;
    let line = usize::try_from(span["line_start"].as_u64()?).ok()?;
    let (_, below) = file.split_once("core/src/")?;
    let lines = woven.lines.get(below)?;
    let found = lines.iter().find(|(range, _)| range.contains(&line));
    found.map(|(_, position)| *position)
}
