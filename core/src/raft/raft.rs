//! The node: `handle` what happens, ask with requests, `poll` what must be done.
//!
//! Rule: every message is judged by its term once, here, before any handler sees it (§5.1).
//! `handle` and the requests change state eagerly; `poll` derives appends, heartbeats, hand-outs and
//! the write from that state, so many events cost one write and one append per peer.
//! Must never: panic on what a peer sent, or act in a term that it could forget. What must be
//! durable first:
//!
//! | message | promises | leaves |
//! |---|---|---|
//! | `RequestVote` | the term and the own vote | with the write of both |
//! | `VoteReply` granted | the term and the vote | with the write of both |
//! | `AppendReply` matched | the term and the entries | with the write of both |
//! | `SnapshotReply` installed | the term and the log's new base | with the write of both |
//! | everything a leader says | nothing new: its vote was durable before it led | at once |
//! | refusals, heartbeat replies, pre-votes | nothing: forgetting them costs at most a retry | at once |
//!
//! A heartbeat reply confirms reads, and needs no durable term: a later leader needs the *durable*
//! vote of a node in every read quorum, and that node answers no older term after voting.

use super::{
    agreement::Digests,
    apply::Apply,
    log::Log,
    read::Forwarded,
    rng::Rng,
    role::{Follower, Role},
    snapshot::{Chunk, Incoming},
    timer::{Timer, Timers},
    *,
};
use alloc::{collections::BTreeMap, format, string::ToString, vec::Vec};
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
    /// Rebuilds a node from what its disk holds. Touches nothing else.
    ///
    /// `seed` must differ between two lives of a node (it marks writes and names read batches).
    ///
    /// # Errors
    /// `Corrupt` names what in `restored` does not fit together.
    pub fn restore(
        id: NodeId,
        config: Config,
        restored: Restored,
        seed: u64,
        now: Instant,
    ) -> Result<Raft, Corrupt> {
        let (durable_vote, applied) = (restored.vote, restored.applied);
        let staged = restored.staged.clone();
        let log = Log::restore(&config, restored)?;
        let (base, last) = (log.base(), log.last());
        let mut vote = durable_vote;
        if base == last && vote.term < base.term {
            // A snapshot was installed just before a crash took the write of its term: nothing was
            // promised in terms between, and a vote in that term would be on the disk.
            vote = Vote { term: base.term, voted_for: None };
        }
        if vote.term < last.term {
            let term = vote.term;
            return Err(Corrupt(format!("the term is {term} but the log ends at {last}")));
        }
        if applied < base.index {
            return Err(Corrupt(format!(
                "the state stands at {applied} but the log begins after {base}"
            )));
        }
        if applied > last.index {
            return Err(Corrupt(format!(
                "the state stands at {applied} but the log ends at {last}"
            )));
        }
        if vote.term.0 >= NUMBER_LIMIT || last.index.0 >= NUMBER_LIMIT {
            return Err(Corrupt("a number is out of range".to_string()));
        }
        let mut rng = Rng::new(seed);
        let life = rng.next();
        let mut raft = Raft {
            id,
            life,
            now,
            rng,
            timers: Timers::default(),
            vote,
            durable_vote,
            submitted_vote: durable_vote,
            commit: applied,
            role: Role::Follower(Follower::default()),
            known_leader: None,
            sequence_seen: 0,
            hurry_until: None,
            stands_in_until: None,
            apply: Apply::new(applied),
            forwarded: Forwarded::new(life),
            incoming: staged
                .filter(|StagedSnapshot { meta, .. }| {
                    let wanted = meta.last.index > applied && !log.contains(meta.last);
                    wanted && meta.membership.is_consistent()
                })
                .map(Incoming::restored),
            durable_state: None,
            digests: Digests::new(applied),
            unproven_divergences: 0,
            outbox: Vec::new(),
            gated: Vec::new(),
            reads: Vec::new(),
            log_reads: Vec::new(),
            snapshots: Vec::new(),
            announced: Changed {
                role: RoleName::Follower,
                leader: None,
                term: durable_vote.term,
                membership_index: log.membership_index(),
            },
            ignored: BTreeMap::new(),
            refused: BTreeMap::new(),
            evidence: None,
            halted: false,
            log,
            config,
        };
        if raft.is_sole_voter() {
            raft.timers.set(Timer::Election, now);
        } else {
            raft.arm_election();
        }
        raft.check_after_event();
        Ok(raft)
    }

    /// Something happened. Never refused, never panics on what a peer sent.
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

    /// Appends commands to the log, all or none, in order; returns their indexes. Their term is
    /// `self.status().vote.term`.
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

    /// Asks for an index that is at least every commit acknowledged before this call; works on
    /// followers too. The answer comes as `ReadReady`.
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

    /// Changes the members. `base` is `Status::membership_index` as the caller saw it.
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

    /// Hands leadership to `to` (or to the voter that is furthest along). Ends, one way or the
    /// other, within an election timeout.
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

    /// Everything that must now be done. Empty when there is nothing to do.
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

    /// When `Event::Deadline` is due, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        match self.timers.next() {
            Some(at) if !self.halted => at,
            _ => Instant(u64::MAX),
        }
    }

    /// The term rule (§5.1), then dispatch.
    fn receive(&mut self, envelope: Envelope) {
        if envelope.to != self.id {
            return self.ignore(Ignored::WrongAddressee);
        }
        if envelope.from == self.id || envelope.term.0 >= NUMBER_LIMIT {
            return self.ignore(Ignored::Nonsense);
        }
        if envelope.term > self.vote.term {
            if !self.accept_higher_term(&envelope) {
                return;
            }
        } else if envelope.term < self.vote.term && !self.answer_lower_term(&envelope) {
            return;
        }
        self.dispatch(envelope);
    }

    /// Whether a message of a higher term may be handled; adopts the term where that is due.
    fn accept_higher_term(&mut self, envelope: &Envelope) -> bool {
        let Envelope { from, term, .. } = *envelope;
        match &envelope.message {
            // Terms in which nobody campaigns yet.
            Message::PreVote { .. } | Message::PreVoteReply { granted: true } => return true,
            // §4.2.3: who hears a leader does not even adopt the term of a rival.
            Message::RequestVote { transfer: false, .. } if self.hears_another_leader(from) => {
                self.ignore(Ignored::LeaderAlive);
                return false;
            }
            Message::RequestVote { .. } => self.become_follower(term, None),
            // Only a leader of that term says these. It may be of a configuration this node has
            // not seen yet.
            Message::Append { .. }
            | Message::Heartbeat { .. }
            | Message::InstallSnapshot { .. }
            | Message::TimeoutNow => self.become_follower(term, None),
            // Anybody else's word ends a reign only if it comes from a member.
            Message::PreVoteReply { granted: false }
            | Message::VoteReply { .. }
            | Message::AppendReply { .. }
            | Message::HeartbeatReply { .. }
            | Message::SnapshotReply { .. }
            | Message::ReadIndex { .. }
            | Message::ReadIndexReply { .. } => {
                if !self.log.membership().contains(from) {
                    self.ignore(Ignored::Unsolicited);
                    return false;
                }
                self.become_follower(term, None);
            }
        }
        true
    }

    /// Whether a message of a lower term is handled all the same. A leader or candidate of the
    /// past is told the term, so that it does not stay one.
    fn answer_lower_term(&mut self, envelope: &Envelope) -> bool {
        let from = envelope.from;
        match &envelope.message {
            // Their handlers compare terms themselves.
            Message::PreVote { .. } | Message::PreVoteReply { .. } => return true,
            Message::RequestVote { .. } => self.send(from, Message::VoteReply { granted: false }),
            Message::Append { .. }
            | Message::Heartbeat { .. }
            | Message::InstallSnapshot { .. } => {
                self.send(from, Message::HeartbeatReply { sequence: 0, state: None, staged: None });
            }
            Message::ReadIndex { id } => {
                self.send(from, Message::ReadIndexReply { id: *id, index: None });
            }
            Message::VoteReply { .. }
            | Message::AppendReply { .. }
            | Message::HeartbeatReply { .. }
            | Message::SnapshotReply { .. }
            | Message::TimeoutNow
            | Message::ReadIndexReply { .. } => {}
        }
        self.ignore(Ignored::StaleTerm);
        false
    }

    fn dispatch(&mut self, envelope: Envelope) {
        let Envelope { from, term, message, .. } = envelope;
        match message {
            Message::PreVote { last } => self.answer_pre_vote(from, term, last),
            Message::PreVoteReply { granted } => self.count_pre_vote(from, term, granted),
            Message::RequestVote { last, transfer } => self.answer_vote(from, last, transfer),
            Message::VoteReply { granted } => self.count_vote(from, granted),
            Message::Append { prev, prev_chain, entries, commit, sequence } => {
                if self.follow(from, sequence) {
                    self.accept_append(from, prev, prev_chain, entries, commit);
                }
            }
            Message::AppendReply { outcome, sequence } => {
                if self.heard_from_peer(from, sequence) {
                    self.count_append(from, outcome);
                }
            }
            Message::Heartbeat { commit, sequence, compare, proven } => {
                if self.follow(from, sequence) {
                    self.compare_state(compare, proven);
                    self.accept_heartbeat(from, commit);
                }
            }
            Message::HeartbeatReply { sequence, state, staged } => {
                if self.heard_from_peer(from, sequence) {
                    self.count_report(from, state);
                    self.resume_peer(from, staged);
                }
            }
            Message::InstallSnapshot { meta, offset, data, before, last, sequence } => {
                if self.follow(from, sequence) {
                    self.accept_chunk(from, meta, Chunk { offset, data, before, last });
                }
            }
            Message::SnapshotReply { last, end, digest, installed, sequence } => {
                if self.heard_from_peer(from, sequence) {
                    let held = Staged { last, end, digest };
                    if installed {
                        self.count_installed(from, last);
                    } else {
                        self.count_chunk(from, held);
                    }
                }
            }
            Message::TimeoutNow => self.campaign_now(from),
            Message::ReadIndex { id } => self.accept_forwarded_read(from, id),
            Message::ReadIndexReply { id, index } => self.finish_forwarded_read(from, id, index),
        }
    }

    /// A message of this term's leader arrived: follow it. False when that cannot be.
    fn follow(&mut self, from: NodeId, sequence: u64) -> bool {
        if let Some(known) = self.known_leader.filter(|&known| known != from) {
            self.halt(Evidence::TwoLeaders { term: self.vote.term, known, claims: from });
            return false;
        }
        self.known_leader = Some(from);
        self.hurry_until = None;
        self.become_follower(self.vote.term, Some(from));
        self.sequence_seen = self.sequence_seen.max(sequence);
        true
    }

    /// What is due, in the order in which it matters: a leader that has lost its quorum must not
    /// say once more that it leads.
    fn deadline_passed(&mut self) {
        if self.timers.expire(Timer::CheckQuorum, self.now) {
            self.check_quorum();
        }
        if self.timers.expire(Timer::Transfer, self.now) {
            self.end_transfer();
        }
        if self.timers.expire(Timer::Election, self.now) {
            self.election_due();
        }
        if self.timers.expire(Timer::Heartbeat, self.now) {
            self.broadcast_heartbeat();
        }
        if self.timers.expire(Timer::Reads, self.now) {
            self.expire_reads();
        }
    }

    fn unreachable(&mut self, node: NodeId) {
        match &self.role {
            Role::Leader(_) => self.lost_connection(node),
            Role::Follower(follower) if follower.leader == Some(node) => self.leader_unreachable(),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }

    /// Proof of divergence: nothing more is done, so that nothing is made worse.
    pub(super) fn halt(&mut self, evidence: Evidence) {
        self.halted = true;
        self.evidence = Some(evidence);
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

    pub(super) fn ignore(&mut self, why: Ignored) {
        *self.ignored.entry(why).or_default() += 1;
    }

    /// Time as the caller sees it, but never backwards.
    fn advance_clock(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// An envelope of the current term.
    pub(super) fn envelope(&self, to: NodeId, message: Message) -> Envelope {
        Envelope { from: self.id, to, term: self.vote.term, message }
    }

    /// Leaves with the next poll.
    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        let envelope = self.envelope(to, message);
        self.outbox.push(envelope);
    }

    /// Leaves with the write that makes it true, or at once when the disk holds the current term
    /// and vote and the log up to `log` already.
    pub(super) fn send_gated(&mut self, to: NodeId, message: Message, log: Index) {
        let envelope = self.envelope(to, message);
        if self.durable_vote == self.vote && log <= self.log.written() {
            self.outbox.push(envelope);
        } else {
            self.gated.push(envelope);
        }
    }

    fn announce(&mut self) -> Option<Changed> {
        let now = Changed {
            role: self.role.name(),
            leader: self.leader(),
            term: self.vote.term,
            membership_index: self.log.membership_index(),
        };
        (core::mem::replace(&mut self.announced, now) != now).then_some(now)
    }

    fn check_after_event(&self) {
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
        restored.base.membership = Membership::sole(id, context);
        restored
    }
}
