//! The `kvorum` binary. Without arguments: environment in, one node running, one line and an exit
//! code at the end. With arguments: a client of running nodes.

#[cfg(not(madsim))]
mod args;
#[cfg(not(madsim))]
mod cli;
#[cfg(not(madsim))]
mod client;
#[cfg(not(madsim))]
mod command;
#[cfg(not(madsim))]
mod exit;
#[cfg(not(madsim))]
mod health;
#[cfg(not(madsim))]
mod log;
#[cfg(not(madsim))]
mod serve;
#[cfg(not(madsim))]
mod show;
#[cfg(not(madsim))]
mod signals;

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    cli::run(std::env::args_os().skip(1), || std::env::vars_os().collect())
}

/// The simulator compiles the workspace with its own reactor; there is nothing to start then.
#[cfg(madsim)]
fn main() {}
