//! One planted bug: its file in `planted/`.
//!
//! Rule: a file is a head of `key: value` lines and then edits: `find <file> [function]`, the text
//! indented, `replace`, the text indented. White space does not matter in what is looked for. A bug
//! of the lab's own adapters has `adapter: <name>` in place of edits. Must never: be accepted with
//! an unknown key or without saying where the original bug was found.

use std::{fs, path::Path};

/// A planted bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// Its name: the row of the bug list and a few words; also the name of its file.
    pub id: String,
    /// The row of the bug list.
    pub row: String,
    /// Where the original was found.
    pub source: String,
    /// What goes wrong, in one sentence.
    pub bug: String,
    /// Why it is harmless alone, when another guard catches the same.
    pub guarded: Option<String>,
    /// What is changed.
    pub plant: Plant,
}

/// Where a bug is planted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plant {
    /// In the sources of the core.
    Core(Vec<Edit>),
    /// In the lab's adapters: `Planted::<name>`.
    Adapter(String),
}

/// One replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// End of the path of the file below `core/src`.
    pub file: String,
    /// The function to look in; the whole file without one.
    pub function: Option<String>,
    /// What is looked for.
    pub find: String,
    /// What the bug has in its place.
    pub replace: String,
}

impl Mutant {
    /// Reads one file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Mutant, String> {
        let wrong = |what: &str| format!("{name}: {what}");
        let mut mutant = Mutant {
            id: name.to_owned(),
            row: String::new(),
            source: String::new(),
            bug: String::new(),
            guarded: None,
            plant: Plant::Core(Vec::new()),
        };
        let mut edits: Vec<Edit> = Vec::new();
        let mut replacing = false;
        for line in text.lines() {
            if let Some(body) = line.strip_prefix("    ") {
                let edit = edits.last_mut().ok_or_else(|| wrong("text before `find`"))?;
                let part = if replacing { &mut edit.replace } else { &mut edit.find };
                *part += body;
                part.push('\n');
            } else if let Some(place) = line.strip_prefix("find ") {
                let (file, function) = match place.trim().split_once(' ') {
                    Some((file, function)) => (file, Some(function.trim().to_owned())),
                    None => (place.trim(), None),
                };
                let (find, replace) = (String::new(), String::new());
                edits.push(Edit { file: file.to_owned(), function, find, replace });
                replacing = false;
            } else if line == "replace" {
                replacing = true;
            } else if let Some((key, value)) = line.split_once(": ") {
                let value = value.trim().to_owned();
                match key {
                    "row" => mutant.row = value,
                    "source" => mutant.source = value,
                    "bug" => mutant.bug = value,
                    "guarded" => mutant.guarded = Some(value),
                    "adapter" => mutant.plant = Plant::Adapter(value),
                    _ => return Err(wrong(&format!("unknown key {key}"))),
                }
            } else if !line.trim().is_empty() {
                return Err(wrong(&format!("cannot read {line:?}")));
            }
        }
        for part in [&mutant.row, &mutant.source, &mutant.bug] {
            if part.is_empty() {
                return Err(wrong("row, source and bug are needed"));
            }
        }
        match &mut mutant.plant {
            Plant::Core(_) if edits.is_empty() => Err(wrong("it changes nothing")),
            Plant::Core(core) => {
                *core = edits;
                Ok(mutant)
            }
            Plant::Adapter(_) if edits.is_empty() => Ok(mutant),
            Plant::Adapter(_) => Err(wrong("an adapter's bug has no edits")),
        }
    }

    /// The edits in the core.
    #[must_use]
    pub fn edits(&self) -> &[Edit] {
        match &self.plant {
            Plant::Core(edits) => edits,
            Plant::Adapter(_) => &[],
        }
    }
}

/// Reads every mutant of `planted/`, in order of id.
///
/// # Errors
/// Everything that is wrong with any of them.
pub fn all(root: &Path) -> Result<Vec<Mutant>, String> {
    let directory = root.join("core/mutants/planted");
    let files = fs::read_dir(&directory).map_err(|error| format!("{directory:?}: {error}"))?;
    let (mut mutants, mut wrong) = (Vec::new(), Vec::new());
    for file in files {
        let path = file.map_err(|error| error.to_string())?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "mutant") {
            wrong.push(format!("{}: not a mutant", path.display()));
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
        match Mutant::parse(&name, &text) {
            Ok(mutant) => mutants.push(mutant),
            Err(what) => wrong.push(what),
        }
    }
    mutants.sort_by_key(|mutant| order(&mutant.id));
    if wrong.is_empty() { Ok(mutants) } else { Err(wrong.join("\n")) }
}

/// `EL-6-…` before `EL-10-…`.
fn order(id: &str) -> (String, u32, String) {
    let mut parts = id.splitn(3, '-');
    let area = parts.next().unwrap_or_default().to_owned();
    let number = parts.next().and_then(|number| number.parse().ok()).unwrap_or(u32::MAX);
    (area, number, parts.next().unwrap_or_default().to_owned())
}
