//! The worker of a node that owns the state machine, and what workers report.
//!
//! Rule: blocking work happens here and nowhere else; a lane takes everything that is queued,
//! does it in order, and reports. Must never: report a write before its fsync has returned, go on
//! after a failure, or answer a waiter before the batch that holds its effect is stored.

use super::pending::{Outcome, Waiter};
use crate::{
    handle::{Answer, Changes, Look, QueryError, Seen},
    metrics::Metrics,
    storage::{StateStore, StorageError},
    watch::Hub,
};
use kvorum_core::{
    kv,
    raft::{
        Durable, Entry, EntryId, Index, Instant, LogRead, Payload, SnapshotEvent, SnapshotMeta,
        SnapshotRequest, Term,
    },
};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A job for the state machine's lane.
#[derive(Debug)]
pub enum StateJob {
    /// Apply committed entries and answer who waits for them.
    Apply {
        /// The entries, without a gap.
        entries: Vec<Entry>,
        /// Who waits, by index, in order.
        waiters: Vec<(Index, Waiter)>,
    },
    /// Answer queries from the state as it is then.
    Query {
        /// Which.
        queries: Vec<PendingQuery>,
        /// The cluster clock as this node reads it.
        now_ms: u64,
    },
    /// Read what changed from a position on.
    Changes {
        /// The first position.
        from: (u64, u32),
        /// At most so many.
        limit: usize,
        /// Where the answer goes.
        reply: oneshot::Sender<Changes>,
    },
    /// Look for what the leader should propose unasked, at this reading of the cluster clock.
    Chores(u64),
    /// Send or receive a snapshot.
    Snapshot(SnapshotRequest),
    /// Make everything durable, then say so (at the end of a graceful stop).
    Finish(oneshot::Sender<()>),
}

/// Changes of one batch that are handed to watchers; when there are more, the watchers read them
/// from the store.
const MOST_PUBLISHED: usize = 8192;

/// A question on its way: what to read, and where the answer goes.
#[derive(Debug)]
pub enum PendingQuery {
    /// Keys.
    Keys(kv::Query, oneshot::Sender<Result<Answer, QueryError>>),
    /// Something else.
    Look(Look, oneshot::Sender<Result<Seen, QueryError>>),
}

impl PendingQuery {
    /// Tells that there is no answer. The receiver may be gone; that is its business.
    pub fn refuse(self, error: QueryError) {
        match self {
            PendingQuery::Keys(_, reply) => drop(reply.send(Err(error))),
            PendingQuery::Look(_, reply) => drop(reply.send(Err(error))),
        }
    }
}

/// What a look for chores has found.
#[derive(Debug)]
pub struct ChoreFound {
    /// What to propose.
    pub chore: Option<kv::Body>,
    /// When the next lease is due on the cluster clock, if there is one.
    pub next_expiry: Option<u64>,
}

/// What a lane reports to the driver. The channel has no bound of its own: there is at most one
/// report for each job the driver has under way.
#[derive(Debug)]
pub enum Done {
    /// Writes are durable, in this order.
    Durable(Vec<Durable>),
    /// A read's answer.
    LogRead {
        /// The wish.
        request: LogRead,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// The state machine has applied everything up to `index`.
    Applied {
        /// The last entry.
        last: EntryId,
        /// The state's digest after each of them.
        digests: Vec<u64>,
        /// The state's clock now, if there was a command.
        clock: Option<Stamp>,
    },
    /// A snapshot has set the state's clock.
    Clock(Stamp),
    /// What there is to do unasked.
    Chores(ChoreFound),
    /// About snapshots.
    Snapshot(SnapshotEvent),
    /// The store failed: the node stops.
    Failed(StorageError),
}

/// The state's clock, and the term of the last command that may have moved it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The term.
    pub term: Term,
    /// The clock.
    pub clock_ms: u64,
}

/// The state machine with what it takes to run it.
pub struct StateLane<C> {
    state: Box<dyn StateStore>,
    applied: SnapshotMeta,
    /// Bytes applied since the last checkpoint.
    unsaved: u64,
    checkpoint_bytes: u64,
    hub: Arc<Hub>,
    clock: C,
    metrics: Arc<Metrics>,
    done: mpsc::UnboundedSender<Done>,
    failed: bool,
}

impl<C: Fn() -> Instant> StateLane<C> {
    /// `checkpoint_bytes`: applied bytes after which the state is made durable, so that the log
    /// up to there may go. What is applied is published at `hub`.
    pub fn new(
        state: Box<dyn StateStore>,
        checkpoint_bytes: u64,
        hub: Arc<Hub>,
        clock: C,
        metrics: Arc<Metrics>,
        done: mpsc::UnboundedSender<Done>,
    ) -> StateLane<C> {
        let applied = state.applied().clone();
        // Tables that cannot be read fail the first job.
        hub.replace(kv::revision(state.tables()).unwrap_or(0));
        if let Ok(status) = kv::status(state.tables()) {
            metrics.store.set(clock(), status);
        }
        metrics.state.disk_bytes.set(state.disk_bytes());
        let (unsaved, failed) = (0, false);
        StateLane { state, applied, unsaved, checkpoint_bytes, hub, clock, metrics, done, failed }
    }

    /// The lane's work.
    pub fn work(&mut self, jobs: &mut Vec<StateJob>) {
        for job in jobs.drain(..) {
            if self.failed {
                return;
            }
            if let Err(error) = self.run(job) {
                self.failed = true;
                let _ = self.done.send(Done::Failed(error));
            }
        }
    }

    fn run(&mut self, job: StateJob) -> Result<(), StorageError> {
        match job {
            StateJob::Apply { entries, waiters } => self.apply(entries, waiters),
            StateJob::Query { queries, now_ms } => self.answer(queries, now_ms),
            StateJob::Changes { from, limit, reply } => {
                let changes = kv::changes(self.state.tables(), from, limit).map_err(unreadable)?;
                let _ = reply.send(Ok(changes));
                Ok(())
            }
            StateJob::Chores(now_ms) => {
                let tables = self.state.tables();
                let chore = kv::next_chore(tables, now_ms).map_err(unreadable)?;
                let next_expiry = kv::next_expiry(tables).map_err(unreadable)?;
                let _ = self.done.send(Done::Chores(ChoreFound { chore, next_expiry }));
                Ok(())
            }
            StateJob::Snapshot(request) => self.snapshot(request),
            StateJob::Finish(finished) => {
                self.state.checkpoint()?;
                let _ = finished.send(());
                Ok(())
            }
        }
    }

    fn apply(
        &mut self,
        entries: Vec<Entry>,
        waiters: Vec<(Index, Waiter)>,
    ) -> Result<(), StorageError> {
        let began = (self.clock)();
        self.metrics.state.batch.observe(entries.len() as u64);
        let mut waiters = waiters.into_iter().peekable();
        let mut answers = Vec::with_capacity(waiters.len());
        let mut digests = Vec::with_capacity(entries.len());
        let mut commanded = None;
        for entry in entries {
            self.unsaved += entry.size();
            let index = entry.index();
            debug_assert_eq!(index, self.applied.last.index.next(), "entries apply without a gap");
            let outcome = match entry.payload {
                Payload::Noop => Outcome::Done(index),
                Payload::Command(bytes) => {
                    commanded = Some(entry.id.term);
                    let reply =
                        kv::apply_bytes(self.state.tables_mut(), bytes).map_err(unreadable)?;
                    self.metrics.state.leases_ended.add(leases_ended(&reply));
                    Outcome::Reply(index, reply)
                }
                Payload::Membership(membership) => {
                    self.applied.membership = membership;
                    self.applied.membership_index = index;
                    Outcome::Done(index)
                }
            };
            self.applied.last = entry.id;
            digests.push(self.digest()?);
            self.applied.chain = entry.chain;
            if let Some((_, waiter)) = waiters.next_if(|(at, _)| *at == index) {
                answers.push((waiter, outcome));
            }
        }
        self.state.commit(&self.applied)?;
        tracing::trace!(
            index = self.applied.last.index.0,
            digest = ?digests.last(),
            "applied"
        );
        self.show()?;
        self.metrics.state.apply.observe_time((self.clock)().since(began));
        for (waiter, outcome) in answers {
            waiter.answer(outcome);
        }
        self.publish()?;
        let clock = match commanded {
            None => None,
            Some(term) => Some(self.stamp(term)?),
        };
        let _ = self.done.send(Done::Applied { last: self.applied.last, digests, clock });
        if self.unsaved >= self.checkpoint_bytes {
            self.unsaved = 0;
            let meta = self.state.checkpoint()?;
            self.metrics.state.checkpoints.one();
            self.metrics.state.disk_bytes.set(self.state.disk_bytes());
            let _ = self.done.send(Done::Snapshot(SnapshotEvent::Durable { meta }));
        }
        Ok(())
    }

    /// What replicas are compared by: equal index, equal digest. One look-up.
    fn digest(&self) -> Result<u64, StorageError> {
        let digest = kv::digest(self.state.tables()).map_err(unreadable)?;
        Ok((digest >> 64) as u64 ^ digest as u64)
    }

    /// Lets everybody see what the tables say of themselves.
    fn show(&self) -> Result<(), StorageError> {
        let status = kv::status(self.state.tables()).map_err(unreadable)?;
        self.metrics.store.set((self.clock)(), status);
        Ok(())
    }

    fn stamp(&self, term: Term) -> Result<Stamp, StorageError> {
        let clock_ms = kv::clock_ms(self.state.tables()).map_err(unreadable)?;
        Ok(Stamp { term, clock_ms })
    }

    /// Tells the watchers what the tables hold now.
    fn publish(&self) -> Result<(), StorageError> {
        let tables = self.state.tables();
        let revision = kv::revision(tables).map_err(unreadable)?;
        self.hub.advance(revision, |after| {
            let changes = kv::changes(tables, (after + 1, 0), MOST_PUBLISHED + 1);
            let changes = changes.map_err(unreadable)?;
            Ok(changes.ok().filter(|changes| changes.len() <= MOST_PUBLISHED))
        })
    }

    fn answer(&self, queries: Vec<PendingQuery>, now_ms: u64) -> Result<(), StorageError> {
        let tables = self.state.tables();
        let revision = kv::revision(tables).map_err(unreadable)?;
        let applied = self.applied.last.index;
        self.metrics.state.queries.add(queries.len() as u64);
        for query in queries {
            match query {
                PendingQuery::Keys(query, reply) => {
                    let answer = kv::query(tables, &query).map_err(unreadable)?;
                    let _ = reply.send(Ok(Answer { applied, reply: answer, revision }));
                }
                PendingQuery::Look(look, reply) => {
                    let found = look.at(tables, now_ms).map_err(unreadable)?;
                    let _ = reply.send(Ok(Seen { applied, found, revision }));
                }
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, request: SnapshotRequest) -> Result<(), StorageError> {
        let (peer, result) = match request {
            SnapshotRequest::Close { peer } => {
                self.state.close_snapshot(peer);
                return Ok(());
            }
            SnapshotRequest::Read { peer, mut offset, max_bytes, resume } => {
                if let Some(staged) = resume {
                    let resumed = match self.state.resume_snapshot(peer, &staged) {
                        Err(StorageError::Snapshot(_)) => false,
                        result => result?,
                    };
                    offset = if resumed { staged.end } else { 0 };
                }
                let chunk = self.state.read_snapshot(peer, offset, max_bytes);
                let sent = &self.metrics.state.snapshot_sent;
                (
                    peer,
                    chunk.map(|(meta, data, last)| {
                        sent.add(data.len() as u64);
                        SnapshotEvent::ChunkRead { peer, meta, offset, data, last }
                    }),
                )
            }
            SnapshotRequest::Store { from, meta, offset, data } => {
                let stored = self.state.stage_snapshot(&meta, offset, &data);
                self.metrics.state.snapshot_received.add(data.len() as u64);
                self.metrics.state.snapshot_staged.set(*stored.as_ref().unwrap_or(&0));
                (from, stored.map(|end| SnapshotEvent::ChunkStored { last: meta.last, end }))
            }
            SnapshotRequest::Install { from, meta } => (
                from,
                self.state.install_snapshot(&meta).map(|()| {
                    self.applied = meta.clone();
                    self.unsaved = 0;
                    self.hub.replace(kv::revision(self.state.tables()).unwrap_or(0));
                    if let Ok(status) = kv::status(self.state.tables()) {
                        self.metrics.store.set((self.clock)(), status);
                    }
                    self.metrics.state.installed.one();
                    self.metrics.state.snapshot_staged.set(0);
                    tracing::info!(index = meta.last.index.0, "snapshot installed");
                    SnapshotEvent::Installed { meta }
                }),
            ),
        };
        let event = match result {
            Ok(event) => event,
            Err(StorageError::Snapshot(cause)) => {
                tracing::warn!(%cause, "snapshot transfer starts again");
                self.metrics.state.snapshot_failures.one();
                SnapshotEvent::Failed { peer }
            }
            Err(error) => return Err(error),
        };
        if let SnapshotEvent::Installed { .. } = event {
            let _ = self.done.send(Done::Clock(self.stamp(self.applied.last.term)?));
        }
        let _ = self.done.send(Done::Snapshot(event));
        Ok(())
    }
}

/// How many leases went with a command: expired ones, and those that were revoked.
fn leases_ended(reply: &kv::Reply) -> u64 {
    let results = reply.result.as_ref().map_or(&[][..], |outcome| &outcome.results);
    results.iter().filter(|result| matches!(result, kv::OpReply::Revoked { .. })).count() as u64
}

fn unreadable(failure: kv::TableFailure) -> StorageError {
    StorageError::Io(failure.to_string())
}
