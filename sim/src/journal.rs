//! What the clients of the whole store did and were told, watchers included.
//!
//! Rule: every attempt and every message is noted as it came, with the number of its event and the
//! simulated time; nothing is interpreted here. Must never: forget an attempt that was not answered.

use crate::{
    history::{Call, Guard, Operation, Outcome, Reply, Ticks},
    store::{
        Change, Record,
        request::{Bounds, Condition, Request},
    },
};
use serde_json::Value as Json;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An answer that tells where in the store's history it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The log index it was applied or served at.
    pub index: u64,
    /// The store's revision.
    pub revision: u64,
    /// Its body; `None` when nobody kept it.
    pub body: Option<Json>,
    /// Whether it says that the request had taken effect before.
    pub replayed: bool,
}

/// What one attempt was told.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// Nothing that settles it: it may have taken effect, or may still.
    Unknown,
    /// That it certainly has no effect.
    Refused {
        /// The problem's code, or what the client saw instead.
        code: String,
    },
    /// An answer.
    Answered(Answer),
}

/// A request sent once.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// The node asked.
    pub node: String,
    /// Event number and nanoseconds of the invocation.
    pub invoked: (u64, u64),
    /// The same of the return; `None` when none came.
    pub returned: Option<(u64, u64)>,
    /// What was said.
    pub told: Told,
}

/// A request, with all attempts under its idempotency key, if it has one.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Who asked.
    pub client: String,
    /// What.
    pub request: Request,
    /// Its idempotency key.
    pub key: Option<String>,
    /// The key was used for another request before: this one must be refused.
    pub misused: bool,
    /// Every time it was sent.
    pub attempts: Vec<Attempt>,
}

/// A message of a watch.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The watch begins after this revision.
    Sync(u64),
    /// Changes of a revision.
    Change {
        /// Which.
        revision: u64,
        /// More of it follows.
        more: bool,
        /// What, in order, with what was there before if that was asked for.
        events: Vec<(Change, Option<Record>)>,
    },
    /// Nothing else has happened up to this revision.
    Progress(u64),
    /// The client is behind.
    Lag,
    /// The watch ends.
    Error(String),
}

/// Why a watch did not begin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Event number of the refusal.
    pub event: u64,
    /// When it came (nanoseconds).
    pub at: u64,
    /// Its status; 0 without an answer.
    pub status: u16,
    /// The problem's code.
    pub code: String,
    /// The oldest revision that is kept, if that is why.
    pub oldest: Option<u64>,
    /// The store's revision.
    pub revision: u64,
}

/// One stretch of a watch at one node.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Who watches.
    pub watcher: String,
    /// Where.
    pub node: String,
    /// What.
    pub bounds: Bounds,
    /// The last revision it knew.
    pub since: Option<u64>,
    /// Whether it asked what was before.
    pub previous: bool,
    /// Event number of the request.
    pub invoked: u64,
    /// When no stream began.
    pub refused: Option<Refusal>,
    /// What it was told: event number, nanoseconds, message.
    pub messages: Vec<(u64, u64, Message)>,
}

/// Everything.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    /// Requests, in order of invocation.
    pub entries: Vec<Entry>,
    /// Watches, in order of invocation.
    pub sessions: Vec<Session>,
}

/// The journal all clients write into. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Journal {
    ticks: Ticks,
    state: Arc<Mutex<Notes>>,
}

impl Journal {
    /// An empty journal.
    #[must_use]
    pub fn new(ticks: Ticks) -> Journal {
        Journal { ticks, state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request that is about to be sent, for `attempt`.
    pub fn enter(&self, client: &str, request: Request, key: Option<String>) -> usize {
        let mut state = self.lock();
        let client = client.to_owned();
        state.entries.push(Entry { client, request, key, misused: false, attempts: Vec::new() });
        state.entries.len() - 1
    }

    /// The request uses the key of another one, and must be refused.
    pub fn misuse(&self, entry: usize) {
        self.lock().entries[entry].misused = true;
    }

    /// Notes that a request is sent to `node`, for `tell`.
    pub fn attempt(&self, entry: usize, node: &str, now: u64) -> usize {
        let invoked = (self.ticks.next(), now);
        let node = node.to_owned();
        let attempts = &mut self.lock().entries[entry].attempts;
        attempts.push(Attempt { node, invoked, returned: None, told: Told::Unknown });
        attempts.len() - 1
    }

    /// Notes what an attempt was told.
    pub fn tell(&self, entry: usize, attempt: usize, told: Told, now: u64) {
        let returned = (self.ticks.next(), now);
        let attempt = &mut self.lock().entries[entry].attempts[attempt];
        if told != Told::Unknown {
            attempt.returned = Some(returned);
        }
        attempt.told = told;
    }

    /// Notes that a watch is asked for, for `hear`.
    pub fn watch(&self, mut session: Session) -> usize {
        session.invoked = self.ticks.next();
        let mut state = self.lock();
        state.sessions.push(session);
        state.sessions.len() - 1
    }

    /// Notes that a watch was refused.
    pub fn refuse(&self, session: usize, mut refusal: Refusal) {
        refusal.event = self.ticks.next();
        self.lock().sessions[session].refused = Some(refusal);
    }

    /// Notes a message.
    pub fn hear(&self, session: usize, message: Message, now: u64) {
        let event = self.ticks.next();
        self.lock().sessions[session].messages.push((event, now, message));
    }

    /// What was noted so far.
    #[must_use]
    pub fn read(&self) -> Notes {
        self.lock().clone()
    }
}

impl Entry {
    /// When it was first sent: no effect is earlier.
    #[must_use]
    pub fn invoked(&self) -> u64 {
        self.attempts.first().map_or(u64::MAX, |attempt| attempt.invoked.0)
    }

    /// The first answer, with its attempt.
    #[must_use]
    pub fn answer(&self) -> Option<(&Attempt, &Answer)> {
        self.answers().next()
    }

    /// All answers, with their attempts.
    pub fn answers(&self) -> impl Iterator<Item = (&Attempt, &Answer)> {
        self.attempts.iter().filter_map(|attempt| match &attempt.told {
            Told::Answered(answer) => Some((attempt, answer)),
            _ => None,
        })
    }

    /// Whether some attempt was told nothing certain.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.told == Told::Unknown)
    }

    /// An operation on a register as a request on the store.
    #[must_use]
    pub fn of_register(operation: &Operation) -> Entry {
        let name = |key: &u32| format!("k{key}");
        let condition = |guard: &Guard| match guard {
            Guard::Always => Condition::Always,
            Guard::Absent => Condition::Absent,
            Guard::At { revision, .. } => Condition::At(*revision),
        };
        let request = match &operation.call {
            Call::Get { key, stale } => {
                Request::Get { key: name(key), at: None, stale: stale.then_some(0) }
            }
            Call::Set { pairs, guard } => Request::Post {
                pairs: pairs.iter().map(|(key, v)| (name(key), format!("v{v}"))).collect(),
                condition: condition(guard),
            },
            Call::Delete { key, guard } => {
                Request::Delete { key: name(key), condition: condition(guard) }
            }
        };
        let told = match &operation.outcome {
            Outcome::Unknown => Told::Unknown,
            Outcome::Refused => Told::Refused { code: String::new() },
            Outcome::Done(answer) => Told::Answered(Answer {
                status: match answer.result {
                    Reply::Found { .. } | Reply::Written => 200,
                    Reply::Missing => 404,
                    Reply::Conflict => 412,
                },
                index: answer.index,
                revision: answer.revision,
                body: None,
                replayed: false,
            }),
        };
        let attempt = Attempt {
            node: operation.node.clone(),
            invoked: (operation.invoked, 0),
            returned: operation.returned.map(|event| (event, 0)),
            told,
        };
        let client = format!("c{}", operation.client.wrapping_add(1));
        Entry { client, request, key: None, misused: false, attempts: vec![attempt] }
    }
}
