//! Bugs that real Raft implementations had, planted one at a time into a copy of the core.
//!
//! Rule: the product's sources stay as they are; `planted/*.mutant` name a piece of them and what
//! the bug puts in its place. A copy of the core with all of them woven in, each behind a switch
//! read once at start, is built under `target/mutants`, and the core's own tests run against one
//! switch after another. Must never: be a dependency of anything, or leave a trace in `core/src`.

pub mod binaries;
pub mod changes;
pub mod copy;
pub mod judge;
pub mod mutant;
pub mod output;
pub mod parallel;
pub mod process;
pub mod results;
pub mod rows;
pub mod source;
pub mod table;
pub mod weave;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The root of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("core/mutants lies two levels below the root").to_owned()
}

/// How a command ends: its failures on lines of their own, and their number.
#[must_use]
pub fn ended(result: Result<Vec<String>, String>) -> ExitCode {
    match result {
        Ok(failures) if failures.is_empty() => return ExitCode::SUCCESS,
        Ok(failures) => eprintln!("{}\n{} in all", failures.join("\n"), failures.len()),
        Err(what) => eprintln!("{what}"),
    }
    ExitCode::FAILURE
}
