//! The one task that owns the core: events and requests in, outputs out.
//!
//! Rule: everything that has arrived is handed to the core before it is polled once, so that all
//! proposals of a moment share one write and one append per peer. Must never: block, wait for a
//! lane or a peer, or answer for the core.

mod peers;
mod requests;

use super::{
    admit::{Admission, Verdict},
    chores::Chores,
    fatal::Fatal,
    lanes::{Done, PendingQuery, Stamp, StateJob},
    log_lane::LogJob,
    outbox::Outbox,
    pending::Pending,
    quorum_watch::QuorumWatch,
    reads::{Reads, refuse},
    view::Publisher,
};
use crate::{
    handle::{QueryError, Request},
    metrics::Metrics,
    transport::{PeerEvent, Transport},
    world::World,
};
use bytes::BytesMut;
use kvorum_core::{
    kv::{ClusterClock, Command},
    raft::{
        Entry, EntryId, Envelope, Event, Index, Instant, Membership, NodeId, Output, Raft, Refused,
        RoleName, SnapshotEvent, Term,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::{mpsc, oneshot};

/// Requests, peer events and reports taken in before the core is polled.
const BATCH: usize = 1024;
/// Bytes of entries applied in one job.
const APPLY_JOB_BYTES: u64 = 1 << 20;

/// What the node's life cycle tells its driver.
#[derive(Debug)]
pub enum Control {
    /// Lead no more, if another voter can: answers once it does not lead, or cannot be helped.
    HandOver(oneshot::Sender<()>),
    /// Finish: make the state durable and end.
    End,
}

/// Where everything comes in.
#[derive(Debug)]
pub struct Inputs {
    /// From the HTTP side.
    pub requests: mpsc::Receiver<Request>,
    /// From the transport.
    pub peers: mpsc::Receiver<PeerEvent>,
    /// From the lanes.
    pub done: mpsc::UnboundedReceiver<Done>,
    /// From the life cycle.
    pub control: mpsc::Receiver<Control>,
    /// Verdicts on joiners, from their tasks (at most one per join under way).
    pub verdicts: mpsc::UnboundedReceiver<Verdict>,
}

/// The driver of one node.
pub struct Driver<W: World> {
    world: W,
    raft: Raft,
    transport: Transport<W>,
    log: Outbox<LogJob>,
    state: Outbox<StateJob>,
    admission: Admission<W>,
    publisher: Publisher,
    metrics: Arc<Metrics>,
    pending: Pending,
    reads: Reads,
    /// Queries that arrived since the last poll.
    fresh: Vec<PendingQuery>,
    /// Every entry up to here was handed to the state machine.
    submitted: Index,
    /// The cluster clock as this node reads it.
    clock: ClusterClock,
    /// The term that this node leads, once it has applied everything of the terms before.
    stamping: Option<Term>,
    chores: Chores,
    /// When each peer was last heard, for judging whether a name's holder lives.
    heard: BTreeMap<NodeId, Instant>,
    /// Members that say this node is not one, since a leader was last known.
    disowned_by: BTreeSet<NodeId>,
    hand_over: Option<oneshot::Sender<()>>,
    quorum: QuorumWatch,
    /// How often the voters' states were seen to differ.
    divergences: u64,
    ending: bool,
}

/// What a driver is made of.
pub struct Parts<W: World> {
    /// The outside.
    pub world: W,
    /// The core, restored.
    pub raft: Raft,
    /// The way to the peers.
    pub transport: Transport<W>,
    /// The log's lane.
    pub log: mpsc::Sender<LogJob>,
    /// The state machine's lane.
    pub state: mpsc::Sender<StateJob>,
    /// Judges joiners.
    pub admission: Admission<W>,
    /// Shows the node to the outside.
    pub publisher: Publisher,
    /// The clock of the state as it was found.
    pub clock_ms: u64,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl<W: World> Driver<W> {
    /// A driver whose state machine stands where `raft` says.
    pub fn new(parts: Parts<W>) -> Driver<W> {
        let submitted = parts.raft.status().applied;
        let mut driver = Driver {
            world: parts.world,
            raft: parts.raft,
            transport: parts.transport,
            log: Outbox::new(parts.log),
            state: Outbox::new(parts.state),
            admission: parts.admission,
            publisher: parts.publisher,
            metrics: parts.metrics,
            pending: Pending::default(),
            reads: Reads::default(),
            fresh: Vec::new(),
            submitted,
            clock: ClusterClock::default(),
            stamping: None,
            chores: Chores::default(),
            heard: BTreeMap::new(),
            disowned_by: BTreeSet::new(),
            hand_over: None,
            quorum: QuorumWatch::default(),
            divergences: 0,
            ending: false,
        };
        driver.observe_clock(Stamp { term: Term(0), clock_ms: parts.clock_ms });
        driver.membership_changed();
        driver
    }

    /// Runs until `Control::End` or a fatal cause.
    ///
    /// # Errors
    /// The cause: a failed store, or proof of divergence.
    pub async fn run(mut self, mut inputs: Inputs) -> Result<(), Fatal> {
        let world = self.world.clone();
        let mut armed = self.raft.deadline();
        let mut alarm = Box::pin(world.sleep_until(armed));
        while !self.ending {
            self.turn()?;
            // A later deadline needs no new timer (an early bell is a no-op); `armed` is the end of
            // time once the bell has rung, so that it is always set anew then.
            let deadline = self.raft.deadline().min(self.publisher.due()).min(self.chores.due());
            if deadline < armed {
                alarm.set(world.sleep_until(deadline));
                armed = deadline;
            }
            let open = !self.log.is_backed_up() && !self.state.is_backed_up();
            tokio::select! {
                biased;
                Some(control) = inputs.control.recv() => self.control(control),
                Some(done) = inputs.done.recv() => self.done(done)?,
                Some(event) = inputs.peers.recv() => self.peer(event)?,
                Some(verdict) = inputs.verdicts.recv() => self.verdict(verdict),
                Some(request) = inputs.requests.recv(), if open => self.request(request),
                () = &mut alarm => {
                    self.raft.handle(self.world.now(), Event::Deadline);
                    armed = Instant(u64::MAX);
                }
            }
            self.drain(&mut inputs)?;
        }
        self.finish(inputs).await
    }

    /// Takes in what else is there already, without waiting.
    fn drain(&mut self, inputs: &mut Inputs) -> Result<(), Fatal> {
        for _ in 0..BATCH {
            match inputs.done.try_recv() {
                Ok(done) => self.done(done)?,
                Err(_) => break,
            }
        }
        for _ in 0..BATCH {
            match inputs.peers.try_recv() {
                Ok(event) => self.peer(event)?,
                Err(_) => break,
            }
        }
        for _ in 0..BATCH {
            if self.log.is_backed_up() || self.state.is_backed_up() {
                break;
            }
            match inputs.requests.try_recv() {
                Ok(request) => self.request(request),
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Asks the core what must be done until it is content, and does it.
    fn turn(&mut self) -> Result<(), Fatal> {
        self.ask_reads();
        loop {
            let output = self.raft.poll(self.world.now());
            if output.is_empty() {
                break;
            }
            self.dispatch(output)?;
        }
        let status = self.raft.status();
        if status.unproven_divergences > self.divergences {
            self.divergences = status.unproven_divergences;
            tracing::error!(
                times = self.divergences,
                "the voters' states differ and none has a majority: find out which node is right \
                 and rejoin the other with an empty data directory"
            );
        }
        self.watch_quorum();
        self.publisher.tick(self.world.now(), &self.raft.status());
        if self.chores.begin(self.world.now()) {
            self.state.push(StateJob::Chores(self.clock_ms()));
        }
        Ok(())
    }

    fn dispatch(&mut self, output: Output) -> Result<(), Fatal> {
        let Output { write, messages, committed, reads, log_reads, snapshots, changed, fatal } =
            output;
        if let Some(evidence) = fatal {
            return Err(evidence.into());
        }
        self.send(messages);
        if let Some(write) = write {
            self.log.push(LogJob::Write(Box::new(write)));
        }
        for read in log_reads {
            self.log.push(LogJob::Read(read));
        }
        if let Some(last) = committed.last() {
            self.submitted = last.index();
            self.metrics.driver.committed.add(committed.len() as u64);
        }
        for entries in in_jobs(committed) {
            let waiters = self.pending.take(&entries);
            self.state.push(StateJob::Apply { entries, waiters });
        }
        for request in snapshots {
            self.state.push(StateJob::Snapshot(request));
        }
        for ready in reads {
            self.reads.confirm(ready);
        }
        self.serve_reads();
        if let Some(changed) = changed {
            self.membership_changed();
            let status = self.raft.status();
            let leads = status.role == RoleName::Leader;
            if !leads || self.stamping != Some(status.vote.term) {
                self.stamping = None;
            }
            self.chores.role_changed(&status, self.stamping.is_some());
            if changed.role != RoleName::Leader
                && let Some(done) = self.hand_over.take()
            {
                let _ = done.send(());
            }
        }
        Ok(())
    }

    fn send(&self, messages: Vec<Envelope>) {
        for envelope in messages {
            self.transport.send(envelope);
        }
    }

    fn serve_reads(&mut self) {
        let ready = self.reads.take_ready(self.submitted);
        if !ready.is_empty() {
            self.answer(ready);
        }
    }

    /// One confirmation for all linearizable queries that arrived together.
    fn ask_reads(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        let queries = std::mem::take(&mut self.fresh);
        self.metrics.driver.reads.add(queries.len() as u64);
        self.metrics.driver.read_rounds.one();
        let id = self.reads.next_id();
        match self.raft.read(self.world.now(), id) {
            Ok(()) => self.reads.ask(id, queries),
            Err(Refused::Overloaded(_)) => refuse(queries, &QueryError::Overloaded),
            Err(_) => refuse(queries, &QueryError::NoLeader),
        }
    }

    fn membership_changed(&mut self) {
        let status = self.raft.status();
        self.publisher.changed(&status);
        let members = self.publisher.members().iter().map(|one| one.member.clone());
        self.transport.set_members(&members.collect::<Vec<_>>());
        let now = self.world.now();
        let members: &Membership = status.membership;
        self.heard.retain(|id, _| members.contains(*id));
        for id in members.members() {
            self.heard.entry(id).or_insert(now);
        }
    }

    fn done(&mut self, done: Done) -> Result<(), Fatal> {
        let now = self.world.now();
        match done {
            Done::Durable(writes) => {
                self.log.flush();
                for durable in writes {
                    self.send(durable.messages);
                    self.raft.handle(now, Event::Written(durable.written));
                }
            }
            Done::LogRead { request, entries } => {
                self.log.flush();
                self.raft.handle(now, Event::LogRead { request, entries });
            }
            Done::Applied { last, digests, clock } => {
                self.state.flush();
                if let Some(clock) = clock {
                    self.observe_clock(clock);
                }
                let index = last.index;
                self.chores.applied(index);
                self.may_stamp(last.term);
                self.raft.handle(now, Event::Applied { index, digests });
            }
            Done::Clock(clock) => self.observe_clock(clock),
            Done::Chores(found) => {
                self.state.flush();
                let clock_ms = self.clock_ms();
                if let Some(body) = self.chores.found(now, clock_ms, found)
                    && let Ok(entry) = self.propose(Command::new(body))
                {
                    self.chores.proposed(entry);
                }
            }
            Done::Snapshot(event) => {
                self.state.flush();
                if let SnapshotEvent::Installed { meta } = &event {
                    self.submitted = self.submitted.max(meta.last.index);
                    self.pending.forget(meta.last.index);
                    self.serve_reads();
                }
                self.raft.handle(now, Event::Snapshot(event));
            }
            Done::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn answer(&mut self, queries: Vec<PendingQuery>) {
        let now_ms = self.clock_ms();
        self.state.push(StateJob::Query { queries, now_ms });
    }

    /// An entry of `applied` has taken effect. Once it is one of the term that this node leads, no
    /// clock of an earlier leader is unknown here, and commands can be stamped.
    fn may_stamp(&mut self, applied: Term) {
        let status = self.raft.status();
        let leads = status.role == RoleName::Leader && status.vote.term == applied;
        if leads && self.stamping != Some(applied) {
            self.stamping = Some(applied);
            self.clock.lead(applied.0);
            self.chores.role_changed(&status, true);
        }
    }

    /// Proposes `command`, stamped with the cluster clock and the date. A new leader has to wait
    /// for its first entry: as long as it does not know the last stamp of its predecessor, its own
    /// could be ahead of it and end leases early.
    fn propose(&mut self, mut command: Command) -> Result<EntryId, Refused> {
        if self.raft.status().role == RoleName::Leader && self.stamping.is_none() {
            return Err(Refused::NotReady);
        }
        command.time_ms = self.clock_ms();
        command.wall_ms = self.world.wall_ms();
        let mut bytes = BytesMut::new();
        command.encode(&mut bytes);
        let range = self.raft.propose(self.world.now(), vec![bytes.freeze()])?;
        self.metrics.driver.proposals.one();
        Ok(EntryId { term: self.raft.status().vote.term, index: *range.end() })
    }

    /// The cluster clock.
    fn clock_ms(&self) -> u64 {
        self.clock.now(local_ms(self.world.now()))
    }

    /// The applied state's clock stands at `clock_ms`, or stood there a moment ago.
    fn observe_clock(&mut self, clock: Stamp) {
        self.clock.observe(clock.term.0, clock.clock_ms, local_ms(self.world.now()));
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::End => self.ending = true,
            Control::HandOver(done) => {
                self.publisher.stopping();
                if self.raft.status().role == RoleName::Leader
                    && let Ok(to) = self.raft.transfer_leadership(self.world.now(), None)
                {
                    tracing::info!(to = self.publisher.name_of(to), "handing leadership over");
                    self.hand_over = Some(done);
                } else {
                    let _ = done.send(());
                }
            }
        }
    }

    /// The last turn of a graceful stop: what is queued is done, the state is made durable.
    async fn finish(mut self, mut inputs: Inputs) -> Result<(), Fatal> {
        self.turn()?;
        let (finished, mut done) = oneshot::channel();
        self.state.push(StateJob::Finish(finished));
        loop {
            tokio::select! {
                biased;
                _ = &mut done => return Ok(()),
                Some(done) = inputs.done.recv() => self.done(done)?,
            }
            self.turn()?;
        }
    }
}

/// The entries in jobs of a size that no state machine takes long for: one that reports nothing for
/// an election time-out counts as stalled.
fn in_jobs(mut entries: Vec<Entry>) -> impl Iterator<Item = Vec<Entry>> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = entries.iter().position(|entry| {
            bytes += entry.size();
            bytes > APPLY_JOB_BYTES
        });
        let rest = entries.split_off(fits.unwrap_or(entries.len()).max(1).min(entries.len()));
        let job = std::mem::replace(&mut entries, rest);
        (!job.is_empty()).then_some(job)
    })
}

fn local_ms(now: Instant) -> u64 {
    now.0 / 1_000_000
}
