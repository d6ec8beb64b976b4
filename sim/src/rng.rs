//! Random streams: one per seed, purpose and id.
//!
//! Rule: every fault, link, disk and client draws from a stream of its own, so that adding a draw
//! in one place does not change all others. Must never: be seeded by anything but the run's seed.

use std::ops::Range;

/// A stream of pseudo-random numbers (xoshiro256**, Blackman and Vigna 2018).
#[derive(Debug, Clone)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The stream of `seed` for `purpose` and `id`.
    #[must_use]
    pub fn stream(seed: u64, purpose: &str, id: u64) -> Rng {
        let mut mixer = Splitmix(seed ^ 0x6b76_6f72_756d_5f31);
        let mut fold = mixer.next();
        for word in purpose.bytes().map(u64::from).chain([u64::MAX, id]) {
            mixer = Splitmix(fold ^ word);
            fold = mixer.next();
        }
        Rng { state: [mixer.next(), mixer.next(), mixer.next(), mixer.next() | 1] }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `bound` (0 when `bound` is 0). The bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        (wide >> 64) as u64
    }

    /// A number in `range`; its start when it is empty.
    pub fn within(&mut self, range: &Range<u64>) -> u64 {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    /// `true` with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        // 53 bits are what a double holds.
        ((self.next_u64() >> 11) as f64) < p * (1u64 << 53) as f64
    }

    /// An index below `len`, for slices.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// One of `items`, which must not be empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }
}

struct Splitmix(u64);

impl Splitmix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
