//! `GET /key/{key}?history`: what a key was, newest first.
//!
//! Rule: every version that can still be read, deletions too, in pages. Must never: show a date
//! other than the one that was stored with the version.

use super::{
    Api, Reply,
    condition::Conditions,
    params::{Params, invalid},
    problem::{INTERNAL, INVALID_CONDITION, INVALID_PARAMETER, Problem},
    read::{json, not_found, refused},
    record,
};
use crate::{
    handle::{Found, Look},
    world::World,
};
use bytes::Bytes;
use hyper::http::request::Parts;
use kvorum_core::kv::{History, Past};
use std::time::{Duration, UNIX_EPOCH};

/// Versions in one answer unless the client says, and the most it may ask for.
const VERSIONS: u64 = 100;
const MAX_VERSIONS: u64 = 1000;
/// Bytes of values in one answer (one version always fits).
const BYTES: u64 = 4 << 20;
/// The last millisecond of the year 9999; later dates have no form.
const LAST_DATE_MS: u64 = 253_402_300_799_999;

/// The parameters that bound a history and mean nothing without it.
const BOUNDS: [&str; 2] = ["limit", "before"];
/// The parameters that ask for something else than a history.
const OTHERS: [&str; 6] = ["raw", "meta", "at", "wait", "since", "max_staleness"];

impl<W: World> Api<W> {
    /// Answers `GET` and `HEAD` of a key's history.
    pub(super) async fn get_history(
        &self,
        head: &Parts,
        params: &Params,
        key: Bytes,
    ) -> Result<Reply, Problem> {
        if let Some(other) = OTHERS.iter().find(|name| params.get(name).is_some()) {
            let message = format!("history stands together with {other}");
            return Err(Problem::new(INVALID_PARAMETER, message).hint("leave one of them out"));
        }
        if !Conditions::parse(&head.headers, false)?.is_empty() {
            let message = "a history has no ETag";
            return Err(Problem::new(INVALID_CONDITION, message).hint("leave the condition out"));
        }
        let limit = match params.number("limit")? {
            None => VERSIONS,
            Some(limit @ 1..=MAX_VERSIONS) => limit,
            Some(limit) => {
                return Err(invalid("limit", &limit.to_string(), &format!("1 to {MAX_VERSIONS}")));
            }
        };
        let before = params.number("before")?.unwrap_or(0);
        let manner = self.manner(params, head)?;
        let limit = limit as usize;
        let look = Look::History { key: key.clone(), before, limit, max_bytes: BYTES };
        let seen = self.look(&look, &manner).await?;
        let headers = manner.stamps(&seen);
        match seen.found {
            Ok(Found::History(history)) if history.past.is_empty() => {
                Err(not_found(&key).headers(headers))
            }
            Ok(Found::History(history)) => Ok(json(text(&key, &history), headers)),
            Ok(_) => Err(Problem::new(INTERNAL, "the answer does not fit the question")),
            Err(error) => Err(refused(error).headers(headers)),
        }
    }
}

/// Refuses the bounds of a history where none is asked for.
pub(super) fn refuse_bounds(params: &Params) -> Result<(), Problem> {
    match BOUNDS.iter().find(|name| params.get(name).is_some()) {
        None => Ok(()),
        Some(name) => {
            let message = format!("parameter {name:?} is about a history");
            Err(Problem::new(INVALID_PARAMETER, message).hint("add history"))
        }
    }
}

fn text(key: &[u8], history: &History) -> String {
    let mut out = String::from("{");
    record::push_key(&mut out, key);
    out.push_str(",\"versions\":[");
    for (position, past) in history.past.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        push_past(&mut out, past);
    }
    let (compacted, more) = (history.compacted, history.more);
    out.push_str(&format!("],\"compacted_before\":{compacted},\"more\":{more}}}"));
    out
}

fn push_past(out: &mut String, past: &Past) {
    out.push_str(&format!("{{\"revision\":{}", past.revision));
    match &past.now {
        None => out.push_str(",\"deleted\":true"),
        Some(item) => {
            out.push_str(&format!(",\"version\":{}", item.version));
            record::push_value(out, item);
            record::push_lease(out, item.lease);
        }
    }
    out.push_str(&format!(",\"time\":\"{}\"}}", date(past.wall_ms)));
}

/// `2026-11-29T12:00:00.123Z`
fn date(wall_ms: u64) -> String {
    let date = UNIX_EPOCH + Duration::from_millis(wall_ms.min(LAST_DATE_MS));
    humantime::format_rfc3339_millis(date).to_string()
}
