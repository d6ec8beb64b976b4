//! What a node is to the others. Each role owns its state, so that nothing of one outlives it.
//!
//! Rule: only `become_*` change the role. Must never: keep votes, progress or pending reads of an
//! earlier candidacy or reign.

use super::{
    agreement::Comparison,
    message::{Message, StateDigest},
    output::{RoleName, SnapshotRequest},
    progress::Peer,
    raft::Raft,
    read::Reads,
    timer::Timer,
    transfer::Transfer,
    types::{Entry, EntryId, Index, Instant, NodeId, Payload, Term, Vote},
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
};

/// The roles.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Role {
    /// Follows a leader or waits for one.
    Follower(Follower),
    /// Asks whether an election could succeed (§9.6).
    PreCandidate(Ballot),
    /// Asks for votes (§5.2).
    Candidate(Ballot),
    /// Leads.
    Leader(Box<Leader>),
}

/// A follower's state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Follower {
    /// Whom it follows.
    pub leader: Option<NodeId>,
    /// When it last heard that leader; forgotten when the leader may be gone.
    pub contact: Option<Instant>,
}

/// Answers to a candidacy. At most one per voter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Ballot {
    /// Who said what.
    pub answers: BTreeMap<NodeId, bool>,
}

/// A leader's state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Leader {
    /// Every other member.
    pub peers: BTreeMap<NodeId, Peer>,
    /// Its first entry: once that is committed, so is everything before it (§5.4.2).
    pub first: Index,
    /// Reads on their way to an index.
    pub reads: Reads,
    /// Leadership being handed over.
    pub transfer: Option<Transfer>,
    /// Last index and bytes of each proposal not yet committed. Bounded by
    /// `Config::max_uncommitted_bytes`.
    pub proposed: VecDeque<(Index, u64)>,
    /// Bytes in `proposed`.
    pub proposed_bytes: u64,
    /// When this node's disk last finished a write, or the reign began.
    pub disk_heard: Instant,
    /// When the reign began.
    pub began: Instant,
    /// Whether the replicas' states agree.
    pub comparison: Comparison,
}

/// What all heartbeats of a moment have in common.
#[derive(Debug, Clone, Copy)]
pub struct Beat {
    sequence: u64,
    compare: Option<Index>,
    proven: Option<StateDigest>,
}

impl Leader {
    /// What a heartbeat says now.
    pub fn beat(&self) -> Beat {
        Beat {
            sequence: self.reads.sequence(),
            compare: self.comparison.asked,
            proven: self.comparison.proven,
        }
    }
}

impl Beat {
    /// The heartbeat for a peer that may learn of this commit index.
    pub fn heartbeat(self, commit: Index) -> Message {
        let Beat { sequence, compare, proven } = self;
        Message::Heartbeat { commit, sequence, compare, proven }
    }
}

impl Role {
    /// The role without its data.
    pub fn name(&self) -> RoleName {
        match self {
            Role::Follower(_) => RoleName::Follower,
            Role::PreCandidate(_) => RoleName::PreCandidate,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
        }
    }
}

impl Raft {
    /// Whom this node takes for the leader.
    pub(super) fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Follower(follower) => follower.leader,
            Role::PreCandidate(_) | Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.id),
        }
    }

    /// Enters a term in which nobody has this node's vote yet. Forgets what belongs to older ones.
    fn enter_term(&mut self, vote: Vote) {
        assert!(vote.term > self.vote.term, "terms only grow (§5.1)");
        self.vote = vote;
        self.sequence_seen = 0;
        self.known_leader = None;
        // Promises of an older term that no write carries yet are void; nobody waits for them.
        self.gated.retain(|envelope| envelope.term == vote.term);
    }

    /// Follows `leader`, or nobody yet, in `term`.
    pub(super) fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        if term > self.vote.term {
            self.enter_term(Vote { term, voted_for: None });
        }
        if self.leader() != leader {
            self.fail_forwarded_reads();
        }
        let was_leader = matches!(self.role, Role::Leader(_));
        if was_leader {
            self.lay_down_leadership();
        }
        let contact = leader.map(|_| self.now);
        self.role = Role::Follower(Follower { leader, contact });
        // A message that merely carries a higher term must not put off an election.
        if was_leader || leader.is_some() {
            self.arm_election();
        }
    }

    /// Asks around (§9.6).
    pub(super) fn become_pre_candidate(&mut self) {
        assert!(!matches!(self.role, Role::Leader(_)), "a leader does not campaign");
        self.fail_forwarded_reads();
        self.role = Role::PreCandidate(Ballot::default());
        self.arm_retry();
    }

    /// Campaigns in the next term with its own vote, which counts once it is durable.
    pub(super) fn become_candidate(&mut self) {
        assert!(!matches!(self.role, Role::Leader(_)), "a leader does not campaign");
        self.fail_forwarded_reads();
        self.enter_term(Vote { term: self.vote.term.next(), voted_for: Some(self.id) });
        self.role = Role::Candidate(Ballot::default());
        self.arm_retry();
    }

    /// Leads. The first entry of the term commits what earlier leaders left (§5.4.2, §8); the first
    /// entry of all is the configuration the cluster was born with, so that from there on the
    /// configuration is a function of the log alone, on every node.
    pub(super) fn become_leader(&mut self) {
        assert!(matches!(self.role, Role::Candidate(_)), "only a candidate can win");
        assert_eq!(self.durable_vote, self.vote, "a leader's own vote is durable (§5.2)");
        self.known_leader = Some(self.id);
        let last = self.log.last();
        self.role = Role::Leader(Box::new(Leader {
            peers: BTreeMap::new(),
            first: last.index.next(),
            reads: Reads::default(),
            transfer: None,
            proposed: VecDeque::new(),
            proposed_bytes: 0,
            disk_heard: self.now,
            began: self.now,
            comparison: Comparison::default(),
        }));
        self.hurry_until = None;
        self.timers.clear(Timer::Election);
        self.timers.set(Timer::Heartbeat, self.now.after(self.config.heartbeat_interval));
        self.timers.set(Timer::CheckQuorum, self.now.after(self.config.election_timeout));
        self.sync_peers();
        let payload = if last.index == Index::ZERO {
            Payload::Membership(self.log.membership().clone())
        } else {
            Payload::Noop
        };
        self.append_own(payload);
    }

    /// Adds an entry of this term to the leader's own log.
    pub(super) fn append_own(&mut self, payload: Payload) -> EntryId {
        assert!(matches!(self.role, Role::Leader(_)), "only a leader adds entries (§5.3)");
        let id = EntryId { index: self.log.last().index.next(), term: self.vote.term };
        let membership = matches!(payload, Payload::Membership(_));
        self.log.append(Entry::new(self.log.last_chain(), id, payload));
        if membership {
            self.sync_peers();
        }
        id
    }

    /// Ends a reign: nothing of it is left waiting.
    fn lay_down_leadership(&mut self) {
        self.fail_led_reads();
        if let Role::Leader(leader) = &self.role {
            for (&peer, progress) in &leader.peers {
                if progress.pins_snapshot() {
                    self.snapshots.push(SnapshotRequest::Close { peer });
                }
            }
        }
        for timer in [Timer::Heartbeat, Timer::CheckQuorum, Timer::Transfer] {
            self.timers.clear(timer);
        }
    }
}
