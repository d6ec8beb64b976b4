//! What commands take: bytes from arguments, files and standard input, and conditions.
//!
//! Rule: bytes pass as they are. Must never: read without a bound.

use crate::client::{Call, Failure};
use clap::{Args, ValueEnum};
use hyper::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// The largest input that is read; more than any node can be told to take.
const MAX_INPUT: u64 = 16 << 20;
/// The header that ties a change to a lock.
const FENCE: HeaderName = HeaderName::from_static("kvorum-fence");

/// The bytes of an argument.
pub fn bytes(argument: OsString) -> Vec<u8> {
    argument.into_vec()
}

/// The bytes of `argument`, of standard input when it is `-`, or of `file`.
///
/// # Errors
/// When not exactly one is given, or reading fails.
pub fn content(
    what: &str,
    argument: Option<OsString>,
    file: Option<PathBuf>,
) -> Result<Vec<u8>, Failure> {
    match (argument, file) {
        (Some(argument), None) if argument == "-" => whole("standard input", io::stdin().lock()),
        (Some(argument), None) => Ok(bytes(argument)),
        (None, Some(file)) => {
            let opened = File::open(&file).map_err(|error| unreadable(&shown(&file), &error))?;
            whole(&shown(&file), opened)
        }
        (Some(_), Some(_)) => {
            Err(Failure::input(format!("{what} is given twice"), "give it, or --file, not both"))
        }
        (None, None) => Err(Failure::input(
            format!("{what} is missing"),
            "give it as an argument, as - for standard input, or with --file",
        )),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn whole(what: &str, from: impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    from.take(MAX_INPUT + 1).read_to_end(&mut bytes).map_err(|error| unreadable(what, &error))?;
    if bytes.len() as u64 > MAX_INPUT {
        let message = format!("{what} has more than {MAX_INPUT} bytes");
        return Err(Failure::input(message, "store less under one key"));
    }
    Ok(bytes)
}

fn unreadable(what: &str, error: &io::Error) -> Failure {
    Failure::input(format!("{what} cannot be read: {error}"), "check the name and its permissions")
}

/// Under which lock a change is valid.
#[derive(Debug, Args)]
#[command(next_help_heading = "Changing something once")]
pub struct Fence {
    /// Change nothing unless this lock is held under this token; `kvorum lock` sets it for its
    /// command
    #[arg(long, env = "KVORUM_FENCE", hide_env_values = true, value_name = "NAME=TOKEN")]
    fence: Option<String>,
}

impl Fence {
    /// The call under this lock, if there is one.
    ///
    /// # Errors
    /// When it cannot be a header.
    pub fn guard(&self, call: Call) -> Result<Call, Failure> {
        let Some(text) = &self.fence else { return Ok(call) };
        match HeaderValue::from_str(text) {
            Ok(value) if text.contains('=') => Ok(call.header(FENCE, value)),
            _ => Err(Failure::input(
                format!("the fence {text:?} is not a name and a token"),
                "give NAME=TOKEN with the name percent-encoded, e.g. jobs=17",
            )),
        }
    }
}

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Consistency {
    /// Contains every write acknowledged before
    Linearizable,
    /// The node's own state, which may be older
    Stale,
}

impl Consistency {
    /// The parameter, where it is not the default.
    pub fn parameter(self) -> Option<&'static str> {
        (self == Consistency::Stale).then_some("stale")
    }
}

/// The condition of a change of one key.
pub enum Condition {
    /// None.
    Always,
    /// There is no such key.
    Absent,
    /// Its last change was at this revision.
    Revision(u64),
}

impl Condition {
    /// The header, if there is a condition.
    pub fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Condition::Always => None,
            Condition::Absent => Some((IF_NONE_MATCH, HeaderValue::from_static("*"))),
            Condition::Revision(revision) => {
                let value = HeaderValue::from_str(&format!("\"{revision}\"")).ok()?;
                Some((IF_MATCH, value))
            }
        }
    }

    /// As the conditions of a transaction on `key` (an object with the key's members).
    pub fn guards(&self, key: &serde_json::Value) -> serde_json::Value {
        let mut guard = key.clone();
        match self {
            Condition::Always => return serde_json::json!([]),
            Condition::Absent => guard["exists"] = false.into(),
            Condition::Revision(revision) => guard["mod_revision"] = (*revision).into(),
        }
        serde_json::json!([guard])
    }
}

/// A key as the members of a JSON object.
pub fn key_members(key: &[u8]) -> serde_json::Value {
    use base64::{Engine, engine::general_purpose::STANDARD};
    match std::str::from_utf8(key) {
        Ok(text) => serde_json::json!({"key": text}),
        Err(_) => serde_json::json!({"key_base64": STANDARD.encode(key)}),
    }
}
