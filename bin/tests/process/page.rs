//! docs/http.md is true: its commands are run in order, with curl, against a fresh node, and what
//! they print is what the page shows.
//!
//! A block ```` ```console ```` holds commands after `$ ` and what they print. What differs from run
//! to run (see `MEMBERS` and `HEADERS`) is `…` on both sides. `UPDATE_DOCS=1` (`make docs-http`)
//! writes the page anew instead; the difference is what is reviewed.

use crate::{bed::Bed, node::Node};
use std::{fs, path::Path, process::Command};

/// Members of JSON whose values differ from run to run, or whose values say nothing to a reader.
const MEMBERS: [&str; 16] = [
    "bytes",
    "live_bytes",
    "forecast",
    "watches",
    "instance",
    "cluster_id",
    "id",
    "lease",
    "remaining",
    "time",
    "uptime",
    "uptime_seconds",
    "commit",
    "last_contact",
    "free",
    "next",
];
/// Headers that differ from run to run.
const HEADERS: [&str; 4] = ["date", "server-timing", "link", "kvorum-index"];

/// A part of the page.
#[derive(Debug, PartialEq, Eq)]
enum Part<'p> {
    /// As it stands.
    Text(&'p str),
    /// A command and what it printed.
    Run { command: String, printed: Vec<&'p str> },
}

/// The page's lines; a command goes on while a quote is open.
fn parts(page: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut inside = false;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            inside = line == "```console";
            parts.push(Part::Text(line));
            continue;
        }
        match (inside, line.strip_prefix("$ "), parts.last_mut()) {
            (true, Some(first), _) => {
                let mut command = first.to_owned();
                while command.matches('\'').count() % 2 == 1 {
                    command.push('\n');
                    command.push_str(lines.next().expect("a quote is closed"));
                }
                parts.push(Part::Run { command, printed: Vec::new() });
            }
            (true, None, Some(Part::Run { printed, .. })) => printed.push(line),
            _ => parts.push(Part::Text(line)),
        }
    }
    parts
}

/// Runs a command of the page; its output with the page's addresses.
fn run(node: &Node, command: &str) -> String {
    let local = command.replace("localhost:8080", &node.http().to_string());
    let output = Command::new("bash")
        .args(["-c", &format!("curl() {{ command curl -s -m 30 \"$@\"; }}\n{local}")])
        .env_remove("http_proxy")
        .env("no_proxy", "*")
        .output()
        .expect("bash starts");
    let printed = String::from_utf8(output.stdout).expect("the page shows text");
    let printed = printed
        .replace(&node.http().to_string(), "localhost:8080")
        .replace(node.var("RAFT_BIND_ADDR"), "127.0.0.1:7000");
    printed.lines().map(|line| masked(line.trim_end_matches('\r'))).collect::<Vec<_>>().join("\n")
}

/// The line with `…` for what differs from run to run.
fn masked(line: &str) -> String {
    if let Some((name, _)) = line.split_once(": ")
        && HEADERS.contains(&name)
    {
        return format!("{name}: …");
    }
    let mut line = line.to_owned();
    for member in MEMBERS.into_iter().chain(["applied"]) {
        let name = format!("\"{member}\":");
        let mut from = 0;
        while let Some(at) = line[from..].find(&name) {
            let start = from + at + name.len();
            let rest = &line[start..];
            let text = rest.strip_prefix('"').and_then(|text| text.split('"').next());
            let end = match text {
                // An id that was chosen says something; drawn ones are long.
                Some(text) if member == "id" && text.len() < 10 => 0,
                // Whether a write was applied says something; how far the log was, nothing.
                Some(_) if member == "applied" => 0,
                Some(text) => 2 + text.len(),
                // Lists and objects are looked into; `null` says something.
                None if rest.starts_with(['[', '{', 'n']) => 0,
                None => rest.find([',', '}', ']']).unwrap_or(rest.len()),
            };
            if end > 0 {
                let mask = if rest.starts_with('"') { "\"…\"" } else { "…" };
                line.replace_range(start..start + end, mask);
            }
            from = start;
        }
    }
    line
}

#[test]
fn every_command_of_the_http_page_prints_what_the_page_shows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/http.md");
    let page = fs::read_to_string(&path).expect("docs/http.md");
    let bed = Bed::new();
    let mut node = bed.memory("app1");
    // So that a stream that nobody reads any more is noticed soon.
    node.set("KVORUM_WATCH_PROGRESS", "500ms");
    node.start();
    node.ready();
    let mut actual = String::new();
    let mut runs = 0;
    for part in parts(&page) {
        match part {
            Part::Text(line) => actual.push_str(&format!("{line}\n")),
            Part::Run { command, printed } => {
                runs += 1;
                let found = run(&node, &command);
                actual.push_str(&format!("$ {command}\n"));
                if !found.is_empty() {
                    actual.push_str(&format!("{found}\n"));
                }
                if std::env::var_os("UPDATE_DOCS").is_none() {
                    assert_eq!(
                        found,
                        printed.join("\n"),
                        "docs/http.md: $ {command}\nrun `make docs-http` and read the difference"
                    );
                }
            }
        }
    }
    assert!(runs > 20, "the page has {runs} commands");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, actual).expect("docs/http.md can be written");
    }
}

#[test]
fn the_page_is_read_as_it_is_meant() {
    let page = "a\n```console\n$ one 'x\ny'\nout\nput\n$ two\n```\n$ three\n";
    let run = |command: &str, printed: &[&'static str]| Part::Run {
        command: command.to_owned(),
        printed: printed.to_vec(),
    };
    assert_eq!(
        parts(page),
        [
            Part::Text("a"),
            Part::Text("```console"),
            run("one 'x\ny'", &["out", "put"]),
            run("two", &[]),
            Part::Text("```"),
            Part::Text("$ three"),
        ]
    );
    assert_eq!(
        masked(r#"{"id":"12345678901","n":[{"id":"7"},{"id":[1]}],"next":null}"#),
        r#"{"id":"…","n":[{"id":"7"},{"id":[1]}],"next":null}"#
    );
    assert_eq!(
        masked(r#"{"applied":7,"x":{"applied":"no"}}"#),
        r#"{"applied":…,"x":{"applied":"no"}}"#
    );
    assert_eq!(masked("date: today"), "date: …");
    assert_eq!(masked("etag: \"2\""), "etag: \"2\"");
}
