//! The bench itself: several whole nodes on model disks, clocks and links, one event after another.
//!
//! Rule: one queue ordered by time and then by order of insertion; a seed decides everything. Must
//! never: use threads, the wall clock, or the order of a hash map.

use crate::check::{Checks, Violation};
use crate::disk::Image;
use crate::net::Net;
use crate::node::{Input, Node};
use crate::plan::Plan;
use crate::rng::{Purpose, Rng};
use crate::trace::Trace;
use kvorum_core::raft::{Entry, Envelope, Event, Index, LogRead, NodeId, ReadId, Term};
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
    pub identity: Rng,
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
