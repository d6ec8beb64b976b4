//! All judges over one run's records.
//!
//! Rule: what each revision did is taken from those who watched everything; then each judge looks at
//! everything for himself. Must never: stop at the first judge who objects.

use crate::{
    check::{
        Violation, blackbox, forgetting, leases,
        ledger::{self, Floor},
        once, watching, witness,
    },
    history::History,
    journal::{Entry, Message, Notes, Session, Told},
    plan::Settings,
    run::Coverage,
    store::{Record, request::Request, timeline::Timeline},
};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Steps the black-box search may take for one key.
const SEARCH_STEPS: u64 = 50_000;

/// What is known of a run besides what clients noted.
pub struct Facts<'f> {
    /// The store's last revision; without it, only the registers can be judged.
    pub top: Option<u64>,
    /// The cluster's settings.
    pub settings: Settings,
    /// How far clocks can have come apart until a moment (nanoseconds).
    pub apart: &'f dyn Fn(u64) -> u64,
}

/// Judges a run.
pub fn judge(
    history: &History,
    notes: Notes,
    facts: &Facts<'_>,
    covered: &mut Coverage,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut others = None;
    if let Some(top) = facts.top {
        let entries: Vec<Entry> = notes
            .entries
            .into_iter()
            .chain(history.operations().iter().map(Entry::of_register))
            .collect();
        let mut timeline = Timeline::default();
        violations.extend(watching::learn(&notes.sessions, &mut timeline).err());
        lists(&entries, &mut timeline);
        timeline.seal(top);
        covered.holes = timeline.holes().len() as u64;
        others = Some(not_of_registers(&timeline, top));
        let floor = Floor::of(&entries, heard(&notes.sessions));
        match ledger::check(&entries, &timeline, &floor, top) {
            Ok(explained) => covered.explained = explained,
            Err(violation) => violations.push(violation),
        }
        match watching::check(&notes.sessions, &timeline, &floor) {
            Ok(heard) => covered.heard = heard,
            Err(violation) => violations.push(violation),
        }
        let sessions = &notes.sessions;
        match leases::check(&entries, sessions, &timeline, &covered.explained, facts.apart) {
            Ok(held) => covered.held = held,
            Err(violation) => violations.push(violation),
        }
        covered.no_room = entries.iter().filter(|entry| had_no_room(entry)).count() as u64;
        let Settings { keep_ms, revisions, .. } = facts.settings;
        let keep = forgetting::Keep { revisions, nanos: keep_ms * 1_000_000, apart: facts.apart };
        let makers = &covered.explained.makers;
        match forgetting::check(&entries, sessions, &floor, makers, &keep) {
            Ok(forgotten) => covered.forgotten = forgotten,
            Err(violation) => violations.push(violation),
        }
        match once::check(&entries) {
            Ok(repeats) => covered.repeats = repeats,
            Err(violation) => violations.push(violation),
        }
    }
    // Without the others' revisions, the order of the registers alone has gaps.
    if let Some(others) = others {
        violations.extend(witness::check_among(history, &others).err());
    }
    match blackbox::check(history, SEARCH_STEPS) {
        Ok(searched) => {
            covered.searched = searched.decided as u64;
            covered.unsearched = searched.undecided as u64;
        }
        Err(violation) => violations.push(violation),
    }
    violations
}

fn had_no_room(entry: &Entry) -> bool {
    entry.attempts.iter().any(|attempt| match &attempt.told {
        Told::Refused { code } => code == "quota_exceeded" || code == "no_space",
        _ => false,
    })
}

/// Revisions and the events at which watchers heard of them.
fn heard(sessions: &[Session]) -> impl Iterator<Item = (u64, u64)> {
    sessions.iter().flat_map(|session| &session.messages).filter_map(|(event, _, message)| {
        match message {
            Message::Sync(revision)
            | Message::Progress(revision)
            | Message::Change { revision, .. } => Some((*event, *revision)),
            Message::Lag | Message::Error(_) => None,
        }
    })
}

/// Whoever listed the whole store knows the state then.
fn lists(entries: &[Entry], timeline: &mut Timeline) {
    for entry in entries {
        let Request::Scan(scan) = &entry.request else { continue };
        if !scan.prefix.is_empty() || scan.after.is_some() || scan.keys_only {
            continue;
        }
        for (_, answer) in entry.answers().filter(|(_, answer)| answer.status == 200) {
            let Some(body) = answer.body.as_ref().filter(|body| body.get("next").is_none()) else {
                continue;
            };
            let items = body.get("items").and_then(Json::as_array).into_iter().flatten();
            let items: BTreeMap<String, Record> = items.filter_map(Record::parse).collect();
            timeline.list(scan.at.unwrap_or(answer.revision), items);
        }
    }
}

/// The revisions that concern no register, and those nobody was told of.
fn not_of_registers(timeline: &Timeline, top: u64) -> witness::Others {
    let mut others = witness::Others::default();
    for revision in 2..=top {
        match timeline.changes(revision) {
            None => drop(others.unheard.insert(revision)),
            Some(changes) if changes.iter().any(|change| change.key.starts_with('k')) => {}
            Some(_) => drop(others.apart.insert(revision)),
        }
    }
    others
}
