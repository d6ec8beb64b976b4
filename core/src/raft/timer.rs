//! What is due when: one slot per purpose.
//!
//! Rule: a slot holds at most one moment, and `deadline` is the earliest of all. Must never: fire by
//! itself; only `Event::Deadline` looks at it.

use super::types::Instant;

/// The purposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// No word from a leader, or no result of a candidacy.
    Election,
    /// The leader must say that it leads.
    Heartbeat,
    /// The leader must look whether a quorum still answers.
    CheckQuorum,
    /// A transfer of leadership must end.
    Transfer,
    /// The oldest read has waited long enough.
    Reads,
}

const SLOTS: usize = 5;

/// The table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Timers([Option<Instant>; SLOTS]);

impl Timers {
    /// Sets a slot.
    pub fn set(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = Some(at);
    }

    /// Sets a slot unless it is due earlier already.
    pub fn set_earlier(&mut self, timer: Timer, at: Instant) {
        let slot = &mut self.0[timer as usize];
        *slot = Some(slot.map_or(at, |set| set.min(at)));
    }

    /// Clears a slot.
    pub fn clear(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// Clears a slot that is due and says whether it was.
    pub fn expire(&mut self, timer: Timer, now: Instant) -> bool {
        let slot = &mut self.0[timer as usize];
        let due = slot.is_some_and(|at| at <= now);
        if due {
            *slot = None;
        }
        due
    }

    /// Every slot.
    pub fn slots(&mut self) -> impl Iterator<Item = &mut Option<Instant>> {
        self.0.iter_mut()
    }

    /// Whether a slot is set.
    pub fn is_set(&self, timer: Timer) -> bool {
        self.0[timer as usize].is_some()
    }

    /// The earliest moment in the table.
    pub fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }
}
