//! History is forgotten only as far as somebody asked for, or as the settings allow.
//!
//! Rule: who is refused because the past is compacted asked for what lies before the oldest revision
//! that is named; and that one is no younger than the last revisions that are always kept, unless a
//! client asked to compact up to there. Must never: excuse a refusal by what happened after it.

use super::{Violation, ledger::Floor};
use crate::{
    journal::{Answer, Entry, Refusal, Session},
    store::request::Request,
};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// History that is gone too soon.
pub const RETENTION: &str = "history is kept as long as was promised";

/// The clocks count milliseconds, here and there.
const ROUNDING: u64 = 10_000_000;

/// What was judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Reads that were told so.
    pub reads: u64,
    /// Watches that were told so.
    pub watches: u64,
    /// Compactions that clients asked for and were granted.
    pub asked: u64,
}

/// What must be kept at least.
pub struct Keep<'k> {
    /// So many revisions.
    pub revisions: u64,
    /// What was current within so many nanoseconds.
    pub nanos: u64,
    /// How far clocks can have come apart until a moment (nanoseconds).
    pub apart: &'k dyn Fn(u64) -> u64,
}

/// A refusal.
struct Case {
    event: u64,
    at: u64,
    wanted: u64,
    oldest: u64,
    /// The store had come to this revision at least.
    revision: u64,
}

/// Checks every refusal; `makers` says which entry made a revision.
///
/// # Errors
/// The first violation found.
pub fn check(
    entries: &[Entry],
    sessions: &[Session],
    floor: &Floor,
    makers: &BTreeMap<u64, usize>,
    keep: &Keep<'_>,
) -> Result<Forgotten, Violation> {
    let mut forgotten = Forgotten::default();
    let asked = entries
        .iter()
        .filter(|entry| entry.is_open() || entry.answers().any(|(_, answer)| answer.status < 300))
        .filter_map(|entry| match entry.request {
            Request::Compact { revision } => Some((entry.invoked(), revision)),
            _ => None,
        });
    let asked: Vec<(u64, u64)> = asked.collect();
    forgotten.asked = asked.len() as u64;
    let allowed = |case: &Case| {
        let Case { event, at, wanted, oldest, revision } = *case;
        let asked = asked.iter().any(|(invoked, up_to)| *invoked < event && *up_to >= oldest);
        // What came before `oldest` was current until somebody made that revision, which was not
        // before he asked for it.
        let made = makers.get(&oldest).and_then(|maker| entries[*maker].attempts.first());
        let until = made.map_or(0, |attempt| attempt.invoked.1);
        let old = at.saturating_sub(until) + (keep.apart)(at) + ROUNDING >= keep.nanos;
        wanted < oldest && (asked || (old && oldest + keep.revisions <= revision))
    };
    for entry in entries {
        let wanted = match &entry.request {
            Request::Get { at: Some(at), .. } => *at,
            Request::Scan(scan) => scan.at.unwrap_or(u64::MAX),
            // The past of a long poll is where it begins.
            Request::Wait { since, .. } => *since,
            _ => continue,
        };
        for (attempt, answer) in entry.answers().filter(|(_, answer)| answer.status == 410) {
            forgotten.reads += 1;
            let (event, at) = attempt.returned.unwrap_or((u64::MAX, u64::MAX));
            let oldest = oldest(answer).unwrap_or(0);
            let revision = answer.revision;
            if !allowed(&Case { event, at, wanted, oldest, revision }) {
                return Err(wrong(format!("{entry:?}"), keep));
            }
        }
    }
    for session in sessions {
        let Some(Refusal { event, at, oldest: Some(oldest), revision, .. }) = session.refused
        else {
            continue;
        };
        forgotten.watches += 1;
        let revision = revision.max(floor.before(event).0);
        let wanted = session.since.unwrap_or(u64::MAX);
        if !allowed(&Case { event, at, wanted, oldest, revision }) {
            return Err(wrong(format!("{session:?}"), keep));
        }
    }
    Ok(forgotten)
}

fn oldest(answer: &Answer) -> Option<u64> {
    answer.body.as_ref()?.get("oldest").and_then(Json::as_u64)
}

fn wrong(evidence: String, keep: &Keep<'_>) -> Violation {
    let (revisions, seconds) = (keep.revisions, keep.nanos / 1_000_000_000);
    let text = format!("{revisions} revisions and {seconds} s are to be kept, but {evidence}");
    Violation::new(RETENTION, text)
}
