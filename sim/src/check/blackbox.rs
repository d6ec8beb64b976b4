//! Linearizability by search, blind to what the server says about order.
//!
//! Rule: for each key on its own (a linearizable store is linearizable key by key), find an order of
//! its operations that a plain register with compare-and-set allows and real time permits (Wing and
//! Gong 1993, with Lowe's memory of visited configurations). A server that lies consistently in its
//! indexes is still caught. Must never: run without a bound; a search that is cut off says so.

use super::{Violation, witness::LINEARIZABILITY};
use crate::history::{Answer, Call, Guard, History, Key, Outcome, Reply, Value};
use std::collections::{BTreeMap, HashSet};

/// What the search found for a whole history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Keys for which an order was found.
    pub decided: usize,
    /// Keys for which the search was cut off.
    pub undecided: usize,
}

/// What an operation does to one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It saw this state (0: no such key).
    Read(Value),
    /// It saw another state than this one.
    ReadOther(Value),
    /// It set the state.
    Write(Value),
    /// It found the first state and set the second.
    Swap(Value, Value),
    /// It found any state but "no such key", and removed the key.
    Remove,
    /// Unknown outcome: if it finds the first state, it sets the second; else it does nothing.
    Perhaps(Option<Value>, Value),
}

#[derive(Debug, Clone, Copy)]
struct Item {
    effect: Effect,
    invoked: u64,
    /// `u64::MAX`: it may take effect at any time, or never.
    returned: u64,
    operation: usize,
}

/// Searches an order for every key, with at most `steps` steps for each.
///
/// # Errors
/// The first key for which there is certainly none.
pub fn check(history: &History, steps: u64) -> Result<Coverage, Violation> {
    let mut keys: BTreeMap<Key, Vec<Item>> = BTreeMap::new();
    for (number, operation) in history.operations().iter().enumerate() {
        for key in operation.call.keys() {
            if let Some(effect) = effect(&operation.call, &operation.outcome, key) {
                keys.entry(key).or_default().push(Item {
                    effect,
                    invoked: operation.invoked,
                    returned: operation.returned.unwrap_or(u64::MAX),
                    operation: number,
                });
            }
        }
    }
    let mut coverage = Coverage::default();
    for (key, items) in keys {
        match Search::new(&items).run(steps) {
            Verdict::Ordered => coverage.decided += 1,
            Verdict::CutOff => coverage.undecided += 1,
            Verdict::None { deepest } => {
                let stuck = items
                    .get(deepest)
                    .map(|item| history.operations()[item.operation].to_string())
                    .unwrap_or_default();
                let count = items.len();
                return Err(Violation::new(
                    LINEARIZABILITY,
                    format!(
                        "no order of the {count} operations on key {key} explains its answers; no \
                         order gets past {stuck}"
                    ),
                ));
            }
        }
    }
    Ok(coverage)
}

/// What is known of an operation's effect on `key`; `None` when it has and saw none.
fn effect(call: &Call, outcome: &Outcome, key: Key) -> Option<Effect> {
    const MISSING: Value = 0;
    let result = match outcome {
        Outcome::Refused => return None,
        Outcome::Unknown => None,
        Outcome::Done(Answer { result, .. }) => Some(*result),
    };
    let (guard, new) = match call {
        Call::Get { stale: true, .. } => return None,
        Call::Get { .. } => {
            return Some(Effect::Read(match result? {
                Reply::Found { value, .. } => value,
                _ => MISSING,
            }));
        }
        Call::Set { pairs, guard } => {
            let value = pairs.iter().rev().find(|(k, _)| *k == key).map(|(_, value)| *value)?;
            // With several keys, another key may be the one whose guard failed.
            if result == Some(Reply::Conflict) && pairs.len() > 1 {
                return None;
            }
            (*guard, value)
        }
        Call::Delete { guard, .. } => (*guard, MISSING),
    };
    let expected = match guard {
        Guard::Always => None,
        Guard::Absent => Some(MISSING),
        Guard::At { value, .. } => Some(value),
    };
    Some(match (result, expected) {
        (None, expected) => Effect::Perhaps(expected, new),
        (Some(Reply::Missing), _) => Effect::Read(MISSING),
        (Some(Reply::Conflict), Some(expected)) => Effect::ReadOther(expected),
        (Some(_), Some(expected)) => Effect::Swap(expected, new),
        (Some(_), None) if new == MISSING => Effect::Remove,
        (Some(_), None) => Effect::Write(new),
    })
}

impl Effect {
    /// The state after it, if it fits the state before.
    fn step(self, state: Value) -> Option<Value> {
        match self {
            Effect::Read(seen) => (seen == state).then_some(state),
            Effect::ReadOther(expected) => (expected != state).then_some(state),
            Effect::Write(value) => Some(value),
            Effect::Swap(expected, value) => (expected == state).then_some(value),
            Effect::Remove => (state != 0).then_some(0),
            Effect::Perhaps(Some(expected), value) => (expected == state).then_some(value),
            Effect::Perhaps(None, value) => Some(value),
        }
    }

    fn only_reads(self) -> bool {
        matches!(self, Effect::Read(_) | Effect::ReadOther(_))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ordered,
    CutOff,
    None { deepest: usize },
}

/// Which operations are placed: all before `first`, and those in `above`. Sparse, because only
/// concurrent operations are out of order: memory stays linear where bit sets would be quadratic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Configuration {
    first: u32,
    above: Vec<u32>,
    state: Value,
}

struct Frame {
    configuration: Configuration,
    candidates: Vec<u32>,
}

struct Search<'a> {
    items: &'a [Item],
    visited: HashSet<Configuration>,
    deepest: usize,
}

impl<'a> Search<'a> {
    /// `items` are in order of invocation.
    fn new(items: &'a [Item]) -> Search<'a> {
        Search { items, visited: HashSet::new(), deepest: 0 }
    }

    fn run(&mut self, steps: u64) -> Verdict {
        let start = self.settle(Configuration { first: 0, above: Vec::new(), state: 0 });
        let mut stack = vec![self.frame(start)];
        let mut left = steps;
        while let Some(frame) = stack.last_mut() {
            if self.is_complete(&frame.configuration) {
                return Verdict::Ordered;
            }
            let Some(candidate) = frame.candidates.pop() else {
                stack.pop();
                continue;
            };
            left = match left.checked_sub(1) {
                Some(left) => left,
                None => return Verdict::CutOff,
            };
            let state = frame.configuration.state;
            let Some(state) = self.items[candidate as usize].effect.step(state) else { continue };
            let next = place(&frame.configuration, candidate, state);
            let next = self.settle(next);
            self.deepest = self.deepest.max(next.first as usize);
            if self.visited.insert(next.clone()) {
                let frame = self.frame(next);
                stack.push(frame);
            }
        }
        Verdict::None { deepest: self.deepest }
    }

    /// Places every read that fits: placing it as early as possible never hurts.
    fn settle(&self, mut configuration: Configuration) -> Configuration {
        loop {
            let fitting = self.candidates(&configuration).into_iter().find(|candidate| {
                let effect = self.items[*candidate as usize].effect;
                effect.only_reads() && effect.step(configuration.state).is_some()
            });
            let Some(read) = fitting else { return configuration };
            configuration = place(&configuration, read, configuration.state);
        }
    }

    fn frame(&self, configuration: Configuration) -> Frame {
        let mut candidates = self.candidates(&configuration);
        // Popped from the end: the earliest to return first, it is the likeliest.
        candidates.sort_by_key(|c| std::cmp::Reverse(self.items[*c as usize].returned));
        Frame { configuration, candidates }
    }

    /// Operations that may come next: invoked before any unplaced one has returned.
    fn candidates(&self, configuration: &Configuration) -> Vec<u32> {
        let mut candidates = Vec::new();
        let mut bound = u64::MAX;
        let mut above = configuration.above.iter().peekable();
        for (number, item) in
            (configuration.first..).zip(&self.items[configuration.first as usize..])
        {
            if above.next_if(|placed| **placed == number).is_some() {
                continue;
            }
            if item.invoked > bound {
                break;
            }
            bound = bound.min(item.returned);
            candidates.push(number);
        }
        candidates
    }

    /// Everything that returned is placed; what did not return need not be.
    fn is_complete(&self, configuration: &Configuration) -> bool {
        let rest = (configuration.first..).zip(&self.items[configuration.first as usize..]);
        rest.into_iter().all(|(number, item)| {
            item.returned == u64::MAX || configuration.above.binary_search(&number).is_ok()
        })
    }
}

fn place(configuration: &Configuration, number: u32, state: Value) -> Configuration {
    let Configuration { mut first, mut above, .. } = configuration.clone();
    if number == first {
        first += 1;
        let joined = above.iter().zip(first..).take_while(|(a, b)| **a == *b).count();
        above.drain(..joined);
        first += joined as u32;
    } else if let Err(at) = above.binary_search(&number) {
        above.insert(at, number);
    }
    Configuration { first, above, state }
}
