//! One slot: a machine with a disk, a clock, an inbox, and whichever incarnation lives there.
//!
//! Rule: everything a real node would have around its core, as plain data. Must never: act by
//! itself; the lab does.

use crate::check::Glance;
use crate::disk::Disk;
use crate::machine::Machine;
use crate::rng::Rng;
use bytes::Bytes;
use kvorum_core::raft::{
    Change, Event, Index, Instant, NodeId, Raft, ReadId, RoleName, Term, Vote, Write,
};
use std::collections::{BTreeMap, VecDeque};

/// A clock of its own: starts anywhere, runs a little fast or slow.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub offset: u64,
    /// Permille of true speed.
    pub rate: u64,
}

impl Clock {
    pub fn local(&self, now: u64) -> Instant {
        Instant(self.offset + scale(now, self.rate, 1_000))
    }

    /// The first true moment at which this clock shows `local`; `None` for "never".
    pub fn global(&self, local: Instant) -> Option<u64> {
        const FAR: u64 = 1 << 55;
        let since = local.0.saturating_sub(self.offset);
        if since > FAR {
            return None;
        }
        let mut global = scale(since, 1_000, self.rate);
        while self.local(global) < local {
            global += 1;
        }
        Some(global)
    }
}

fn scale(value: u64, by: u64, of: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(by) / u128::from(of)).expect("a short run")
}

/// What waits for a node.
#[derive(Clone, Debug)]
pub enum Input {
    Event(Event),
    Propose {
        commands: Vec<Bytes>,
    },
    Read {
        id: ReadId,
    },
    /// Decided upon when it is handled, with the membership as it is then.
    Change(Wish),
    Transfer(Option<NodeId>),
    /// `Event::Deadline` before it is due.
    EarlyDeadline,
}

/// What an administrator wants.
#[derive(Clone, Debug)]
pub struct Wish {
    pub change: Change,
    /// Pretend to have seen an older configuration.
    pub stale: bool,
}

/// A slot.
pub struct Node {
    pub slot: usize,
    pub id: NodeId,
    pub name: String,
    /// Lives so far in this slot; events of an earlier one are void.
    pub life: u64,
    /// Incarnations so far in this slot.
    pub incarnation: u64,
    /// `None`: down.
    pub raft: Option<Raft>,
    pub disk: Disk,
    pub machine: Machine,
    pub clock: Clock,
    /// As of the last step.
    pub glance: Glance,
    pub inbox: VecDeque<Input>,
    pub awake: bool,
    pub paused_until: u64,
    /// The deadline that is armed.
    pub armed: Option<(Instant, u64)>,
    pub disk_busy_until: u64,
    /// When the last receipt for a write arrives.
    pub receipt_at: u64,
    /// Writes that the sync under way covers.
    pub syncing: usize,
    pub disk_stalled: bool,
    pub machine_busy: bool,
    /// Reads without an answer, and when they were asked by this clock.
    pub reads: BTreeMap<ReadId, Instant>,
    pub led_throughout: bool,
    pub rng: Rng,
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
    pub fn up(&self) -> bool {
        self.raft.is_some()
    }

    pub fn leads(&self) -> bool {
        self.up() && self.glance.leads()
    }

    /// The bench looks at a write and breaks rules with it while the disk holds it.
    pub fn copy(&self, write: &Write) -> Write {
        let raft = self.raft.as_ref().expect("only a node that is up writes");
        raft.fork([write]).1.pop().expect("a copy of the write")
    }

    /// `now` by this node's clock.
    pub fn local(&self, now: u64) -> Instant {
        self.clock.local(now)
    }
}
