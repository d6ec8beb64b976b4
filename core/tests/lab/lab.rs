//! The bench itself: several whole nodes on model disks, clocks and links, one event after another.
//!
//! Rule: one queue ordered by time and then by order of insertion; a seed decides everything. Must
//! never: use threads, the wall clock, or the order of a hash map.

use crate::check::{Checks, Glance, Seen, View, Violation};
use crate::disk::{Disk, Image};
use crate::machine::{Machine, State};
use crate::net::Net;
use crate::node::{Clock, Input, Node, nothing_seen};
use crate::plan::{MAX_SLOTS, Plan};
use crate::planted::Planted;
use crate::rng::{Purpose, Rng, mix};
use crate::trace::Trace;
use bytes::Bytes;
use kvorum_core::raft::{
    Entry, Envelope, Event, Index, LogRead, Membership, NodeId, Raft, ReadId, Restored,
    SnapshotMeta, Term,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Steps after which a run is a storm.
const MAX_EVENTS: u64 = 3_000_000;

/// Something that will happen.
#[derive(Clone, Debug)]
pub enum Happening {
    Wake { slot: usize, life: u64 },
    Land { from: usize, slot: usize, envelope: Envelope },
    Deadline { slot: usize, life: u64 },
    Synced { slot: usize, life: u64 },
    LogRead { slot: usize, life: u64, request: LogRead, entries: Option<Vec<Entry>> },
    Work { slot: usize, life: u64 },
    Tell { slot: usize, life: u64, event: Event },
    Client,
    Administrator,
    Handover,
    Crash,
    PowerCut,
    Partition,
    Rejoin { epoch: u64 },
    Pause,
    Wipe,
    Noise,
    Strike { slot: usize, life: u64 },
    Start { slot: usize },
    Heal,
    Judge,
}

/// How often something interesting happened.
pub type Cover = BTreeMap<&'static str, u64>;

/// A broken rule with its place in time.
#[derive(Clone, Debug)]
pub struct Failure {
    pub violation: Violation,
    pub at: u64,
    pub event: u64,
}

/// What a run came to.
pub struct Outcome {
    pub failure: Option<Failure>,
    pub cover: Cover,
    pub events: u64,
    /// Election timeouts from the heal to full recovery.
    pub recovery: u64,
    pub lines: VecDeque<String>,
}

/// A proposal that a leader has taken.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    pub index: Index,
    pub term: Term,
    pub digest: u64,
    /// After the heal.
    pub late: bool,
}

/// See the module.
pub struct Lab {
    pub plan: Plan,
    pub now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    inserted: u64,
    pub events: u64,
    pub nodes: Vec<Node>,
    pub net: Net,
    pub checks: Checks,
    pub trace: Trace,
    pub names: BTreeMap<NodeId, String>,
    pub directory: BTreeMap<NodeId, usize>,
    /// Incarnations whose disk is gone.
    pub dead: BTreeSet<NodeId>,
    /// What those disks held.
    pub graves: BTreeMap<NodeId, Image>,
    pub client: Rng,
    pub admin: Rng,
    pub nemesis: Rng,
    pub trap: Rng,
    identity: Rng,
    pub next_value: u64,
    pub next_read: u64,
    pub accepted: Vec<Accepted>,
    pub late_reads: BTreeSet<NodeId>,
    pub healed_at: Option<u64>,
    /// Slots that must recover.
    pub majority: Vec<usize>,
    pub partition_epoch: u64,
    pub recovered: bool,
    pub cover: Cover,
}

/// Shows something that concerns a slot to the checkers.
macro_rules! look {
    ($lab:expr, $slot:expr, $seen:expr) => {{
        let view = View {
            plan: &$lab.plan,
            now: $lab.now,
            nodes: &$lab.nodes,
            node: &$lab.nodes[$slot],
            names: &$lab.names,
            graves: &$lab.graves,
        };
        $lab.checks.see(&view, &$seen)
    }};
}
pub(crate) use look;

/// A broken promise that no checker of its own watches.
pub fn broken(rule: &'static str, what: String) -> Violation {
    Violation { rule, what }
}

impl Lab {
    pub fn new(plan: Plan, tracing: bool) -> Lab {
        let seed = plan.seed;
        let stream = |purpose| Rng::stream(seed, purpose, 0, 0);
        let mut lab = Lab {
            now: 0,
            queue: BTreeMap::new(),
            inserted: 0,
            events: 0,
            nodes: Vec::new(),
            net: Net::new(seed),
            checks: Checks::all_but(plan.without),
            trace: Trace {
                on: tracing,
                full: tracing && std::env::var_os("KVORUM_LAB_TRACE").is_some(),
                ..Trace::default()
            },
            names: BTreeMap::new(),
            directory: BTreeMap::new(),
            dead: BTreeSet::new(),
            graves: BTreeMap::new(),
            client: stream(Purpose::Client),
            admin: stream(Purpose::Admin),
            nemesis: stream(Purpose::Nemesis),
            trap: stream(Purpose::Trap),
            identity: stream(Purpose::Identity),
            next_value: 1,
            next_read: 1,
            accepted: Vec::new(),
            late_reads: BTreeSet::new(),
            healed_at: None,
            majority: Vec::new(),
            partition_epoch: 0,
            recovered: false,
            cover: Cover::new(),
            plan,
        };
        lab.populate();
        lab
    }

    fn populate(&mut self) {
        let slots = (self.plan.voters + self.plan.spares).min(MAX_SLOTS);
        for slot in 0..slots {
            let node = self.fresh(slot, 0);
            self.nodes.push(node);
        }
        let founders = if self.plan.grow { 1 } else { self.plan.voters };
        let context = |slot: usize| Bytes::from(format!("m{slot}"));
        let founding: Vec<NodeId> = self.nodes.iter().take(founders).map(|node| node.id).collect();
        let mut membership = Restored::bootstrap(founding[0], context(0)).base.membership;
        membership.voters.extend(&founding);
        membership
            .contexts
            .extend(founding.iter().enumerate().map(|(slot, id)| (*id, context(slot))));
        for slot in 0..founders {
            self.found(slot, &membership);
        }
        self.checks.facts.membership = membership;
    }

    fn found(&mut self, slot: usize, membership: &Membership) {
        let base = SnapshotMeta { membership: membership.clone(), ..SnapshotMeta::default() };
        let node = &mut self.nodes[slot];
        node.machine = Machine::starting(State { meta: base.clone(), ..State::default() });
        node.disk = Disk::holding(Image { base, ..Image::default() });
    }

    /// A blank incarnation for `slot`.
    pub fn fresh(&mut self, slot: usize, incarnation: u64) -> Node {
        let seed = self.plan.seed;
        let mut id = NodeId(self.identity.next());
        // Ordinary ids like any other: the lowest, the highest, and small ones.
        if incarnation == 0 && seed.is_multiple_of(2) {
            id = NodeId(match (slot as u64 + seed / 2) % 7 {
                0 => 0,
                1 => u64::MAX,
                n => n,
            });
        }
        assert!(!self.directory.contains_key(&id), "an id is drawn once");
        let name =
            if incarnation == 0 { format!("n{slot}") } else { format!("n{slot}'{incarnation}") };
        self.names.insert(id, name.clone());
        self.directory.insert(id, slot);
        let mut rng = Rng::stream(seed, Purpose::Node, slot as u64, incarnation);
        let skew = self.plan.skew;
        let clock = Clock {
            offset: rng.pick(&[0, 1 << 20, 1 << 50, 1 << 62]),
            rate: rng.between(1_000 - skew, 1_000 + skew),
        };
        Node {
            slot,
            id,
            name,
            life: 0,
            incarnation,
            raft: None,
            disk: Disk::default(),
            machine: Machine::default(),
            clock,
            glance: nothing_seen(id),
            inbox: VecDeque::new(),
            awake: false,
            paused_until: 0,
            armed: None,
            disk_busy_until: 0,
            receipt_at: 0,
            syncing: 0,
            disk_stalled: false,
            machine_busy: false,
            reads: BTreeMap::new(),
            led_throughout: false,
            rng,
        }
    }

    /// Counts something interesting.
    pub fn cover(&mut self, what: &'static str) {
        *self.cover.entry(what).or_default() += 1;
    }

    /// Puts something into the queue.
    pub fn after(&mut self, delay: u64, happening: Happening) {
        self.inserted += 1;
        self.queue.insert((self.now + delay, self.inserted), happening);
    }

    /// Puts something into the queue for a given moment, or for now when it is past.
    pub fn at(&mut self, moment: u64, happening: Happening) {
        self.after(moment.saturating_sub(self.now), happening);
    }

    /// Runs until it has recovered.
    ///
    /// # Errors
    /// The first rule found broken.
    pub fn run(&mut self) -> Result<(), Violation> {
        for slot in 0..self.nodes.len() {
            self.bring_up(slot)?;
        }
        self.schedule_faults();
        self.after(1_000_000, Happening::Client);
        self.after(self.plan.chaos, Happening::Heal);
        while !self.recovered {
            let Some(((at, _), happening)) = self.queue.pop_first() else {
                return Err(broken("liveness", "nothing will ever happen again".to_owned()));
            };
            self.now = at;
            self.events += 1;
            if self.events > MAX_EVENTS {
                return Err(broken("bounds", format!("event storm: {MAX_EVENTS} steps")));
            }
            self.happen(happening)?;
        }
        self.afterwards()
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::Wake { slot, life } if self.nodes[slot].life == life => self.wake(slot),
            Happening::Deadline { slot, life } if self.nodes[slot].life == life => {
                self.nodes[slot].armed = None;
                self.give(slot, Input::Event(Event::Deadline));
                Ok(())
            }
            Happening::Synced { slot, life } if self.nodes[slot].life == life => self.synced(slot),
            Happening::LogRead { slot, life, request, entries }
                if self.nodes[slot].life == life =>
            {
                self.log_read(slot, request, entries);
                Ok(())
            }
            Happening::Work { slot, life } if self.nodes[slot].life == life => self.work(slot),
            Happening::Tell { slot, life, event } if self.nodes[slot].life == life => {
                self.give(slot, Input::Event(event));
                Ok(())
            }
            Happening::Strike { slot, life } if self.nodes[slot].life == life => self.strike(slot),
            Happening::Wake { .. }
            | Happening::Deadline { .. }
            | Happening::Synced { .. }
            | Happening::LogRead { .. }
            | Happening::Work { .. }
            | Happening::Tell { .. }
            | Happening::Strike { .. } => Ok(()),
            Happening::Land { from, slot, envelope } => {
                self.land(from, slot, envelope);
                Ok(())
            }
            Happening::Client => {
                self.clients();
                Ok(())
            }
            Happening::Administrator => self.administrate(),
            Happening::Handover => {
                self.handover();
                Ok(())
            }
            Happening::Start { slot } => self.bring_up(slot),
            Happening::Heal => self.heal(),
            Happening::Judge => self.judge(),
            fault @ (Happening::Crash
            | Happening::PowerCut
            | Happening::Partition
            | Happening::Rejoin { .. }
            | Happening::Pause
            | Happening::Wipe
            | Happening::Noise) => self.fault(&fault),
        }
    }

    /// Puts an input in front of a node.
    pub fn give(&mut self, slot: usize, input: Input) {
        if !self.nodes[slot].up() {
            return;
        }
        self.nodes[slot].inbox.push_back(input);
        self.rouse(slot);
    }

    /// The node will run soon.
    pub fn rouse(&mut self, slot: usize) {
        let node = &mut self.nodes[slot];
        if node.awake {
            return;
        }
        node.awake = true;
        let (life, delay) = (node.life, 1_000 * node.rng.between(1, 20));
        self.after(delay, Happening::Wake { slot, life });
    }

    /// Starts the node in `slot` from its disk.
    pub fn bring_up(&mut self, slot: usize) -> Result<(), Violation> {
        if self.nodes[slot].up() {
            return Ok(());
        }
        let (seed, config, now) = (self.plan.seed, self.plan.config.clone(), self.now);
        Planted::at_start(self, slot);
        let node = &mut self.nodes[slot];
        let applied = node.machine.state.meta.clone();
        let image = node.disk.durable.recovered(&applied);
        if image.base.last.index > applied.last.index {
            let (base, applied) = (image.base.last, applied.last);
            let what = format!(
                "{}: the log begins after {base}, its state machine ends at {applied}",
                node.name
            );
            return Err(broken("compaction", what));
        }
        node.life += 1;
        node.disk = Disk::holding(image.clone());
        let cached = node.rng.below(image.entries.len() + 1);
        let mut restored = image.restored(applied.last.index, cached);
        if self.plan.plants(Planted::MembershipForgotten) {
            restored.memberships.pop();
        }
        let life_seed = mix(mix(seed, node.id.0), node.life);
        let raft = Raft::restore(node.id, config, restored.clone(), life_seed, node.local(now))
            .map_err(|corrupt| broken("restore", format!("{}: {}", node.name, corrupt.0)))?;
        let glance = Glance::of(&raft);
        node.raft = Some(raft);
        node.glance = glance;
        node.inbox.clear();
        node.awake = false;
        node.armed = None;
        node.paused_until = 0;
        node.machine_busy = false;
        node.led_throughout = false;
        self.trace.note(now, || {
            format!(
                "{} starts: last={} base={} applied={} vote={:?}",
                self.nodes[slot].name, glance.last, glance.base, glance.applied, glance.vote
            )
        });
        look!(self, slot, Seen::Restored { restored: &restored, glance })?;
        self.rouse(slot);
        Ok(())
    }

    /// Takes a node down; `kept` of its writes under way survive, and `state` picks the commit that
    /// its state machine comes back with.
    pub fn take_down(&mut self, slot: usize, kept: usize, state: usize) -> Result<(), Violation> {
        if !self.nodes[slot].up() {
            return Ok(());
        }
        self.trace.note(self.now, || {
            format!(
                "{} ⚡ down, {kept} of {} writes kept",
                self.nodes[slot].name,
                self.nodes[slot].disk.queue.len()
            )
        });
        if kept < self.nodes[slot].disk.queue.len() {
            self.cover("crash that lost writes");
        }
        let node = &mut self.nodes[slot];
        node.raft = None;
        node.life += 1;
        node.glance = nothing_seen(node.id);
        node.inbox.clear();
        node.reads.clear();
        node.disk.crash(kept);
        node.disk_busy_until = 0;
        node.receipt_at = 0;
        node.syncing = 0;
        node.machine.crash(state);
        look!(self, slot, Seen::Down)
    }

    /// A name for a new read.
    pub fn read_id(&mut self) -> ReadId {
        self.next_read += 1;
        ReadId(self.next_read)
    }
}

/// Runs a plan; a panic is a broken rule like any other.
pub fn run(plan: &Plan, tracing: bool) -> Outcome {
    let mut lab = Lab::new(plan.clone(), tracing);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lab.run()));
    let violation = match result {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                .unwrap_or_default();
            Some(broken("panic", text))
        }
    };
    let healed = lab.healed_at.unwrap_or(lab.now);
    Outcome {
        failure: violation.map(|violation| Failure { violation, at: lab.now, event: lab.events }),
        recovery: (lab.now - healed) / lab.plan.election(),
        cover: lab.cover,
        events: lab.events,
        lines: lab.trace.lines,
    }
}
