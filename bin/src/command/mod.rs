//! The commands of a client, one file for each.
//!
//! Rule: a command turns its arguments into calls, and their answers into lines and an exit code.
//! Must never: know how a call is sent or repeated.

pub mod cluster;
pub mod config;
pub mod del;
pub mod get;
pub mod history;
pub mod input;
pub mod lease;
pub mod lock;
pub mod ls;
pub mod put;
pub mod settings;
pub mod txn;
pub mod watch;

use crate::{args::Command, client::Failure};

/// Does what a command says and returns its exit code.
///
/// # Errors
/// Why it could not.
pub async fn run(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Get(it) => it.run().await,
        Command::Put(it) => it.run().await,
        Command::Del(it) => it.run().await,
        Command::Ls(it) => it.run().await,
        Command::Watch(it) => it.run().await,
        Command::Txn(it) => it.run().await,
        Command::Lock(it) => it.run().await,
        Command::Lease(it) => it.run().await,
        Command::History(it) => it.run().await,
        Command::Status(it) => it.run().await,
        Command::Members(it) => it.run().await,
        Command::Transfer(it) => it.run().await,
        Command::Remove(it) => it.run().await,
        Command::Promote(it) => it.run().await,
        Command::Demote(it) => it.run().await,
        Command::Settings(it) => it.run().await,
        Command::Compact(it) => it.run().await,
        // These two speak to nobody but this machine; `cli` has done them.
        Command::Config { .. } | Command::Health { .. } => Ok(0),
    }
}
