//! `kvorum ls`.
//!
//! Rule: everything it prints is of one revision, however many pages it takes and whichever nodes
//! give them. Must never: hold more than a page.

use super::input::{Consistency, bytes};
use crate::{
    args::{Output, Reach},
    client::{Call, Client, Failure, Target},
    show,
};
use clap::Args;
use serde_json::Value;
use std::ffi::OsString;

/// Items of a page; a node's limit.
const PAGE: u64 = 1000;

/// List keys, in order
///
/// Prints a key a line, with --values the value after a tab. Control characters, backslashes and
/// bytes that are not UTF-8 are escaped; -o json prints a record a line with every byte. No key is
/// no failure.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kvorum ls                      # all keys\n  \
    kvorum ls jobs/ --values\n  \
    kvorum ls --count jobs/\n  \
    kvorum ls -o json --start a --end c --limit 10")]
pub struct Ls {
    /// Keys that begin so; all when not given
    prefix: Option<OsString>,
    /// Keys from this one on
    #[arg(long, value_name = "KEY", conflicts_with = "prefix")]
    start: Option<OsString>,
    /// Keys before this one
    #[arg(long, value_name = "KEY", conflicts_with = "prefix")]
    end: Option<OsString>,
    /// Print the values, too
    #[arg(long)]
    values: bool,
    /// Print only how many there are
    #[arg(long, conflicts_with_all = ["values", "limit", "reverse"])]
    count: bool,
    /// At most so many; all when not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// From the last to the first
    #[arg(long)]
    reverse: bool,
    /// As of this revision
    #[arg(long, value_name = "REVISION")]
    at: Option<u64>,
    /// How fresh the answer must be
    #[arg(long, value_enum, default_value = "linearizable")]
    consistency: Consistency,
    #[command(flatten)]
    pub reach: Reach,
}

impl Ls {
    /// Does it.
    pub async fn run(mut self) -> Result<u8, Failure> {
        let client = self.reach.client()?;
        let json = self.reach.output == Output::Json;
        let base = Target::of("/keys")
            .maybe("prefix", self.prefix.take().map(bytes))
            .maybe("start", self.start.take().map(bytes))
            .maybe("end", self.end.take().map(bytes))
            .flag("reverse", self.reverse)
            .maybe("consistency", self.consistency.parameter());
        let at = self.at.map(|at| at.to_string());
        if self.count {
            let target = base.flag("count_only", true).maybe("at", at);
            let told = client.call(&Call::read(target)).await?.json()?;
            show::line(if json { told.to_string() } else { told["count"].to_string() })?;
            return Ok(0);
        }
        self.pages(&client, base.flag("keys_only", !self.values && !json), at, json).await
    }

    async fn pages(
        &self,
        client: &Client,
        base: Target,
        at: Option<String>,
        json: bool,
    ) -> Result<u8, Failure> {
        let mut left = self.limit.unwrap_or(u64::MAX);
        let mut cursor: Option<String> = None;
        loop {
            let page = base.clone().with("limit", left.min(PAGE).to_string());
            let page = match &cursor {
                // A cursor has the revision of the first page.
                Some(cursor) => page.with("cursor", cursor),
                None => page.maybe("at", at.as_ref()),
            };
            let mut told = client.call(&Call::read(page)).await?.json()?;
            let Value::Array(items) = told["items"].take() else {
                return Err(Failure::strange("a page without items"));
            };
            let mut text = String::new();
            for item in &items {
                if json {
                    text.push_str(&item.to_string());
                } else {
                    text.push_str(&show::escaped(&show::key_of(item)));
                    if self.values {
                        text.push('\t');
                        text.push_str(&show::escaped(&show::value_of(item)));
                    }
                }
                text.push('\n');
            }
            show::print(text)?;
            left = left.saturating_sub(items.len() as u64);
            cursor = told["next"].as_str().map(str::to_owned);
            if left == 0 || cursor.is_none() {
                return Ok(0);
            }
        }
    }
}
