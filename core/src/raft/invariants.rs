//! What must hold between any two calls, whatever the world did.
//!
//! Rule: each assertion names the rule it guards. Called after every event in debug builds, and by
//! the simulator. Must never: change anything.

use super::{
    progress::{Phase, State},
    raft::Raft,
    role::Role,
    timer::Timer,
    types::Index,
};

impl Raft {
    /// Checks every invariant.
    ///
    /// # Panics
    /// With the rule's name, when one does not hold.
    pub fn check_invariants(&self) {
        self.check_log();
        self.check_role();
        let bound = self.config.max_pending_reads;
        assert!(self.forwarded.count() <= bound, "bounded: reads on their way to the leader");
        assert!(self.digests.held() <= self.config.max_digests, "bounded: digests of the state");
    }

    fn check_log(&self) {
        let (base, last) = (self.log.base(), self.log.last());
        let (applied, handed) = (self.apply.applied, self.apply.handed);
        let written = self.log.written();
        assert!(last.term <= self.vote.term, "the log is not ahead of the term (§5.1)");
        assert!(base.index <= applied, "what is gone from the log is in the state (§7)");
        assert!(applied <= handed, "only what was handed out is applied");
        assert!(handed <= self.commit, "only what is committed is applied (§5.3)");
        assert!(self.commit <= last.index, "only what is in the log is committed");
        assert!(written <= last.index, "only what is in the log is written");
        assert!(self.log.writes.submitted() <= last.index, "only what is in the log is submitted");
        assert!(
            self.log.cached_from() <= self.log.writes.submitted().next(),
            "what is not on its way to the disk is in memory"
        );
        let mut previous = base.index;
        for (index, membership) in self.log.memberships() {
            assert!(
                *index > previous && *index <= last.index,
                "configurations lie in the log (§4.1)"
            );
            assert!(membership.is_consistent(), "each member has one context");
            previous = *index;
        }
        assert!(
            self.log.tail().bytes() <= self.config.cache_bytes || self.log.cached_from() > written,
            "bounded: the cache holds no more than it must"
        );
        let handed_bytes = self.apply.bytes();
        assert!(
            handed_bytes <= self.config.max_apply_bytes || self.apply.batches() == 1,
            "bounded: bytes handed out"
        );
        assert!(
            self.durable_vote.term <= self.submitted_vote.term
                && self.submitted_vote.term <= self.vote.term,
            "terms reach the disk in order (§5.1)"
        );
    }

    fn check_role(&self) {
        let quiet = self.timers.is_set(Timer::Election) != matches!(self.role, Role::Leader(_));
        assert!(quiet, "everybody but a leader waits for one (§5.2)");
        match &self.role {
            Role::Follower(_) | Role::PreCandidate(_) => {}
            Role::Candidate(_) => {
                assert_eq!(
                    self.vote.voted_for,
                    Some(self.id),
                    "a candidate votes for itself (§5.2)"
                );
            }
            Role::Leader(leader) => self.check_leader(leader),
        }
    }

    fn check_leader(&self, leader: &super::role::Leader) {
        let last = self.log.last();
        assert_eq!(self.durable_vote, self.vote, "a leader's own vote is durable (§5.2)");
        assert_eq!(last.term, self.vote.term, "a leader's log ends in its own term (§8)");
        assert_eq!(self.known_leader, Some(self.id), "a leader knows who leads");
        assert!(self.timers.is_set(Timer::Heartbeat), "a leader says that it leads (§5.2)");
        assert!(self.timers.is_set(Timer::CheckQuorum), "a leader looks for its quorum (§6.2)");
        assert_eq!(
            self.timers.is_set(Timer::Transfer),
            leader.transfer.is_some(),
            "a transfer ends (§3.10)"
        );
        let members = self.log.membership().members().filter(|&id| id != self.id);
        assert!(members.eq(leader.peers.keys().copied()), "a leader serves every member (§4.1)");
        let proposed: u64 = leader.proposed.iter().map(|&(_, bytes)| bytes).sum();
        assert_eq!(proposed, leader.proposed_bytes, "bounded: uncommitted bytes are counted");
        let proposals = leader.proposed.len() as u64;
        assert!(proposals <= self.config.max_uncommitted_entries.max(1), "bounded: proposals");
        assert!(leader.reads.own() <= self.config.max_pending_reads, "bounded: pending reads");
        assert!(leader.reads.is_consistent(), "bounded: pending reads of peers");
        for (id, peer) in &leader.peers {
            assert!(peer.matched <= last.index, "{id} holds nothing the leader does not");
            self.check_peer(peer);
        }
    }

    fn check_peer(&self, peer: &super::progress::Peer) {
        let last = self.log.last().index;
        match &peer.state {
            State::Probe { next, .. } => {
                assert!(*next > peer.matched && *next <= last.next(), "a probe looks between");
            }
            State::Replicate { next, inflight, .. } => {
                assert!(
                    *next > peer.matched && *next <= last.next(),
                    "a stream goes on from there"
                );
                let (appends, _) = inflight.held();
                assert!(appends <= self.config.max_inflight_appends, "bounded: appends under way");
            }
            State::Snapshot(transfer) => {
                let begun = !matches!(transfer.phase, Phase::Due | Phase::Idle);
                assert!(begun || transfer.offset == 0, "a transfer starts at its beginning");
                let meta = transfer.meta.as_ref().map_or(Index::ZERO, |meta| meta.last.index);
                assert!(meta <= self.commit, "only what is committed is in a snapshot (§7)");
            }
        }
    }
}
