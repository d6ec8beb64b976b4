//! Whether the replicas' states agree (beyond the paper; the moonshot of the design: a divergence
//! detector that costs nothing).
//!
//! Rule: the state machine gives a digest of its whole state after every entry. The leader's
//! heartbeats ask about one index, its commit index when the question was new, so that everybody
//! answers about the *same* index however far it has come. A digest that a strict majority of the
//! voters (of both halves of a joint change) reports is proven, and the next heartbeats announce it;
//! whoever has another one at that index halts with evidence, the leader and learners included.
//! Must never: take a learner's word as a vote, compare digests of two indexes, or halt anybody
//! without a majority (1 : 1 is counted and shown, nobody knows who is right).
//!
//! | voters' digests at 7 | proven | halts |
//! |---|---|---|
//! | n1 a, n2 a, n3 b | a | n3 |
//! | n1 (leader) b, n2 a, n3 a | a | n1 |
//! | n1 a, n2 b, n3 silent | nothing, counted | nobody |
//! | n1 a, n2 b | nothing, counted | nobody |
//!
//! A node far behind the question remembers it until it gets there, and likewise an announcement.

use super::{
    message::{StateDigest, StateReport},
    quorum::{self, Tally},
    raft::{NUMBER_LIMIT, Raft},
    refused::{Evidence, Ignored},
    role::Role,
    types::{Index, NodeId},
};
use alloc::collections::VecDeque;

/// The digests of this node's own state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Digests {
    /// After the entries up to `last`, without a gap. At most `Config::max_digests`.
    ring: VecDeque<u64>,
    last: Index,
    /// The index the leader asks about, and the digest there once it is passed.
    asked: Option<(Index, Option<u64>)>,
    /// Proven elsewhere, at an index that this node has not applied yet.
    expected: Option<StateDigest>,
}

/// A leader's question to all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Comparison {
    /// The index it is about.
    pub asked: Option<Index>,
    /// What a majority has last said.
    pub proven: Option<StateDigest>,
    /// The question needs no more answers.
    settled: bool,
}

impl Digests {
    /// A state that stands at `last`, of whose digests nothing is known.
    pub fn new(last: Index) -> Digests {
        Digests { last, ..Digests::default() }
    }

    /// How many are held.
    pub fn held(&self) -> usize {
        self.ring.len()
    }

    /// Whether the state machine gives digests at all.
    fn any(&self) -> bool {
        !self.ring.is_empty()
    }

    fn at(&self, index: Index) -> Option<u64> {
        if let Some((asked, digest @ Some(_))) = self.asked
            && asked == index
        {
            return digest;
        }
        let back = usize::try_from(self.last.0.checked_sub(index.0)?).ok()?;
        self.ring.len().checked_sub(back + 1).map(|at| self.ring[at])
    }

    /// The state machine has applied up to `last`; `digests` belong to its latest entries.
    fn record(&mut self, last: Index, digests: &[u64], limit: usize) {
        if Index(last.0 - digests.len() as u64) != self.last {
            self.ring.clear();
        }
        self.ring.extend(digests);
        self.last = last;
        // The question may lie so far back in a large batch that the ring forgets it.
        if let Some((asked, None)) = self.asked {
            self.asked = Some((asked, self.at(asked)));
        }
        let excess = self.ring.len().saturating_sub(limit);
        self.ring.drain(..excess);
    }

    /// A snapshot has replaced the state.
    pub fn replaced(&mut self, last: Index) {
        self.ring.clear();
        self.last = last;
        self.expected = self.expected.filter(|expected| expected.index > last);
    }

    fn ask(&mut self, index: Index) {
        if self.asked.is_none_or(|(asked, _)| asked != index) {
            self.asked = Some((index, self.at(index)));
        }
    }

    /// The answer, once the state has come so far.
    fn report(&self) -> Option<StateReport> {
        let (index, _) = self.asked.filter(|(index, _)| *index <= self.last)?;
        Some(StateReport { index, digest: self.at(index) })
    }
}

impl Comparison {
    fn is_open(&self) -> bool {
        self.asked.is_some() && !self.settled
    }
}

impl Raft {
    /// The state machine has applied up to `last`.
    pub(super) fn digests_applied(&mut self, last: Index, digests: &[u64]) {
        self.digests.record(last, digests, self.config.max_digests);
        if let Some(proven) = self.digests.expected.take_if(|expected| expected.index <= last) {
            self.hold_against(proven);
        }
        self.judge_states();
    }

    /// A heartbeat's share of this: what is proven, and what to report on.
    pub(super) fn compare_state(&mut self, compare: Option<Index>, proven: Option<StateDigest>) {
        let indexes = [compare, proven.map(|proven| proven.index)];
        if indexes.into_iter().flatten().any(|index| index.0 >= NUMBER_LIMIT) {
            return self.ignore(Ignored::Nonsense);
        }
        if let Some(proven) = proven {
            self.hold_against(proven);
        }
        if let Some(index) = compare {
            self.digests.ask(index);
        }
    }

    /// What to say in answer to a heartbeat.
    pub(super) fn state_report(&self) -> Option<StateReport> {
        self.digests.report()
    }

    /// Looks whether this node's own state is what a majority has.
    fn hold_against(&mut self, proven: StateDigest) {
        let StateDigest { index, digest } = proven;
        if index > self.digests.last {
            // The earliest one, or a node that is always behind would never be judged.
            self.digests.expected.get_or_insert(proven);
        } else if let Some(ours) = self.digests.at(index).filter(|&ours| ours != digest) {
            self.halt(Evidence::StateDiverged { index, ours, proven: digest });
        }
    }

    /// The next question, once the last one is answered and there is something new to ask about.
    /// With every heartbeat.
    pub(super) fn ask_for_states(&mut self) {
        self.judge_states();
        let (commit, any) = (self.commit, self.digests.any());
        let Role::Leader(leader) = &mut self.role else { return };
        let comparison = &mut leader.comparison;
        if any && !comparison.is_open() && comparison.asked < Some(commit) {
            comparison.asked = Some(commit);
            comparison.settled = false;
            self.digests.ask(commit);
            self.judge_states();
        }
    }

    /// A follower's answer.
    pub(super) fn count_report(&mut self, from: NodeId, report: Option<StateReport>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        if report.is_some() && peer.report != report {
            peer.report = report;
            self.judge_states();
        }
    }

    /// Whether a majority agrees on what was asked, and whether this node agrees with it.
    fn judge_states(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        let Some(asked) = leader.comparison.asked.filter(|_| leader.comparison.is_open()) else {
            return;
        };
        let membership = self.log.membership();
        let report = |id: NodeId| {
            let report = if id == self.id {
                self.digests.report()
            } else {
                leader.peers.get(&id).and_then(|peer| peer.report)
            };
            report.filter(|report| report.index == asked)
        };
        let digest = |id: NodeId| report(id).and_then(|report| report.digest);
        let agree = |digest_of_all: &u64| {
            let vote = |id| digest(id).map(|digest| digest == *digest_of_all);
            quorum::tally(membership, vote) == Tally::Won
        };
        let voters = || membership.voters.iter().chain(&membership.outgoing).copied();
        let agreed = voters().filter_map(digest).find(agree);
        let silent = |id: NodeId| {
            let heard = leader.peers.get(&id).map(|peer| peer.heard);
            heard.is_some_and(|at| self.now.since(at) >= self.config.election_timeout)
        };
        let open = voters().any(|id| report(id).is_none() && !silent(id));
        let first = voters().find_map(digest);
        let differ = voters().filter_map(digest).any(|digest| Some(digest) != first);
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(digest) = agreed {
            let proven = StateDigest { index: asked, digest };
            leader.comparison.proven = Some(proven);
            leader.comparison.settled = true;
            self.hold_against(proven);
        } else if !open {
            leader.comparison.settled = true;
            self.unproven_divergences += u64::from(differ);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(digests: &Digests, from: u64, to: u64) -> alloc::vec::Vec<Option<u64>> {
        (from..=to).map(|index| digests.at(Index(index))).collect()
    }

    #[test]
    fn digests_are_kept_without_a_gap_and_up_to_a_bound() {
        let mut digests = Digests::new(Index(2));
        digests.record(Index(4), &[3, 4], 3);
        digests.record(Index(5), &[5], 3);
        assert_eq!(held(&digests, 2, 6), [None, Some(3), Some(4), Some(5), None]);
        digests.record(Index(7), &[6, 7], 3);
        assert_eq!((digests.held(), digests.at(Index(4))), (3, None), "the oldest go first");
        // After 8, of which nothing was said, nothing before it is next to what follows.
        digests.record(Index(9), &[9], 3);
        assert_eq!(held(&digests, 7, 9), [None, None, Some(9)]);
        assert_eq!(digests.held(), 1);
    }

    #[test]
    fn a_snapshot_takes_the_digests_and_what_was_expected_before_it() {
        let expecting = |index| {
            let expected = Some(StateDigest { index: Index(index), digest: 1 });
            let mut digests = Digests { expected, ..Digests::new(Index(2)) };
            digests.record(Index(3), &[3], 9);
            digests.replaced(Index(5));
            assert_eq!((digests.held(), digests.last), (0, Index(5)));
            digests.expected.map(|expected| expected.index.0)
        };
        assert_eq!([4, 5, 6].map(expecting), [None, None, Some(6)]);
    }
}
