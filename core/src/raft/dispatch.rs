//! Who handles what: messages that passed the term rule, timers that are due, lost connections.
//!
//! Rule: a leader's message is followed before it is handled; what is due is done in the order in
//! which it matters. Must never: handle a kind of message in two places, or forget one: there is an
//! arm for each, and none for the rest.

use super::{
    message::{Envelope, Message, Staged},
    raft::Raft,
    refused::Evidence,
    role::Role,
    snapshot::Chunk,
    timer::Timer,
    types::NodeId,
};

impl Raft {
    pub(super) fn dispatch(&mut self, envelope: Envelope) {
        let Envelope { from, term, message, .. } = envelope;
        match message {
            Message::PreVote { last } => self.answer_pre_vote(from, term, last),
            Message::PreVoteReply { granted } => self.count_pre_vote(from, term, granted),
            Message::RequestVote { last, transfer } => self.answer_vote(from, last, transfer),
            Message::VoteReply { granted } => self.count_vote(from, granted),
            Message::Append { prev, prev_chain, entries, commit, sequence } => {
                if self.follow(from, sequence) {
                    self.accept_append(from, prev, prev_chain, entries, commit);
                }
            }
            Message::AppendReply { outcome, sequence } => {
                if self.heard_from_peer(from, sequence) {
                    self.count_append(from, outcome);
                }
            }
            Message::Heartbeat { commit, sequence, compare, proven } => {
                if self.follow(from, sequence) {
                    self.compare_state(compare, proven);
                    self.accept_heartbeat(from, commit);
                }
            }
            Message::HeartbeatReply { sequence, state, staged } => {
                if self.heard_from_peer(from, sequence) {
                    self.count_report(from, state);
                    self.resume_peer(from, staged);
                }
            }
            Message::InstallSnapshot { meta, offset, data, before, last, sequence } => {
                if self.follow(from, sequence) {
                    self.accept_chunk(from, meta, Chunk { offset, data, before, last });
                }
            }
            Message::SnapshotReply { last, end, digest, installed, sequence } => {
                if self.heard_from_peer(from, sequence) {
                    let held = Staged { last, end, digest };
                    if installed {
                        self.count_installed(from, last);
                    } else {
                        self.count_chunk(from, held);
                    }
                }
            }
            Message::TimeoutNow => self.campaign_now(from),
            Message::ReadIndex { id } => self.accept_forwarded_read(from, id),
            Message::ReadIndexReply { id, index } => self.finish_forwarded_read(from, id, index),
        }
    }

    /// A message of this term's leader arrived: follow it. False when that cannot be.
    pub(super) fn follow(&mut self, from: NodeId, sequence: u64) -> bool {
        if let Some(known) = self.known_leader.filter(|&known| known != from) {
            self.halt(Evidence::TwoLeaders { term: self.vote.term, known, claims: from });
            return false;
        }
        self.known_leader = Some(from);
        self.hurry_until = None;
        self.become_follower(self.vote.term, Some(from));
        self.sequence_seen = self.sequence_seen.max(sequence);
        true
    }

    /// What is due, in the order in which it matters: a leader that has lost its quorum must not
    /// say once more that it leads.
    pub(super) fn deadline_passed(&mut self) {
        if self.timers.expire(Timer::CheckQuorum, self.now) {
            self.check_quorum();
        }
        if self.timers.expire(Timer::Transfer, self.now) {
            self.end_transfer();
        }
        if self.timers.expire(Timer::Election, self.now) {
            self.election_due();
        }
        if self.timers.expire(Timer::Heartbeat, self.now) {
            self.broadcast_heartbeat();
        }
        if self.timers.expire(Timer::Reads, self.now) {
            self.expire_reads();
        }
    }

    pub(super) fn unreachable(&mut self, node: NodeId) {
        match &self.role {
            Role::Leader(_) => self.lost_connection(node),
            Role::Follower(follower) if follower.leader == Some(node) => self.leader_unreachable(),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }
}
