//! One write per poll, and what its receipt changes.
//!
//! Rule: vote, truncation, entries and base go to the disk in one stream of ordered writes, with
//! the messages that wait for them. A leader's own acknowledgement is its durable prefix and nothing
//! else (§10.2.1: it writes in parallel with sending). Must never: let a gated message out with a
//! write that does not make it true.

use super::{
    output::{Write, Written},
    raft::Raft,
    role::Role,
};

impl Raft {
    /// Everything that must reach the disk now; also an empty write, when a message waits for one
    /// that is under way.
    pub(super) fn assemble_write(&mut self) -> Option<Write> {
        let vote_changed = self.vote != self.submitted_vote;
        if !vote_changed && !self.log.is_dirty() && self.gated.is_empty() {
            return None;
        }
        let append = self.log.unsubmitted();
        let base = self.log.take_base();
        let last = self.log.last().index;
        let (id, truncate_from) = self.log.writes.submit(last, self.vote, self.now);
        self.submitted_vote = self.vote;
        // Never a reason for a write; what is written is a prefix of the log that holds it.
        let substantial =
            vote_changed || truncate_from.is_some() || !append.is_empty() || base.is_some();
        let commit = self.commit.min(last);
        let commit = Some(commit).filter(|&commit| substantial && commit > self.submitted_commit);
        self.submitted_commit = commit.unwrap_or(self.submitted_commit);
        Some(Write {
            commit,
            vote: vote_changed.then_some(self.vote),
            truncate_from,
            append,
            base,
            id,
            life: self.life,
            gated: core::mem::take(&mut self.gated),
        })
    }

    /// A write is on the disk.
    pub(super) fn written(&mut self, written: Written) {
        assert_eq!(written.life, self.life, "order: a receipt belongs to this life of the node");
        let flight = self.log.writes.complete(written.id);
        self.log.evict();
        let vote_is_news = flight.vote != self.durable_vote;
        self.durable_vote = flight.vote;
        if vote_is_news {
            self.vote_durable();
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.disk_heard = self.now;
            self.advance_commit();
        }
    }
}
