//! The bench: a few nodes, what is on its way between them, and one clock.
//!
//! Rule: does one step of a schedule after another, deterministically, on one thread; the lab's
//! checkers judge each. Must never: do anything that the schedule does not say.

use crate::check::{Checks, Violation};
use crate::disk::Image;
use crate::node::{Input, Node};
use crate::plan::Plan;
use crate::planted::Planted;
use crate::schedule::{MAX_NODES, MS, Schedule, Step, Wish};
use crate::watch::Watch;
use bytes::Bytes;
use kvorum_core::raft::{Change, Envelope, Event, Instant, NodeId, ReadId};
use std::collections::BTreeMap;

/// Messages on their way, at most; the oldest are lost.
const MAX_FLIGHT: usize = 300;

/// What broke, or nothing.
pub type Verdict = Result<(), Violation>;

/// How often something interesting happened.
pub type Cover = BTreeMap<&'static str, u64>;

/// What a run leaves behind, whatever becomes of it.
#[derive(Default)]
pub struct Run {
    /// Whether anybody will read the lines.
    pub tracing: bool,
    pub lines: Vec<String>,
    pub cover: Cover,
}

/// How a schedule is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// Peers may say anything: what honest peers promise is not judged.
    pub hostile: bool,
    /// Polls as the schedule says; otherwise after every input.
    pub batched: bool,
    pub planted: Option<Planted>,
}

/// A message on its way.
pub struct Flight {
    pub from: usize,
    pub to: usize,
    pub envelope: Envelope,
}

/// See the module.
pub struct Cluster<'a> {
    pub terms: Terms,
    pub plan: Plan,
    pub checkpoint_every: u64,
    pub short_reads: bool,
    pub now: u64,
    pub nodes: Vec<Node>,
    pub flight: Vec<Flight>,
    pub cut: [[bool; MAX_NODES]; MAX_NODES],
    pub checks: Checks,
    pub names: BTreeMap<NodeId, String>,
    pub graves: BTreeMap<NodeId, Image>,
    polls: Vec<u8>,
    polled: usize,
    next_value: u64,
    next_read: u64,
    /// Commands that a node took, in order.
    pub taken: Vec<(NodeId, u64)>,
    /// How often somebody came to lead.
    pub elections: u64,
    pub watch: &'a mut dyn Watch,
    pub run: &'a mut Run,
}

/// Shows something that concerns a node to the checkers.
macro_rules! look {
    ($cluster:expr, $slot:expr, $seen:expr) => {{
        if $cluster.terms.hostile {
            Ok(())
        } else {
            let view = View {
                plan: &$cluster.plan,
                now: $cluster.now,
                nodes: &$cluster.nodes,
                node: &$cluster.nodes[$slot],
                names: &$cluster.names,
                graves: &$cluster.graves,
            };
            $cluster.checks.see(&view, &$seen)
        }
    }};
}
pub(crate) use look;

/// A broken promise that no checker of its own watches.
pub fn broken(rule: &'static str, what: String) -> Violation {
    Violation { rule, what }
}

/// Every checker but one: deadlines pass here when the schedule says so, thus reads wait for ever.
const BLIND: [&str; 1] = ["every read is answered"];

impl<'a> Cluster<'a> {
    /// The nodes of a schedule, all of them up.
    pub fn new(
        schedule: &Schedule,
        terms: Terms,
        watch: &'a mut dyn Watch,
        run: &'a mut Run,
    ) -> Result<Cluster<'a>, Violation> {
        let mut cluster = Cluster {
            terms,
            plan: Plan::new(schedule.limits.config()),
            checkpoint_every: schedule.limits.checkpoint_every,
            short_reads: schedule.limits.short_reads,
            now: 1_000 * MS,
            nodes: Vec::new(),
            flight: Vec::new(),
            cut: [[false; MAX_NODES]; MAX_NODES],
            checks: Checks::all_but(&BLIND),
            names: BTreeMap::new(),
            graves: BTreeMap::new(),
            polls: if terms.batched { schedule.polls.clone() } else { Vec::new() },
            polled: 0,
            next_value: 1,
            next_read: 1,
            taken: Vec::new(),
            elections: 0,
            watch,
            run,
        };
        cluster.populate(schedule);
        for slot in 0..cluster.nodes.len() {
            cluster.bring_up(slot)?;
        }
        Ok(cluster)
    }

    /// Notes a line, if anybody will read it.
    pub fn note(&mut self, line: impl FnOnce(&Cluster) -> String) {
        if self.run.tracing {
            let line = line(self);
            self.run.lines.push(line);
        }
    }

    /// Counts something interesting.
    pub fn cover(&mut self, what: &'static str) {
        *self.run.cover.entry(what).or_default() += 1;
    }

    fn slot(&self, number: u8) -> usize {
        usize::from(number) % self.nodes.len()
    }

    /// How many inputs the next poll waits for.
    pub fn next_wait(&mut self) -> u8 {
        self.polled += 1;
        match self.polls.len() {
            0 => 0,
            n => self.polls[self.polled % n],
        }
    }

    /// Does one step.
    ///
    /// # Errors
    /// The first rule found broken.
    pub fn perform(&mut self, step: &Step) -> Verdict {
        self.note(|cluster| format!("{:>6}ms · {}", cluster.now / MS, cluster.words(step)));
        match step {
            Step::Flow(rounds) => (0..*rounds).try_for_each(|_| self.flow(MS)),
            Step::Deliver(at) => self.deliver(*at),
            Step::Lose(at) => {
                self.lose(*at);
                Ok(())
            }
            Step::Double(at) => {
                self.double(*at);
                Ok(())
            }
            Step::Deadline(node) => self.deadline(self.slot(*node)),
            Step::Early(node) => self.early(self.slot(*node)),
            Step::Pass(ms) => {
                self.now += u64::from(*ms) * MS;
                Ok(())
            }
            Step::Sync(node, writes) => {
                let slot = self.slot(*node);
                (0..*writes).try_for_each(|_| self.sync(slot))
            }
            Step::Work(node, jobs) => {
                let slot = self.slot(*node);
                (0..*jobs).try_for_each(|_| self.work(slot))
            }
            Step::Poll(node) => self.poll(self.slot(*node)),
            Step::Crash(node, kept) => self.take_down(self.slot(*node), usize::from(*kept)),
            Step::Restart(node) => self.bring_up(self.slot(*node)),
            Step::Cut(..) | Step::Part(_) | Step::Heal => {
                self.rewire(step);
                Ok(())
            }
            Step::Propose(node, count) => self.propose(self.slot(*node), *count),
            Step::Read(node) => self.read(self.slot(*node)),
            Step::Change(node, wish) => self.change(self.slot(*node), wish),
            Step::Transfer(node, to) => {
                let to = to.map(|to| self.nodes[self.slot(to)].id);
                self.give(self.slot(*node), &Input::Transfer(to))
            }
            Step::Unreachable(node, peer) => {
                let peer = self.nodes[self.slot(*peer)].id;
                self.give(self.slot(*node), &Input::Event(Event::Unreachable(peer)))
            }
            Step::Back(node, ms) => {
                let slot = self.slot(*node);
                self.nodes[slot].back = u64::from(*ms) * MS;
                Ok(())
            }
            Step::Ahead(node, bits) => {
                let slot = self.slot(*node);
                self.nodes[slot].ahead = 1_u64.checked_shl(u32::from(*bits)).unwrap_or(u64::MAX);
                Ok(())
            }
            Step::Say(envelope) => self.say(envelope),
            Step::Garble(envelope, flips) => self.garble(envelope, flips),
        }
    }

    /// Everything flows for `time`: what is due, what is on its way, disks, state machines, polls.
    pub fn flow(&mut self, time: u64) -> Verdict {
        self.now += time;
        for slot in 0..self.nodes.len() {
            let now = self.nodes[slot].local(self.now);
            if self.nodes[slot].raft.as_ref().is_some_and(|raft| raft.deadline() <= now) {
                self.give(slot, &Input::Event(Event::Deadline))?;
            }
        }
        for flight in std::mem::take(&mut self.flight) {
            self.land(flight)?;
        }
        for slot in 0..self.nodes.len() {
            while !self.nodes[slot].disk.queue.is_empty() {
                self.sync(slot)?;
            }
            let jobs = self.nodes[slot].machine.queue.len() + self.nodes[slot].log_reads.len();
            (0..jobs).try_for_each(|_| self.work(slot))?;
            self.poll(slot)?;
        }
        Ok(())
    }

    fn deadline(&mut self, slot: usize) -> Verdict {
        const PATIENCE: u64 = 10_000 * MS;
        let local = self.nodes[slot].local(self.now);
        let Some(raft) = &self.nodes[slot].raft else { return Ok(()) };
        let wait = raft.deadline().0.saturating_sub(local.0);
        if wait > PATIENCE {
            return Ok(());
        }
        self.now += wait;
        self.give(slot, &Input::Event(Event::Deadline))
    }

    fn early(&mut self, slot: usize) -> Verdict {
        let local = self.nodes[slot].local(self.now);
        let early = self.nodes[slot].raft.as_ref().is_some_and(|raft| raft.deadline() > local);
        if early { self.give(slot, &Input::Event(Event::Deadline)) } else { Ok(()) }
    }

    fn propose(&mut self, slot: usize, count: u8) -> Verdict {
        let first = self.next_value;
        self.next_value += u64::from(count);
        let command = |value: u64| {
            let mut bytes = value.to_le_bytes().to_vec();
            bytes.resize(8 + usize::try_from(value % 3 * 12).expect("small"), 7);
            Bytes::from(bytes)
        };
        let commands = (first..self.next_value).map(command).collect();
        self.give(slot, &Input::Propose(commands))
    }

    fn read(&mut self, slot: usize) -> Verdict {
        self.next_read += 1;
        self.give(slot, &Input::Read(ReadId(self.next_read)))
    }

    fn change(&mut self, slot: usize, wish: &Wish) -> Verdict {
        let Some(raft) = &self.nodes[slot].raft else { return Ok(()) };
        let status = raft.status();
        let (members, mut base) = (status.membership.clone(), status.membership_index);
        let node = |number: u8| self.nodes[self.slot(number)].id;
        let context = Bytes::from_static(b"m");
        let mut change = Change::default();
        match *wish {
            Wish::Add(who) => change.add.push((node(who), context)),
            Wish::Promote(who) => change.promote.push(node(who)),
            Wish::Remove(who) => change.remove.push(node(who)),
            Wish::Swap(who) => {
                change.promote.extend(members.learners.iter().take(2));
                let at = usize::from(who) % members.voters.len().max(1);
                change.remove.extend(members.voters.iter().skip(at).take(2));
            }
            Wish::Stale(who) => {
                change.add.push((node(who), context));
                base = base.next();
            }
        }
        self.give(slot, &Input::Change(base, change))
    }

    fn words(&self, step: &Step) -> String {
        let name = |number: &u8| self.nodes[self.slot(*number)].name.clone();
        match step {
            Step::Deadline(node) => format!("deadline of {}", name(node)),
            Step::Early(node) => format!("early deadline at {}", name(node)),
            Step::Sync(node, n) => format!("disk of {} completes {n}", name(node)),
            Step::Work(node, n) => format!("state machine of {} does {n}", name(node)),
            Step::Poll(node) => format!("poll of {}", name(node)),
            Step::Crash(node, kept) => format!("{} crashes, {kept} writes kept", name(node)),
            Step::Restart(node) => format!("{} restarts", name(node)),
            Step::Cut(from, to) => format!("{} ✂ {}", name(from), name(to)),
            Step::Propose(node, n) => format!("{} is asked to append {n}", name(node)),
            Step::Read(node) => format!("{} is asked to read", name(node)),
            Step::Change(node, wish) => format!("{} is asked to change: {wish:?}", name(node)),
            Step::Transfer(node, to) => {
                format!("{} is asked to hand over to {:?}", name(node), to.as_ref().map(name))
            }
            Step::Say(envelope) | Step::Garble(envelope, _) => {
                format!("out of thin air: {envelope}")
            }
            other => format!("{other:?}").to_lowercase(),
        }
    }

    /// How every node stands, one line each.
    pub fn standing(&mut self) {
        for slot in 0..self.nodes.len() {
            self.note(|cluster| match &cluster.nodes[slot].raft {
                Some(raft) => format!("         = {raft}"),
                None => format!("         = {} is down", cluster.nodes[slot].name),
            });
        }
    }

    /// `now` by the clock of a node, which goes back for this moment only.
    pub fn clock(&mut self, slot: usize) -> Instant {
        let local = self.nodes[slot].local(self.now);
        self.nodes[slot].back = 0;
        local
    }

    /// A message is on its way.
    pub fn fly(&mut self, flight: Flight) {
        if self.flight.len() == MAX_FLIGHT {
            self.flight.remove(0);
        }
        self.flight.push(flight);
    }
}

/// Runs a schedule to its end, and tells the watch that it is over.
///
/// # Errors
/// The first rule found broken.
pub fn execute<'a>(
    schedule: &Schedule,
    terms: Terms,
    watch: &'a mut dyn Watch,
    run: &'a mut Run,
) -> Result<Cluster<'a>, Violation> {
    let mut cluster = Cluster::new(schedule, terms, watch, run)?;
    schedule.steps.iter().try_for_each(|step| cluster.perform(step))?;
    cluster.standing();
    cluster.finish()?;
    Ok(cluster)
}
