//! Scenarios as scripts: what happens on the left of `---`, what the nodes do about it on the right.
//!
//! Each `golden/<area>/<scenario>.txt` is a list of blocks: commands, `---`, the output, a blank
//! line. `make golden` writes the outputs anew; read the difference before you commit it. The
//! commands are in `golden/README.md`.

use std::{
    any::Any,
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

#[path = "golden/commands.rs"]
mod commands;
#[path = "golden/disk.rs"]
mod disk;
#[path = "golden/inject.rs"]
mod inject;
#[path = "golden/machine.rs"]
mod machine;
#[path = "golden/network.rs"]
mod network;
#[path = "golden/notation.rs"]
mod notation;
#[path = "golden/printing.rs"]
mod printing;
#[path = "golden/recovering.rs"]
mod recovering;
#[path = "golden/world.rs"]
mod world;

/// One scenario.
struct Script {
    /// `area/scenario`.
    name: String,
    path: PathBuf,
    text: String,
}

fn scripts() -> Vec<Script> {
    let areas = fs::read_dir(root()).unwrap().map(|area| area.unwrap().path());
    let files = areas
        .filter(|area| area.is_dir())
        .flat_map(|area| fs::read_dir(area).unwrap().map(|script| script.unwrap().path()));
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().with_extension("");
        let text = fs::read_to_string(&path).unwrap();
        Script { name: name.display().to_string(), path, text }
    };
    let mut scripts: Vec<Script> = files.map(read).collect();
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    scripts
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// A script's blocks: commands with their comments, without the output.
fn blocks(script: &str) -> impl Iterator<Item = &str> {
    let blocks = script.split("\n\n").map(str::trim).filter(|block| !block.is_empty());
    blocks.map(|block| block.split_once("\n---").map_or(block, |(commands, _)| commands))
}

fn commands(block: &str) -> impl Iterator<Item = &str> {
    block.lines().filter(|line| !line.starts_with('#'))
}

/// The script with the outputs that the nodes gave now; or how it ended early.
fn replay(script: &Script) -> Result<String, String> {
    let mut replayed = String::new();
    let mut at = String::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = world::World::default();
        for block in blocks(&script.text) {
            replayed += block;
            if commands(block).next().is_some() {
                replayed += "\n---\n";
                for command in commands(block) {
                    at = command.to_string();
                    world.run(command);
                }
                let output = std::mem::take(&mut world.output);
                replayed += if output.is_empty() { "nothing" } else { &output };
            }
            replayed = replayed.trim_end().to_string() + "\n\n";
        }
    }));
    outcome.map_err(|panic| format!("`{at}`: {}", said(&*panic)))?;
    Ok(replayed.trim_end().to_string() + "\n")
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn first_difference(script: &str, replayed: &str) -> Option<String> {
    let show = |line: Option<&str>| line.unwrap_or("(the end)").to_string();
    let lines = script.lines().count().max(replayed.lines().count());
    let pairs = (0..lines).map(|at| (at, script.lines().nth(at), replayed.lines().nth(at)));
    let (at, written, given) = pairs.into_iter().find(|(_, a, b)| a != b)?;
    Some(format!("line {}\n  written {}\n  given   {}", at + 1, show(written), show(given)))
}

/// Runs `check` on every script, names each with its result, and fails at the end; at the first
/// that fails with `KVORUM_GOLDEN_FIRST=1`, for whoever asks only whether there is one.
fn for_every_script(check: impl Fn(&Script) -> Result<(), String>) {
    let scripts = scripts();
    let first = std::env::var("KVORUM_GOLDEN_FIRST").is_ok_and(|value| value == "1");
    let mut failures = Vec::new();
    for script in &scripts {
        let result = check(script);
        println!("{} ... {}", script.name, if result.is_ok() { "ok" } else { "FAILED" });
        failures.extend(result.err().map(|why| format!("{}: {why}", script.name)));
        if first && !failures.is_empty() {
            break;
        }
    }
    println!("{} scenarios, {} failed", scripts.len(), failures.len());
    assert!(!scripts.is_empty(), "the scripts are found");
    assert!(
        failures.is_empty(),
        "{} of {} scenarios failed:\n{}",
        failures.len(),
        scripts.len(),
        failures.join("\n")
    );
}

#[test]
fn every_scenario_goes_as_it_is_written() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for_every_script(|script| {
        let replayed = replay(script)?;
        if update {
            fs::write(&script.path, &replayed).unwrap();
            return Ok(());
        }
        first_difference(&script.text, &replayed).map_or(Ok(()), Err)
    });
}

#[test]
fn a_scenario_goes_the_same_way_twice() {
    for_every_script(|script| {
        let (once, again) = (replay(script)?, replay(script)?);
        first_difference(&once, &again).map_or(Ok(()), Err)
    });
}

#[test]
fn every_script_says_what_it_is_about_and_what_comes_out() {
    for_every_script(|script| {
        if !script.text.starts_with("# ") {
            return Err("the first line is no comment".to_string());
        }
        if blocks(&script.text).all(|block| commands(block).next().is_none()) {
            return Err("it commands nothing".to_string());
        }
        if !script.text.lines().any(|line| line == "---") {
            return Err("there is no --- and so no output: run `make golden`".to_string());
        }
        if script.path.extension().is_none_or(|extension| extension != "txt") {
            return Err("only .txt files are scripts".to_string());
        }
        Ok(())
    });
}

#[test]
fn no_two_scripts_are_the_same() {
    let scripts = scripts();
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for script in &scripts {
        let commanded: Vec<&str> = blocks(&script.text).flat_map(commands).collect();
        let file = script.path.file_stem().unwrap().display().to_string();
        for key in [commanded.join("\n"), file] {
            if let Some(other) = seen.insert(key, &script.name) {
                panic!("{} is the same as {other}", script.name);
            }
        }
    }
}

#[test]
fn every_command_is_in_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut documented: Vec<&str> = rows.map(|row| row.split([' ', '`']).next().unwrap()).collect();
    documented.sort_unstable();
    documented.dedup();
    assert_eq!(documented, commands::COMMANDS);
}
