//! `kvorum del`.
//!
//! Rule: one key, or a range that is named. Must never: delete everything without `--all`.

use super::input::{Condition, Fence, bytes, key_members};
use crate::{
    args::{Once, Output, Reach},
    client::{Call, Failure, Target},
    exit, show,
};
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};
use std::ffi::OsString;

/// Delete a key, or a range of keys at one revision
///
/// Prints how many keys were deleted. Exit code 1 when the one key is not there or the condition
/// does not hold; a range may be empty.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kvorum del greeting\n  \
    kvorum del --prefix sessions/\n  \
    kvorum del greeting --if-revision 17")]
pub struct Del {
    /// The key, any bytes
    #[arg(required_unless_present_any = ["prefix", "start", "end", "all"])]
    key: Option<OsString>,
    /// All keys that begin so
    #[arg(long, conflicts_with_all = ["key", "start", "end", "all"])]
    prefix: Option<OsString>,
    /// All keys from this one on
    #[arg(long, value_name = "KEY", conflicts_with_all = ["key", "all"])]
    start: Option<OsString>,
    /// All keys before this one
    #[arg(long, value_name = "KEY", conflicts_with_all = ["key", "all"])]
    end: Option<OsString>,
    /// All keys
    #[arg(long, conflicts_with = "key")]
    all: bool,
    /// Only if the key's last change was at this revision
    #[arg(long, value_name = "REVISION", requires = "key")]
    if_revision: Option<u64>,
    /// Print also what the key was
    #[arg(long, requires = "key")]
    prev: bool,
    #[command(flatten)]
    once: Once,
    #[command(flatten)]
    fence: Fence,
    #[command(flatten)]
    pub reach: Reach,
}

impl Del {
    /// Does it.
    pub async fn run(mut self) -> Result<u8, Failure> {
        let client = self.reach.client()?;
        let key = self.key.take().map(bytes);
        let call = match &key {
            Some(key) if self.prev => self.as_txn(key),
            Some(key) => self.one(key),
            None => self.range(),
        };
        let answer = client.call(&self.fence.guard(call)?).await?;
        let told = self.told(&key, answer.revision(), answer.json()?);
        let Some(told) = told else {
            let name = key.as_deref().map(show::escaped).unwrap_or_default();
            let message = format!("key '{name}' not found");
            return Err(Failure::new(
                exit::NO,
                "key_not_found",
                message,
                "nothing; there is nothing to delete",
            ));
        };
        if self.reach.output == Output::Json {
            show::told(told.to_string());
            return Ok(0);
        }
        let mut text = format!("deleted {}", told["deleted"]);
        if let Some(previous) = told.get("previous") {
            text.push_str(&format!("\nprevious {}", show::escaped(&show::value_of(previous))));
        }
        show::told(text);
        Ok(0)
    }

    /// One shape for all forms; `None` when the one key was not there.
    fn told(&self, key: &Option<Vec<u8>>, revision: Option<u64>, mut body: Value) -> Option<Value> {
        if key.is_none() {
            return Some(body);
        }
        let mut told = json!({"deleted": 1, "revision": revision});
        if self.prev {
            let delete = body["results"][0]["delete"].take();
            if delete["deleted"] == 0 {
                return None;
            }
            told["previous"] = delete["previous"][0].clone();
        }
        Some(told)
    }

    fn condition(&self) -> Condition {
        self.if_revision.map_or(Condition::Always, Condition::Revision)
    }

    fn one(&self, key: &[u8]) -> Call {
        let mut call = Call::change(Method::DELETE, Target::key(key), self.once.key());
        if let Some((name, value)) = self.condition().header() {
            call = call.header(name, value);
        }
        call
    }

    fn as_txn(&self, key: &[u8]) -> Call {
        let members = key_members(key);
        let mut delete = members.clone();
        delete["previous"] = true.into();
        let body = json!({"if": self.condition().guards(&members), "then": [{"delete": delete}]});
        let call = Call::change(Method::POST, Target::of("/txn"), self.once.key());
        call.body(body.to_string())
    }

    fn range(&mut self) -> Call {
        let target = Target::of("/keys")
            .maybe("prefix", self.prefix.take().map(bytes))
            .maybe("start", self.start.take().map(bytes))
            .maybe("end", self.end.take().map(bytes))
            .flag("all", self.all);
        Call::change(Method::DELETE, target, self.once.key())
    }
}
