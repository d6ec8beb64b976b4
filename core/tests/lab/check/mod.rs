//! The checkers: what must hold after every single step of every run.
//!
//! Rule: one file, one property; a checker sees what a node shows (status, outputs, messages) and
//! what the model disks hold, never the inside of the core. Must never: change anything.

pub mod answers;
pub mod bounds;
pub mod completeness;
pub mod durable;
pub mod election;
pub mod facts;
pub mod gate;
pub mod matching;
pub mod membership;
pub mod mirror;
pub mod monotone;
pub mod quiet;
pub mod reads;
pub mod safety;
pub mod stickiness;
pub mod votes;

use crate::disk::Image;
use crate::node::Node;
use crate::plan::Plan;
use crate::trace;
use facts::Facts;
use kvorum_core::raft::{
    Entry, EntryId, Envelope, Event, Index, Instant, Membership, NodeId, Output, Raft, ReadId,
    ReadReady, Restored, RoleName, SnapshotMeta, SnapshotRequest, Term, Vote, Write,
};
use std::collections::{BTreeMap, BTreeSet};

/// What `Status` says, to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    pub id: NodeId,
    pub role: RoleName,
    pub vote: Vote,
    pub leader: Option<NodeId>,
    pub base: EntryId,
    pub last: EntryId,
    pub written: Index,
    pub commit: Index,
    pub applied: Index,
    pub membership_index: Index,
}

impl Glance {
    pub fn of(raft: &Raft) -> Glance {
        let status = raft.status();
        Glance {
            id: status.id,
            role: status.role,
            vote: status.vote,
            leader: status.leader,
            base: status.base,
            last: status.last,
            written: status.written,
            commit: status.commit,
            applied: status.applied,
            membership_index: status.membership_index,
        }
    }

    pub fn term(&self) -> Term {
        self.vote.term
    }

    pub fn leads(&self) -> bool {
        self.role == RoleName::Leader
    }
}

/// Something a checker may judge. It always concerns `View::node`.
pub enum Seen<'a> {
    /// A new life began.
    Restored { restored: &'a Restored, glance: Glance },
    /// An event is about to be handled.
    Given { event: &'a Event, now: Instant },
    /// One event was handled, or one request made.
    Stepped { before: Glance, after: Glance },
    /// The outputs were taken; the write is submitted, nothing else has happened yet.
    Polled(Polled<'a>),
    /// A write has become durable.
    Durable,
    /// A message leaves.
    Leaves { envelope: &'a Envelope },
    /// The state machine has applied an entry.
    Applied,
    /// The state machine was told to become `meta`, and has.
    Installed { meta: &'a SnapshotMeta },
    /// The state machine gave up a snapshot.
    InstallFailed,
    /// The core was told that the state machine has applied up to here.
    AppliedTold { index: Index },
    /// A read was accepted.
    ReadAsked { id: ReadId },
    /// A read was answered.
    ReadAnswered { ready: &'a ReadReady },
    /// The node went down, or was wiped.
    Down,
}

/// One `Raft::poll`.
pub struct Polled<'a> {
    pub glance: Glance,
    pub membership: &'a Membership,
    pub write: Option<&'a Write>,
    pub messages: &'a [Envelope],
    pub committed: &'a [Entry],
    pub snapshots: &'a [SnapshotRequest],
    pub reads: &'a [ReadReady],
    /// What a second poll right after it said.
    pub again: &'a Output,
    pub deadline: Instant,
    pub now: Instant,
    /// Inputs handled since the poll before.
    pub handled: usize,
    /// Among them a deadline that was due.
    pub was_due: bool,
    /// Whether this node has led, in one term, ever since the poll before.
    pub led_throughout: bool,
    /// Inputs that wait.
    pub backlog: usize,
}

/// Where a judgement is made.
pub struct View<'a> {
    pub plan: &'a Plan,
    pub now: u64,
    pub nodes: &'a [Node],
    pub node: &'a Node,
    pub names: &'a BTreeMap<NodeId, String>,
    /// What lost disks held when they were lost: what it confirmed still counts.
    pub graves: &'a BTreeMap<NodeId, Image>,
}

impl View<'_> {
    /// What reports call `id`.
    pub fn name(&self, id: NodeId) -> String {
        self.names.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    /// A configuration in words.
    pub fn members(&self, membership: &Membership) -> String {
        trace::members(self.names, membership)
    }
}

/// A rule was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: &'static str,
    pub what: String,
}

/// One property.
pub trait Check {
    /// Its name, as reports give it.
    fn rule(&self) -> &'static str;

    /// Judges.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn see(&mut self, view: &View, facts: &Facts, seen: &Seen) -> Result<(), String>;
}

/// All checkers.
pub struct Checks {
    pub facts: Facts,
    checks: Vec<Box<dyn Check>>,
}

impl Checks {
    /// All checkers but those named.
    pub fn all_but(without: &[&str]) -> Checks {
        let all: Vec<Box<dyn Check>> = vec![
            Box::new(votes::OneVote::default()),
            Box::new(election::ElectionSafety),
            Box::new(mirror::Mirror),
            Box::new(matching::LogMatching::default()),
            Box::new(completeness::LeaderCompleteness),
            Box::new(durable::CommittedIsDurable::default()),
            Box::new(safety::StateMachineSafety::default()),
            Box::new(monotone::Monotone::default()),
            Box::new(membership::MembershipRules),
            Box::new(membership::JointSteps),
            Box::new(stickiness::Stickiness::default()),
            Box::new(gate::Gate),
            Box::new(reads::LinearizableReads::default()),
            Box::new(bounds::Bounds::default()),
            Box::new(quiet::Quiet),
            Box::new(answers::Answers),
        ];
        let checks = all.into_iter().filter(|check| !without.contains(&check.rule())).collect();
        Checks { facts: Facts::default(), checks }
    }

    /// Shows something to every checker.
    ///
    /// # Errors
    /// The first rule found broken.
    pub fn see(&mut self, view: &View, seen: &Seen) -> Result<(), Violation> {
        let broken = |rule| move |what| Violation { rule, what };
        self.facts.note(view, seen).map_err(broken(facts::RULE))?;
        for check in &mut self.checks {
            check.see(view, &self.facts, seen).map_err(broken(check.rule()))?;
        }
        Ok(())
    }
}

/// Whether `have` holds a majority of every half of `membership`.
pub fn is_quorum(membership: &Membership, mut have: impl FnMut(NodeId) -> bool) -> bool {
    let mut majority = |half: &BTreeSet<NodeId>| {
        half.is_empty() || half.iter().filter(|id| have(**id)).count() > half.len() / 2
    };
    majority(&membership.voters) && majority(&membership.outgoing)
}
