//! A schedule: who there is, how tiny the limits are, when nodes are polled, and what happens.
//!
//! Rule: a plain value; a step that makes no sense when its turn comes does nothing, so that every
//! part of a schedule is a schedule. Numbers are taken modulo what there is. Must never: hold
//! anything that a run depends on and `Debug` does not show.

use kvorum_core::raft::{Config, Envelope};
use std::time::Duration;

/// Nodes, at most.
pub const MAX_NODES: usize = 7;

/// Nanoseconds.
pub const MS: u64 = 1_000_000;

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Ids of the nodes, each once.
    pub ids: Vec<u64>,
    /// So many of them are the voters the cluster is born with; the others are blank.
    pub founders: usize,
    pub limits: Limits,
    /// Inputs that wait for the next poll, over and over; empty: a poll after every input.
    pub polls: Vec<u8>,
    pub steps: Vec<Step>,
}

/// What is tiny in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub append_entries: usize,
    pub append_bytes: u64,
    pub inflight_appends: usize,
    pub inflight_bytes: u64,
    pub uncommitted_bytes: u64,
    pub apply_bytes: u64,
    pub cache_bytes: u64,
    pub pending_reads: usize,
    pub chunk_bytes: u64,
    pub compact_after: u64,
    pub keep_entries: u64,
    pub promote: bool,
    /// Entries between two checkpoints of the state machine.
    pub checkpoint_every: u64,
    /// Cold reads are answered with one entry at a time.
    pub short_reads: bool,
}

/// Something that happens. Nodes and messages are numbers, modulo how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Everything flows for so many milliseconds: deadlines, messages, disks, state machines.
    Flow(u8),
    /// A message on its way arrives; 0 is the oldest.
    Deliver(u8),
    /// A message on its way is lost.
    Lose(u8),
    /// A message on its way is there twice.
    Double(u8),
    /// Time moves to a node's deadline, which passes.
    Deadline(u8),
    /// `Event::Deadline` before it is due.
    Early(u8),
    /// Milliseconds go by and nobody notices.
    Pass(u8),
    /// So many writes of a node complete.
    Sync(u8, u8),
    /// So many jobs of a node's state machine are done.
    Work(u8, u8),
    /// A node is polled.
    Poll(u8),
    /// A node crashes; so many of its writes under way had reached the disk all the same.
    Crash(u8, u8),
    Restart(u8),
    /// Nothing passes from the first node to the second any more.
    Cut(u8, u8),
    /// The nodes in the mask and the others do not hear each other any more.
    Part(u8),
    Heal,
    /// A node is asked to append so many commands.
    Propose(u8, u8),
    Read(u8),
    Change(u8, Wish),
    Transfer(u8, Option<u8>),
    /// The transport tells the first node that it cannot reach the second.
    Unreachable(u8, u8),
    /// The clock of a node shows so many milliseconds less at its next input.
    Back(u8, u8),
    /// The clock of a node jumps ahead: by 2 to the power of this, in nanoseconds.
    Ahead(u8, u8),
    /// A peer says anything at all.
    Say(Box<Envelope>),
    /// The same, through the wire, with bits flipped.
    Garble(Box<Envelope>, Vec<u16>),
}

/// What an administrator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A new member, as a learner.
    Add(u8),
    /// A learner becomes a voter.
    Promote(u8),
    Remove(u8),
    /// Two come and two go at once, as far as they can: a joint configuration.
    Swap(u8),
    /// As it is, but decided upon an old view of the members.
    Stale(u8),
}

impl Limits {
    /// Room for everything.
    pub const ROOMY: Limits = Limits {
        append_entries: 64,
        append_bytes: 10_000,
        inflight_appends: 8,
        inflight_bytes: 100_000,
        uncommitted_bytes: 1_000_000,
        apply_bytes: 100_000,
        cache_bytes: 1_000_000,
        pending_reads: 1_000,
        chunk_bytes: 1_000,
        compact_after: 1_000_000,
        keep_entries: 50,
        promote: true,
        checkpoint_every: 10,
        short_reads: false,
    };

    pub fn config(&self) -> Config {
        Config {
            election_timeout: Duration::from_millis(100),
            heartbeat_interval: Duration::from_millis(20),
            max_entry_bytes: 4_096,
            max_append_entries: self.append_entries,
            max_append_bytes: self.append_bytes,
            max_inflight_appends: self.inflight_appends,
            max_inflight_bytes: self.inflight_bytes,
            max_uncommitted_bytes: self.uncommitted_bytes,
            max_apply_bytes: self.apply_bytes,
            cache_bytes: self.cache_bytes,
            max_pending_reads: self.pending_reads,
            snapshot_chunk_bytes: self.chunk_bytes,
            compact_after_bytes: self.compact_after,
            keep_entries: self.keep_entries,
            promote_learners: self.promote,
            ..Config::default()
        }
    }
}
