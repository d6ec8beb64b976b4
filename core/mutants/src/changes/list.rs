//! The list of changes: what `cargo mutants --list` says.
//!
//! Rule: a change is a piece of a function's body and what stands there instead; it is known by
//! its file, what it does, and the line it does it in, so that it keeps its name when other lines
//! move. Must never: make up a change of its own.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
    path::Path,
    process::Command,
};

use crate::source::Sources;

/// One change of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// File, what is done, and the line: `raft/quorum.rs: replace + with - in f: a + b`.
    pub id: String,
    /// The file below `core/src`.
    pub file: String,
    /// The inside of the function's braces; a constant has none.
    pub body: Option<Range<usize>>,
    /// What is replaced; within `body`, where there is one.
    pub span: Range<usize>,
    /// What stands there instead.
    pub replacement: String,
}

impl Change {
    /// What surrounds the change, in its body or its file.
    fn around(&self, text: &str) -> Range<usize> {
        self.body.clone().unwrap_or(0..text.len())
    }

    /// The body, or the file, as the change leaves it.
    #[must_use]
    pub fn changed(&self, text: &str) -> String {
        let around = self.around(text);
        let (before, after) =
            (&text[around.start..self.span.start], &text[self.span.end..around.end]);
        format!("{before}{}{after}", self.replacement)
    }

    /// A number of what the change is made in, where, and what it makes of it.
    #[must_use]
    pub fn fingerprint(&self, text: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        let around = self.around(text);
        (self.span.start - around.start).hash(&mut hasher);
        (&text[around], &text[self.span.clone()], &self.replacement).hash(&mut hasher);
        hasher.finish()
    }
}

/// Asks cargo-mutants, with the selection in `.cargo/mutants.toml`.
///
/// # Errors
/// When it is not installed, or says what is not understood.
pub fn ask(root: &Path, sources: &Sources) -> Result<Vec<Change>, String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(["mutants", "--list", "--json", "--package", "kvorum-core"]);
    let output = command.output().map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{said}is it installed? cargo install --locked cargo-mutants"));
    }
    parse(&String::from_utf8_lossy(&output.stdout), sources)
}

/// Reads the list.
///
/// # Errors
/// What is not understood.
pub fn parse(json: &str, sources: &Sources) -> Result<Vec<Change>, String> {
    let list: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let list = list.as_array().ok_or("the list is no list")?;
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let mut changes = Vec::new();
    for item in list {
        let mut change = one(item, sources).ok_or_else(|| format!("not understood: {item}"))?;
        let times = times.entry(change.id.clone()).or_default();
        *times += 1;
        if *times > 1 {
            change.id += &format!(" ({times})");
        }
        changes.push(change);
    }
    Ok(changes)
}

fn one(item: &Value, sources: &Sources) -> Option<Change> {
    let file = item["file"].as_str()?.strip_prefix("core/src/")?.to_owned();
    let text = sources.get(&file)?;
    let span = at(text, &item["span"]["start"])?..at(text, &item["span"]["end"])?;
    let body = match &item["function"] {
        Value::Null => None,
        function => Some(body_of(text, function)?),
    };
    let said = item["name"].as_str()?;
    let (_, what) = said.splitn(4, ':').nth(3)?.split_once(' ')?;
    let whole = item["genre"] == "FnValue";
    let line = if whole { "" } else { line_of(text, span.start) };
    Some(Change {
        id: format!("{file}: {what}{}{line}", if whole { "" } else { ": " }),
        file,
        body,
        span,
        replacement: item["replacement"].as_str()?.to_owned(),
    })
}

fn body_of(text: &str, function: &Value) -> Option<Range<usize>> {
    let name = function["function_name"].as_str()?.rsplit("::").next()?;
    let (start, end) = (at(text, &function["span"]["start"])?, at(text, &function["span"]["end"])?);
    // Attributes and comments may come first; an argument may have braces, in the parentheses.
    let head = start + text[start..end].find(&format!("fn {name}"))?;
    let mut depth = 0;
    let open = text[head..end].find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == '{' && depth == 0
    })?;
    Some(head + open + 1..end - 1)
}

/// The byte at a line and column, both counted from 1, columns in characters.
fn at(text: &str, place: &Value) -> Option<usize> {
    let line = usize::try_from(place["line"].as_u64()?).ok()?;
    let column = usize::try_from(place["column"].as_u64()?).ok()?;
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = &text[start..];
    Some(start + rest.char_indices().nth(column - 1).map_or(rest.len(), |(byte, _)| byte))
}

fn line_of(text: &str, at: usize) -> &str {
    let start = text[..at].rfind('\n').map_or(0, |before| before + 1);
    text[start..].lines().next().unwrap_or_default().trim()
}
