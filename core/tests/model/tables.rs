//! Every node, message and log met so far, once, under a number; and every step of a node, once.
//!
//! Rule: a state of the whole world is a handful of numbers, and a node meets the same input in the
//! same condition in millions of worlds, so the shipped code runs once per pair and is looked up
//! from then on. This is sound because a node is a function of itself and its input. Must never:
//! number two things that differ alike (equality decides, not a hash).

use crate::{
    node::{Effects, Input, Node, disk::Image},
    rules::Rule,
    setup::Setup,
};
use kvorum_core::raft::{Envelope, Index, Membership, NodeId, Term};
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Things under numbers.
#[derive(Debug)]
pub struct Numbers<T> {
    by_thing: HashMap<Arc<T>, u32>,
    things: Vec<Arc<T>>,
}

impl<T: Eq + Hash> Numbers<T> {
    pub fn number(&mut self, thing: T) -> u32 {
        if let Some(&number) = self.by_thing.get(&thing) {
            return number;
        }
        let number = u32::try_from(self.things.len()).expect("fewer than 2^32 things");
        let thing = Arc::new(thing);
        self.things.push(Arc::clone(&thing));
        self.by_thing.insert(thing, number);
        number
    }

    pub fn get(&self, number: u32) -> &T {
        &self.things[number as usize]
    }
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Numbers { by_thing: HashMap::new(), things: Vec::new() }
    }
}

/// What the rules want to know of a node, at hand.
#[derive(Debug, Clone)]
pub struct Look {
    pub id: NodeId,
    pub term: Term,
    pub leads: bool,
    pub commit: Index,
    pub life: u8,
    /// The log it goes by, and the one its disk holds for certain.
    pub log: u32,
    pub durable: u32,
    /// Writes under way.
    pub writes: u8,
    pub beats: bool,
    pub checkpoints: bool,
    pub membership: Membership,
}

/// What a node's step led to, in numbers.
#[derive(Debug, Clone)]
pub struct Step {
    pub node: u32,
    pub sent: Vec<u32>,
    /// Everything but what was sent.
    pub effects: Effects,
    /// No effects.
    pub plain: bool,
    /// Nothing came of it at all.
    pub idle: bool,
}

/// The tables.
#[derive(Debug, Default)]
pub struct Tables {
    pub nodes: Numbers<Node>,
    looks: Vec<Arc<Look>>,
    pub envelopes: Numbers<Envelope>,
    pub logs: Numbers<Image>,
    steps: HashMap<(u32, Input<u32>), Arc<Step>, BuildHasherDefault<Quick>>,
    /// Whether two logs agree wherever they should.
    pub matching: HashMap<(u32, u32), bool, BuildHasherDefault<Quick>>,
}

impl Tables {
    /// The number of a node.
    pub fn node(&mut self, setup: &Setup, node: Node) -> u32 {
        let number = self.nodes.number(node);
        if number as usize == self.looks.len() {
            let node = self.nodes.get(number);
            let status = node.raft.status();
            let look = Look {
                id: status.id,
                term: status.vote.term,
                leads: status.role == kvorum_core::raft::RoleName::Leader,
                commit: status.commit,
                life: node.life,
                log: self.logs.number(node.log().clone()),
                durable: self.logs.number(node.disk.durable.clone()),
                writes: u8::try_from(node.disk.queue.len()).expect("few"),
                beats: node.takes::<u32>(setup, &Input::Beat),
                checkpoints: node.takes::<u32>(setup, &Input::Checkpoint),
                membership: status.membership.clone(),
            };
            self.looks.push(Arc::new(look));
        }
        number
    }

    /// A node at a glance.
    pub fn look(&self, node: u32) -> &Arc<Look> {
        &self.looks[node as usize]
    }

    /// The step of `node` with `input`.
    pub fn step(&mut self, setup: &Setup, node: u32, input: Input<u32>) -> Arc<Step> {
        if let Some(step) = self.steps.get(&(node, input)) {
            return Arc::clone(step);
        }
        let step = Arc::new(self.first_step(setup, node, input));
        self.steps.insert((node, input), Arc::clone(&step));
        step
    }

    fn first_step(&mut self, setup: &Setup, number: u32, input: Input<u32>) -> Step {
        let node = self.nodes.get(number);
        if !node.takes(setup, &input) {
            let (sent, effects) = (Vec::new(), Effects::default());
            return Step { node: number, sent, effects, plain: true, idle: true };
        }
        let envelopes = &self.envelopes;
        let input = input.map(|envelope| envelopes.get(envelope));
        let stepped = catch_unwind(AssertUnwindSafe(|| node.fork().step(setup, &input)));
        let (after, mut effects) = stepped.unwrap_or_else(|panic| {
            let what = panic.downcast_ref::<String>().cloned();
            let what = what.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            let what = what.unwrap_or_else(|| "a panic".to_string());
            let broken = Some((Rule::Invariants, what));
            (node.fork(), Effects { broken, ..Effects::default() })
        });
        let sent = std::mem::take(&mut effects.sent);
        let sent = sent.into_iter().map(|envelope| self.envelopes.number(envelope)).collect();
        let after = self.node(setup, after);
        let plain = effects == Effects::default();
        let mut step = Step { node: after, sent, effects, plain, idle: false };
        step.idle = after == number && step.sent.is_empty() && plain;
        step
    }

    /// How many steps of single nodes were taken by the shipped code.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }
}

impl<M: Copy> Input<M> {
    /// The same with another way to name a message.
    pub fn map<N>(self, name: impl FnOnce(M) -> N) -> Input<N> {
        match self {
            Input::Receive(message) => Input::Receive(name(message)),
            Input::Tick => Input::Tick,
            Input::Beat => Input::Beat,
            Input::Written => Input::Written,
            Input::Crash(kept) => Input::Crash(kept),
            Input::Propose(number) => Input::Propose(number),
            Input::Change(number) => Input::Change(number),
            Input::Transfer(to) => Input::Transfer(to),
            Input::Checkpoint => Input::Checkpoint,
            Input::Poll => Input::Poll,
        }
    }
}

/// A quick hash for keys that are a few small numbers. Keys are compared in full all the same.
#[derive(Default)]
pub struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}
