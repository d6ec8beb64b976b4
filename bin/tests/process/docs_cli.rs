//! The commands that docs/cli.md shows are run, and print what is shown.

use crate::{
    bed::Bed,
    cli::{Ran, finish},
    node::Node,
};
use std::{path::Path, process::Command};

/// A shell in which `kvorum` is the binary and talks to `node`.
pub fn shell(node: &Node, script: &str) -> Command {
    let binary = Path::new(env!("CARGO_BIN_EXE_kvorum"));
    let dir = binary.parent().expect("a directory").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command.env_clear().env("PATH", format!("{dir}:{path}"));
    command.env("KVORUM_ENDPOINTS", node.http().to_string());
    command.args(["-c", script]);
    command
}

/// Runs a script in such a shell.
pub fn run(node: &Node, script: &str) -> Ran {
    finish(shell(node, script), b"")
}

/// Each command of the page's console blocks with the lines shown beneath it.
fn shown(page: &str) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (false, _) => {}
            (true, _) => match line.strip_prefix("$ ") {
                Some(command) => all.push((command.to_owned(), Vec::new())),
                None => all.last_mut().expect("a command first").1.push(line.to_owned()),
            },
        }
    }
    all
}

/// Whether `line` is what `pattern` shows; `…` stands for anything.
fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.trim_end().split('…');
    let line = line.trim_end();
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or("")) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Whether `lines` are what `patterns` show; a pattern `…` alone stands for any number of lines.
fn all_fit(patterns: &[String], lines: &[&str]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "…" => {
            (0..=lines.len()).any(|n| all_fit(rest, &lines[n..]))
        }
        Some((first, rest)) => {
            let Some((line, after)) = lines.split_first() else { return false };
            fits(first, line) && all_fit(rest, after)
        }
    }
}

#[test]
fn what_the_page_on_the_command_line_shows_is_what_happens() {
    let bed = Bed::new();
    let node = bed.cluster(1, Bed::memory).remove(0);
    let commands = shown(include_str!("../../../docs/cli.md"));
    assert!(commands.len() > 20, "the page shows {} commands", commands.len());
    for (command, output) in commands {
        let ran = run(&node, &format!("{{ {command}\n}} 2>&1"));
        let lines: Vec<&str> = ran.text().lines().collect();
        assert!(all_fit(&output, &lines), "$ {command}\nshown:   {output:#?}\nprinted: {lines:#?}");
    }
}

#[test]
fn what_is_shown_is_compared_line_by_line() {
    let shown = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(all_fit(&shown("a\n…\nz"), &["a", "b", "c", "z"]));
    assert!(all_fit(&shown("a … c"), &["a b c"]));
    assert!(!all_fit(&shown("a"), &["a", "b"]));
    assert!(!all_fit(&shown("a\nb"), &["a"]));
    assert!(!all_fit(&shown("a … c"), &["a b d"]));
}
