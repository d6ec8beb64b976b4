//! A machine's clocks: one that runs at its own rate, and one on the wall that jumps.
//!
//! Rule: the monotone clock never goes back, whatever its rate becomes; the wall clock is only ever
//! data. Must never: be read by anything but the node it belongs to.

use kvorum_core::raft::Instant;
use madsim::time::TimeHandle;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// A rate of one: simulated and local seconds are equally long.
const TRUE_RATE: u64 = 1_000_000;
/// By how much a hurried clock runs fast, in parts per million.
const HURRY_PPM: i64 = 300_000;
/// Longest single sleep; a sleeper looks again then.
const LONGEST_SLEEP: u64 = 3_600_000_000_000;
/// Where wall clocks stand when a simulation begins (in 2025), in milliseconds since 1970.
const WALL_START_MS: u64 = 1_750_000_000_000;

/// The clocks of one machine. Cheap to clone.
#[derive(Clone)]
pub struct Clock {
    time: TimeHandle,
    state: Arc<Mutex<State>>,
    /// Every rate it was given: from which simulated nanosecond on, and how many parts per million
    /// off.
    rates: Arc<Mutex<Vec<(u64, i64)>>>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// Local nanoseconds per million simulated ones.
    rate: u64,
    simulated: u64,
    local: u64,
    wall_offset_ms: i64,
}

impl Clock {
    /// True clocks, starting at zero. Call it inside a runtime.
    #[must_use]
    pub fn new() -> Clock {
        let time = TimeHandle::current();
        let simulated = nanos(time.elapsed());
        let state = State { rate: TRUE_RATE, simulated, local: 0, wall_offset_ms: 0 };
        Clock { time, state: Arc::new(Mutex::new(state)), rates: Arc::default() }
    }

    /// The monotone clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant(self.read().local)
    }

    fn read(&self) -> State {
        let mut state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let simulated = nanos(self.time.elapsed());
        let passed = u128::from(simulated - state.simulated) * u128::from(state.rate);
        state.local += (passed / u128::from(TRUE_RATE)) as u64;
        state.simulated = simulated;
        state
    }

    /// The wall clock: milliseconds since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        let state = self.read();
        WALL_START_MS
            .saturating_add(state.simulated / 1_000_000)
            .saturating_add_signed(state.wall_offset_ms)
    }

    /// Lets the monotone clock run fast (positive) or slow, in parts per million.
    pub fn set_drift(&self, ppm: i64) {
        let mut state = self.read();
        state.rate = TRUE_RATE.saturating_add_signed(ppm).max(TRUE_RATE / 10);
        let since = state.simulated;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).push((since, ppm));
    }

    /// As `set_drift`, fast, and without a word: a planted bug.
    pub fn hurry(&self) {
        self.set_drift(HURRY_PPM);
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).pop();
    }

    /// Every rate it was given, and since when (see `apart`).
    #[must_use]
    pub fn rates(&self) -> Vec<(u64, i64)> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Moves the wall clock.
    pub fn set_wall_offset(&self, ms: i64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).wall_offset_ms = ms;
    }

    /// Returns once the monotone clock has reached `at`. A change of rate meanwhile is noticed when
    /// the sleep ends as planned before it.
    pub async fn sleep_until(&self, at: Instant) {
        loop {
            let state = self.read();
            let Some(left) = at.0.checked_sub(state.local).filter(|left| *left > 0) else { return };
            let wait = u128::from(left) * u128::from(TRUE_RATE) / u128::from(state.rate) + 1;
            let wait = wait.min(u128::from(LONGEST_SLEEP)) as u64;
            exactly(Duration::from_nanos(wait)).await;
        }
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

/// How far clocks with these rates can have come apart, from each other and from true time, until
/// `end` (simulated nanoseconds): the sum of what separates the fastest from the slowest.
#[must_use]
pub fn apart(rates: &[Vec<(u64, i64)>], end: u64) -> u64 {
    let mut moments: Vec<u64> =
        rates.iter().flatten().map(|(since, _)| *since).filter(|since| *since < end).collect();
    moments.push(end);
    moments.sort_unstable();
    let mut sum: u128 = 0;
    for pair in moments.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let now = rates.iter().map(|clock| {
            clock.iter().rev().find(|(since, _)| *since <= from).map_or(0, |(_, ppm)| *ppm)
        });
        let (fastest, slowest) =
            now.fold((0, 0), |(fast, slow), ppm: i64| (ppm.max(fast), ppm.min(slow)));
        sum += u128::from(to - from) * u128::from(fastest.abs_diff(slowest)) / 1_000_000;
    }
    u64::try_from(sum).unwrap_or(u64::MAX)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Sleeps in simulated time, also for less than a millisecond (which the simulator's own sleep
/// rounds up).
pub async fn exactly(duration: Duration) {
    let time = TimeHandle::current();
    let at = time.now_instant() + duration;
    let mut sleep = Box::pin(time.sleep(Duration::ZERO));
    sleep.as_mut().reset(at);
    sleep.await;
}
