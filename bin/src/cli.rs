//! What the command line asks for.
//!
//! Rule: no argument means "serve"; everything about a node comes from the environment. Must never:
//! ignore an argument it does not know.

use crate::{exit, health, serve};
use kvorum_runtime::config::VARIABLES;
use std::{ffi::OsString, fmt::Write, process::ExitCode};

/// The environment, as `std::env::vars_os` gives it.
pub type Vars = Vec<(OsString, OsString)>;

/// Does what the arguments say.
pub fn run(args: impl Iterator<Item = OsString>, vars: impl Fn() -> Vars) -> ExitCode {
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        [] => serve::run(&vars()),
        ["--version" | "-V"] => print(&version()),
        ["--help" | "-h"] => print(&help()),
        ["health"] => health::run(vars(), "/readyz"),
        ["health", "--live"] => health::run(vars(), "/livez"),
        _ => exit::fail(
            exit::USAGE,
            &format!(
                "kvorum does not know the arguments {args:?}. A node is configured by environment \
                 variables; see kvorum --help"
            ),
        ),
    }
}

fn print(text: &str) -> ExitCode {
    use std::io::Write;
    // A reader that has gone away (`kvorum --help | head`) is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn version() -> String {
    format!("kvorum {}\n", env!("CARGO_PKG_VERSION"))
}

fn help() -> String {
    let mut text = version();
    text.push_str(
        "A replicated key-value server, spoken to with curl.\n\n\
         kvorum                  run a node, configured by the variables below\n\
         kvorum health [--live]  exit 0 when the node on this machine is ready (or alive), else 1\n\
         kvorum --version        print the version\n\
         kvorum --help           print this\n\nEnvironment variables:\n",
    );
    for variable in VARIABLES {
        let _ = writeln!(
            text,
            "  {:<28} {}\n  {:<28} default: {}; {}",
            variable.name, variable.meaning, "", variable.default, variable.accepts
        );
    }
    text.push_str("\nExit codes:\n");
    for (code, meaning) in exit::CODES {
        let _ = writeln!(text, "  {code:>3}  {meaning}");
    }
    text
}
