//! The query string, by the form rules (`+` is a space, `%XX` a byte).
//!
//! Rule: a parameter that a path does not know is refused with the nearest one it does, so that
//! `?consistancy=stale` never weakens a read silently. Must never: let a later value of the same
//! parameter win.

use super::{
    duration,
    key::percent_decode,
    problem::{BAD_PERCENT_ENCODING, INVALID_PARAMETER, Problem, UNKNOWN_PARAMETER},
};
use std::time::Duration;

/// Parameters that name keys, and so may hold any bytes.
const BYTES: [&str; 5] = ["prefix", "start", "end", "key", "delimiter"];

/// The parameters of one request, each allowed and given once.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(String, Vec<u8>)>);

impl Params {
    /// Reads `query`, of which only the names in `allowed` may occur.
    pub(super) fn parse(query: Option<&str>, allowed: &[&str]) -> Result<Params, Problem> {
        let mut params = Params::default();
        for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = text(name, bytes(name)?)?;
            if !allowed.contains(&name.as_str()) {
                return Err(unknown(&name, allowed));
            }
            if params.bytes(&name).is_some() {
                let message = format!("parameter {name:?} is given twice");
                return Err(Problem::new(INVALID_PARAMETER, message));
            }
            let value = if BYTES.contains(&name.as_str()) {
                bytes(value)?
            } else {
                text(value, bytes(value)?)?.into_bytes()
            };
            params.0.push((name, value));
        }
        Ok(params)
    }

    /// The value of `name`; empty when it was given without one.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        // What is not a key was judged to be text above.
        self.bytes(name).map(|value| std::str::from_utf8(value).unwrap_or(""))
    }

    /// The value of `name`, which may be any bytes.
    pub(super) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    /// Whether the switch `name` is on: `?name`, `?name=true`, `?name=1`.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => Err(invalid(name, other, "nothing, true or false")),
        }
    }

    /// A number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let parse = |text: &str| whole(text).ok_or_else(|| invalid(name, text, "a whole number"));
        self.get(name).map(parse).transpose()
    }

    /// `?timeout=`, from 1 ms to `max`.
    pub(super) fn timeout(&self, default: Duration, max: Duration) -> Result<Duration, Problem> {
        let Some(text) = self.get("timeout") else { return Ok(default) };
        match duration::parse(text) {
            Some(timeout) if !timeout.is_zero() && timeout <= max => Ok(timeout),
            _ => {
                let accepted = format!("a duration from 1ms to {}ms, e.g. 5s", max.as_millis());
                Err(invalid("timeout", text, &accepted))
            }
        }
    }
}

/// Digits, and nothing else; `None` also beyond 64 bits.
pub(super) fn whole(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// A value that the parameter does not take.
pub(super) fn invalid(name: &str, value: &str, accepted: &str) -> Problem {
    let message = format!("parameter {name:?} has the value {value:?}");
    Problem::new(INVALID_PARAMETER, message).hint(format!("{name} takes {accepted}"))
}

fn bytes(encoded: &str) -> Result<Vec<u8>, Problem> {
    percent_decode(&encoded.replace('+', " ")).ok_or_else(|| {
        let message = format!("the query has a bad percent-encoding in {encoded:?}");
        Problem::new(BAD_PERCENT_ENCODING, message)
    })
}

fn text(encoded: &str, bytes: Vec<u8>) -> Result<String, Problem> {
    String::from_utf8(bytes).map_err(|_| {
        Problem::new(INVALID_PARAMETER, format!("the query is not UTF-8 in {encoded:?}"))
    })
}

fn unknown(name: &str, allowed: &[&str]) -> Problem {
    let message = format!("unknown query parameter {name:?}");
    let nearest = allowed.iter().min_by_key(|known| distance(name, known));
    let problem = Problem::new(UNKNOWN_PARAMETER, message);
    match nearest {
        // More than half of it wrong is no typing error.
        Some(known) if distance(name, known) * 2 <= known.len() => {
            let suggestion = super::json::string(known);
            problem.hint(format!("did you mean {known}?")).member("suggestion", suggestion)
        }
        _ if allowed.is_empty() => problem.hint("this call takes no parameters"),
        _ => problem.hint(format!("this call takes {}", allowed.join(", "))),
    }
}

/// Insertions, deletions and replacements between two names (Levenshtein), bounded in cost by
/// looking at the first bytes only.
fn distance(a: &str, b: &str) -> usize {
    const LOOKED_AT: usize = 64;
    let a = &a.as_bytes()[..a.len().min(LOOKED_AT)];
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
