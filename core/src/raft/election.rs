//! Elections: time-outs, pre-votes, votes, and whose word counts while a leader is heard
//! (§5.2, §5.4.1, §9.6, §4.2.3).
//!
//! Rule: first ask whether a quorum would vote, then raise the term; a vote goes to a log that is
//! at least as up to date; who heard a leader within an election time-out refuses. Time-outs are
//! drawn anew for every attempt. Must never: count an answer of another term or of a non-voter, let
//! a pre-vote change term, vote or timer, or count the own vote before it is durable.

use super::{
    message::Message,
    quorum::{self, Tally},
    raft::Raft,
    refused::Ignored,
    role::{Follower, Role},
    timer::Timer,
    types::{EntryId, NodeId, Term},
};

/// Election time-outs for which a node without a vote stands in for a voter that it had to refuse.
const STANDS_IN: u32 = 3;

impl Raft {
    /// Whether this node may campaign: a voter of the committed configuration or of a later one,
    /// and not in the middle of replacing its state. A node that an uncommitted entry of its own
    /// log removes must still campaign (without counting its own vote): nobody else may hold that
    /// entry, and with it the longest log (§4.2.2). For the same reason a node without a vote stands
    /// in for a voter that it had to refuse because its own log is newer; it does not count itself,
    /// and as soon as it has committed what it brought in, it hands over.
    pub(super) fn is_eligible(&self) -> bool {
        let committed = self.log.membership_at(self.commit).1;
        let later = self.log.memberships().iter().rev();
        let mut later = later.take_while(|(index, _)| *index > self.commit);
        let votes = committed.is_voter(self.id) || later.any(|(_, m)| m.is_voter(self.id));
        let votes = votes || self.stands_in_until.is_some_and(|until| self.now < until);
        votes && !self.is_installing() && self.is_able()
    }

    /// Whether it could lead for longer than a moment: a leader whose state machine has stalled
    /// resigns, and one with too many terms in its log would add another.
    fn is_able(&self) -> bool {
        let stalled = self.is_apply_stalled() && !self.is_sole_voter();
        !stalled && self.log.terms().count() < self.config.max_term_runs
    }

    /// Whether nobody else's vote counts.
    pub(super) fn is_sole_voter(&self) -> bool {
        let membership = self.log.membership();
        membership.voters.len() == 1
            && membership.voters.contains(&self.id)
            && !membership.is_joint()
    }

    /// A follower waits between one and two election time-outs for word from a leader.
    pub(super) fn arm_election(&mut self) {
        let timeout = self.config.election_timeout;
        let wait = self.rng.between(timeout, timeout * 2);
        self.timers.set(Timer::Election, self.now.after(wait));
    }

    /// A candidacy waits as long, unless the leader's connection broke a moment ago.
    pub(super) fn arm_retry(&mut self) {
        if self.hurry_until.is_some_and(|until| self.now < until) {
            let heartbeat = self.config.heartbeat_interval;
            let wait = self.rng.between(heartbeat, heartbeat * 2);
            self.timers.set(Timer::Election, self.now.after(wait));
        } else {
            self.arm_election();
        }
    }

    /// The leader's connection broke: stop protecting it and ask around soon. Safe even when only
    /// the connection is gone: others that hear the leader refuse, and its next word restores all.
    pub(super) fn leader_unreachable(&mut self) {
        let Role::Follower(follower) = &mut self.role else { return };
        follower.contact = None;
        self.hurry_until = Some(self.now.after(self.config.election_timeout));
        let soon = self.rng.between(core::time::Duration::ZERO, self.config.heartbeat_interval * 2);
        self.timers.set_earlier(Timer::Election, self.now.after(soon));
    }

    /// Whether a leader other than `from` protects itself through this node.
    pub(super) fn hears_another_leader(&self, from: NodeId) -> bool {
        match &self.role {
            Role::Leader(_) => true,
            Role::Follower(Follower { leader: Some(leader), contact: Some(contact) }) => {
                *leader != from && self.now.since(*contact) < self.config.election_timeout
            }
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }

    /// No word from a leader, or no result of the last attempt.
    pub(super) fn election_due(&mut self) {
        if self.is_eligible() {
            self.ask_around();
        } else {
            self.become_follower(self.vote.term, None);
            self.arm_election();
        }
    }

    /// Would a quorum vote for this node in the next term?
    fn ask_around(&mut self) {
        self.become_pre_candidate();
        let (last, term) = (self.log.last(), self.vote.term.next());
        for peer in self.other_voters() {
            let mut envelope = self.envelope(peer, Message::PreVote { last });
            envelope.term = term;
            self.outbox.push(envelope);
        }
        self.record_answer(self.id, true);
    }

    /// The leader handed over: campaign at once, and say so (§3.10).
    pub(super) fn campaign_now(&mut self, from: NodeId) {
        if self.known_leader != Some(from) {
            return self.ignore(Ignored::Unsolicited);
        }
        match &self.role {
            Role::Follower(_) if self.is_eligible() => self.campaign(true),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => {
                self.ignore(Ignored::WrongRole);
            }
        }
    }

    fn campaign(&mut self, transfer: bool) {
        self.become_candidate();
        let last = self.log.last();
        for peer in self.other_voters() {
            let request = self.envelope(peer, Message::RequestVote { last, transfer });
            self.gated.push(request);
        }
    }

    fn other_voters(&self) -> alloc::vec::Vec<NodeId> {
        let membership = self.log.membership();
        membership.members().filter(|&id| id != self.id && membership.is_voter(id)).collect()
    }

    /// Would this node vote so? Changes nothing here.
    pub(super) fn answer_pre_vote(&mut self, from: NodeId, term: Term, last: EntryId) {
        let alive = self.hears_another_leader(from);
        if alive {
            self.ignore(Ignored::LeaderAlive);
        }
        let in_time = !alive && term > self.vote.term;
        let granted = in_time && last >= self.log.last();
        if in_time && !granted && self.log.membership().is_voter(from) {
            // This log is what keeps a voter from leading. Somebody must bring it in.
            self.stands_in_until = Some(self.now.after(self.config.election_timeout * STANDS_IN));
        }
        let mut reply = self.envelope(from, Message::PreVoteReply { granted });
        if granted {
            reply.term = term;
        }
        self.outbox.push(reply);
    }

    /// An answer to `ask_around`. A refusal carries the refuser's own term, which the term rule
    /// has adopted if it was higher.
    pub(super) fn count_pre_vote(&mut self, from: NodeId, term: Term, granted: bool) {
        let current = !granted || term == self.vote.term.next();
        match &self.role {
            Role::PreCandidate(_) if current => self.record_answer(from, granted),
            Role::PreCandidate(_) | Role::Follower(_) | Role::Candidate(_) | Role::Leader(_) => {
                self.ignore(Ignored::Unsolicited);
            }
        }
    }

    /// Votes, or refuses to (§5.2, §5.4.1).
    pub(super) fn answer_vote(&mut self, from: NodeId, last: EntryId, transfer: bool) {
        let free = self.vote.voted_for.is_none_or(|voted| voted == from);
        let leaderless = self.known_leader.is_none();
        let protected = !transfer && self.hears_another_leader(from);
        let is_follower = matches!(self.role, Role::Follower(_) | Role::PreCandidate(_));
        if !(free && leaderless && !protected && is_follower && last >= self.log.last()) {
            return self.send(from, Message::VoteReply { granted: false });
        }
        if matches!(self.role, Role::PreCandidate(_)) {
            self.become_follower(self.vote.term, None);
        }
        self.vote.voted_for = Some(from);
        self.arm_election();
        self.send_gated(from, Message::VoteReply { granted: true }, super::types::Index::ZERO);
    }

    /// An answer to `campaign`, of this very term.
    pub(super) fn count_vote(&mut self, from: NodeId, granted: bool) {
        match &self.role {
            Role::Candidate(_) => self.record_answer(from, granted),
            Role::PreCandidate(_) | Role::Follower(_) | Role::Leader(_) => {
                self.ignore(Ignored::Unsolicited);
            }
        }
    }

    /// A write of the vote is on the disk: the own vote counts from now, and whoever waits for
    /// somebody's election waits from now.
    pub(super) fn vote_durable(&mut self) {
        if self.durable_vote != self.vote {
            return;
        }
        match &self.role {
            Role::Candidate(_) => {
                self.arm_retry();
                self.record_answer(self.id, true);
            }
            Role::Follower(Follower { leader: None, .. }) if self.vote.voted_for.is_some() => {
                self.arm_election();
            }
            Role::Follower(_) | Role::PreCandidate(_) | Role::Leader(_) => {}
        }
    }

    fn record_answer(&mut self, from: NodeId, granted: bool) {
        let voter = self.log.membership().is_voter(from);
        let (Role::PreCandidate(ballot) | Role::Candidate(ballot)) = &mut self.role else { return };
        if voter {
            ballot.answers.entry(from).or_insert(granted);
        } else if from != self.id {
            self.ignore(Ignored::Unsolicited);
        }
        self.count_ballot();
    }

    fn count_ballot(&mut self) {
        let (Role::PreCandidate(ballot) | Role::Candidate(ballot)) = &self.role else { return };
        let answers = &ballot.answers;
        let tally = quorum::tally(self.log.membership(), |id| answers.get(&id).copied());
        let pre = matches!(self.role, Role::PreCandidate(_));
        match tally {
            Tally::Won if pre => self.campaign(false),
            // An answer can overtake the receipt of the write that set the question free.
            Tally::Won if self.durable_vote != self.vote => {}
            Tally::Won => self.become_leader(),
            // The timer that was set for this attempt brings the next one.
            Tally::Lost => self.role = Role::Follower(Follower::default()),
            Tally::Pending => {}
        }
    }
}
