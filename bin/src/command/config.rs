//! `kvorum config`.
//!
//! Rule: what it prints is what a node started in this environment would use; what such a node
//! would refuse, it refuses with the same line and code. Must never: start anything.

use crate::{args::Output, cli::Vars, exit, show};
use kvorum_runtime::config::effective;
use serde_json::json;
use std::process::ExitCode;

/// Prints the variables in force.
pub fn run(vars: Vars, output: Output) -> ExitCode {
    let settings = match effective(vars) {
        Ok(settings) => settings,
        Err(error) => return exit::fail(exit::USAGE, &error.to_string()),
    };
    let text = match output {
        Output::Json => {
            let all: Vec<_> = settings
                .iter()
                .map(|it| {
                    json!({"name": it.variable.name, "value": it.value, "from": it.origin.name()})
                })
                .collect();
            let lines: Vec<String> = all.iter().map(|one| format!("{one}\n")).collect();
            lines.concat()
        }
        Output::Text => {
            let rows: Vec<Vec<String>> = settings
                .iter()
                .map(|it| {
                    let value = it.value.as_deref().unwrap_or("-");
                    let name = it.variable.name.to_owned();
                    vec![name, show::escaped(value.as_bytes()), it.origin.name().to_owned()]
                })
                .collect();
            show::table(&["NAME", "VALUE", "FROM"], &rows)
        }
    };
    match show::print(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.exit),
    }
}
