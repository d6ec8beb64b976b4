//! What is counted while the node works: counters and histograms that cost an atomic addition or
//! two.
//!
//! Rule: counting is relaxed and never waits; a reader may see one number newer than another. Must
//! never: be read to decide anything.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that comes and goes.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// It is this now.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// One more.
    pub fn up(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// One less; there was one.
    pub fn down(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// What it is.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Observations by size. Its bounds are whole numbers of the unit it counts in (microseconds, or
/// entries); `scale` makes the shown unit of them (seconds).
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    scale: f64,
    /// One for each bound, and one for what exceeds the last.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// From a tenth of a millisecond to ten seconds.
const TIMES: [u64; 15] = [
    100, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];
/// Powers of two up to what one batch can hold.
const COUNTS: [u64; 13] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096];

impl Histogram {
    /// Of times, observed in microseconds and shown in seconds.
    #[must_use]
    pub fn of_times() -> Histogram {
        Histogram::new(&TIMES, 1e-6)
    }

    /// Of sizes of batches.
    #[must_use]
    pub fn of_counts() -> Histogram {
        Histogram::new(&COUNTS, 1.0)
    }

    fn new(bounds: &'static [u64], scale: f64) -> Histogram {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, scale, buckets, sum: AtomicU64::new(0) }
    }

    /// Notes one observation.
    pub fn observe(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[place].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// Notes a time.
    pub fn observe_time(&self, time: std::time::Duration) {
        self.observe(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// The sum in the shown unit, how many there were, and how many of them between each bound and
    /// the one before it; the last bound is infinity.
    #[must_use]
    pub fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let shown = self.bounds.iter().map(|bound| *bound as f64 * self.scale);
        let buckets: Vec<(f64, u64)> = shown
            .chain([f64::INFINITY])
            .zip(&self.buckets)
            .map(|(bound, count)| (bound, count.load(Relaxed)))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        (self.sum.load(Relaxed) as f64 * self.scale, count, buckets)
    }
}
