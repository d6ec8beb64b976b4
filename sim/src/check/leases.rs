//! A lease does not end before its time, and no lock has two holders.
//!
//! Rule: whoever was told that a lease is granted or kept alive has it for its whole TTL from the
//! moment of asking, by any clock, less what the clocks were made to drift; a lock's tokens rise from
//! holder to holder. What a fence must stop is judged in the ledger. Must never: take a lease for
//! ended by the clock when somebody may have revoked it.

use super::{Violation, ledger::Explained};
use crate::{
    journal::{Answer, Attempt, Entry, Message, Session},
    store::{
        request::{Attach, Request, lock_key},
        timeline::Timeline,
    },
};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// A lease that ended too early.
pub const LEASES: &str = "a lease lasts as long as was promised";
/// Two holders, or tokens that do not rise.
pub const LOCKS: &str = "a lock has one holder at a time, and its tokens rise";

/// The clocks count milliseconds: each change of leaders may cost one.
const ROUNDING: u64 = 40_000_000;

/// What was judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Leases that ran out.
    pub expired: u64,
    /// Of these, those that had been kept alive.
    pub kept: u64,
    /// Locks that were acquired.
    pub acquired: u64,
    /// Writes under a fence that took effect.
    pub fenced_in: u64,
    /// Writes under a fence that were refused by it.
    pub fenced_out: u64,
}

/// How far clocks may have been apart, all in all, from the beginning to a moment (nanoseconds).
pub type Drift<'d> = &'d dyn Fn(u64) -> u64;

/// Checks all leases that ran out and all locks.
///
/// # Errors
/// The first violation found.
pub fn check(
    entries: &[Entry],
    sessions: &[Session],
    timeline: &Timeline,
    explained: &Explained,
    drift: Drift<'_>,
) -> Result<Held, Violation> {
    let mut held = Held::default();
    let promises = promises(entries, timeline, explained);
    let seen = first_seen(entries, sessions);
    for (revision, leases) in &explained.expired {
        // Whoever saw this revision or a later one saw that the keys are gone.
        let Some((_, gone)) = seen.range(revision..).min_by_key(|(_, at)| **at) else { continue };
        for lease in leases {
            held.expired += 1;
            let Some(promise) = promises.get(lease) else { continue };
            held.kept += u64::from(promise.kept);
            let due = (promise.since + promise.ttl).saturating_sub(drift(*gone) + ROUNDING);
            if *gone < due {
                return Err(Violation::new(
                    LEASES,
                    format!(
                        "lease {lease} was promised at {} for {} and ended at revision {revision}, \
                         seen at {}, with clocks {} apart; the promise: {:?}",
                        seconds(promise.since),
                        seconds(promise.ttl),
                        seconds(*gone),
                        seconds(drift(*gone)),
                        promise.entry
                    ),
                ));
            }
        }
    }
    locks(entries, timeline, &mut held)?;
    Ok(held)
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:06} s", nanos / 1_000_000_000, nanos / 1_000 % 1_000_000)
}

/// The latest promise about a lease.
struct Promise<'e> {
    /// When it was asked for: the lease counts from here or later.
    since: u64,
    ttl: u64,
    kept: bool,
    entry: &'e Entry,
}

fn promises<'e>(
    entries: &'e [Entry],
    timeline: &Timeline,
    explained: &Explained,
) -> BTreeMap<u64, Promise<'e>> {
    let mut promises: BTreeMap<u64, Promise<'e>> = BTreeMap::new();
    let mut promise = |lease: u64, ttl: u64, kept, since, entry| {
        let known = promises.entry(lease).or_insert(Promise { since, ttl, kept, entry });
        if known.since <= since {
            *known = Promise { since, ttl, kept: kept || known.kept, entry };
        }
    };
    let mut ttls: BTreeMap<u64, u64> = BTreeMap::new();
    for (number, entry) in entries.iter().enumerate() {
        let Some((attempt, _)) = entry.answers().find(|(_, answer)| answer.status < 300) else {
            continue;
        };
        let since = asked(entry, attempt);
        match &entry.request {
            Request::Grant { id, ttl } => {
                ttls.insert(*id, *ttl);
                promise(*id, ttl * 1_000_000, false, since, entry);
            }
            Request::Put { attach: Attach::Ttl(ttl), key, .. } => {
                let made = explained.makers.iter().find(|(_, maker)| **maker == number);
                let record = made.and_then(|(revision, _)| timeline.view(*revision).get(key));
                if let Some(record) = record {
                    promise(record.lease, ttl * 1_000_000, false, since, entry);
                }
            }
            Request::Lock { ttl, .. } => {
                if let Some(lease) = lease_of(entry) {
                    ttls.insert(lease, *ttl);
                    promise(lease, ttl * 1_000_000, false, since, entry);
                }
            }
            _ => {}
        }
    }
    for entry in entries {
        let Request::KeepAlive { id } = entry.request else { continue };
        let kept = entry.answers().filter(|(_, answer)| answer.status < 300);
        if let (Some((attempt, _)), Some(ttl)) = (kept.last(), ttls.get(&id)) {
            promise(id, ttl * 1_000_000, true, asked(entry, attempt), entry);
        }
    }
    promises
}

/// The earliest moment at which what `attempt` was answered may have taken effect.
fn asked(entry: &Entry, attempt: &Attempt) -> u64 {
    let first = entry.attempts.first().map_or(0, |first| first.invoked.1);
    let own = entry.answers().find(|(_, answer)| !answer.replayed);
    match own {
        Some((own, _)) if std::ptr::eq(own, attempt) && !entry.is_open() => attempt.invoked.1,
        _ if entry.key.is_none() => attempt.invoked.1,
        _ => first,
    }
}

fn lease_of(entry: &Entry) -> Option<u64> {
    entry.answer()?.1.body.as_ref()?.get("lease")?.as_str()?.parse().ok()
}

/// When each revision was first shown to anybody (nanoseconds).
fn first_seen(entries: &[Entry], sessions: &[Session]) -> BTreeMap<u64, u64> {
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    let mut note = |revision: u64, at: u64| {
        let known = seen.entry(revision).or_insert(at);
        *known = at.min(*known);
    };
    for (attempt, answer) in entries.iter().flat_map(Entry::answers) {
        // Registers' clocks are not noted.
        if let Some((_, at)) = attempt.returned.filter(|(_, at)| *at > 0) {
            note(answer.revision, at);
        }
    }
    for (_, at, message) in sessions.iter().flat_map(|session| &session.messages) {
        match message {
            Message::Sync(revision)
            | Message::Progress(revision)
            | Message::Change { revision, .. } => note(*revision, *at),
            Message::Lag | Message::Error(_) => {}
        }
    }
    seen
}

/// Tokens are the revisions at which the lock's key was made, so they rise; that every holder was
/// told his own is left to check.
fn locks(entries: &[Entry], timeline: &Timeline, held: &mut Held) -> Result<(), Violation> {
    let mut holders: BTreeMap<(&str, u64), &Entry> = BTreeMap::new();
    for entry in entries {
        let status = entry.answer().map(|(_, answer)| answer.status);
        match (&entry.request, status) {
            (Request::Fenced { .. }, Some(200 | 201)) => held.fenced_in += 1,
            (Request::Fenced { .. }, Some(412)) => held.fenced_out += 1,
            (Request::Lock { name, .. }, Some(200)) => {
                held.acquired += 1;
                for (_, answer) in entry.answers().filter(|(_, answer)| answer.status == 200) {
                    let token = token_of(answer).ok_or_else(|| wrong("has no token", entry))?;
                    let holder = *holders.entry((name, token)).or_insert(entry);
                    if !std::ptr::eq(holder, entry) {
                        return Err(wrong(&format!("has the token of {holder:?}"), entry));
                    }
                    if timeline.knows(token) && !made_at(timeline, name, token) {
                        return Err(wrong("has a token of no acquisition", entry));
                    }
                }
            }
            _ => {}
        }
    }
    rising(entries)
}

/// Whoever asked after another had been told his token has a larger one.
fn rising(entries: &[Entry]) -> Result<(), Violation> {
    let mut told: BTreeMap<&str, BTreeMap<u64, (u64, &Entry)>> = BTreeMap::new();
    for entry in entries {
        let Request::Lock { name, .. } = &entry.request else { continue };
        for (attempt, answer) in entry.answers() {
            if let (Some((event, _)), Some(token)) = (attempt.returned, token_of(answer)) {
                told.entry(name).or_default().insert(event, (token, entry));
            }
        }
    }
    for (name, told) in told {
        for (token, entry) in told.values() {
            let before = told.range(..entry.invoked()).map(|(_, before)| before);
            if let Some((other, holder)) = before.max_by_key(|(token, _)| *token)
                && other >= token
            {
                let text = format!("of lock {name} has token {token} after {other} of {holder:?}");
                return Err(wrong(&text, entry));
            }
        }
    }
    Ok(())
}

fn made_at(timeline: &Timeline, name: &str, token: u64) -> bool {
    timeline.view(token).get(&lock_key(name)).is_some_and(|record| record.created == token)
}

fn token_of(answer: &Answer) -> Option<u64> {
    answer.body.as_ref()?.get("token").and_then(Json::as_u64)
}

fn wrong(what: &str, entry: &Entry) -> Violation {
    Violation::new(LOCKS, format!("{entry:?} {what}"))
}
