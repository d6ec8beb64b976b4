//! What leaves a node: messages at once or with a write, news for the runtime, and silence.
//!
//! Rule: a message that promises something durable waits for the write that makes it true; all
//! others leave with the next poll. Must never: send anything after proof of divergence.
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
    message::{Envelope, Message},
    output::Changed,
    raft::Raft,
    refused::{Evidence, Ignored},
    types::{Index, NodeId},
};

impl Raft {
    /// An envelope of the current term.
    pub(super) fn envelope(&self, to: NodeId, message: Message) -> Envelope {
        Envelope { from: self.id, to, epoch: self.epoch(), term: self.vote.term, message }
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

    pub(super) fn announce(&mut self) -> Option<Changed> {
        let now = Changed {
            role: self.role.name(),
            leader: self.leader(),
            term: self.vote.term,
            membership_index: self.log.membership_index(),
        };
        (core::mem::replace(&mut self.announced, now) != now).then_some(now)
    }

    /// Proof of divergence: nothing more is done, so that nothing is made worse.
    pub(super) fn halt(&mut self, evidence: Evidence) {
        self.halted = true;
        self.evidence = Some(evidence);
    }

    pub(super) fn ignore(&mut self, why: Ignored) {
        *self.ignored.entry(why).or_default() += 1;
    }
}
