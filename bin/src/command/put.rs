//! `kvorum put`.
//!
//! Rule: stores exactly the bytes it was given. Must never: write twice.

use super::input::{Condition, Fence, bytes, content, key_members};
use crate::{
    args::{Once, Output, Reach, duration},
    client::{Call, Failure, Target},
    show,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use hyper::{
    Method,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use std::{ffi::OsString, path::PathBuf, time::Duration};

const LEASE: HeaderName = HeaderName::from_static("kvorum-lease");

/// Set a key
///
/// Prints the revision of the change. Exit code 1 when the condition does not hold: then nothing
/// was changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kvorum put greeting hello\n  \
    kvorum put logo.png --file logo.png\n  \
    date | kvorum put started -\n  \
    kvorum put leader app1 --create --ttl 30s      # only if nobody has it; gone in 30 s\n  \
    kvorum put greeting hi --if-revision 17        # only if unchanged since revision 17")]
pub struct Put {
    /// The key, any bytes
    key: OsString,
    /// The value, any bytes; - reads standard input
    #[arg(allow_negative_numbers = true)]
    value: Option<OsString>,
    /// Read the value from a file
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// The value is JSON: it is checked, and given back as JSON
    #[arg(long)]
    json: bool,
    /// Delete the key by itself after so long
    #[arg(long, value_parser = duration, value_name = "DURATION", conflicts_with = "lease")]
    ttl: Option<Duration>,
    /// Attach the key to a lease: it is deleted with it
    #[arg(long, value_name = "ID")]
    lease: Option<String>,
    /// Only if the key's last change was at this revision
    #[arg(long, value_name = "REVISION", conflicts_with = "create")]
    if_revision: Option<u64>,
    /// Only if there is no such key
    #[arg(long)]
    create: bool,
    /// Print also what the key was before
    #[arg(long)]
    prev: bool,
    #[command(flatten)]
    once: Once,
    #[command(flatten)]
    fence: Fence,
    #[command(flatten)]
    pub reach: Reach,
}

impl Put {
    /// Does it.
    pub async fn run(mut self) -> Result<u8, Failure> {
        let client = self.reach.client()?;
        let key = bytes(std::mem::take(&mut self.key));
        let value = content("the value", self.value.take(), self.file.take())?;
        let condition = match (self.create, self.if_revision) {
            (true, _) => Condition::Absent,
            (false, Some(revision)) => Condition::Revision(revision),
            (false, None) => Condition::Always,
        };
        let call = if self.prev {
            self.as_txn(&key, &value, &condition)?
        } else {
            self.as_put(&key, value, &condition)
        };
        let answer = client.call(&self.fence.guard(call)?).await?;
        let lease = answer.headers.get(LEASE).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let mut told = answer.json()?;
        if self.prev {
            told = told["results"][0]["put"].take();
        }
        if let Some(lease) = &lease {
            told["lease"] = lease.as_str().into();
        }
        if self.reach.output == Output::Json {
            show::told(told.to_string());
            return Ok(0);
        }
        let mut text = format!("revision {}", show::cell(&told["mod_revision"]));
        if let Some(lease) = lease {
            text.push_str(&format!("\nlease {lease}"));
        }
        if told["previous"].is_object() {
            let previous = show::escaped(&show::value_of(&told["previous"]));
            text.push_str(&format!("\nprevious {previous}"));
        }
        show::told(text);
        Ok(0)
    }

    fn as_put(&self, key: &[u8], value: Vec<u8>, condition: &Condition) -> Call {
        let target = Target::key(key).maybe("lease", self.lease.as_deref());
        let target = match self.ttl {
            Some(ttl) => target.lasting("ttl", ttl),
            None => target,
        };
        let mut call = Call::change(Method::PUT, target, self.once.key()).body(value);
        let kind = if self.json { "application/json" } else { "application/octet-stream" };
        call = call.header(CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some((name, value)) = condition.header() {
            call = call.header(name, value);
        }
        call
    }

    /// `PUT` does not tell what was there before; a transaction does.
    fn as_txn(&self, key: &[u8], value: &[u8], condition: &Condition) -> Result<Call, Failure> {
        let members = key_members(key);
        let mut put = members.clone();
        if self.json {
            let parsed: Value = serde_json::from_slice(value).map_err(|error| {
                Failure::input(format!("the value is not JSON: {error}"), "correct it")
            })?;
            // A string is text to a transaction and JSON to a PUT; both give back the same.
            put["value"] = parsed;
        } else {
            put["value_base64"] = STANDARD.encode(value).into();
        }
        if let Some(ttl) = self.ttl {
            put["ttl"] = format!("{}ms", ttl.as_millis()).into();
        }
        if let Some(lease) = &self.lease {
            put["lease"] = lease.as_str().into();
        }
        put["previous"] = true.into();
        let body = json!({"if": condition.guards(&members), "then": [{"put": put}]});
        let call = Call::change(Method::POST, Target::of("/txn"), self.once.key());
        Ok(call.body(body.to_string()))
    }
}
