//! Randomness as a function of a seed: SplitMix64 (Steele, Lea, Flood 2014).
//!
//! Rule: the same seed and the same events give the same numbers. Must never: be used for anything
//! but spreading time-outs and naming read batches.

use core::time::Duration;

/// A seeded generator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rng(u64);

impl Rng {
    /// A generator for one life of a node.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A duration in `[from, to)`; `from` when the range is empty.
    pub fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let width = u64::try_from(to.saturating_sub(from).as_nanos()).unwrap_or(u64::MAX);
        let drawn = self.next();
        if width == 0 { from } else { from + Duration::from_nanos(drawn % width) }
    }
}
