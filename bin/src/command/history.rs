//! `kvorum history`.
//!
//! Rule: newest first, as the node keeps it. Must never: pass a compacted past off as none.

use super::input::{Consistency, bytes};
use crate::{
    args::{Output, Reach},
    client::{Call, Failure, Target},
    show,
};
use clap::Args;
use std::ffi::OsString;

/// Print the versions of a key, newest first
///
/// Prints a line for each: revision, time, put or delete, value, separated by tabs; -o json prints
/// a record a line. What is compacted is gone. Exit code 1 when nothing is known of the key.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kvorum history greeting\n  \
    kvorum history greeting --limit 1 -o json")]
pub struct History {
    /// The key, any bytes
    key: OsString,
    /// At most so many versions
    #[arg(long, default_value_t = 100, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    /// How fresh the answer must be
    #[arg(long, value_enum, default_value = "linearizable")]
    consistency: Consistency,
    #[command(flatten)]
    pub reach: Reach,
}

impl History {
    /// Does it.
    pub async fn run(self) -> Result<u8, Failure> {
        let client = self.reach.client()?;
        let target = Target::key(&bytes(self.key))
            .flag("history", true)
            .with("limit", self.limit.to_string())
            .maybe("consistency", self.consistency.parameter());
        let told = client.call(&Call::read(target)).await?.json()?;
        let mut text = String::new();
        for version in told["versions"].as_array().into_iter().flatten() {
            text.push_str(&match self.reach.output {
                Output::Json => version.to_string(),
                Output::Text => {
                    let deleted = version["deleted"] == true;
                    format!(
                        "{}\t{}\t{}\t{}",
                        version["revision"],
                        show::cell(&version["time"]),
                        if deleted { "delete" } else { "put" },
                        show::escaped(&show::value_of(version))
                    )
                }
            });
            text.push('\n');
        }
        show::print(text)?;
        if told["more"] == true {
            crate::exit::say("there are more versions; raise --limit");
        }
        Ok(0)
    }
}
