//! `kvorum lease`: grant, show, keep alive, revoke, list.
//!
//! Rule: one subcommand is one call, except keeping alive for ever. Must never: go on as if a
//! lease lived that is gone.

use crate::{
    args::{Once, Output, Reach, duration},
    client::{Call, Client, Failure, Target, fresh_key},
    show,
};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// Leases of a page; a node's limit.
const PAGE: &str = "1000";

/// Grant, show, keep alive, revoke and list leases
///
/// A lease is a time limit that keys are attached to: when it runs out, they are deleted.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    lease=$(kvorum lease grant 30s)\n  \
    kvorum put nodes/app1 up --lease $lease\n  \
    kvorum lease keepalive $lease --forever")]
pub struct Lease {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Grant a lease and print its id
    #[command(after_help = "Example:\n  kvorum lease grant 30s")]
    Grant {
        /// How long it lives unless it is kept alive; 2 s at least
        #[arg(value_parser = duration)]
        ttl: Duration,
        /// Under this id instead of one that the cluster chooses
        #[arg(long)]
        id: Option<String>,
        #[command(flatten)]
        once: Once,
        #[command(flatten)]
        reach: Reach,
    },
    /// Print what is left of a lease, and its keys
    #[command(after_help = "Example:\n  kvorum lease show 123")]
    Show {
        /// The lease
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Begin the time of a lease anew
    ///
    /// Exit code 1 when the lease is gone.
    #[command(after_help = "Example:\n  kvorum lease keepalive 123 --forever")]
    Keepalive {
        /// The lease
        id: String,
        /// Again and again, three times in its lifetime, until it is gone or this is stopped
        #[arg(long)]
        forever: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// End a lease: its keys are deleted
    #[command(after_help = "Example:\n  kvorum lease revoke 123")]
    Revoke {
        /// The lease
        id: String,
        #[command(flatten)]
        once: Once,
        #[command(flatten)]
        reach: Reach,
    },
    /// List all leases: id, lifetime and what is left, in seconds
    #[command(after_help = "Example:\n  kvorum lease ls")]
    Ls {
        #[command(flatten)]
        reach: Reach,
    },
}

impl Lease {
    /// How failures are shown.
    pub fn output(&self) -> Output {
        match &self.action {
            Action::Grant { reach, .. }
            | Action::Show { reach, .. }
            | Action::Keepalive { reach, .. }
            | Action::Revoke { reach, .. }
            | Action::Ls { reach } => reach.output,
        }
    }

    /// Does it.
    pub async fn run(self) -> Result<u8, Failure> {
        match self.action {
            Action::Grant { ttl, id, once, reach } => {
                let mut body = json!({"ttl": format!("{}ms", ttl.as_millis())});
                if let Some(id) = id {
                    body["id"] = id.into();
                }
                let call = Call::change(Method::POST, Target::of("/lease"), once.key());
                let call = call.body(body.to_string());
                let told = reach.client()?.call(&call).await?.json()?;
                tell(reach.output, &told, |told| show::cell(&told["id"]));
                Ok(0)
            }
            Action::Show { id, reach } => {
                let target = Target::named("/lease/", id.as_bytes(), "");
                let told = reach.client()?.call(&Call::read(target)).await?.json()?;
                show::line(match reach.output {
                    Output::Json => told.to_string(),
                    Output::Text => described(&told),
                })?;
                Ok(0)
            }
            Action::Keepalive { id, forever, reach } => {
                let client = reach.client()?;
                loop {
                    let told = keep_alive(&client, &id).await?;
                    tell(reach.output, &told, |told| format!("ttl {}", told["ttl"]));
                    if !forever {
                        return Ok(0);
                    }
                    let ttl = Duration::from_secs_f64(told["ttl"].as_f64().unwrap_or(2.0));
                    sleep(ttl / 3).await;
                }
            }
            Action::Revoke { id, once, reach } => {
                let target = Target::named("/lease/", id.as_bytes(), "");
                let call = Call::change(Method::DELETE, target, once.key());
                let told = reach.client()?.call(&call).await?.json()?;
                tell(reach.output, &told, |told| format!("deleted {}", told["deleted"]));
                Ok(0)
            }
            Action::Ls { reach } => list(&reach.client()?, reach.output).await,
        }
    }
}

/// Begins the time of a lease anew; returns what the node tells.
///
/// # Errors
/// `exit::NO` when the lease is gone.
pub async fn keep_alive(client: &Client, id: &str) -> Result<Value, Failure> {
    let target = Target::named("/lease/", id.as_bytes(), "/keepalive");
    client.call(&Call::change(Method::POST, target, fresh_key())).await?.json()
}

fn tell(output: Output, told: &Value, text: impl Fn(&Value) -> String) {
    match output {
        Output::Json => show::told(told.to_string()),
        Output::Text => show::told(text(told)),
    }
}

fn described(told: &Value) -> String {
    let mut text = format!(
        "id         {}\nttl        {}\nremaining  {}",
        show::cell(&told["id"]),
        told["ttl"],
        told["remaining"]
    );
    for key in told["keys"].as_array().into_iter().flatten() {
        let key = match key {
            Value::String(text) => text.clone().into_bytes(),
            other => show::key_of(other),
        };
        text.push_str(&format!("\nkey        {}", show::escaped(&key)));
    }
    if told["more"] == true {
        text.push_str("\nkey        … (more of them)");
    }
    text
}

async fn list(client: &Client, output: Output) -> Result<u8, Failure> {
    let mut after: Option<String> = None;
    loop {
        let target = Target::of("/leases").with("limit", PAGE).maybe("after", after.as_ref());
        let told = client.call(&Call::read(target)).await?.json()?;
        let mut text = String::new();
        for lease in told["leases"].as_array().into_iter().flatten() {
            text.push_str(&match output {
                Output::Json => lease.to_string(),
                Output::Text => format!(
                    "{}\t{}\t{}",
                    show::cell(&lease["id"]),
                    lease["ttl"],
                    lease["remaining"]
                ),
            });
            text.push('\n');
        }
        show::print(text)?;
        after = told["next"].as_str().map(str::to_owned);
        if after.is_none() {
            return Ok(0);
        }
    }
}
