//! The words of the command line, and what is common to the commands.
//!
//! Rule: every command says in its `--help` what it does, what it prints, and an example. Must
//! never: accept a word and not heed it.

use crate::{
    client::{Client, Endpoint, fresh_key},
    command, exit,
};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind};
use hyper::header::HeaderValue;
use kvorum_runtime::config::{CLIENT_VARIABLES, VARIABLES, parse_duration};
use std::{ffi::OsString, fmt::Write, time::Duration};

/// The most endpoints a command takes.
const MAX_ENDPOINTS: usize = 64;
/// Longest idempotency key, as nodes take it.
const MAX_IDEMPOTENCY_KEY: usize = 128;

/// The whole line.
#[derive(Debug, Parser)]
#[command(
    name = "kvorum",
    version,
    about = "A replicated key-value server, spoken to with curl or with these commands.\n\n\
             kvorum without arguments runs a node, configured by the variables below.",
    disable_help_subcommand = true,
    subcommand_required = true
)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    Get(command::get::Get),
    Put(command::put::Put),
    Del(command::del::Del),
    Ls(command::ls::Ls),
    Watch(command::watch::Watch),
    Txn(command::txn::Txn),
    Lock(command::lock::Lock),
    Lease(command::lease::Lease),
    History(command::history::History),
    Status(command::cluster::Status),
    Members(command::cluster::Members),
    Transfer(command::cluster::Transfer),
    Remove(command::cluster::Remove),
    Promote(command::cluster::Promote),
    Demote(command::cluster::Demote),
    Settings(command::settings::Settings),
    Compact(command::settings::Compact),
    /// Print the variables that a node started here would use, and where each came from
    #[command(after_help = "Example:\n  NODE_ID=app1 RAFT_DIR=/data kvorum config")]
    Config {
        /// How to print
        #[arg(short, long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Exit 0 when the node on this machine is ready (or alive), else 1
    ///
    /// The node is found through PORT and KVORUM_HTTP_BIND, as it was started.
    #[command(after_help = "Example:\n  kvorum health && echo ready")]
    Health {
        /// Ask whether the process answers, not whether it can serve
        #[arg(long)]
        live: bool,
    },
}

impl Command {
    /// How failures are shown.
    pub fn output(&self) -> Output {
        match self {
            Command::Get(it) => it.reach.output,
            Command::Put(it) => it.reach.output,
            Command::Del(it) => it.reach.output,
            Command::Ls(it) => it.reach.output,
            Command::Watch(it) => it.reach.output,
            Command::Txn(it) => it.reach.output,
            Command::Lock(it) => it.reach.output,
            Command::Lease(it) => it.output(),
            Command::History(it) => it.reach.output,
            Command::Status(it) => it.reach.output,
            Command::Members(it) => it.reach.output,
            Command::Transfer(it) => it.reach.output,
            Command::Remove(it) => it.reach.output,
            Command::Promote(it) => it.reach.output,
            Command::Demote(it) => it.reach.output,
            Command::Settings(it) => it.reach.output,
            Command::Compact(it) => it.reach.output,
            Command::Config { output } => *output,
            Command::Health { .. } => Output::Text,
        }
    }
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people and shells
    Text,
    /// For programs: one JSON object a line
    Json,
}

/// Which nodes to talk to, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Talking to the cluster")]
pub struct Reach {
    /// Nodes of the cluster, any of them, separated by commas; the next one is asked when one does
    /// not answer
    #[arg(
        long,
        env = "KVORUM_ENDPOINTS",
        hide_env_values = true,
        default_value = "http://localhost:8080",
        value_name = "HOST:PORT,…"
    )]
    endpoints: String,
    /// How long the command may take, all attempts together (500ms, 30s, 5m, or bare seconds)
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub timeout: Duration,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

impl Reach {
    /// The client that these arguments describe.
    ///
    /// # Errors
    /// When an endpoint is none.
    pub fn client(&self) -> Result<Client, crate::client::Failure> {
        let parsed: Result<Vec<Endpoint>, String> = self
            .endpoints
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(Endpoint::parse)
            .collect();
        let endpoints = parsed.and_then(|endpoints| match endpoints.len() {
            0 => Err("no endpoint is given; give host:port, e.g. http://localhost:8080".to_owned()),
            1..=MAX_ENDPOINTS => Ok(endpoints),
            n => Err(format!("{n} endpoints are given, the limit is {MAX_ENDPOINTS}")),
        });
        match endpoints {
            Ok(endpoints) => Ok(Client::new(endpoints, self.timeout)),
            Err(said) => {
                Err(crate::client::Failure::input(said, "correct --endpoints or KVORUM_ENDPOINTS"))
            }
        }
    }
}

/// What makes a change safe to repeat and to send late.
#[derive(Debug, Args)]
#[command(next_help_heading = "Changing something once")]
pub struct Once {
    /// Repeats under one key take effect once. By default the command draws a key of its own and
    /// repeats its attempts under it; give one to go on after exit code 4
    #[arg(long, value_parser = idempotency_key, value_name = "KEY")]
    idempotency_key: Option<HeaderValue>,
}

impl Once {
    /// The key of all attempts.
    pub fn key(&self) -> HeaderValue {
        self.idempotency_key.clone().unwrap_or_else(fresh_key)
    }
}

/// A duration as nodes take it.
pub fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Some(0) | None => Err("give a duration, e.g. 500ms, 30s, 5m, or bare seconds".to_owned()),
        Some(ms) => Ok(Duration::from_millis(ms)),
    }
}

/// A duration that may be nothing.
pub fn duration_or_none(text: &str) -> Result<Duration, String> {
    if text == "0" || text == "0s" { Ok(Duration::ZERO) } else { duration(text) }
}

fn idempotency_key(text: &str) -> Result<HeaderValue, String> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    match HeaderValue::from_str(text) {
        Ok(value) if visible && (1..=MAX_IDEMPOTENCY_KEY).contains(&text.len()) => Ok(value),
        _ => Err(format!("give 1 to {MAX_IDEMPOTENCY_KEY} visible ASCII characters")),
    }
}

/// Why there is nothing to do.
pub enum Refused {
    /// Help or version was asked for; this is it.
    Shown(String),
    /// The line cannot be understood; this says why.
    Misused(String),
}

/// Reads the arguments after the program's name.
///
/// # Errors
/// When there is nothing to do.
pub fn parse(args: Vec<OsString>) -> Result<Command, Refused> {
    let mut words = vec![OsString::from("kvorum")];
    words.extend(args);
    let parsed = Line::command().after_help(after_help()).try_get_matches_from(words);
    match parsed.and_then(|matches| Line::from_arg_matches(&matches)) {
        Ok(line) => Ok(line.command),
        Err(error) => Err(match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Refused::Shown(error.render().to_string())
            }
            _ => Refused::Misused(one_line(&error.render().to_string())),
        }),
    }
}

/// The parser's paragraphs as one line: what is wrong, then where help is.
fn one_line(text: &str) -> String {
    let mut line = String::from("kvorum:");
    let mut see = "kvorum --help".to_owned();
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty()) {
        let part = part.strip_prefix("error: ").unwrap_or(part);
        let part = part.strip_prefix("tip: ").unwrap_or(part);
        if let Some(usage) = part.strip_prefix("Usage: ") {
            let words = usage
                .split_whitespace()
                .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()));
            see = format!("{} --help", words.collect::<Vec<_>>().join(" "));
        } else if !part.starts_with("For more information") {
            line.push_str(if line.ends_with(':') { " " } else { "; " });
            line.push_str(part);
        }
    }
    format!("{line}. See {see}")
}

fn after_help() -> String {
    let mut text = String::from(
        "Example:\n  kvorum put greeting hello && kvorum get greeting\n\n\
         Environment variables of a node:\n",
    );
    for variable in VARIABLES {
        let _ = writeln!(
            text,
            "  {:<28} {}\n  {:<28} default: {}; {}",
            variable.name, variable.meaning, "", variable.default, variable.accepts
        );
    }
    text.push_str("\nEnvironment variables of a command:\n");
    for (name, meaning) in CLIENT_VARIABLES {
        let _ = writeln!(text, "  {name:<28} {meaning}");
    }
    text.push_str("\nExit codes:\n");
    for (code, meaning) in exit::CODES {
        let _ = writeln!(text, "  {code:>3}  {meaning}");
    }
    text
}
