//! The whole world as a model: a few nodes, the messages between them, what is still allowed to
//! happen, and what is remembered of the run.
//!
//! Rule: anything may happen at any moment, as long as the budget lasts. The network is a set:
//! messages arrive in any order, any time later, or never (a message that is still under way is a
//! message that was lost); arriving twice costs budget. Must never: prune what could break a rule.

use crate::{
    node::{Input, Node},
    rules::{Broken, Case, Memory, Rule},
    setup::{Budget, Setup},
    sights::{Sight, look_around},
    tables::{Numbers, Tables},
};
use kvorum_core::raft::NodeId;
use stateright::{Model, Property};
use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

/// A state of the world: numbers into the tables.
#[derive(Debug, Clone)]
pub struct State {
    pub nodes: Vec<u32>,
    /// Messages under way, each once; by number, or (when their number is bounded) by link and age.
    pub network: Vec<u32>,
    pub memory: u32,
    pub left: Budget,
    /// Which nodes have acted, as bits.
    pub acted: u8,
    pub broken: Option<Broken>,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A node, by position, has this input. A message is taken from the network.
    Step(u8, Input<u32>),
    /// A message arrives, and stays under way.
    Copy(u8, u32),
}

/// The model.
pub struct World {
    pub setup: Setup,
    pub tables: Mutex<Everything>,
    /// What was seen anywhere.
    pub seen: AtomicU32,
    /// A broken rule is reported once, for its shortest path.
    reported: AtomicBool,
}

/// The tables of nodes and the memories of runs.
#[derive(Default)]
pub struct Everything {
    pub tables: Tables,
    pub memories: Numbers<Memory>,
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        self.key() == other.key()
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.key().hash(hasher);
    }
}

impl State {
    #[allow(clippy::type_complexity)] // A key, not a type anybody passes on.
    fn key(&self) -> (&[u32], &[u32], u32, Budget, u8, Option<Rule>) {
        let broken = self.broken.as_ref().map(|(rule, _)| *rule);
        (&self.nodes, &self.network, self.memory, self.left, self.acted, broken)
    }
}

impl World {
    pub fn new(setup: Setup) -> World {
        World {
            setup,
            tables: Mutex::default(),
            seen: AtomicU32::new(0),
            reported: AtomicBool::new(false),
        }
    }

    fn holds(&self, state: &State, rule: Rule) -> bool {
        let broken = state.broken.as_ref().is_some_and(|(broken, _)| *broken == rule);
        !broken || self.reported.swap(true, Ordering::Relaxed)
    }

    /// Nodes that are alike act for the first time in order: any other run is one of these with
    /// the names exchanged.
    fn may_act(&self, acted: u8, position: u8) -> bool {
        acted >> position & 1 == 1
            || self.setup.alike.iter().all(|class| {
                let earlier = class.iter().take_while(|&&id| id != position + 1);
                !class.contains(&(position + 1))
                    || earlier.into_iter().all(|&id| acted >> (id - 1) & 1 == 1)
            })
    }

    fn spend(left: Budget, action: Action) -> Option<Budget> {
        let mut left = left;
        let purse = match action {
            Action::Copy(..) => &mut left.copies,
            Action::Step(_, Input::Tick) => &mut left.ticks,
            Action::Step(_, Input::Beat) => &mut left.beats,
            Action::Step(_, Input::Crash(_)) => &mut left.crashes,
            Action::Step(_, Input::Propose(_)) => &mut left.proposals,
            Action::Step(_, Input::Change(_)) => &mut left.changes,
            Action::Step(_, Input::Transfer(_)) => &mut left.transfers,
            Action::Step(_, Input::Checkpoint) => &mut left.checkpoints,
            Action::Step(_, Input::Receive(_) | Input::Written | Input::Poll) => return Some(left),
        };
        *purse = purse.checked_sub(1)?;
        Some(left)
    }

    /// What a node may have done to it, apart from messages.
    fn inputs(&self, all: &Tables, state: &State, position: u8, actions: &mut Vec<Action>) {
        let (left, look) = (&state.left, all.look(state.nodes[usize::from(position)]));
        let mut push = |input| actions.push(Action::Step(position, input));
        if left.ticks > 0 {
            push(Input::Tick);
        }
        if left.beats > 0 && look.beats {
            push(Input::Beat);
        }
        if look.writes > 0 {
            push(Input::Written);
        }
        if self.setup.polls_apart {
            push(Input::Poll);
        }
        if left.crashes > 0 {
            (0..=look.writes).for_each(|kept| push(Input::Crash(kept)));
        }
        if left.checkpoints > 0 && look.checkpoints {
            push(Input::Checkpoint);
        }
        if !look.leads {
            return;
        }
        if left.proposals > 0 {
            push(Input::Propose(self.setup.budget.proposals - left.proposals));
        }
        if left.changes > 0 {
            push(Input::Change(self.setup.budget.changes - left.changes));
        }
        if left.transfers > 0 {
            (1..=self.setup.nodes).for_each(|to| push(Input::Transfer(to)));
        }
    }

    /// Puts a message under way, unless the same is already.
    fn send(&self, all: &Tables, network: &mut Vec<u32>, message: u32) {
        if network.contains(&message) {
            return;
        }
        let link = |message: u32| {
            let envelope = all.envelopes.get(message);
            (envelope.from, envelope.to)
        };
        let of = link(message);
        let same: Vec<usize> =
            (0..network.len()).filter(|&place| link(network[place]) == of).collect();
        if same.len() >= self.setup.per_link {
            network.remove(same[0]);
        }
        // By link, and within a link in order, if that decides what is lost first.
        let bounded = self.setup.per_link < usize::MAX;
        let earlier = |&other: &u32| if bounded { link(other) <= of } else { other < message };
        let place = network.iter().take_while(|&other| earlier(other)).count();
        network.insert(place, message);
    }

    fn position(&self, id: NodeId) -> Option<u8> {
        let position = u8::try_from(id.0.checked_sub(1)?).ok()?;
        (position < self.setup.nodes).then_some(position)
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut all = self.tables.lock().expect("one thread");
        let nodes = self.setup.ids().map(|id| Node::first(&self.setup, id));
        let nodes = nodes.map(|node| all.tables.node(&self.setup, node)).collect();
        let memory = all.memories.number(Memory::default());
        let left = self.setup.budget;
        let network = Vec::new();
        vec![State { nodes, network, memory, left, acted: 0, broken: None }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        let all = self.tables.lock().expect("one thread");
        for position in (0..self.setup.nodes).filter(|&p| self.may_act(state.acted, p)) {
            self.inputs(&all.tables, state, position, actions);
        }
        for &message in &state.network {
            let Some(position) = self.position(all.tables.envelopes.get(message).to) else {
                continue;
            };
            if self.may_act(state.acted, position) {
                actions.push(Action::Step(position, Input::Receive(message)));
                if state.left.copies > 0 {
                    actions.push(Action::Copy(position, message));
                }
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let left = Self::spend(state.left, action)?;
        let (position, input, taken) = match action {
            Action::Step(position, Input::Receive(m)) => (position, Input::Receive(m), Some(m)),
            Action::Step(position, input) => (position, input, None),
            Action::Copy(position, m) => (position, Input::Receive(m), None),
        };
        let at = usize::from(position);
        let mut all = self.tables.lock().expect("one thread");
        let Everything { tables, memories } = &mut *all;
        let step = tables.step(&self.setup, state.nodes[at], input);
        if step.idle {
            // Nothing came of it: as good as never.
            return None;
        }
        let before = Arc::clone(tables.look(state.nodes[at]));
        let after = Arc::clone(tables.look(step.node));
        if after.term.0 > self.setup.terms {
            return None;
        }
        let mut nodes = state.nodes.clone();
        nodes[at] = step.node;
        let mut network = state.network.clone();
        network.retain(|message| Some(*message) != taken);
        for &message in &step.sent {
            self.send(tables, &mut network, message);
        }
        let mut case = Case { tables, nodes: &nodes, before, after, step: &step };
        let (mut memory, mut broken) = (state.memory, None);
        if !case.is_quiet() {
            let mut remembered = memories.get(memory).clone();
            let known = remembered.committed.len();
            broken = case.judge(&mut remembered).err();
            if broken.is_none() {
                let seen = look_around(&case, &remembered, known);
                self.seen.fetch_or(seen, Ordering::Relaxed);
            }
            memory = memories.number(remembered);
        }
        let acted = state.acted | 1 << position;
        Some(State { nodes, network, memory, left, acted, broken })
    }

    fn properties(&self) -> Vec<Property<World>> {
        macro_rules! always {
            ($($rule:ident: $name:literal),*) => {
                vec![$(Property::always($name, |world: &World, state: &State| {
                    world.holds(state, Rule::$rule)
                })),*]
            };
        }
        always![
            ElectionSafety: "at most one leader per term",
            LeaderCompleteness: "a leader has everything that is committed",
            LogMatching: "logs that share an entry agree up to it",
            StateMachineSafety: "what is committed or applied is the same everywhere",
            CommittedIsDurable: "what is committed is on the disks of a quorum",
            OneDurableVote: "one durable vote per term",
            CommitMonotone: "the commit index never goes back within a life",
            QuorumsMeet: "quorums of consecutive configurations meet",
            CommittedStays: "nobody could be elected who lacks what is committed",
            ChangesInOrder: "one change of the members at a time, after an own commit",
            NoEvidence: "nobody finds proof of divergence",
            Invariants: "the core's own invariants hold, and nothing panics"
        ]
    }
}

/// What was seen, by name.
pub fn names(seen: u32) -> Vec<Sight> {
    Sight::ALL.into_iter().filter(|sight| sight.is_in(seen)).collect()
}
