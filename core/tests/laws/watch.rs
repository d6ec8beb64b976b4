//! Where a law looks at a run.
//!
//! Rule: sees each life of each node from the restore to the end, every input and every poll. Must
//! never: change anything but itself; clones are free to be tormented.

use crate::disk::Disk;
use crate::node::Input;
use kvorum_core::raft::{Config, Instant, NodeId, Output, Raft, Restored};

/// What a life begins with.
#[derive(Clone, Debug)]
pub struct Birth {
    pub id: NodeId,
    pub config: Config,
    pub restored: Restored,
    pub seed: u64,
    pub now: Instant,
}

/// A poll, just taken.
pub struct Taken<'a> {
    pub slot: usize,
    /// After the poll.
    pub raft: &'a Raft,
    pub now: Instant,
    pub output: &'a Output,
    /// Its disk, which has this poll's write under way.
    pub disk: &'a Disk,
}

/// What a law may look at. The default looks at nothing.
pub trait Watch {
    /// The rule it watches over.
    fn rule(&self) -> &'static str;

    fn born(&mut self, _slot: usize, _birth: &Birth) {}

    /// An input is about to be given to a node.
    fn before(
        &mut self,
        _slot: usize,
        _raft: &Raft,
        _now: Instant,
        _input: &Input,
    ) -> Result<(), String> {
        Ok(())
    }

    /// It was.
    fn after(&mut self, _slot: usize, _raft: &Raft, _handled: usize) -> Result<(), String> {
        Ok(())
    }

    fn polled(&mut self, _taken: &Taken) -> Result<(), String> {
        Ok(())
    }

    /// A life ends, or the run does.
    fn ended(&mut self, _slot: usize, _raft: &Raft) -> Result<(), String> {
        Ok(())
    }
}

/// Looks at nothing: the shared checkers judge alone.
pub struct Nothing;

impl Watch for Nothing {
    fn rule(&self) -> &'static str {
        "nothing"
    }
}
