//! Registers: few keys under contention, single-key calls in random order.
//!
//! Rule: every value is new; a key is given up after a bounded number of operations, so that the
//! black-box search stays feasible. Must never: draw from another client's random stream.

use crate::{
    client::Client,
    history::{Answer, Call, Guard, History, Key, Outcome, Reply, Ticks, Value},
    rng::Rng,
};
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Operations on a key before it is given up.
const KEY_LIFE: u32 = 150;

/// What a workload is like.
#[derive(Debug, Clone)]
pub struct WorkloadPlan {
    /// Clients at once.
    pub clients: u32,
    /// Keys in use at a time.
    pub keys: u32,
    /// Nanoseconds between a client's operations.
    pub think: Range<u64>,
    /// How long a client waits for an answer.
    pub patience: Range<u64>,
    /// Clients of the whole store.
    pub shoppers: u32,
    /// Watchers of everything, and of parts.
    pub watchers: u32,
    /// Holders of leases and locks.
    pub holders: u32,
}

/// What all clients share: the history, and which keys are in use. Cheap to clone.
#[derive(Clone)]
pub struct Book {
    state: Arc<Mutex<State>>,
}

struct State {
    history: History,
    slots: Vec<(Key, u32)>,
    next_key: Key,
    next_value: Value,
    /// What a client knows of a key: the value and the revision it was read or written at.
    known: BTreeMap<Key, (Value, u64)>,
    running: bool,
}

impl Book {
    /// An empty book for `keys` keys at a time.
    #[must_use]
    pub fn new(keys: u32, ticks: Ticks) -> Book {
        let state = State {
            history: History::new(ticks),
            slots: (1..=keys).map(|key| (key, 0)).collect(),
            next_key: keys + 1,
            next_value: 1,
            known: BTreeMap::new(),
            running: true,
        };
        Book { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the clients to come to an end.
    pub fn close(&self) {
        self.lock().running = false;
    }

    /// Whether clients go on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.lock().running
    }

    /// What was done so far.
    #[must_use]
    pub fn history(&self) -> History {
        self.lock().history.clone()
    }

    /// Every key that was ever used.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        (1..self.lock().next_key).collect()
    }

    /// Notes an invocation.
    pub fn invoke(&self, client: u32, node: &str, call: Call) -> usize {
        self.lock().history.invoke(client, node, call)
    }

    /// Notes a return.
    pub fn finish(&self, operation: usize, outcome: Outcome) {
        let mut state = self.lock();
        state.learn(operation, &outcome);
        state.history.finish(operation, outcome);
    }

    /// A fresh write to a key of its own, for asking whether the cluster works.
    pub fn probe(&self) -> Call {
        let mut state = self.lock();
        let (key, value) = (state.next_key, state.next_value);
        state.next_key += 1;
        state.next_value += 1;
        Call::Set { pairs: vec![(key, value)], guard: Guard::Always }
    }

    fn next_call(&self, rng: &mut Rng) -> Call {
        let mut state = self.lock();
        let key = state.key(rng);
        let known = state.known.get(&key).copied();
        let guard = match (rng.below(10), known) {
            (0..3, Some((value, revision))) => Guard::At { revision, value },
            (3, _) => Guard::Absent,
            _ => Guard::Always,
        };
        match rng.below(20) {
            0..8 => Call::Get { key, stale: false },
            8 => Call::Get { key, stale: true },
            9 | 10 => Call::Delete { key, guard },
            11 | 12 => {
                let mut pairs = vec![(key, state.value())];
                let other = state.key(rng);
                if other != key {
                    pairs.push((other, state.value()));
                }
                Call::Set { pairs, guard: Guard::Always }
            }
            _ => Call::Set { pairs: vec![(key, state.value())], guard },
        }
    }
}

impl State {
    fn key(&mut self, rng: &mut Rng) -> Key {
        let slot = rng.index(self.slots.len());
        let (key, used) = &mut self.slots[slot];
        *used += 1;
        if *used > KEY_LIFE {
            (*key, *used) = (self.next_key, 1);
            self.next_key += 1;
        }
        *key
    }

    fn value(&mut self) -> Value {
        self.next_value += 1;
        self.next_value - 1
    }

    fn learn(&mut self, operation: usize, outcome: &Outcome) {
        let Outcome::Done(Answer { revision, result, .. }) = outcome else { return };
        match (&self.history.operations()[operation].call, result) {
            (Call::Get { key, .. }, Reply::Found { value, modified }) => {
                self.known.insert(*key, (*value, *modified));
            }
            (Call::Set { pairs, .. }, Reply::Written) => {
                self.known.extend(pairs.iter().map(|(key, value)| (*key, (*value, *revision))));
            }
            _ => {}
        }
    }
}

/// One client's life: it stays with a node until something goes wrong there.
pub async fn run_client(
    mut client: Client,
    number: u32,
    nodes: Vec<String>,
    book: Book,
    plan: WorkloadPlan,
    mut rng: Rng,
) {
    let mut node = rng.pick(&nodes).clone();
    while book.is_open() {
        if rng.chance(0.05) {
            node = rng.pick(&nodes).clone();
        }
        let call = book.next_call(&mut rng);
        let patience = Duration::from_nanos(rng.within(&plan.patience));
        let operation = book.invoke(number, &node, call.clone());
        let outcome = client.call(&node, &call, patience).await;
        tracing::trace!(number, node, ?call, ?outcome, "told");
        if !matches!(outcome, Outcome::Done(_)) {
            node = rng.pick(&nodes).clone();
        }
        book.finish(operation, outcome);
        crate::clock::exactly(Duration::from_nanos(rng.within(&plan.think))).await;
    }
}
