//! Linearizable reads on their way: asked, confirmed, served.
//!
//! Rule: a query is handed to the state machine only behind every entry up to its confirmed index
//! (§6.4). All queries that arrive together share one confirmation. Must never: serve one whose
//! confirmation failed.

use super::lanes::PendingQuery;
use crate::{handle::QueryError, report::QueueReport};
use kvorum_core::raft::{Index, ReadId, ReadReady};
use std::collections::BTreeMap;

/// Queries between request and answer.
#[derive(Debug, Default)]
pub struct Reads {
    next: u64,
    asked: BTreeMap<ReadId, Vec<PendingQuery>>,
    confirmed: BTreeMap<Index, Vec<PendingQuery>>,
}

impl Reads {
    /// The name for the next batch.
    pub fn next_id(&mut self) -> ReadId {
        self.next += 1;
        ReadId(self.next)
    }

    /// These wait for the confirmation of `id`.
    pub fn ask(&mut self, id: ReadId, queries: Vec<PendingQuery>) {
        self.asked.insert(id, queries);
    }

    /// How many queries wait; the bound of confirmations is the core's.
    pub fn report(&self, limit: usize) -> QueueReport {
        let all = self.asked.values().chain(self.confirmed.values());
        QueueReport { name: "reads", depth: all.map(Vec::len).sum(), limit }
    }

    /// What became of a confirmation.
    pub fn confirm(&mut self, ready: ReadReady) {
        let Some(queries) = self.asked.remove(&ready.id) else { return };
        match ready.result {
            Ok(index) => self.confirmed.entry(index).or_default().extend(queries),
            Err(_) => refuse(queries, &QueryError::NoLeader),
        }
    }

    /// Takes out what may be served once everything up to `submitted` is applied.
    pub fn take_ready(&mut self, submitted: Index) -> Vec<PendingQuery> {
        let mut ready = Vec::new();
        while let Some(slot) = self.confirmed.first_entry() {
            if *slot.key() > submitted {
                break;
            }
            ready.extend(slot.remove());
        }
        ready
    }
}

/// Answers all of `queries` with `error`.
pub fn refuse(queries: Vec<PendingQuery>, error: &QueryError) {
    for query in queries {
        query.refuse(error.clone());
    }
}
