//! What clients did and what they were told.
//!
//! Rule: an operation has an invocation and, once answered, a return, both numbered by one counter
//! of events (time may tie, events do not). Every value is written by at most one operation, so a
//! value read names its writer. Must never: guess an outcome; what was not learnt is `Unknown`.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Numbers the events of one run. Cheap to clone; clones go on with the same numbers.
#[derive(Debug, Clone, Default)]
pub struct Ticks(Arc<AtomicU64>);

impl Ticks {
    /// The next number, from 1 on.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// A key, by number.
pub type Key = u32;
/// A value, by number. Never 0.
pub type Value = u64;

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Read a key.
    Get {
        /// Which.
        key: Key,
        /// Whether any state of the past will do.
        stale: bool,
    },
    /// Set keys, all or none.
    Set {
        /// Keys with their new values.
        pairs: Vec<(Key, Value)>,
        /// On which condition, for every key.
        guard: Guard,
    },
    /// Remove a key.
    Delete {
        /// Which.
        key: Key,
        /// On which condition.
        guard: Guard,
    },
}

/// The condition of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// None.
    Always,
    /// The key does not exist.
    Absent,
    /// The key was last changed at `revision`; the client saw `value` there.
    At {
        /// The revision.
        revision: u64,
        /// The value read with it.
        value: Value,
    },
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Not learnt: it may have taken effect, or may still.
    Unknown,
    /// The server said that it certainly has no effect.
    Refused,
    /// Answered.
    Done(Answer),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The log index it was applied or served at.
    pub index: u64,
    /// The store's revision then.
    pub revision: u64,
    /// What was said.
    pub result: Reply,
}

/// The content of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Of a read: the key has this value since this revision.
    Found {
        /// The value.
        value: Value,
        /// The revision of its last change.
        modified: u64,
    },
    /// Of a read or a delete: no such key.
    Missing,
    /// Of a set or a delete: done.
    Written,
    /// Of a guarded write: the guard did not hold.
    Conflict,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who asked; a client asks one thing at a time.
    pub client: u32,
    /// The node asked.
    pub node: String,
    /// What.
    pub call: Call,
    /// Event number of the invocation.
    pub invoked: u64,
    /// Event number of the return; `None` when none came.
    pub returned: Option<u64>,
    /// What came of it.
    pub outcome: Outcome,
}

/// All operations, in order of invocation.
#[derive(Debug, Clone, Default)]
pub struct History {
    operations: Vec<Operation>,
    ticks: Ticks,
}

impl History {
    /// An empty one, whose events are numbered together with others'.
    #[must_use]
    pub fn new(ticks: Ticks) -> History {
        History { operations: Vec::new(), ticks }
    }

    /// Notes an invocation and returns its number, for `finish`.
    pub fn invoke(&mut self, client: u32, node: &str, call: Call) -> usize {
        let invoked = self.ticks.next();
        self.operations.push(Operation {
            client,
            node: node.to_owned(),
            call,
            invoked,
            returned: None,
            outcome: Outcome::Unknown,
        });
        self.operations.len() - 1
    }

    /// Notes a return. An operation whose outcome is not learnt never returns: it may take effect
    /// at any time.
    pub fn finish(&mut self, operation: usize, outcome: Outcome) {
        let returned = self.ticks.next();
        let operation = &mut self.operations[operation];
        if outcome != Outcome::Unknown {
            operation.returned = Some(returned);
        }
        operation.outcome = outcome;
    }

    /// All operations, in order of invocation.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// To change what was recorded: for canaries, which must be caught.
    pub fn operations_mut(&mut self) -> &mut [Operation] {
        &mut self.operations
    }
}

impl Call {
    /// The keys it concerns.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let (one, many) = match self {
            Call::Get { key, .. } | Call::Delete { key, .. } => (Some(*key), &[][..]),
            Call::Set { pairs, .. } => (None, &pairs[..]),
        };
        one.into_iter().chain(many.iter().map(|(key, _)| *key))
    }

    /// Whether it can change anything.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self, Call::Get { .. })
    }
}

impl Operation {
    /// The answer, if one came.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Done(answer) => Some(answer),
            _ => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} at {}: {:?}", self.client, self.node, self.call)?;
        match &self.outcome {
            Outcome::Done(Answer { index, revision, result }) => {
                write!(f, " -> {result:?} (index {index}, revision {revision})")?;
            }
            other => write!(f, " -> {other:?}")?,
        }
        match self.returned {
            Some(returned) => write!(f, " [events {}..{returned}]", self.invoked),
            None => write!(f, " [events {}..]", self.invoked),
        }
    }
}
