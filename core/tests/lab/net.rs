//! A model network: every message on its own, late, lost, doubled, out of order, one way only.
//!
//! Rule: a link is judged when a message is sent and again when it lands. Must never: change what a
//! message says (unless a planted bug says so).

use crate::plan::{MAX_SLOTS, Plan};
use crate::rng::{Purpose, Rng};

/// The links between slots.
pub struct Net {
    /// `cut[from][to]`: nothing gets through.
    pub cut: [[bool; MAX_SLOTS]; MAX_SLOTS],
    links: Vec<Rng>,
    /// Nothing is lost, doubled or held back any more.
    pub calm: bool,
}

impl Net {
    pub fn new(seed: u64) -> Net {
        let links = (0..MAX_SLOTS * MAX_SLOTS)
            .map(|i| {
                Rng::stream(seed, Purpose::Link, (i / MAX_SLOTS) as u64, (i % MAX_SLOTS) as u64)
            })
            .collect();
        Net { cut: [[false; MAX_SLOTS]; MAX_SLOTS], links, calm: false }
    }

    /// The delays after which copies of a message land: none when it is lost.
    pub fn fate(&mut self, plan: &Plan, from: usize, to: usize) -> Vec<u64> {
        let rng = &mut self.links[from * MAX_SLOTS + to];
        let one = |rng: &mut Rng| {
            if !self.calm && rng.chance(plan.slow) {
                rng.between(0, plan.held_back)
            } else {
                plan.takes(self.calm, rng, plan.delay_us)
            }
        };
        if self.cut[from][to] || (!self.calm && rng.chance(plan.lost)) {
            return Vec::new();
        }
        let mut delays = vec![one(rng)];
        while !self.calm && delays.len() < 4 && rng.chance(plan.doubled) {
            delays.push(one(rng));
        }
        delays
    }

    /// Whether the transport notices that `from` cannot reach `to`.
    pub fn hints(&mut self, plan: &Plan, from: usize, to: usize) -> bool {
        self.cut[from][to] && self.links[from * MAX_SLOTS + to].chance(plan.hints)
    }

    pub fn heal(&mut self) {
        self.cut = [[false; MAX_SLOTS]; MAX_SLOTS];
    }

    /// Cuts `group` off from everybody else.
    pub fn cut_off(&mut self, group: &[usize], hears: bool, speaks: bool) {
        for inside in group {
            for outside in (0..MAX_SLOTS).filter(|slot| !group.contains(slot)) {
                self.cut[outside][*inside] |= !hears;
                self.cut[*inside][outside] |= !speaks;
            }
        }
    }

    /// Two halves of `slots` that only meet in the middle one.
    pub fn bridge(&mut self, slots: &[usize]) {
        let middle = slots.len() / 2;
        for left in &slots[..middle] {
            for right in slots.iter().skip(middle + 1) {
                self.cut[*left][*right] = true;
                self.cut[*right][*left] = true;
            }
        }
    }
}
