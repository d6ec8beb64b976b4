//! The node: `handle` what happens, ask with requests, `poll` what must be done.
//!
//! Rule: `handle` and the requests change state eagerly; `poll` derives appends, heartbeats,
//! hand-outs and the write from that state, so many events cost one write and one append per peer.
//! Must never: panic on what a peer sent, or act in a term that it could forget (`outgoing.rs` says
//! what must be durable first).

use super::{
    agreement::Digests, apply::Apply, log::Log, read::Forwarded, rng::Rng, role::Role,
    snapshot::Incoming, timer::Timers, *,
};
use alloc::{collections::BTreeMap, vec::Vec};
use bytes::Bytes;
use core::ops::RangeInclusive;

/// Terms and indexes beyond this are nonsense from a peer; it keeps their arithmetic total.
pub(super) const NUMBER_LIMIT: u64 = 1 << 62;

/// One node of one Raft group.
///
/// A life begins with `restore`. Everything is a function of what was restored, the seed and the
/// calls; two lives of one node need different seeds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Raft {
    pub(super) id: NodeId,
    /// Drawn from the seed: marks the writes of this life, and names its first read batch.
    pub(super) life: u64,
    pub(super) config: Config,
    pub(super) now: Instant,
    pub(super) rng: Rng,
    pub(super) timers: Timers,

    /// Term and vote as this node acts by them; `durable_vote` is what the disk holds.
    pub(super) vote: Vote,
    pub(super) durable_vote: Vote,
    pub(super) submitted_vote: Vote,
    pub(super) log: Log,
    pub(super) commit: Index,
    /// The commit index of the last write that said one.
    pub(super) submitted_commit: Index,
    pub(super) role: Role,
    /// Who leads in the current term, once known; kept when it falls silent.
    pub(super) known_leader: Option<NodeId>,
    /// The highest read sequence number heard from it.
    pub(super) sequence_seen: u64,
    /// Until then, elections are retried quickly: the leader's connection broke.
    pub(super) hurry_until: Option<Instant>,
    /// Until then this node may campaign though it has no vote: its log is newer than a voter's.
    pub(super) stands_in_until: Option<Instant>,

    pub(super) apply: Apply,
    pub(super) forwarded: Forwarded,
    pub(super) incoming: Option<Incoming>,
    pub(super) durable_state: Option<SnapshotMeta>,
    pub(super) digests: Digests,
    pub(super) unproven_divergences: u64,

    /// To leave with the next poll.
    pub(super) outbox: Vec<Envelope>,
    /// To leave with the next write.
    pub(super) gated: Vec<Envelope>,
    pub(super) reads: Vec<ReadReady>,
    pub(super) log_reads: Vec<LogRead>,
    pub(super) snapshots: Vec<SnapshotRequest>,
    pub(super) announced: Changed,
    pub(super) ignored: BTreeMap<Ignored, u64>,
    pub(super) refused: BTreeMap<Refusal, u64>,
    pub(super) evidence: Option<Evidence>,
    pub(super) halted: bool,
}

impl Raft {
    /// Something happened. Never refused, never panics on what a peer sent; ignored once halted.
    ///
    /// `now` may repeat, and counts as the latest one heard when it goes back.
    ///
    /// # Panics
    /// With the rule's name, when the runtime breaks its side of the contract (`core/README.md`).
    pub fn handle(&mut self, now: Instant, event: Event) {
        self.advance_clock(now);
        if self.halted {
            return;
        }
        match event {
            Event::Received(envelope) => self.receive(envelope),
            Event::Deadline => self.deadline_passed(),
            Event::Written(written) => self.written(written),
            Event::Applied { index, digests } => self.applied(index, &digests),
            Event::LogRead { request, entries } => self.log_read(request, entries),
            Event::Snapshot(event) => self.snapshot_event(event),
            Event::Unreachable(node) => self.unreachable(node),
        }
        self.check_after_event();
    }

    /// Appends commands to the log, all or none, in order; returns their indexes (§5.3). Their term
    /// is `self.status().vote.term`: a command is committed once an entry with this index *and* term
    /// is handed out. Each is at most `Config::max_entry_bytes` long; payloads are never copied.
    ///
    /// # Errors
    /// `NotLeader`, `Overloaded`, `Transferring`, `TooLarge`: certainly not proposed.
    pub fn propose(
        &mut self,
        now: Instant,
        commands: Vec<Bytes>,
    ) -> Result<RangeInclusive<Index>, Refused> {
        self.advance_clock(now);
        let indexes = match self.refuse_when_halted() {
            Ok(()) => self.append_commands(commands),
            Err(halted) => Err(halted),
        };
        self.check_after_event();
        self.counted(indexes)
    }

    /// Asks for an index that is at least every commit acknowledged before this call (§6.4 of the
    /// dissertation); works on followers too. Exactly one answer comes as `ReadReady`, within an
    /// election timeout. At most `Config::max_pending_reads` wait.
    ///
    /// # Errors
    /// `NotLeader { leader: None }` when there is nobody to ask, `Overloaded`.
    pub fn read(&mut self, now: Instant, id: ReadId) -> Result<(), Refused> {
        self.advance_clock(now);
        let accepted = match self.refuse_when_halted() {
            Ok(()) => self.accept_read(id),
            Err(halted) => Err(halted),
        };
        self.check_after_event();
        self.counted(accepted)
    }

    /// Changes the members (§4 of the dissertation): compare-and-set, with `base` as
    /// `Status::membership_index` was when the caller looked. The entry returned is in force at once
    /// and done when it is committed; more than one voter in or out goes through a joint one.
    ///
    /// # Errors
    /// `NotLeader`, `StaleBase`, `ChangePending`, `NotReady`, `NotMember`, `NoVoters`, …
    pub fn change_membership(
        &mut self,
        now: Instant,
        base: Index,
        change: Change,
    ) -> Result<EntryId, Refused> {
        self.advance_clock(now);
        let entry = match self.refuse_when_halted() {
            Ok(()) => self.append_change(base, change),
            Err(halted) => Err(halted),
        };
        self.check_after_event();
        self.counted(entry)
    }

    /// Hands leadership to `to` (or to the voter that is furthest along), whose id is returned
    /// (§3.10 of the dissertation). Ends, one way or the other, within an election timeout; until
    /// then proposals are refused.
    ///
    /// # Errors
    /// `NotLeader`, `NotMember`, `Transferring`.
    pub fn transfer_leadership(
        &mut self,
        now: Instant,
        to: Option<NodeId>,
    ) -> Result<NodeId, Refused> {
        self.advance_clock(now);
        let target = match self.refuse_when_halted() {
            Ok(()) => self.begin_transfer(to),
            Err(halted) => Err(halted),
        };
        self.check_after_event();
        self.counted(target)
    }

    /// Everything that must now be done. Empty when there is nothing to do, and right after a poll.
    /// After proof of divergence it holds nothing but `fatal`, once.
    pub fn poll(&mut self, now: Instant) -> Output {
        self.advance_clock(now);
        if !self.halted {
            self.consider_compaction();
        }
        if self.halted {
            return Output { fatal: self.evidence.take(), ..Output::default() };
        }
        self.consider_installing();
        self.lead();
        self.forward_reads();
        let committed = self.hand_out();
        let write = self.assemble_write();
        let changed = self.announce();
        self.check_after_event();
        Output {
            write,
            messages: core::mem::take(&mut self.outbox),
            committed,
            reads: core::mem::take(&mut self.reads),
            log_reads: core::mem::take(&mut self.log_reads),
            snapshots: core::mem::take(&mut self.snapshots),
            changed,
            fatal: None,
        }
    }

    /// When `Event::Deadline` is due, if nothing happens before; `Instant(u64::MAX)` for never.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        match self.timers.next() {
            Some(at) if !self.halted => at,
            _ => Instant(u64::MAX),
        }
    }

    /// Who has halted leads nobody, whatever its role says: a request taken in would never end.
    fn refuse_when_halted(&self) -> Result<(), Refused> {
        if self.halted { Err(Refused::NotLeader { leader: None }) } else { Ok(()) }
    }

    fn counted<T>(&mut self, answer: Result<T, Refused>) -> Result<T, Refused> {
        if let Err(refused) = &answer {
            *self.refused.entry(refused.reason()).or_default() += 1;
        }
        answer
    }

    /// Time as the caller sees it, but never backwards.
    pub(super) fn advance_clock(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    pub(super) fn check_after_event(&self) {
        if cfg!(debug_assertions) && !self.halted {
            self.check_invariants();
        }
    }
}

/// What a cluster is born with: the log of a node that elects itself (a membership of one at
/// base index 0, term 0).
impl Restored {
    /// The first member of a new cluster.
    #[must_use]
    pub fn bootstrap(id: NodeId, context: Bytes) -> Restored {
        let mut restored = Restored::default();
        restored.base.membership = Membership { epoch: 1, ..Membership::sole(id, context) };
        restored
    }
}
