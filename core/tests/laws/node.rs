//! One node with the disk and the state machine around it, as plain data.
//!
//! Rule: what survives a crash is in `disk` and `machine`; everything else is of this life. Must
//! never: act by itself; the cluster does.

use crate::check::Glance;
use crate::disk::Disk;
use crate::machine::Machine;
use bytes::Bytes;
use kvorum_core::raft::{
    Change, Entry, Event, Index, Instant, LogRead, NodeId, Raft, ReadId, RoleName, Term, Vote,
};
use std::collections::{BTreeMap, VecDeque};

/// What a node is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Event(Event),
    Propose(Vec<Bytes>),
    Read(ReadId),
    Change(Index, Change),
    Transfer(Option<NodeId>),
}

/// See the module.
pub struct Node {
    pub id: NodeId,
    pub name: String,
    /// Lives so far.
    pub life: u64,
    /// `None`: down.
    pub raft: Option<Raft>,
    pub disk: Disk,
    pub machine: Machine,
    /// As of the last step.
    pub glance: Glance,
    pub reads: BTreeMap<ReadId, Instant>,
    /// Cold reads, and what the disk held when they were asked for.
    pub log_reads: VecDeque<(LogRead, Vec<Entry>)>,
    /// How far ahead its clock is.
    pub ahead: u64,
    /// How far back it goes for one input.
    pub back: u64,
    /// Inputs since the last poll.
    pub handled: usize,
    /// When a deadline that was due was handled last.
    pub was_due: Option<Instant>,
    /// Inputs that the next poll waits for.
    pub waits: u8,
    pub led_throughout: bool,
}

impl Input {
    /// Gives it to a node. Whether a request was accepted is the node's business.
    pub fn feed(&self, raft: &mut Raft, now: Instant) -> bool {
        match self.clone() {
            Input::Event(event) => {
                raft.handle(now, event);
                true
            }
            Input::Propose(commands) => raft.propose(now, commands).is_ok(),
            Input::Read(id) => raft.read(now, id).is_ok(),
            Input::Change(base, change) => raft.change_membership(now, base, change).is_ok(),
            Input::Transfer(to) => raft.transfer_leadership(now, to).is_ok(),
        }
    }
}

/// A glance at a node that does not run.
pub fn nothing_seen(id: NodeId) -> Glance {
    Glance {
        id,
        role: RoleName::Follower,
        vote: Vote { term: Term(0), voted_for: None },
        leader: None,
        base: Default::default(),
        last: Default::default(),
        written: Index::ZERO,
        commit: Index::ZERO,
        applied: Index::ZERO,
        membership_index: Index::ZERO,
    }
}

impl Node {
    pub fn new(id: NodeId, disk: Disk, machine: Machine) -> Node {
        Node {
            id,
            name: id.to_string(),
            life: 0,
            raft: None,
            disk,
            machine,
            glance: nothing_seen(id),
            reads: BTreeMap::new(),
            log_reads: VecDeque::new(),
            ahead: 0,
            back: 0,
            handled: 0,
            was_due: None,
            waits: 0,
            led_throughout: false,
        }
    }

    pub fn up(&self) -> bool {
        self.raft.is_some()
    }

    pub fn leads(&self) -> bool {
        self.up() && self.glance.leads()
    }

    /// `now` by this node's clock.
    pub fn local(&self, now: u64) -> Instant {
        Instant(now.saturating_add(self.ahead).saturating_sub(self.back))
    }
}
