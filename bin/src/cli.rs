//! What the command line asks for.
//!
//! Rule: no argument means "serve", with everything about the node from the environment; any
//! argument makes this process a client. Must never: ignore an argument it does not know.

use crate::{
    args::{self, Command},
    client::Failure,
    command, exit, health, serve,
};
use std::{ffi::OsString, process::ExitCode};

/// The environment, as `std::env::vars_os` gives it.
pub type Vars = Vec<(OsString, OsString)>;

/// Does what the arguments say.
pub fn run(args: impl Iterator<Item = OsString>, vars: impl Fn() -> Vars) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    if args.is_empty() {
        return serve::run(&vars());
    }
    match args::parse(args) {
        Ok(Command::Health { live }) => {
            health::run(vars(), if live { "/livez" } else { "/readyz" })
        }
        Ok(Command::Config { output }) => command::config::run(vars(), output),
        Ok(command) => client(command),
        Err(args::Refused::Shown(text)) => {
            use std::io::Write;
            // A reader that has gone away (`kvorum --help | head`) is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(args::Refused::Misused(line)) => exit::fail(exit::MISUSED, &line),
    }
}

/// Runs a command that talks to nodes; one thread is enough for one conversation.
fn client(command: Command) -> ExitCode {
    let output = command.output();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::fail(exit::FAILED, &format!("cannot start: {error}")),
    };
    let ended = runtime.block_on(command::run(command));
    // A name that is still being resolved, or a file still being read, holds nobody up.
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        // The reader of the output has gone away, having read enough.
        Err(Failure { exit: 0, problem: None, .. }) => ExitCode::SUCCESS,
        Err(failure) => exit::fail(failure.exit, &failure.show(output)),
    }
}
