//! `kvorum txn`.
//!
//! Rule: the JSON goes to the node as it came. Must never: call a transaction done whose
//! conditions failed.

use super::input::{Fence, content};
use crate::{
    args::{Once, Output, Reach},
    client::{Call, Failure, Target},
    exit, show,
};
use clap::Args;
use hyper::Method;
use std::{ffi::OsString, path::PathBuf};

/// Run a transaction: conditions, and what to do when they hold or not
///
/// Prints the answer as JSON. Exit code 1 when the conditions do not hold, whether there is an
/// "else" or not. The JSON is described in docs/http.md.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    kvorum txn '{\"if\":[{\"key\":\"a\",\"version\":1}],\"then\":[{\"put\":{\"key\":\"a\",\"value\":\"2\"}}]}'\n  \
    kvorum txn --file move.json")]
pub struct Txn {
    /// The transaction; - reads standard input
    json: Option<OsString>,
    /// Read the transaction from a file
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    #[command(flatten)]
    once: Once,
    #[command(flatten)]
    fence: Fence,
    #[command(flatten)]
    pub reach: Reach,
}

impl Txn {
    /// Does it.
    pub async fn run(self) -> Result<u8, Failure> {
        let client = self.reach.client()?;
        let body = content("the transaction", self.json, self.file)?;
        let call = Call::change(Method::POST, Target::of("/txn"), self.once.key()).body(body);
        let answer = client.call(&self.fence.guard(call)?).await.map_err(|mut failure| {
            if failure.exit == 0 {
                // It took effect, and nobody knows any more whether its conditions held.
                failure.exit = exit::UNKNOWN;
            }
            failure
        })?;
        let told = answer.json()?;
        show::told(match self.reach.output {
            Output::Json => told.to_string(),
            Output::Text => format!("{told:#}"),
        });
        Ok(if told["succeeded"] == true { 0 } else { exit::NO })
    }
}
