//! `kvorum get`.
//!
//! Rule: prints the value and nothing else. Must never: print a value for a key that is not there.

use super::input::{Consistency, bytes};
use crate::{
    args::{Output, Reach},
    client::{Call, Failure, Target},
    show,
};
use clap::Args;
use hyper::header::{HeaderName, HeaderValue};
use std::ffi::OsString;

/// Print the value of a key
///
/// The value is followed by a line feed; with --raw it is not, and every byte is as it was stored.
/// Exit code 1 when there is no such key.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kvorum get greeting\n  \
    kvorum get --raw logo.png > logo.png\n  \
    kvorum get -o json greeting        # with revisions and version")]
pub struct Get {
    /// The key, any bytes
    key: OsString,
    /// Write exactly the bytes of the value
    #[arg(long, conflicts_with = "output")]
    raw: bool,
    /// As of this revision
    #[arg(long, value_name = "REVISION")]
    at: Option<u64>,
    /// How fresh the answer must be
    #[arg(long, value_enum, default_value = "linearizable")]
    consistency: Consistency,
    /// Wait until the node has reached this revision
    #[arg(long, value_name = "REVISION")]
    min_revision: Option<u64>,
    #[command(flatten)]
    pub reach: Reach,
}

impl Get {
    /// Does it.
    pub async fn run(self) -> Result<u8, Failure> {
        let client = self.reach.client()?;
        let json = self.reach.output == Output::Json;
        let target = Target::key(&bytes(self.key))
            .flag(if json { "meta" } else { "raw" }, true)
            .maybe("at", self.at.map(|at| at.to_string()))
            .maybe("consistency", self.consistency.parameter());
        let mut call = Call::read(target);
        if let Some(revision) = self.min_revision {
            let name = HeaderName::from_static("kvorum-min-revision");
            call = call.header(name, HeaderValue::from(revision));
        }
        let answer = client.call(&call).await?;
        if self.raw {
            show::print(&answer.body)?;
        } else if json {
            show::line(answer.json()?.to_string())?;
        } else {
            show::print(show::value(&answer.body))?;
        }
        Ok(0)
    }
}
