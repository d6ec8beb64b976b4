//! The term rule (§5.1): every message is judged by its term once, here, before any handler sees it.
//!
//! Rule: a higher term makes a follower of anybody, if the message may speak for it; a lower term is
//! answered with the own one and otherwise ignored. Must never: let a message of another term reach a
//! handler that does not compare terms itself, or adopt a term on a stranger's word.

use super::{
    message::{Envelope, Message},
    raft::{NUMBER_LIMIT, Raft},
    refused::Ignored,
};

impl Raft {
    /// The term rule (§5.1), then dispatch.
    pub(super) fn receive(&mut self, envelope: Envelope) {
        if envelope.to != self.id {
            return self.ignore(Ignored::WrongAddressee);
        }
        if envelope.from == self.id || envelope.term.0 >= NUMBER_LIMIT {
            return self.ignore(Ignored::Nonsense);
        }
        if let Some(why) = self.out_of_epoch(&envelope) {
            return self.ignore(why);
        }
        if envelope.term > self.vote.term {
            if !self.accept_higher_term(&envelope) {
                return;
            }
        } else if envelope.term < self.vote.term && !self.answer_lower_term(&envelope) {
            return;
        }
        self.dispatch(envelope);
    }

    /// Whether a message of a higher term may be handled; adopts the term where that is due.
    pub(super) fn accept_higher_term(&mut self, envelope: &Envelope) -> bool {
        let Envelope { from, term, .. } = *envelope;
        match &envelope.message {
            // Terms in which nobody campaigns yet.
            Message::PreVote { .. } | Message::PreVoteReply { granted: true } => return true,
            // §4.2.3: who hears a leader does not even adopt the term of a rival.
            Message::RequestVote { transfer: false, .. } if self.hears_another_leader(from) => {
                self.ignore(Ignored::LeaderAlive);
                return false;
            }
            Message::RequestVote { .. } => self.become_follower(term, None),
            // Only a leader of that term says these. It may be of a configuration this node has
            // not seen yet.
            Message::Append { .. }
            | Message::Heartbeat { .. }
            | Message::InstallSnapshot { .. }
            | Message::TimeoutNow => self.become_follower(term, None),
            // Anybody else's word ends a reign only if it comes from a member.
            Message::PreVoteReply { granted: false }
            | Message::VoteReply { .. }
            | Message::AppendReply { .. }
            | Message::HeartbeatReply { .. }
            | Message::SnapshotReply { .. }
            | Message::ReadIndex { .. }
            | Message::ReadIndexReply { .. } => {
                if !self.log.membership().contains(from) {
                    self.ignore(Ignored::Unsolicited);
                    return false;
                }
                self.become_follower(term, None);
            }
        }
        true
    }

    /// Whether a message of a lower term is handled all the same. A leader or candidate of the
    /// past is told the term, so that it does not stay one.
    pub(super) fn answer_lower_term(&mut self, envelope: &Envelope) -> bool {
        let from = envelope.from;
        match &envelope.message {
            // Their handlers compare terms themselves.
            Message::PreVote { .. } | Message::PreVoteReply { .. } => return true,
            Message::RequestVote { .. } => self.send(from, Message::VoteReply { granted: false }),
            Message::Append { .. }
            | Message::Heartbeat { .. }
            | Message::InstallSnapshot { .. } => {
                self.send(from, Message::HeartbeatReply { sequence: 0, state: None, staged: None });
            }
            Message::ReadIndex { id } => {
                self.send(from, Message::ReadIndexReply { id: *id, index: None });
            }
            Message::VoteReply { .. }
            | Message::AppendReply { .. }
            | Message::HeartbeatReply { .. }
            | Message::SnapshotReply { .. }
            | Message::TimeoutNow
            | Message::ReadIndexReply { .. } => {}
        }
        self.ignore(Ignored::StaleTerm);
        false
    }
}
