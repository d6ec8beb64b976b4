//! Verdicts on the disk, so that an interrupted run goes on where it was.
//!
//! Rule: a verdict holds for the copy it was found with, by its fingerprint; and for an unchanged
//! mutant. Must never: be taken for another source, unless asked for by name (`--keep`).

use crate::{
    copy::workshop,
    judge::{Kill, Verdict},
    mutant::Mutant,
};
use serde_json::{Value, json};
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

/// What a verdict was found with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Basis {
    /// The copy: sources, tests, and every other mutant.
    pub copy: u64,
    /// The mutant's own text.
    pub mutant: u64,
}

/// A number of a mutant's text.
#[must_use]
pub fn text_of(mutant: &Mutant) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{:?}", mutant.plant).hash(&mut hasher);
    hasher.finish()
}

fn path(root: &Path, id: &str) -> PathBuf {
    workshop(root).join("results").join(format!("{id}.json"))
}

fn kill_to(kill: Option<&Kill>) -> Value {
    kill.map_or(Value::Null, |kill| json!([kill.check, kill.name, kill.after]))
}

fn kill_from(value: &Value) -> Option<Kill> {
    let part = |at: usize| value[at].as_str().map(str::to_owned);
    Some(Kill { check: part(0)?, name: part(1)?, after: part(2)? })
}

/// Keeps a verdict.
///
/// # Errors
/// What cannot be written.
pub fn store(root: &Path, id: &str, basis: Basis, verdict: &Verdict) -> Result<(), String> {
    let path = path(root, id);
    fs::create_dir_all(path.parent().expect("it has one")).map_err(|error| error.to_string())?;
    let text = json!({
        "copy": basis.copy,
        "mutant": basis.mutant,
        "first": kill_to(verdict.first.as_ref()),
        "lab": kill_to(verdict.lab.as_ref()),
        "seeds": verdict.seeds,
        "seconds": verdict.seconds,
    });
    fs::write(&path, text.to_string()).map_err(|error| format!("{}: {error}", path.display()))
}

/// The verdict found earlier: of the same copy, or, with `keep`, of the same mutant.
#[must_use]
pub fn load(root: &Path, id: &str, basis: Basis, keep: bool) -> Option<Verdict> {
    let value: Value = serde_json::from_str(&fs::read_to_string(path(root, id)).ok()?).ok()?;
    let same = value["mutant"] == basis.mutant && (keep || value["copy"] == basis.copy);
    same.then(|| Verdict {
        first: kill_from(&value["first"]),
        lab: kill_from(&value["lab"]),
        seeds: value["seeds"].as_u64().unwrap_or(0),
        seconds: value["seconds"].as_f64().unwrap_or(0.0),
    })
}
