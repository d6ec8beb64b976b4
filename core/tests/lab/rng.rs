//! Randomness: one independent stream per purpose, all derived from the seed.
//!
//! Rule: a stream is named by what it decides for (this link, that disk, that client), so taking one
//! fault out of a run leaves every other decision as it was. Must never: be shared by two purposes.

/// What a stream decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Plan = 1,
    Link,
    Client,
    Admin,
    Nemesis,
    Trap,
    Node,
    Identity,
}

/// SplitMix64: tiny, statistically sound, the same everywhere.
#[derive(Clone, Debug)]
pub struct Rng(u64);

/// Mixes `value` into `digest`; also the lab's only hash.
pub fn mix(digest: u64, value: u64) -> u64 {
    let mut z = (digest ^ value.rotate_left(23)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Digest of bytes.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut digest = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0u8; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        digest = mix(digest, u64::from_le_bytes(word));
    }
    digest
}

impl Rng {
    /// The stream for `purpose` number `a`, `b` (a slot and a life, the two ends of a link, …).
    pub fn stream(seed: u64, purpose: Purpose, a: u64, b: u64) -> Rng {
        Rng(mix(mix(mix(seed, purpose as u64), a), b))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0, 0)
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty range has no member");
        low + self.next() % (high - low + 1)
    }

    /// Uniform in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.between(0, n as u64 - 1)).expect("below a usize")
    }

    /// True in `permille` of 1,000 cases.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.next() % 1_000 < permille
    }

    /// One of `options`.
    pub fn pick<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.below(options.len())]
    }

    /// Reorders `items`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}
