//! What is searched: a small cluster, and how much of each kind of trouble it meets.
//!
//! Rule: every bound has a name and is printed with the numbers. Must never: bound by time.

use crate::{planted::Planted, sights::Sight};
use bytes::Bytes;
use kvorum_core::raft::{Change, Config, Index, Membership, NodeId, SnapshotMeta};
use std::time::Duration;

/// One configuration of the search.
#[derive(Clone, Debug)]
pub struct Setup {
    pub name: &'static str,
    /// Nodes `n1` and up; those in neither list have an empty disk.
    pub nodes: u8,
    pub voters: Vec<u8>,
    pub learners: Vec<u8>,
    /// Nodes that are interchangeable at first: they act for the first time in this order.
    pub alike: Vec<Vec<u8>>,
    /// Writes are durable at once.
    pub sync_at_once: bool,
    /// A poll is a step of its own, so that several events can come before it.
    pub polls_apart: bool,
    /// Heartbeats make a leader send again what has not been answered.
    pub resends: bool,
    /// Learners become voters by themselves.
    pub promotes: bool,
    /// Messages under way from one node to another; one more, and the oldest is lost.
    pub per_link: usize,
    /// No term above this.
    pub terms: u64,
    pub budget: Budget,
    /// What is asked of the members, in this order.
    pub changes: Vec<Change>,
    /// What must have been seen somewhere, or the search proves nothing.
    pub expected: Vec<Sight>,
    pub planted: Option<Planted>,
    /// States at least, as measured when the bounds were chosen: a search that has become much
    /// smaller has lost something.
    pub at_least: usize,
    /// Nothing is looked at beyond so many states (a search cut off says so).
    pub at_most: usize,
}

/// How often each kind of thing may happen in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Election time-outs.
    pub ticks: u8,
    /// Heartbeats due.
    pub beats: u8,
    /// Crashes, each followed by a start.
    pub crashes: u8,
    /// Messages that arrive twice.
    pub copies: u8,
    /// Commands.
    pub proposals: u8,
    /// Changes of the members.
    pub changes: u8,
    /// Leadership handed over.
    pub transfers: u8,
    /// Durable states of the state machine, that let the log begin later.
    pub checkpoints: u8,
}

impl Setup {
    /// Three voters with an empty log, and nothing that happens to them.
    pub fn three_voters(name: &'static str) -> Setup {
        Setup {
            name,
            nodes: 3,
            voters: vec![1, 2, 3],
            learners: Vec::new(),
            alike: vec![vec![1, 2, 3]],
            sync_at_once: true,
            polls_apart: false,
            resends: false,
            promotes: false,
            per_link: usize::MAX,
            terms: 3,
            budget: Budget::default(),
            changes: Vec::new(),
            expected: Vec::new(),
            planted: None,
            at_least: 0,
            at_most: usize::MAX,
        }
    }

    /// The nodes.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=u64::from(self.nodes)).map(NodeId)
    }

    /// What a node's log begins with.
    pub fn base_of(&self, id: NodeId) -> SnapshotMeta {
        let set = |ids: &[u8]| ids.iter().map(|&id| NodeId(u64::from(id))).collect();
        let mut membership = Membership {
            voters: set(&self.voters),
            learners: set(&self.learners),
            ..Membership::default()
        };
        if !membership.contains(id) {
            return SnapshotMeta::default();
        }
        let members = self.voters.iter().chain(&self.learners);
        membership.contexts = members.map(|&id| (NodeId(u64::from(id)), Bytes::new())).collect();
        SnapshotMeta { membership, membership_index: Index::ZERO, ..SnapshotMeta::default() }
    }

    /// The bounds in words.
    pub fn bounds(&self) -> String {
        let Budget { ticks, beats, crashes, copies, proposals, changes, transfers, checkpoints } =
            self.budget;
        let counted = [
            (ticks, "time-outs"),
            (beats, "heartbeats"),
            (proposals, "commands"),
            (crashes, "crashes"),
            (copies, "copies"),
            (changes, "changes"),
            (transfers, "hand-overs"),
            (checkpoints, "durable states"),
        ];
        let mut all: Vec<String> = counted
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        all.push(match self.per_link {
            usize::MAX => "any number of messages per link".to_string(),
            bound => format!("{bound} per link"),
        });
        all.push(format!("terms to {}", self.terms));
        if !self.sync_at_once {
            all.push("slow disks".to_string());
        }
        if self.polls_apart {
            all.push("polls apart".to_string());
        }
        all.join(", ")
    }

    /// Limits so small that each shows, and time-outs without chance: a nanosecond passes or not.
    pub fn config(&self) -> Config {
        Config {
            election_timeout: Duration::from_nanos(1),
            heartbeat_interval: Duration::from_nanos(u64::from(!self.resends)),
            max_append_entries: 1,
            compact_after_bytes: 8,
            keep_entries: 0,
            promote_learners: self.promotes,
            ..Config::default()
        }
    }
}
