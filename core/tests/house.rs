//! House rules of the core that a text can be asked about.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Lines of a file that one can still read in one go.
const LONGEST: usize = 400;

fn core() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `dir`, and what it says.
fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![core().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                found.push((path.strip_prefix(core()).expect("below").to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn a_file_is_short_and_says_its_rule() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let lines = text.lines().count();
        if lines > LONGEST {
            wrong.push(format!("{}: {lines} lines", path.display()));
        }
        if !text.starts_with("//! ") && path != Path::new("src/lib.rs") {
            wrong.push(format!("{}: does not say what it is for", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_core_has_no_unsafe_no_standard_library_and_no_hash_maps() {
    let root = fs::read_to_string(core().join("src/lib.rs")).expect("text");
    for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
        assert!(root.lines().any(|line| line == attribute), "{attribute}");
    }
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        // Tests inside of a file have the standard library.
        let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
        for word in ["HashMap", "HashSet", "extern crate std", "use std::"] {
            if code.contains(word) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_readme_says_what_every_file_is_for() {
    let readme = fs::read_to_string(core().join("README.md")).expect("text");
    for (path, _) in sources("src/raft") {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let inside = path.parent().is_some_and(|dir| dir.ends_with("log"));
        let named = readme.contains(&format!("`{name}`")) || inside || name == "mod.rs";
        assert!(named, "{} is missing in the map of README.md", path.display());
    }
}

#[test]
fn a_node_has_no_type_parameters() {
    let all: Vec<_> = sources("src/raft").into_iter().map(|(_, text)| text).collect();
    let declared = |line: &&str| line.starts_with("pub struct Raft");
    let found: Vec<&str> = all.iter().flat_map(|text| text.lines()).filter(declared).collect();
    assert_eq!(found, ["pub struct Raft {"]);
}

/// The enums whose every kind is decided upon wherever one is: a new one must be a question.
const DECIDED: [&str; 3] = ["Message::", "Event::", "Role::"];

/// Where a match on one of these has an arm for everything else. rustfmt has put all arms of a match
/// at one indentation, deeper than the line with `match` and its closing brace.
fn catch_alls(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let is_catch_all = |line: &str| {
        let arm = line.trim_start();
        arm.starts_with("_ =>") || arm.starts_with("_ if ")
    };
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_catch_all(line)) {
        let depth = indentation(line);
        let block = |line: &&&str| line.trim().is_empty() || indentation(line) >= depth;
        let arms = lines[..at].iter().rev().take_while(block);
        let mut arms = arms.filter(|line| indentation(line) == depth);
        let pattern = |arm: &&str| arm.split("=>").next().unwrap_or_default().to_owned();
        let decides = |arm: &&str| DECIDED.iter().any(|name| pattern(arm).contains(name));
        if arms.any(decides) {
            found.push(at + 1);
        }
    }
    found
}

#[test]
fn every_message_event_and_role_is_decided_upon_by_name() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src/raft") {
        for line in catch_alls(&text) {
            wrong.push(format!("{}:{line}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "an arm for everything else: {wrong:#?}");
    // The check itself sees one, and leaves others alone.
    let planted = "fn f() {\n    match role {\n        Role::Leader(_) => {\n            g();\n        }\n        \
                   _ => {}\n    }\n}\n";
    assert_eq!(catch_alls(planted), [6]);
    assert_eq!(catch_alls(&planted.replace("Role::Leader(_)", "Some(Tally::Won)")), []);
}
