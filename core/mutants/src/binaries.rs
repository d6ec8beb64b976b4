//! The test binaries of a copy.
//!
//! Rule: built once per layer, with the invariants on (they are in every debug build) and
//! optimised. Must never: go to the network.

use crate::copy::{Copy, workshop};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Test binaries by the name of their target; the unit tests' is `lib`.
pub type Binaries = BTreeMap<String, PathBuf>;

/// What finds bugs of the core, beside the unit tests. Left out is what compiles programs, counts
/// allocations or only codes and decodes; and the model, which takes minutes for each.
const JUDGES: [&str; 8] =
    ["elections", "golden", "kv_machine", "lab", "laws", "nonsense", "paper", "recovery"];

/// How much to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Unit tests, scripts and the lab.
    Few,
    /// Everything that finds bugs but the model.
    All,
    /// The model as well.
    Model,
    /// What `All` has but the state machine's tests, and those of what a runtime promises and of
    /// coding: for changes of any line.
    Changes,
    /// Unit tests, scripts, and two small binaries: what finds nearly all changes.
    Scripts,
}

impl Extent {
    /// Whether it builds a target.
    #[must_use]
    pub fn has(self, target: &str) -> bool {
        match self {
            Extent::Few => ["golden", "lab"].contains(&target),
            Extent::All => JUDGES.contains(&target),
            Extent::Model => JUDGES.contains(&target) || target == "model",
            Extent::Scripts => ["corners", "golden", "restarts", "wire"].contains(&target),
            Extent::Changes => {
                let more = ["contract", "corners", "restarts", "wire"].contains(&target);
                more || JUDGES.contains(&target) && target != "kv_machine"
            }
        }
    }
}

/// A command of cargo's in the copy.
fn cargo(root: &Path, copy: &Copy) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&copy.root);
    for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
        command.env_remove(flags);
    }
    // Parentheses and arms that a switch makes superfluous are no news.
    command.env("RUSTFLAGS", "--cap-lints=allow");
    command.env("CARGO_TARGET_DIR", workshop(root).join("build"));
    command
}

/// Whether the copy's core compiles, and what cargo said, as JSON.
///
/// # Errors
/// When cargo cannot be run.
pub fn check(root: &Path, copy: &Copy) -> Result<(bool, String), String> {
    let mut command = cargo(root, copy);
    command.args(["check", "--offline", "--profile", "mutants", "-p", "kvorum-core", "--lib"]);
    command.args(["--message-format", "json"]);
    let output = command.output().map_err(|error| format!("cargo: {error}"))?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Builds the copy's tests.
///
/// # Errors
/// What cargo said.
pub fn build(root: &Path, copy: &Copy, extent: Extent) -> Result<Binaries, String> {
    let mut command = cargo(root, copy);
    command.args(["test", "--offline", "--no-run", "--profile", "mutants", "-p", "kvorum-core"]);
    command.arg("--lib");
    for target in targets(copy)? {
        if extent.has(&target) {
            command.args(["--test", &target]);
        }
    }
    command.args(["--message-format", "json-render-diagnostics"]);
    command.stderr(Stdio::inherit());
    let output = command.output().map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err("the copy does not build; its sources are in target/mutants".to_owned());
    }
    let mut binaries = Binaries::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
        let Some(executable) = message["executable"].as_str() else { continue };
        let is_test = message["target"]["kind"][0] == "test";
        let name = message["target"]["name"].as_str().unwrap_or_default();
        let name = if is_test { name } else { "lib" };
        binaries.insert(name.to_owned(), PathBuf::from(executable));
    }
    Ok(binaries)
}

/// The integration tests: files and directories in `core/tests`.
fn targets(copy: &Copy) -> Result<Vec<String>, String> {
    let directory = copy.root.join("core/tests");
    let entries = std::fs::read_dir(&directory).map_err(|error| error.to_string())?;
    let mut targets = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        let file = path.extension().is_some_and(|extension| extension == "rs");
        if file || path.join("main.rs").exists() {
            let name = path.file_stem().unwrap_or_default();
            targets.push(name.to_string_lossy().into_owned());
        }
    }
    targets.sort();
    Ok(targets)
}
