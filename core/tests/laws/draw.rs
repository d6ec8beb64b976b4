//! How schedules are drawn.
//!
//! Rule: everything comes from quickcheck's generator, through one seed; a law chooses how often
//! each kind of step comes. Most schedules begin with an election that is left in peace, because
//! chance alone rarely makes a leader. Must never: draw only what is legal at that moment.

use crate::hostile;
use crate::plan::BURST;
use crate::rng::{Purpose, Rng, mix};
use crate::schedule::{Limits, MAX_NODES, Schedule, Step, Wish};
use crate::shrink;
use quickcheck::{Arbitrary, Gen};

/// How often each family of steps comes, in relation to the others.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Everything flows for a while.
    pub flow: u64,
    /// Single messages: delivered, lost, doubled.
    pub deliver: u64,
    pub lose: u64,
    pub double: u64,
    /// Deadlines, early ones, time.
    pub time: u64,
    /// Disks and state machines.
    pub work: u64,
    pub poll: u64,
    pub crash: u64,
    /// Links.
    pub cut: u64,
    pub propose: u64,
    pub read: u64,
    pub change: u64,
    pub transfer: u64,
    /// Clocks that go wrong.
    pub clock: u64,
    /// Peers that say anything.
    pub say: u64,
    /// Steps, at most.
    pub steps: u64,
    /// Nodes, at most.
    pub nodes: u64,
}

impl Mix {
    /// A little of everything that the protocol promises to bear.
    pub const EVEN: Mix = Mix {
        flow: 10,
        deliver: 12,
        lose: 2,
        double: 2,
        time: 6,
        work: 10,
        poll: 1,
        crash: 4,
        cut: 2,
        propose: 8,
        read: 3,
        change: 3,
        transfer: 1,
        clock: 0,
        say: 0,
        steps: 60,
        nodes: MAX_NODES as u64,
    };
}

/// The limits that may be tiny.
fn limits(rng: &mut Rng) -> Limits {
    if rng.chance(300) {
        return Limits::ROOMY;
    }
    Limits {
        append_entries: rng.pick(&[1, 1, 2, 5, 64]),
        append_bytes: rng.pick(&[1, 100, 10_000]),
        inflight_appends: rng.pick(&[1, 2, 8]),
        inflight_bytes: rng.pick(&[1, 500, 100_000]),
        uncommitted_bytes: rng.pick(&[100, 1_000, 1_000_000]),
        apply_bytes: rng.pick(&[1, 100, 100_000]),
        cache_bytes: rng.pick(&[0, 1, 100, 1_000_000]),
        pending_reads: rng.pick(&[1, 4, 1_000]),
        chunk_bytes: rng.pick(&[7, 40, 1_000]),
        compact_after: rng.pick(&[1, 1, 200, 1_000_000]),
        keep_entries: rng.pick(&[0, 0, 1, 5]),
        promote: !rng.chance(200),
        checkpoint_every: rng.pick(&[1, 3, 10]),
        short_reads: rng.chance(300),
    }
}

/// Ids of all kinds; the lowest and the highest are ids like any other.
fn ids(rng: &mut Rng, count: u64) -> Vec<u64> {
    let mut ids = Vec::new();
    while (ids.len() as u64) < count {
        let id = match rng.between(0, 5) {
            0 => 0,
            1 => u64::MAX,
            2 => rng.next(),
            _ => rng.between(1, 9),
        };
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

fn node(rng: &mut Rng) -> u8 {
    u8::try_from(rng.between(0, MAX_NODES as u64 - 1)).expect("few")
}

fn number(rng: &mut Rng, most: u64) -> u8 {
    u8::try_from(rng.between(0, most)).expect("a small number")
}

fn message(rng: &mut Rng) -> u8 {
    // The oldest often, so that conversations get somewhere.
    if rng.chance(500) { 0 } else { number(rng, 20) }
}

fn wish(rng: &mut Rng) -> Wish {
    let who = node(rng);
    match rng.between(0, 9) {
        0..=3 => Wish::Add(who),
        4 => Wish::Promote(who),
        5 | 6 => Wish::Remove(who),
        7 | 8 => Wish::Swap(who),
        _ => Wish::Stale(who),
    }
}

fn step(rng: &mut Rng, mix: &Mix, ids: &[u64]) -> Step {
    let weights = [
        mix.flow,
        mix.deliver,
        mix.lose,
        mix.double,
        mix.time,
        mix.work,
        mix.poll,
        mix.crash,
        mix.cut,
        mix.propose,
        mix.read,
        mix.change,
        mix.transfer,
        mix.clock,
        mix.say,
    ];
    let mut left = rng.between(0, weights.iter().sum::<u64>() - 1);
    let family = weights
        .iter()
        .position(|weight| {
            let hit = left < *weight;
            left = left.saturating_sub(*weight);
            hit
        })
        .expect("below the sum");
    match family {
        0 => Step::Flow(1 + number(rng, 7)),
        1 => Step::Deliver(message(rng)),
        2 => Step::Lose(message(rng)),
        3 => Step::Double(message(rng)),
        4 => match rng.between(0, 3) {
            0 | 1 => Step::Deadline(node(rng)),
            2 => Step::Early(node(rng)),
            _ => Step::Pass(number(rng, 120)),
        },
        5 if rng.chance(600) => Step::Sync(node(rng), 1 + number(rng, 2)),
        5 => Step::Work(node(rng), 1 + number(rng, 2)),
        6 => Step::Poll(node(rng)),
        7 if rng.chance(500) => Step::Crash(node(rng), number(rng, 3)),
        7 => Step::Restart(node(rng)),
        8 => match rng.between(0, 5) {
            0 | 1 => Step::Cut(node(rng), node(rng)),
            2 => Step::Part(number(rng, 127)),
            3 => Step::Unreachable(node(rng), node(rng)),
            _ => Step::Heal,
        },
        9 => Step::Propose(node(rng), 1 + number(rng, BURST - 1)),
        10 => Step::Read(node(rng)),
        11 => Step::Change(node(rng), wish(rng)),
        12 => Step::Transfer(node(rng), rng.chance(500).then(|| node(rng))),
        13 if rng.chance(900) => Step::Back(node(rng), number(rng, 255)),
        13 => Step::Ahead(node(rng), 20 + number(rng, 42)),
        _ => hostile::step(rng, ids),
    }
}

/// Draws a schedule.
pub fn draw(rng: &mut Rng, mix: &Mix) -> Schedule {
    let nodes = rng.pick(&[1, 2, 3, 3, 3, 3, 4, 5, 5, 6, 7]).min(mix.nodes);
    let ids = ids(rng, nodes);
    let founders = if rng.chance(700) { nodes } else { rng.between(1, nodes) };
    let polls = match rng.between(0, 2) {
        0 => (0..=rng.between(0, 3)).map(|_| number(rng, 4)).collect(),
        _ => Vec::new(),
    };
    let mut steps = Vec::new();
    if rng.chance(850) {
        steps = vec![Step::Deadline(node(rng)), Step::Flow(4 + number(rng, 6))];
    }
    steps.extend((0..rng.between(1, mix.steps)).map(|_| step(rng, mix, &ids)));
    let founders = usize::try_from(founders).expect("few");
    Schedule { limits: limits(rng), founders, ids, polls, steps }
}

/// The generator's next number: the seed of one schedule.
pub fn entropy(g: &mut Gen) -> u64 {
    (0..4).fold(0, |sum, _| mix(sum, u64::arbitrary(g)))
}

/// Draws a schedule from quickcheck's generator.
pub fn arbitrary(g: &mut Gen, mix: &Mix) -> Schedule {
    draw(&mut Rng::stream(entropy(g), Purpose::Plan, 0, 0), mix)
}

impl Arbitrary for Schedule {
    fn arbitrary(g: &mut Gen) -> Schedule {
        arbitrary(g, &Mix::EVEN)
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Schedule>> {
        Box::new(shrink::smaller(self.clone()))
    }
}
