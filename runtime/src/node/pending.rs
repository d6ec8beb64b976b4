//! Who waits for which entry.
//!
//! Rule: a waiter hears the truth: its own entry was applied, another entry was applied in its
//! place (certainly lost), or it cannot be learnt here any more. A truncated entry is *not* lost
//! yet: another node may still hold it and commit it. Must never: hold more than `MAX_PENDING`.

use crate::{
    handle::{ExecuteError, Executed},
    report::QueueReport,
};
use kvorum_core::{
    kv::Reply,
    raft::{Entry, EntryId, Index, Term},
};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Proposals whose outcome is awaited at once; more are refused (429).
pub const MAX_PENDING: usize = 16_384;

/// Somebody who waits for an entry.
#[derive(Debug)]
pub enum Waiter {
    /// A client's command.
    Execute(oneshot::Sender<Result<Executed, ExecuteError>>),
    /// A membership change.
    Change(oneshot::Sender<Result<Index, ExecuteError>>),
}

/// What became of an entry that was applied.
#[derive(Debug)]
pub enum Outcome {
    /// A command's reply.
    Reply(Index, Reply),
    /// Anything else.
    Done(Index),
}

impl Waiter {
    /// Tells what applying gave. The receiver may be gone; that is its business.
    pub fn answer(self, outcome: Outcome) {
        match (self, outcome) {
            (Waiter::Execute(reply), Outcome::Reply(index, answer)) => {
                let _ = reply.send(Ok(Executed { index, reply: answer }));
            }
            (Waiter::Change(reply), Outcome::Done(index) | Outcome::Reply(index, _)) => {
                let _ = reply.send(Ok(index));
            }
            (Waiter::Execute(reply), Outcome::Done(_)) => {
                let _ = reply.send(Err(ExecuteError::Lost));
            }
        }
    }

    /// Tells that there will be no outcome.
    pub fn fail(self, error: ExecuteError) {
        match self {
            Waiter::Execute(reply) => drop(reply.send(Err(error))),
            Waiter::Change(reply) => drop(reply.send(Err(error))),
        }
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Waiter::Execute(reply) => reply.is_closed(),
            Waiter::Change(reply) => reply.is_closed(),
        }
    }
}

/// Everybody who waits, by the entry they wait for.
#[derive(Debug, Default)]
pub struct Pending {
    waiters: BTreeMap<(Index, Term), Waiter>,
}

impl Pending {
    /// Whether another waiter fits, after forgetting those that gave up.
    pub fn has_room(&mut self) -> bool {
        if self.waiters.len() >= MAX_PENDING {
            self.waiters.retain(|_, waiter| !waiter.is_abandoned());
        }
        self.waiters.len() < MAX_PENDING
    }

    /// How many wait.
    pub fn report(&self) -> QueueReport {
        QueueReport { name: "proposals", depth: self.waiters.len(), limit: MAX_PENDING }
    }

    /// Waits for this entry.
    pub fn insert(&mut self, id: EntryId, waiter: Waiter) {
        self.waiters.insert((id.index, id.term), waiter);
    }

    /// Takes out who waits for these committed entries; who waited for another entry at one of
    /// their indexes has certainly lost.
    pub fn take(&mut self, entries: &[Entry]) -> Vec<(Index, Waiter)> {
        let mut taken = Vec::new();
        let Some(last) = entries.last() else { return taken };
        while let Some(slot) = self.waiters.first_entry() {
            let (index, term) = *slot.key();
            if index > last.index() {
                break;
            }
            let waiter = slot.remove();
            let first = entries[0].index();
            let entry = index.0.checked_sub(first.0).map(|offset| &entries[offset as usize]);
            match entry {
                Some(entry) if entry.term() == term => taken.push((index, waiter)),
                _ => waiter.fail(ExecuteError::Lost),
            }
        }
        taken
    }

    /// A snapshot replaced everything up to `index`: those outcomes cannot be learnt here.
    pub fn forget(&mut self, index: Index) {
        while let Some(slot) = self.waiters.first_entry() {
            if slot.key().0 > index {
                break;
            }
            slot.remove().fail(ExecuteError::Unknown);
        }
    }
}
