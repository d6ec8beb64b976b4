//! A node without the accidents of its past, so that two that will behave alike are equal.
//!
//! Rule: from its canonical form on, a node answers every event as it would have itself, only at
//! other moments and under other write ids: time is counted from a fixed origin, a moment so long
//! ago that no limit can tell is cut to the oldest that matters, receipts are numbered from one,
//! and counters that decide nothing are zero. For model checkers, shrinkers and "what if". Must
//! never: forget anything the protocol decides on. Every struct that holds a moment is taken apart
//! by name, so that a new field stops the build here until somebody has said what it is.

use super::{
    output::Write,
    progress::{CatchUp, Peer, State, Transfer},
    promotion::REST,
    raft::Raft,
    replicate::SILENCE_OF_A_RECEIVER,
    rng::Rng,
    role::{Follower, Leader, Role},
    types::{Instant, WriteId},
};
use alloc::collections::BTreeMap;
use core::time::Duration;

/// Moves moments of one clock to another.
#[derive(Clone, Copy)]
struct Shift {
    from: Instant,
    to: Instant,
    /// Nothing asks whether something is older than this.
    horizon: Duration,
}

impl Shift {
    fn moment(self, at: &mut Instant) {
        *at = if *at > self.from {
            self.to.after(at.since(self.from))
        } else {
            let age = self.from.since(*at).min(self.horizon);
            Instant(self.to.0.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)))
        };
    }

    /// A moment that matters only while it lies ahead.
    fn due(self, at: &mut Instant) {
        *at = self.to.after(at.since(self.from));
    }
}

impl Raft {
    /// This node in canonical form: its clock shows `now`, and its writes under way are numbered
    /// from one. The generator starts anew, so this is exact where its draws cannot differ: with
    /// an election time-out of one nanosecond.
    ///
    /// # Panics
    /// When `under_way` are not the writes that this node waits for, oldest first, or `now` is so
    /// early that an election time-out ago was never.
    #[must_use]
    pub fn canonical(mut self, now: Instant, under_way: &mut [Write]) -> Raft {
        let Raft {
            id: _,
            life: _,
            config,
            now: clock,
            rng,
            timers,
            vote: _,
            durable_vote: _,
            submitted_vote: _,
            submitted_commit: _,
            log,
            commit: _,
            role,
            known_leader: _,
            sequence_seen: _,
            hurry_until,
            stands_in_until,
            apply,
            forwarded,
            incoming: _,
            durable_state: _,
            digests: _,
            unproven_divergences,
            outbox: _,
            gated: _,
            reads: _,
            log_reads: _,
            snapshots: _,
            announced: _,
            ignored,
            refused,
            evidence: _,
            halted: _,
        } = &mut self;
        let horizon = config.election_timeout.max(config.heartbeat_interval * 4);
        assert!(Instant(0).after(horizon) < now, "time has begun long ago");
        let shift = Shift { from: *clock, to: now, horizon };
        *clock = now;
        *rng = Rng::new(0);
        *ignored = BTreeMap::new();
        *refused = BTreeMap::new();
        *unproven_divergences = 0;
        for slot in timers.slots() {
            slot.iter_mut().for_each(|at| shift.due(at));
        }
        *hurry_until = hurry_until.filter(|until| *until > shift.from);
        hurry_until.iter_mut().for_each(|until| shift.due(until));
        *stands_in_until = stands_in_until.filter(|until| *until > shift.from);
        stands_in_until.iter_mut().for_each(|until| shift.due(until));
        apply.moment().into_iter().for_each(|since| shift.moment(since));
        forwarded.moments().for_each(|until| shift.due(until));
        match role {
            Role::Follower(Follower { leader: _, contact }) => {
                contact.iter_mut().for_each(|at| shift.moment(at));
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {}
            Role::Leader(leader) => shift_leader(leader, shift),
        }
        let offset = log.writes.renumber();
        let flights = log.writes.flights();
        assert_eq!(flights.len(), under_way.len(), "every write under way is named");
        for (flight, write) in flights.iter_mut().zip(under_way) {
            write.id = WriteId(write.id.0 - offset);
            assert_eq!(flight.id, write.id, "the writes under way are these, oldest first");
            shift.moment(&mut flight.at);
        }
        self
    }
}

fn shift_leader(leader: &mut Leader, shift: Shift) {
    let Leader {
        peers,
        first: _,
        reads,
        transfer: _,
        proposed: _,
        proposed_bytes: _,
        disk_heard,
        began,
        comparison: _,
    } = leader;
    shift.moment(disk_heard);
    shift.moment(began);
    reads.moments().for_each(|until| shift.due(until));
    for peer in peers.values_mut() {
        shift_peer(peer, shift);
    }
}

fn shift_peer(peer: &mut Peer, shift: Shift) {
    // A peer that is being sent a snapshot is waited for longer, and a slow learner rests longer.
    let waited_for = peer.pins_snapshot();
    let longer = |times| Shift { horizon: shift.horizon * times, ..shift };
    let Peer {
        matched: _,
        state,
        heard,
        sequence: _,
        staged: _,
        report: _,
        commit_sent: _,
        fetched: _,
        fetching: _,
        passed: _,
        catch_up: CatchUp { target: _, since: round, done: _, rounds },
    } = peer;
    if waited_for { longer(SILENCE_OF_A_RECEIVER) } else { shift }.moment(heard);
    if *rounds > 0 { longer(REST) } else { shift }.moment(round);
    match state {
        State::Probe { next: _, sent } => sent.iter_mut().for_each(|at| shift.moment(at)),
        State::Replicate { next: _, inflight: _, progressed } => shift.moment(progressed),
        State::Snapshot(transfer) => {
            let Transfer { meta: _, offset: _, digest: _, resume: _, phase: _, since, resent: _ } =
                &mut **transfer;
            shift.moment(since);
        }
    }
}
