//! Linearizability by certificate: the order is in the answers.
//!
//! Rule: every answer names its log index and the store's revision. If all answers fit the state at
//! their revision, and no operation is placed before one that had returned when it was invoked, the
//! reported order *is* a linearization (O(n log n)). Writes of unknown outcome are placed by who
//! saw them; a revision nobody explains must have an unknown write to explain it. Must never: need
//! the true outcome of an operation that no client learnt.

use super::Violation;
use crate::history::{Answer, Call, Guard, History, Key, Operation, Outcome, Reply, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Breaks of linearizability.
pub const LINEARIZABILITY: &str = "linearizability";
/// An acknowledged write is gone.
pub const DURABILITY: &str = "durability of acknowledged writes";
/// A write that was said to have no effect has one.
pub const TRUTH: &str = "truth of applied: no";

/// The revision of an empty store.
const EMPTY_REVISION: u64 = 1;

/// Checks a history.
///
/// # Errors
/// The first violation found.
pub fn check(history: &History) -> Result<(), Violation> {
    check_among(history, &Others::default())
}

/// The revisions that the judged clients need not have made.
#[derive(Debug, Clone, Default)]
pub struct Others {
    /// Those that are known to concern none of the history's keys.
    pub apart: BTreeSet<u64>,
    /// Those of which nobody was told what they did.
    pub unheard: BTreeSet<u64>,
}

/// Checks a history of some of a store's clients.
///
/// # Errors
/// The first violation found.
pub fn check_among(history: &History, others: &Others) -> Result<(), Violation> {
    let mut order = Order { history, others, writers: BTreeMap::new(), timeline: BTreeMap::new() };
    order.index_writers();
    order.place_acknowledged()?;
    order.place_seen()?;
    order.check_gaps()?;
    for operation in history.operations() {
        if let Some(answer) = operation.answer() {
            order.check_answer(operation, answer)?;
        }
    }
    order.check_real_time()
}

/// What a revision did to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Set(Value),
    Delete,
}

struct Order<'a> {
    history: &'a History,
    /// Revisions that other clients made, or may have made.
    others: &'a Others,
    /// Who wrote a value.
    writers: BTreeMap<Value, usize>,
    /// What is known of every revision: the operation, and its index if it was answered.
    timeline: BTreeMap<u64, Placed<'a>>,
}

#[derive(Debug, Clone, Copy)]
struct Placed<'a> {
    operation: &'a Operation,
    index: Option<u64>,
}

impl Placed<'_> {
    fn change(&self, key: Key) -> Option<Change> {
        match &self.operation.call {
            Call::Set { pairs, .. } => {
                pairs.iter().rev().find(|(k, _)| *k == key).map(|(_, value)| Change::Set(*value))
            }
            Call::Delete { key: k, .. } if *k == key => Some(Change::Delete),
            _ => None,
        }
    }
}

/// A key's state at a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    /// Value and revision of the last known change; `None`: no such key.
    current: Option<(Value, u64)>,
    /// Whether an unknown delete may have removed it since.
    perhaps_deleted: bool,
    /// Whether an unknown write that nobody saw may have changed it since.
    perhaps_changed: bool,
}

impl<'a> Order<'a> {
    fn index_writers(&mut self) {
        for (number, operation) in self.history.operations().iter().enumerate() {
            if let Call::Set { pairs, .. } = &operation.call {
                self.writers.extend(pairs.iter().map(|(_, value)| (*value, number)));
            }
        }
    }

    fn place(&mut self, revision: u64, placed: Placed<'a>) -> Result<(), Violation> {
        match self.timeline.insert(revision, placed) {
            Some(before) if !std::ptr::eq(before.operation, placed.operation) => {
                Err(Violation::new(
                    LINEARIZABILITY,
                    format!(
                        "two writes at revision {revision}: {} and {}",
                        before.operation, placed.operation
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    fn place_acknowledged(&mut self) -> Result<(), Violation> {
        for operation in self.history.operations() {
            if let Outcome::Done(Answer { index, revision, result: Reply::Written }) =
                operation.outcome
            {
                self.place(revision, Placed { operation, index: Some(index) })?;
            }
        }
        let mut last: Option<(u64, Placed<'_>)> = None;
        for (revision, placed) in &self.timeline {
            if let Some((before, other)) = last
                && placed.index <= other.index
            {
                return Err(Violation::new(
                    LINEARIZABILITY,
                    format!(
                        "revisions {before} and {revision} are not in order of their index: {} \
                         and {}",
                        other.operation, placed.operation
                    ),
                ));
            }
            last = Some((*revision, *placed));
        }
        Ok(())
    }

    /// Places writes of unknown outcome where readers saw them.
    fn place_seen(&mut self) -> Result<(), Violation> {
        let history = self.history;
        for operation in history.operations() {
            let Some((value, modified)) = seen(operation) else { continue };
            let Some(writer) = self.writers.get(&value).map(|n| &history.operations()[*n]) else {
                return Err(Violation::new(
                    LINEARIZABILITY,
                    format!("a value nobody wrote: {operation}"),
                ));
            };
            match &writer.outcome {
                Outcome::Unknown => {
                    self.place(modified, Placed { operation: writer, index: None })?;
                }
                Outcome::Refused => {
                    return Err(Violation::new(
                        TRUTH,
                        format!("{writer} was said to have no effect, but {operation}"),
                    ));
                }
                Outcome::Done(Answer { result: Reply::Written, .. }) => {}
                Outcome::Done(_) => {
                    return Err(Violation::new(
                        LINEARIZABILITY,
                        format!("a conflict had an effect: {writer}, seen by {operation}"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn unknown_writes(&self) -> impl Iterator<Item = &'a Operation> + '_ {
        let placed: BTreeSet<*const Operation> =
            self.timeline.values().map(|placed| std::ptr::from_ref(placed.operation)).collect();
        self.history.operations().iter().filter(move |operation| {
            operation.call.is_write()
                && operation.outcome == Outcome::Unknown
                && !placed.contains(&std::ptr::from_ref(*operation))
        })
    }

    /// How many revisions in `first..=last` are explained.
    fn known(&self, first: u64, last: u64) -> u64 {
        if first > last {
            return 0;
        }
        let others = self.unplaced(&self.others.apart, first, last);
        self.timeline.range(first..=last).count() as u64 + others
    }

    /// How many of `revisions` in `first..=last` no request of the history is known to have made.
    fn unplaced(&self, revisions: &BTreeSet<u64>, first: u64, last: u64) -> u64 {
        let within = revisions.range(first..=last);
        within.filter(|revision| !self.timeline.contains_key(revision)).count() as u64
    }

    /// The store's revision rises by one with every change, and by nothing else.
    fn check_gaps(&self) -> Result<(), Violation> {
        let top = self
            .history
            .operations()
            .iter()
            .filter_map(|operation| operation.answer())
            .map(|answer| answer.revision)
            .max()
            .unwrap_or(EMPTY_REVISION);
        let known = self.known(EMPTY_REVISION + 1, top);
        let unheard = self.unplaced(&self.others.unheard, EMPTY_REVISION + 1, top);
        let unexplained = top.saturating_sub(EMPTY_REVISION).saturating_sub(known + unheard);
        let unknown = self.unknown_writes().count() as u64;
        if unexplained > unknown {
            let gap = (EMPTY_REVISION + 1..=top)
                .find(|r| self.known(*r, *r) == 0 && !self.others.unheard.contains(r));
            return Err(Violation::new(
                LINEARIZABILITY,
                format!(
                    "{unexplained} revisions up to {top} (the first is {gap:?}) were made by \
                     nobody: only {unknown} writes have an unknown outcome"
                ),
            ));
        }
        Ok(())
    }

    /// The state of `key` after revision `at`, as an operation that returned at `returned` may
    /// have seen it.
    fn state(&self, key: Key, at: u64, returned: Option<u64>) -> State {
        let mut current = None;
        let mut since = EMPTY_REVISION;
        for (revision, placed) in self.timeline.range(..=at).rev() {
            if let Some(change) = placed.change(key) {
                current = match change {
                    Change::Set(value) => Some((value, *revision)),
                    Change::Delete => None,
                };
                since = *revision;
                break;
            }
        }
        let known = self.known(since + 1, at);
        let gap = at > since && known < at - since;
        let mut state = State { current, perhaps_deleted: false, perhaps_changed: false };
        if gap {
            for operation in self.unknown_writes() {
                let in_time = returned.is_none_or(|returned| operation.invoked < returned);
                if in_time && operation.call.keys().any(|k| k == key) {
                    state.perhaps_changed = true;
                    state.perhaps_deleted |= matches!(operation.call, Call::Delete { .. });
                }
            }
        }
        state
    }

    fn check_answer(&self, operation: &Operation, answer: &Answer) -> Result<(), Violation> {
        let Answer { index, revision, result } = answer;
        match (&operation.call, result) {
            (Call::Get { key, .. }, Reply::Found { value, modified }) => {
                let state = self.state(*key, *revision, operation.returned);
                if state.current != Some((*value, *modified)) {
                    return Err(mismatch(operation, *revision, state));
                }
            }
            (Call::Get { key, .. } | Call::Delete { key, .. }, Reply::Missing) => {
                let state = self.state(*key, *revision, operation.returned);
                if state.current.is_some() && !state.perhaps_deleted {
                    return Err(mismatch(operation, *revision, state));
                }
            }
            (Call::Set { guard, .. } | Call::Delete { guard, .. }, Reply::Written) => {
                for key in operation.call.keys() {
                    let before = self.state(key, revision - 1, operation.returned);
                    if !holds(*guard, before) {
                        return Err(mismatch(operation, revision - 1, before));
                    }
                }
            }
            (Call::Set { guard, .. } | Call::Delete { guard, .. }, Reply::Conflict) => {
                let fails = operation
                    .call
                    .keys()
                    .map(|key| self.state(key, *revision, operation.returned))
                    .any(|state| fails(*guard, state));
                if !fails {
                    return Err(Violation::new(
                        LINEARIZABILITY,
                        format!("the guard held at revision {revision}: {operation}"),
                    ));
                }
            }
            _ => {
                return Err(Violation::new(
                    LINEARIZABILITY,
                    format!("an answer to another question: {operation}"),
                ));
            }
        }
        self.check_index(operation, *index, *revision)
    }

    /// No operation may be placed before one that had returned when it was invoked.
    fn check_real_time(&self) -> Result<(), Violation> {
        let seen: BTreeMap<*const Operation, u64> = self
            .timeline
            .iter()
            .map(|(revision, placed)| (std::ptr::from_ref(placed.operation), *revision))
            .collect();
        let mut events: BTreeMap<u64, (bool, &Operation)> = BTreeMap::new();
        for operation in self.history.operations() {
            if !matches!(operation.call, Call::Get { stale: true, .. }) {
                events.insert(operation.invoked, (false, operation));
                if let Some(returned) = operation.returned {
                    events.insert(returned, (true, operation));
                }
            }
        }
        let mut newest: Option<(&Operation, u64, u64)> = None;
        for (is_return, operation) in events.into_values() {
            let index = operation.answer().map(|answer| answer.index);
            let revision = match operation.answer() {
                Some(answer) => answer.revision,
                None => match seen.get(&std::ptr::from_ref(operation)) {
                    Some(revision) => *revision,
                    None => continue,
                },
            };
            if is_return {
                let Some(index) = index else { continue };
                if newest.is_none_or(|(_, newest, _)| newest < index) {
                    newest = Some((operation, index, revision));
                }
                continue;
            }
            let Some((before, newest_index, newest_revision)) = newest else { continue };
            let write = operation.call.is_write();
            let too_early = index
                .is_some_and(|index| index < newest_index || (write && index == newest_index))
                || revision < newest_revision
                || (index.is_none() && revision == newest_revision);
            if too_early {
                return Err(Violation::new(
                    LINEARIZABILITY,
                    format!(
                        "{operation} takes effect at revision {revision}, although before it was \
                         invoked {before}"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The answer's index lies between the writes around its revision.
    fn check_index(
        &self,
        operation: &Operation,
        index: u64,
        revision: u64,
    ) -> Result<(), Violation> {
        let before = self.timeline.get(&revision).and_then(|placed| placed.index);
        let after = self.timeline.get(&(revision + 1)).and_then(|placed| placed.index);
        if before.is_some_and(|before| index < before) || after.is_some_and(|after| index >= after)
        {
            return Err(Violation::new(
                LINEARIZABILITY,
                format!(
                    "revision {revision} was made at index {before:?} and the next at {after:?}, \
                     but {operation}"
                ),
            ));
        }
        Ok(())
    }
}

/// The value that the answer proves to have been there, and its revision.
fn seen(operation: &Operation) -> Option<(Value, u64)> {
    match (operation.answer()?.result, &operation.call) {
        (Reply::Found { value, modified }, _) => Some((value, modified)),
        (
            Reply::Written,
            Call::Set { guard: Guard::At { revision, value }, .. }
            | Call::Delete { guard: Guard::At { revision, value }, .. },
        ) => Some((*value, *revision)),
        _ => None,
    }
}

fn holds(guard: Guard, state: State) -> bool {
    match guard {
        Guard::Always => true,
        Guard::Absent => state.current.is_none() || state.perhaps_deleted,
        Guard::At { revision, value } => state.current == Some((value, revision)),
    }
}

fn fails(guard: Guard, state: State) -> bool {
    match guard {
        Guard::Always => false,
        Guard::Absent => state.current.is_some() || state.perhaps_changed,
        Guard::At { revision, value } => {
            state.current != Some((value, revision)) || state.perhaps_changed
        }
    }
}

fn mismatch(operation: &Operation, revision: u64, state: State) -> Violation {
    let expected = match state.current {
        Some((value, modified)) => format!("value {value} since revision {modified}"),
        None => "no such key".to_owned(),
    };
    // A read that finds less than was acknowledged is a lost write, and worth its own name.
    let lost = matches!(operation.outcome, Outcome::Done(Answer { result: Reply::Missing, .. }));
    Violation::new(
        if lost { DURABILITY } else { LINEARIZABILITY },
        format!("at revision {revision} there is {expected}, but {operation}"),
    )
}
