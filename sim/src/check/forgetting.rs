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

/// History that is gone too soon.
pub const RETENTION: &str = "history is kept as long as was promised";

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

/// Checks every refusal; `keep` revisions are always kept.
///
/// # Errors
/// The first violation found.
pub fn check(
    entries: &[Entry],
    sessions: &[Session],
    floor: &Floor,
    keep: u64,
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
    // A refusal that came at `event`, when the store had come to `revision` at least.
    let allowed = |oldest: u64, revision: u64, event: u64| {
        oldest + keep <= revision
            || asked.iter().any(|(invoked, up_to)| *invoked < event && *up_to >= oldest)
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
            let event = attempt.returned.map_or(u64::MAX, |(event, _)| event);
            let oldest = oldest(answer).filter(|oldest| wanted < *oldest);
            if !oldest.is_some_and(|oldest| allowed(oldest, answer.revision, event)) {
                return Err(wrong(format!("{entry:?}, keeping {keep} revisions")));
            }
        }
    }
    for session in sessions {
        let Some(Refusal { event, oldest: Some(oldest), revision, .. }) = session.refused else {
            continue;
        };
        forgotten.watches += 1;
        let revision = revision.max(floor.before(event).0);
        let since = session.since.unwrap_or(u64::MAX);
        if since >= oldest || !allowed(oldest, revision, event) {
            return Err(wrong(format!("{session:?}, keeping {keep} revisions")));
        }
    }
    Ok(forgotten)
}

fn oldest(answer: &Answer) -> Option<u64> {
    answer.body.as_ref()?.get("oldest").and_then(Json::as_u64)
}

fn wrong(evidence: String) -> Violation {
    Violation::new(RETENTION, evidence)
}
