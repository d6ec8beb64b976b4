//! `kvorum settings` and `kvorum compact`.
//!
//! Rule: without options nothing is changed. Must never: send a setting that was not given.

use crate::{
    args::{Once, Output, Reach},
    client::{Answer, Call, Failure, Target},
    show,
};
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

/// Print the cluster's settings, or change them
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kvorum settings\n  \
    kvorum settings --quota 2GiB\n  \
    kvorum settings --keep 60m --revisions 100000")]
pub struct Settings {
    /// Most bytes of keys, values and history; 0 for no limit
    #[arg(long, value_name = "SIZE")]
    quota: Option<String>,
    /// How long history is kept at least, or forever
    #[arg(long, value_name = "DURATION")]
    keep: Option<String>,
    /// How many revisions of history are kept at least
    #[arg(long, value_name = "N")]
    revisions: Option<u64>,
    #[command(flatten)]
    once: Once,
    #[command(flatten)]
    pub reach: Reach,
}

/// Drop the history before a revision, now
///
/// History is dropped by itself, as the settings say; nobody has to do this.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kvorum compact 1000")]
pub struct Compact {
    /// The oldest revision that can be read afterwards
    revision: u64,
    #[command(flatten)]
    once: Once,
    #[command(flatten)]
    pub reach: Reach,
}

impl Settings {
    /// Does it.
    pub async fn run(self) -> Result<u8, Failure> {
        let client = self.reach.client()?;
        let wanted = self.wanted();
        let target = Target::of("/settings");
        let answer = if wanted.as_object().is_some_and(|wanted| wanted.is_empty()) {
            client.call(&Call::read(target)).await?
        } else {
            let call = Call::change(Method::PATCH, target, self.once.key());
            client.call(&call.body(wanted.to_string())).await?
        };
        tell(&self.reach, &answer, |told| {
            let history = &told["history"];
            format!(
                "quota      {}\nkeep       {}\nrevisions  {}",
                show::cell(&told["quota"]),
                show::cell(&history["keep"]),
                show::cell(&history["revisions"])
            )
        })
    }

    fn wanted(&self) -> Value {
        let mut wanted = json!({});
        if let Some(quota) = &self.quota {
            // A plain number is one in JSON, too.
            wanted["quota"] = quota.parse::<u64>().map_or(quota.as_str().into(), Value::from);
        }
        if let Some(keep) = &self.keep {
            wanted["history"]["keep"] = keep.as_str().into();
        }
        if let Some(revisions) = self.revisions {
            wanted["history"]["revisions"] = revisions.into();
        }
        wanted
    }
}

impl Compact {
    /// Does it.
    pub async fn run(self) -> Result<u8, Failure> {
        let body = json!({"revision": self.revision}).to_string();
        let call = Call::change(Method::POST, Target::of("/compact"), self.once.key()).body(body);
        let answer = self.reach.client()?.call(&call).await?;
        tell(&self.reach, &answer, |told| format!("compacted {}", told["compacted"]))
    }
}

fn tell(reach: &Reach, answer: &Answer, text: impl Fn(&Value) -> String) -> Result<u8, Failure> {
    let told = answer.json()?;
    show::told(match reach.output {
        Output::Json => told.to_string(),
        Output::Text => text(&told),
    });
    Ok(0)
}
