//! **Clock**: `now` may repeat or go back, an early `Deadline` is a no-op, and the far future does
//! not panic.
//!
//! Observed: clocks of nodes go back and jump far ahead between inputs, and the lab's checkers judge
//! every step. Before every input, clones are tormented: one is given the input at an earlier moment
//! and must become what the other becomes at the moment the node knows already; one is given a
//! deadline before it is due and must then say what the other says without; one is given the input
//! at the end of time.
//!
//! Would break it: a difference of two moments, a timer that believes the event more than the clock,
//! a sum that overflows.

use crate::cluster::{Run, Terms, Verdict, execute};
use crate::draw::{Mix, arbitrary};
use crate::law::Law;
use crate::node::Input;
use crate::planted::Planted;
use crate::schedule::{MAX_NODES, MS, Schedule};
use crate::watch::{Birth, Taken, Watch};
use kvorum_core::raft::{Event, Instant, Raft};
use std::time::Duration;

#[derive(Default)]
struct Clocks {
    planted: Option<Planted>,
    /// The latest moment each node has been told.
    known: [Instant; MAX_NODES],
    back: u64,
    early: u64,
}

impl Clocks {
    /// Earlier than known is as good as known.
    fn goes_back(&self, raft: &Raft, known: Instant, input: &Input) -> Result<(), String> {
        let (mut one, mut other) = (raft.clone(), raft.clone());
        let earlier = Instant(known.0 - known.0 / 7);
        input.feed(&mut one, earlier);
        input.feed(&mut other, known);
        if one == other {
            return Ok(());
        }
        Err(format!("at {earlier} {input:?} makes {one}, at {known} {other}"))
    }

    /// A deadline that is not due changes nothing but what time it is.
    fn early(&self, raft: &Raft, now: Instant) -> Result<(), String> {
        const MINUTE: Duration = Duration::from_secs(60);
        let (mut one, mut other) = (raft.clone(), raft.clone());
        let fired = if self.planted == Some(Planted::EagerWheel) { now.after(MINUTE) } else { now };
        one.handle(fired, Event::Deadline);
        let (said, without) = (one.poll(now), other.poll(now));
        if one == other && format!("{said:?}") == format!("{without:?}") {
            return Ok(());
        }
        Err(format!("an early deadline at {now} makes {one} of {other}"))
    }
}

impl Watch for Clocks {
    fn rule(&self) -> &'static str {
        "clock"
    }

    fn born(&mut self, slot: usize, birth: &Birth) {
        self.known[slot] = birth.now;
    }

    fn polled(&mut self, taken: &Taken) -> Result<(), String> {
        self.known[taken.slot] = self.known[taken.slot].max(taken.now);
        Ok(())
    }

    fn before(
        &mut self,
        slot: usize,
        raft: &Raft,
        now: Instant,
        input: &Input,
    ) -> Result<(), String> {
        if self.planted == Some(Planted::Subtracts) {
            now.0.checked_sub(self.known[slot].0).expect("an adapter subtracts times");
        }
        if now < self.known[slot] {
            self.back += 1;
        }
        self.known[slot] = self.known[slot].max(now);
        let known = self.known[slot];
        // Only now and then: a clone costs more than an input.
        if !(known.0 / MS).is_multiple_of(4) {
            return Ok(());
        }
        let mut told = raft.clone();
        let _ = told.poll(known);
        self.goes_back(&told, known, input)?;
        if told.deadline() > known {
            self.early += 1;
            self.early(&told, known)?;
        }
        for far in [Instant(1 << 62), Instant(u64::MAX)] {
            let mut clone = told.clone();
            input.feed(&mut clone, far);
            clone.handle(far, Event::Deadline);
            let _ = clone.poll(far);
        }
        Ok(())
    }
}

static LAW: Law = Law {
    name: "clock",
    draw: |g| arbitrary(g, &Mix { clock: 10, time: 10, ..Mix::EVEN }),
    holds,
    must_happen: &["clock that went back", "early deadline", "leader elected", "entry committed"],
};

fn holds(schedule: &Schedule, planted: Option<Planted>, run: &mut Run) -> Verdict {
    let mut clocks = Clocks { planted, ..Clocks::default() };
    let terms = Terms { batched: true, planted, ..Terms::default() };
    execute(schedule, terms, &mut clocks, run)?;
    *run.cover.entry("clock that went back").or_default() += clocks.back;
    *run.cover.entry("early deadline").or_default() += clocks.early;
    Ok(())
}

#[test]
fn clock() {
    LAW.holds();
}

#[test]
fn clock_bites_when_a_timer_is_eager() {
    LAW.finds(Planted::EagerWheel, &["clock"], 2);
}

#[test]
fn clock_bites_when_times_are_subtracted() {
    LAW.finds(Planted::Subtracts, &["panic"], 4);
}
