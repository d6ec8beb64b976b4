//! Copying a node together with its writes under way, for checkers that try more than one future.
//!
//! Rule: the only copy of a `Write` is made beside a copy of its node, and has the same single use:
//! `Write::durable`. Must never: be needed by a runtime.

use super::{output::Write, raft::Raft};
use alloc::vec::Vec;

impl Raft {
    /// The node and its writes under way, as they are in a copy of the whole world. A copied write
    /// becomes durable on the copy's disk; a receipt of it means nothing to the original.
    pub fn fork<'a>(&self, writes: impl IntoIterator<Item = &'a Write>) -> (Raft, Vec<Write>) {
        (self.clone(), writes.into_iter().map(Write::copy).collect())
    }
}

impl Write {
    fn copy(&self) -> Write {
        let Write { vote, truncate_from, append, base, commit, id, life, gated } = self;
        Write {
            vote: *vote,
            truncate_from: *truncate_from,
            append: append.clone(),
            base: base.clone(),
            commit: *commit,
            id: *id,
            life: *life,
            gated: gated.clone(),
        }
    }
}
