//! `kvorum lock NAME -- COMMAND`.
//!
//! Rule: the command runs only while the lock is certainly held; when that can no longer be said
//! it is ended before the lock can be another's. Must never: leave the command running without
//! the lock, or say it succeeded when the lock was lost.

mod child;
mod holder;

use crate::{
    args::{Once, Reach, duration, duration_or_none},
    client::{Call, Client, Failure, Target, fresh_key},
    exit,
};
use child::{Child, Ended};
use clap::Args;
use holder::{Holder, Lost};
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use std::{ffi::OsString, time::Duration};
use tokio::time::Instant;

/// The shortest lifetime of a lock; a cluster grants no less.
const LEAST_TTL: Duration = Duration::from_secs(2);
/// The longest a node waits for a lock.
const MOST_WAIT: Duration = Duration::from_secs(60);
/// How much of the lifetime is kept for ending the command, at most.
const ENDING: Duration = Duration::from_secs(2);

/// Run a command while holding a lock
///
/// Acquires the lock, keeps it alive, runs the command, and releases the lock when it has ended;
/// the exit code is the command's (128 and the signal's number when a signal ended it). The
/// command finds KVORUM_LOCK_TOKEN and KVORUM_FENCE in its environment: kvorum put, del and txn
/// heed KVORUM_FENCE by themselves, curl with -H "Kvorum-Fence: $KVORUM_FENCE". When the lock is
/// lost the command is ended (SIGTERM, then SIGKILL before the lock can be another's) and the exit
/// code is 4. Exit code 1 when somebody else has the lock.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kvorum lock nightly-job -- ./job.sh\n  \
    kvorum lock nightly-job --wait 60s --ttl 30s --note $(hostname) -- ./job.sh")]
pub struct Lock {
    /// The name of the lock
    name: OsString,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// How long the lock stays with a holder that is not heard of; 2 s at least
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "DURATION")]
    ttl: Duration,
    /// How long to wait while somebody else has it; at most 60s
    #[arg(long, default_value = "0s", value_parser = duration_or_none, value_name = "DURATION")]
    wait: Duration,
    /// What others are told of the holder
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    note: String,
    #[command(flatten)]
    once: Once,
    #[command(flatten)]
    pub reach: Reach,
}

/// A lock that is held.
struct Held {
    token: u64,
    lease: String,
    ttl: Duration,
}

impl Lock {
    /// Does it.
    pub async fn run(mut self) -> Result<u8, Failure> {
        if self.ttl < LEAST_TTL || self.wait > MOST_WAIT {
            let said = "a lock lives for 2s at least and is waited for 60s at most";
            return Err(Failure::input(said, "correct --ttl or --wait"));
        }
        let client = self.reach.client()?;
        let name = super::input::bytes(std::mem::take(&mut self.name));
        let held = self.acquire(&client, &name).await?;
        let ended = self.hold(&client, &name, &held).await;
        // Whatever became of the command: the next one need not wait for the time to run out.
        let released = release(&client, &name, held.token).await;
        match (ended?, released) {
            (code, Ok(())) => Ok(code),
            (_, Err(failure)) if failure.code == "lock_lost" => {
                Err(lost("the lock was lost before the command had ended"))
            }
            (code, Err(failure)) => {
                let ttl = held.ttl;
                exit::say(&format!(
                    "{}; the lock becomes free by itself within {ttl:?}",
                    failure.message
                ));
                Ok(code)
            }
        }
    }

    async fn acquire(&self, client: &Client, name: &[u8]) -> Result<Held, Failure> {
        let target = Target::named("/lock/", name, "").lasting("ttl", self.ttl);
        let target = if self.wait.is_zero() { target } else { target.lasting("wait", self.wait) };
        let mut call = Call::change(Method::POST, target, self.once.key());
        call = call.body(self.note.clone().into_bytes());
        call.patience = self.wait;
        let told = client.call(&call).await?.json()?;
        let token = told["token"].as_u64();
        let (Some(token), Some(lease)) = (token, told["lease"].as_str()) else {
            return Err(Failure::strange("a lock without token or lease"));
        };
        let ttl = told["ttl"].as_f64().map_or(self.ttl, Duration::from_secs_f64);
        Ok(Held { token, lease: lease.to_owned(), ttl })
    }

    /// Runs the command under the lock.
    async fn hold(&self, client: &Client, name: &[u8], held: &Held) -> Result<u8, Failure> {
        let signals = child::Signals::catch()?;
        // When it was granted is not known here, only that it was; from this answer on it is.
        let mut holder = Holder::begin(client, &held.lease, held.ttl).await.map_err(|why| {
            lost(&format!("the lock was lost before the command began: {}", why.0))
        })?;
        let name = percent_encode(name, NON_ALPHANUMERIC).to_string();
        let mut child = Child::start(
            &self.command,
            &[
                ("KVORUM_LOCK_TOKEN", held.token.to_string()),
                ("KVORUM_FENCE", format!("{name}={}", held.token)),
            ],
            signals,
        )?;
        let why = tokio::select! {
            biased;
            ended = child.ended() => return Ok(code(ended)),
            why = holder.lost() => why,
        };
        let Lost(why) = why;
        exit::say(&format!("the lock is lost: {why}; ending the command"));
        let ending = ENDING.min(held.ttl / 4);
        child.end(Instant::now() + ending).await;
        Err(lost(&format!("the lock was lost and the command was ended: {why}")))
    }
}

fn code(ended: Ended) -> u8 {
    match ended {
        Ended::Code(code) => code,
        Ended::Signal(number) => exit::SIGNALLED.saturating_add(number),
    }
}

fn lost(message: &str) -> Failure {
    let hint = "see what the command has done; whatever it sent with KVORUM_FENCE after the loss \
                was refused";
    Failure::new(exit::UNKNOWN, "lock_lost", message, hint)
}

async fn release(client: &Client, name: &[u8], token: u64) -> Result<(), Failure> {
    let target = Target::named("/lock/", name, "").with("token", token.to_string());
    client.call(&Call::change(Method::DELETE, target, fresh_key())).await.map(|_| ())
}
