//! Runs a node until a signal or a fatal error ends it.
//!
//! Rule: nothing is opened before the configuration is known to be sound. Must never: go on after
//! the node has said that it cannot.

use crate::{cli::Vars, exit, log, signals::Signals};
use kvorum_runtime::{
    config::{Config, Log},
    node,
    world::TokioWorld,
};
use std::{process::ExitCode, time::Duration};

/// What may still run when the node has ended (a name being resolved) gets this long.
const LAST_TASKS: Duration = Duration::from_millis(200);

/// Runs the node that the variables describe.
pub fn run(vars: &Vars) -> ExitCode {
    let config = Config::from_env(vars.iter().cloned());
    let (config, logging) = match (config, Log::from_env(vars.iter().cloned())) {
        (Ok(config), Ok(logging)) => (config, logging),
        (Err(error), _) | (_, Err(error)) => return exit::fail(exit::USAGE, &error.to_string()),
    };
    log::start(&logging);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return exit::fail(
                exit::SYSTEM,
                &format!("cannot start threads: {error}. Raise the limit of processes (ulimit -u)"),
            );
        }
    };
    let ended = runtime.block_on(async {
        let signals = match Signals::catch() {
            Ok(signals) => signals,
            Err(error) => {
                return exit::fail(exit::SYSTEM, &format!("cannot catch signals: {error}"));
            }
        };
        match node::run(TokioWorld::new(), config, signals.first()).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(fatal) => exit::fail(exit::code(fatal.kind), &fatal.message),
        }
    });
    runtime.shutdown_timeout(LAST_TASKS);
    ended
}
