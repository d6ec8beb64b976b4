//! Strict serializability of the whole store: every answer, body and all, is what a plain model of
//! the store says at that place in the one order that revisions and indexes tell.
//!
//! Rule: what each revision did is known from watchers; every revision must be explained by exactly
//! one request (answered there, or of unknown outcome and with just this effect) or by a lease that
//! ran out, and every answer must be the one that the state at its revision gives. No request may
//! stand before one that had returned when it was sent. Must never: judge an answer by a state that
//! nobody was told.

use super::{Violation, witness::TRUTH};
use crate::{
    journal::{Answer, Entry, Told},
    store::{Change, allow, evaluate::evaluate, request::Request, timeline::Timeline},
};
use std::collections::{BTreeMap, BTreeSet};

/// An answer that fits no place in the order.
pub const SERIALIZABILITY: &str = "strict serializability";
/// A request that took effect more than once, or answers that differ.
pub const EXACTLY_ONCE: &str = "exactly once";

/// What was judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explained {
    /// Answers that were worked out and found right.
    pub answers: u64,
    /// Answers at revisions that nobody was told of.
    pub unjudged: u64,
    /// Revisions made by requests of unknown outcome.
    pub unknown: u64,
    /// Revisions made by leases that ran out, with those leases.
    pub expired: BTreeMap<u64, BTreeSet<u64>>,
    /// Who made each revision, as an index into the entries.
    pub makers: BTreeMap<u64, usize>,
}

/// The newest revision and index that anybody had been told before an event.
#[derive(Debug, Clone, Default)]
pub struct Floor {
    /// By event number; both only rise.
    steps: BTreeMap<u64, (u64, u64)>,
}

impl Floor {
    /// Of everything that `entries` were told, and of what watchers were (event and revision).
    #[must_use]
    pub fn of(entries: &[Entry], heard: impl Iterator<Item = (u64, u64)>) -> Floor {
        let mut told: BTreeMap<u64, (u64, u64)> =
            heard.map(|(event, revision)| (event, (revision, 0))).collect();
        for (attempt, answer) in entries.iter().flat_map(Entry::answers) {
            if let Some((event, _)) = attempt.returned {
                // A repeat tells of the past.
                let index = if answer.replayed { 0 } else { answer.index };
                told.insert(event, (answer.revision, index));
            }
        }
        let (mut revision, mut index) = (0, 0);
        for step in told.values_mut() {
            revision = revision.max(step.0);
            index = index.max(step.1);
            *step = (revision, index);
        }
        Floor { steps: told }
    }

    /// The newest revision and index told before `event`.
    #[must_use]
    pub fn before(&self, event: u64) -> (u64, u64) {
        self.steps.range(..event).next_back().map_or((0, 0), |(_, step)| *step)
    }
}

/// Checks everything up to revision `top`.
///
/// # Errors
/// The first violation found.
pub fn check(
    entries: &[Entry],
    timeline: &Timeline,
    floor: &Floor,
    top: u64,
) -> Result<Explained, Violation> {
    let mut ledger =
        Ledger { entries, timeline, floor, explained: Explained::default(), made: BTreeMap::new() };
    if timeline.last() > top {
        let text = format!(
            "the store ends at revision {top}, but somebody was told what {} did: {:?}",
            timeline.last(),
            timeline.changes(timeline.last())
        );
        return Err(wrong(SERIALIZABILITY, text));
    }
    ledger.answers(top)?;
    ledger.order()?;
    ledger.writers(top)?;
    ledger.removals(top)?;
    Ok(ledger.explained)
}

struct Ledger<'a> {
    entries: &'a [Entry],
    timeline: &'a Timeline,
    floor: &'a Floor,
    explained: Explained,
    /// The revision that each entry made.
    made: BTreeMap<usize, u64>,
}

fn wrong(promise: &'static str, evidence: impl Into<String>) -> Violation {
    Violation::new(promise, evidence)
}

impl Ledger<'_> {
    fn answers(&mut self, top: u64) -> Result<(), Violation> {
        for (number, entry) in self.entries.iter().enumerate() {
            for (attempt, answer) in entry.answers() {
                if answer.revision > top {
                    return Err(wrong(
                        SERIALIZABILITY,
                        format!("the store ends at revision {top}, but {}", show(entry, answer)),
                    ));
                }
                self.in_real_time(entry, attempt.invoked.0, answer)?;
                if entry.request.is_write() {
                    self.write(number, answer)?;
                } else {
                    self.read(entry, answer)?;
                }
            }
        }
        Ok(())
    }

    /// Nothing stands before what had returned when it was sent.
    fn in_real_time(&self, entry: &Entry, invoked: u64, answer: &Answer) -> Result<(), Violation> {
        if entry.request.is_stale() {
            return Ok(());
        }
        // What takes effect once may have done so since it was first sent.
        let invoked = if answer.replayed { entry.invoked() } else { invoked };
        let (revision, index) = self.floor.before(invoked);
        let late = answer.revision < revision || (!answer.replayed && answer.index < index);
        if late {
            return Err(wrong(
                SERIALIZABILITY,
                format!(
                    "revision {revision} and index {index} had been told before it was sent: {}",
                    show(entry, answer)
                ),
            ));
        }
        Ok(())
    }

    fn read(&mut self, entry: &Entry, answer: &Answer) -> Result<(), Violation> {
        let at = match &entry.request {
            Request::Get { at, .. } => at.unwrap_or(answer.revision),
            Request::Scan(scan) => scan.at.unwrap_or(answer.revision),
            _ => answer.revision,
        };
        if let Request::Get { stale: Some(least), .. } = &entry.request
            && answer.revision < *least
        {
            let text = format!("revision {least} at least was asked for: {}", show(entry, answer));
            return Err(wrong(SERIALIZABILITY, text));
        }
        // Whether it may be forgotten is for the judge of compaction.
        if answer.status == 410 || !self.timeline.knows(at) {
            self.explained.unjudged += 1;
            return Ok(());
        }
        let ways = evaluate(self.timeline.view(at), &entry.request);
        if ways.iter().any(|way| way.is(answer.status, answer.body.as_ref())) {
            self.explained.answers += 1;
            return Ok(());
        }
        Err(wrong(
            SERIALIZABILITY,
            format!("at revision {at} it must be {ways:?}, but {}", show(entry, answer)),
        ))
    }

    fn write(&mut self, number: usize, answer: &Answer) -> Result<(), Violation> {
        let entry = &self.entries[number];
        let at = answer.revision;
        if !self.timeline.knows(at) || !self.timeline.knows(at - 1) {
            self.explained.unjudged += 1;
            return Ok(());
        }
        let body = answer.body.as_ref();
        let did = evaluate(self.timeline.view(at - 1), &entry.request);
        let effect = self.timeline.changes(at).is_some_and(|changes| {
            did.iter().any(|way| {
                !way.changes.is_empty()
                    && allow(&way.changes, changes)
                    && way.is(answer.status, body)
            })
        });
        if effect && self.floor.before(entry.invoked()).0 < at && self.claim(at, number)? {
            self.explained.answers += 1;
            return Ok(());
        }
        let idle = evaluate(self.timeline.view(at), &entry.request);
        let nothing = |way: &crate::store::evaluate::Expected| {
            way.changes.is_empty() && way.is(answer.status, body)
        };
        if idle.iter().any(nothing) {
            self.explained.answers += 1;
            return Ok(());
        }
        let changes = self.timeline.changes(at);
        let maker = self.explained.makers.get(&at).map(|other| &self.entries[*other]);
        Err(wrong(
            SERIALIZABILITY,
            format!(
                "revision {at} did {changes:?} (made by {maker:?}); the request would have done \
                 {did:?}, or after it {idle:?}; but {}",
                show(entry, answer)
            ),
        ))
    }

    /// Whether `entry` made `revision`: `false` when another did.
    fn claim(&mut self, revision: u64, entry: usize) -> Result<bool, Violation> {
        match self.made.get(&entry) {
            Some(made) if *made != revision => {
                return Err(wrong(
                    EXACTLY_ONCE,
                    format!(
                        "at revisions {made} and {revision} the same request took effect: {:?}",
                        self.entries[entry]
                    ),
                ));
            }
            _ => {}
        }
        if *self.explained.makers.entry(revision).or_insert(entry) != entry {
            return Ok(false);
        }
        self.made.insert(entry, revision);
        Ok(true)
    }

    /// The order of the log is the order of revisions.
    fn order(&self) -> Result<(), Violation> {
        let mut order: BTreeMap<u64, (u64, &Entry)> = BTreeMap::new();
        for entry in self.entries {
            for (_, answer) in entry.answers().filter(|(_, answer)| !answer.replayed) {
                let (revision, other) =
                    *order.entry(answer.index).or_insert((answer.revision, entry));
                if revision != answer.revision {
                    return Err(wrong(
                        SERIALIZABILITY,
                        format!("one index, two revisions: {other:?} and {entry:?}"),
                    ));
                }
            }
        }
        let mut before: Option<(u64, u64, &Entry)> = None;
        for (index, (revision, entry)) in order {
            if let Some((lower, newest, other)) = before
                && newest > revision
            {
                return Err(wrong(
                    SERIALIZABILITY,
                    format!(
                        "revision {newest} at index {lower}, then {revision} at {index}: {other:?} \
                         and {entry:?}"
                    ),
                ));
            }
            before = Some((index, revision, entry));
        }
        Ok(())
    }

    /// Whoever wrote a value that a revision shows has made that revision.
    fn writers(&mut self, top: u64) -> Result<(), Violation> {
        let entries = self.entries;
        let mut writers: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, entry) in entries.iter().enumerate() {
            writers.extend(entry.request.values().into_iter().map(|value| (value, number)));
        }
        for (revision, changes) in self.timeline.between(2, top) {
            let values = changes.iter().filter_map(|change| change.now.as_ref());
            for value in values.map(|record| record.value.as_str()) {
                let Some(&writer) = writers.get(value) else {
                    let text = format!("nobody wrote {value}, at revision {revision}");
                    return Err(wrong(SERIALIZABILITY, text));
                };
                let entry = &entries[writer];
                match self.explained.makers.get(&revision) {
                    Some(maker) if *maker == writer => continue,
                    Some(maker) => {
                        let other = &entries[*maker];
                        let text = format!("{other:?} and {entry:?} both made {revision}");
                        return Err(wrong(SERIALIZABILITY, text));
                    }
                    None => {}
                }
                self.unanswered(revision, writer, changes)?;
            }
        }
        Ok(())
    }

    /// `revision` shows a value of `writer`, whose answer was not judged to say so.
    fn unanswered(
        &mut self,
        revision: u64,
        writer: usize,
        changes: &[Change],
    ) -> Result<(), Violation> {
        let entry = &self.entries[writer];
        let evidence = format!("revision {revision} did {changes:?}, but {entry:?}");
        if entry.misused || self.made.contains_key(&writer) {
            return Err(wrong(EXACTLY_ONCE, evidence));
        }
        // The answer says so, but what it should have been depends on a stretch nobody heard of.
        let told = entry.answers().any(|(_, answer)| answer.revision == revision);
        if told && !self.timeline.knows(revision - 1) {
            self.claim(revision, writer)?;
            self.explained.unjudged += 1;
            return Ok(());
        }
        if !entry.is_open() {
            let refused = entry.attempts.iter().all(|a| matches!(a.told, Told::Refused { .. }));
            return Err(wrong(if refused { TRUTH } else { SERIALIZABILITY }, evidence));
        }
        if !self.timeline.knows(revision - 1) {
            self.explained.unjudged += 1;
            return Ok(());
        }
        if !self.could_make(writer, revision, changes) {
            return Err(wrong(SERIALIZABILITY, evidence));
        }
        self.claim(revision, writer)?;
        self.explained.unknown += 1;
        Ok(())
    }

    /// Whether the request, carried out right after the revision before, has just this effect.
    fn could_make(&self, entry: usize, revision: u64, changes: &[Change]) -> bool {
        let entry = &self.entries[entry];
        self.floor.before(entry.invoked()).0 < revision
            && evaluate(self.timeline.view(revision - 1), &entry.request)
                .iter()
                .any(|way| !way.changes.is_empty() && allow(&way.changes, changes))
    }

    /// Revisions that only removed keys, and that nobody was answered for: each needs a request of
    /// unknown outcome of its own, or leases that ran out.
    fn removals(&mut self, top: u64) -> Result<(), Violation> {
        let open: Vec<usize> = (0..self.entries.len())
            .filter(|n| self.entries[*n].request.is_write() && self.entries[*n].is_open())
            .filter(|n| !self.made.contains_key(n) && !self.entries[*n].misused)
            .collect();
        let mut wanted: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (revision, changes) in self.timeline.between(2, top) {
            if self.explained.makers.contains_key(&revision) || !self.timeline.knows(revision - 1) {
                continue;
            }
            let able: Vec<usize> =
                open.iter().copied().filter(|n| self.could_make(*n, revision, changes)).collect();
            match self.ran_out(revision, changes) {
                None => drop(wanted.insert(revision, able)),
                Some(leases) if able.is_empty() => {
                    self.explained.expired.insert(revision, leases);
                }
                // One or the other: who can tell?
                Some(_) => {}
            }
        }
        let mut taken: BTreeMap<usize, u64> = BTreeMap::new();
        for revision in wanted.keys() {
            if !matched(*revision, &wanted, &mut taken, &mut BTreeSet::new()) {
                let changes = self.timeline.changes(*revision);
                let text = format!("nobody made revision {revision}, which did {changes:?}");
                return Err(wrong(SERIALIZABILITY, text));
            }
        }
        for (entry, revision) in taken {
            self.claim(revision, entry)?;
            self.explained.unknown += 1;
        }
        Ok(())
    }

    /// The leases whose keys, all of them, are what the revision removed.
    fn ran_out(&self, revision: u64, changes: &[Change]) -> Option<BTreeSet<u64>> {
        let before = self.timeline.view(revision - 1);
        let mut leases = BTreeSet::new();
        for change in changes {
            let lease = before.get(&change.key)?.lease;
            if lease == 0 || change.now.is_some() {
                return None;
            }
            leases.insert(lease);
        }
        let all = before.range(&crate::store::request::Bounds::Prefix(String::new()));
        let theirs = all.into_iter().filter(|(_, record)| leases.contains(&record.lease)).count();
        (theirs == changes.len()).then_some(leases)
    }
}

/// Finds `revision` a request of its own, moving others if need be (Kuhn 1955).
fn matched(
    revision: u64,
    wanted: &BTreeMap<u64, Vec<usize>>,
    taken: &mut BTreeMap<usize, u64>,
    tried: &mut BTreeSet<usize>,
) -> bool {
    for &entry in wanted.get(&revision).into_iter().flatten() {
        if !tried.insert(entry) {
            continue;
        }
        let holder = taken.get(&entry).copied();
        if holder.is_none_or(|holder| matched(holder, wanted, taken, tried)) {
            taken.insert(entry, revision);
            return true;
        }
    }
    false
}

fn show(entry: &Entry, answer: &Answer) -> String {
    format!(
        "{} asked {:?} and was told {answer:?}; all of it: {entry:?}",
        entry.client, entry.request
    )
}
