//! When a leader looks for what nobody asks for, and whether what it proposed is done.
//!
//! Rule: one look or one proposal at a time. After a chore has taken effect the next look comes at
//! once, else after `PERIOD`, or when the next lease is due if that is sooner (no lease that is
//! granted or kept alive in between can be due before: `lease::MIN_TTL_MS` is longer). Must never:
//! look when this node does not lead, or judge what is due: the state machine does.

use super::lanes::ChoreFound;
use kvorum_core::{
    kv::{Body, lease::MIN_TTL_MS},
    raft::{EntryId, Index, Instant, RoleName, Status},
};
use std::time::Duration;

/// How often a leader looks for chores when none is known to be due.
pub const PERIOD: Duration = Duration::from_millis(500);

const _: () = assert!((PERIOD.as_millis() as u64) < MIN_TTL_MS);

/// What is under way, and when to look again.
#[derive(Debug, Default)]
pub struct Chores {
    /// Whether this node leads.
    leads: bool,
    /// A look is in the state machine's lane.
    looking: bool,
    /// The chore that was proposed and has not taken effect yet.
    proposed: Option<EntryId>,
    next: Instant,
}

impl Chores {
    /// Role and term are these now, and `stamps` whether this node leads and can stamp what it
    /// proposes. Who has just begun to looks at once.
    pub fn role_changed(&mut self, status: &Status<'_>, stamps: bool) {
        let leads = stamps && status.role == RoleName::Leader;
        let another = self.proposed.is_some_and(|entry| entry.term != status.vote.term);
        if !leads || another {
            self.proposed = None;
        }
        if leads && !self.leads {
            self.next = Instant(0);
        }
        self.leads = leads;
    }

    /// When to look; the end of time while there is nothing to look for.
    pub fn due(&self) -> Instant {
        let idle = self.leads && !self.looking && self.proposed.is_none();
        if idle { self.next } else { Instant(u64::MAX) }
    }

    /// Whether to look now. The look is then under way until `found` is called.
    pub fn begin(&mut self, now: Instant) -> bool {
        let begins = now >= self.due();
        self.looking |= begins;
        begins
    }

    /// What the look found, at `clock_ms` on the cluster clock: the chore to propose, if any. If it
    /// cannot be proposed, the next look is a period away.
    pub fn found(&mut self, now: Instant, clock_ms: u64, found: ChoreFound) -> Option<Body> {
        self.looking = false;
        let soon = match (&found.chore, found.next_expiry) {
            (None, Some(due)) => Duration::from_millis(due.saturating_sub(clock_ms).max(1)),
            _ => PERIOD,
        };
        self.next = now.after(soon.min(PERIOD));
        found.chore.filter(|_| self.leads)
    }

    /// The chore was proposed as this entry.
    pub fn proposed(&mut self, entry: EntryId) {
        self.proposed = Some(entry);
    }

    /// Everything up to `index` has taken effect.
    pub fn applied(&mut self, index: Index) {
        if self.proposed.is_some_and(|entry| entry.index <= index) {
            self.proposed = None;
            self.next = Instant(0);
        }
    }
}
