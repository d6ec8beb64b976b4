//! Majorities, of one configuration or of both halves of a joint one (§4.3).
//!
//! Rule: something holds for a quorum when it holds for a majority of `voters` *and*, during a
//! joint change, for a majority of `outgoing`. Generic over what is counted: log positions, read
//! sequence numbers and moments are all `u64` marks. Must never: count a learner, the union of both
//! halves, or only those members that happen to be connected.
//!
//! | marks of voters | majority | mark |
//! |---|---|---|
//! | 5 | 1 of 1 | 5 |
//! | 7 4 | 2 of 2 | 4 |
//! | 9 6 3 | 2 of 3 | 6 |
//! | 9 8 6 3 | 3 of 4 | 6 |

use super::types::{Membership, NodeId};
use alloc::{collections::BTreeSet, vec::Vec};

/// How a ballot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tally {
    /// A quorum said yes.
    Won,
    /// A quorum can no longer say yes.
    Lost,
    /// Open.
    Pending,
}

/// The highest mark that a quorum has reached; 0 for a membership without voters.
pub fn reached(membership: &Membership, mark: impl Fn(NodeId) -> u64) -> u64 {
    let voters = majority_mark(&membership.voters, &mark);
    if membership.is_joint() {
        voters.min(majority_mark(&membership.outgoing, &mark))
    } else {
        voters
    }
}

/// How a ballot stands, given each voter's answer so far.
pub fn tally(membership: &Membership, answer: impl Fn(NodeId) -> Option<bool>) -> Tally {
    let voters = half(&membership.voters, &answer);
    let outgoing =
        if membership.is_joint() { half(&membership.outgoing, &answer) } else { Tally::Won };
    match (voters, outgoing) {
        (Tally::Won, Tally::Won) => Tally::Won,
        (Tally::Lost, _) | (_, Tally::Lost) => Tally::Lost,
        _ => Tally::Pending,
    }
}

fn majority_mark(half: &BTreeSet<NodeId>, mark: impl Fn(NodeId) -> u64) -> u64 {
    // Asked several times per commit: a cluster of a usual size needs no memory for it.
    let (mut few, mut many) = ([0; 8], Vec::new());
    let marks = match few.get_mut(..half.len()) {
        Some(few) => few,
        None => {
            many.resize(half.len(), 0);
            &mut many[..]
        }
    };
    for (slot, &id) in marks.iter_mut().zip(half) {
        *slot = mark(id);
    }
    marks.sort_unstable_by(|a, b| b.cmp(a));
    marks.get(marks.len() / 2).copied().unwrap_or(0)
}

fn half(half: &BTreeSet<NodeId>, answer: impl Fn(NodeId) -> Option<bool>) -> Tally {
    let majority = half.len() / 2 + 1;
    let count = |wanted| half.iter().filter(|&&id| answer(id) == Some(wanted)).count();
    if count(true) >= majority {
        Tally::Won
    } else if half.len() - count(false) < majority {
        Tally::Lost
    } else {
        Tally::Pending
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use quickcheck::quickcheck;

    fn membership(voters: &[u8], outgoing: &[u8]) -> Membership {
        let set = |ids: &[u8]| ids.iter().map(|&id| NodeId(u64::from(id % 7))).collect();
        Membership { voters: set(voters), outgoing: set(outgoing), ..Membership::default() }
    }

    /// Slow oracle: try every value whether a majority of each half has reached it.
    fn oracle(membership: &Membership, marks: &[u8; 7]) -> u64 {
        let holds = |half: &BTreeSet<NodeId>, value: u64| {
            let reached = half.iter().filter(|id| u64::from(marks[id.0 as usize]) >= value).count();
            reached * 2 > half.len()
        };
        (0..=255u64)
            .rev()
            .find(|&value| {
                holds(&membership.voters, value)
                    && (membership.outgoing.is_empty() || holds(&membership.outgoing, value))
            })
            .unwrap_or(0)
    }

    quickcheck! {
        fn the_mark_is_the_highest_that_a_majority_of_each_half_has_reached(
            voters: std::vec::Vec<u8>, outgoing: std::vec::Vec<u8>, marks: (u8, u8, u8, u8, u8, u8, u8)
        ) -> bool {
            let (a, b, c, d, e, f, g) = marks;
            let marks = [a, b, c, d, e, f, g];
            let membership = membership(&voters, &outgoing);
            reached(&membership, |id| u64::from(marks[id.0 as usize])) == oracle(&membership, &marks)
        }

        fn a_ballot_is_lost_exactly_when_all_open_answers_as_yes_would_not_win_it(
            voters: std::vec::Vec<u8>, outgoing: std::vec::Vec<u8>, answers: std::vec::Vec<Option<bool>>
        ) -> bool {
            let membership = membership(&voters, &outgoing);
            let answer = |id: NodeId| answers.get(id.0 as usize).copied().flatten();
            let optimist = |id: NodeId| answer(id).or(Some(true));
            match tally(&membership, answer) {
                Tally::Won => tally(&membership, optimist) == Tally::Won,
                Tally::Lost => tally(&membership, optimist) != Tally::Won,
                Tally::Pending => tally(&membership, optimist) == Tally::Won,
            }
        }
    }

    #[test]
    fn even_clusters_need_more_than_half() {
        let marks = [9, 8, 6, 3, 0, 0, 0u64];
        let mark = |id: NodeId| marks[id.0 as usize];
        for (voters, expected) in
            [(&[0u8][..], 9), (&[0, 1], 8), (&[0, 1, 2], 8), (&[0, 1, 2, 3], 6), (&[], 0)]
        {
            assert_eq!(reached(&membership(voters, &[]), mark), expected, "{voters:?}");
        }
    }

    #[test]
    fn a_cluster_of_more_nodes_than_usual_counts_alike() {
        for nodes in 7..12u64 {
            let voters = (0..nodes).map(NodeId).collect();
            let large = Membership { voters, ..Membership::default() };
            // Marks 1 ..= nodes: a majority has reached the upper middle one from above.
            assert_eq!(reached(&large, |id| id.0 + 1), nodes - nodes / 2, "{nodes}");
        }
    }

    #[test]
    fn a_joint_quorum_is_not_a_majority_of_the_union() {
        // 4 of 5 members say yes, but only 1 of the outgoing 3.
        let joint = membership(&[3, 4, 5], &[0, 1, 3]);
        let yes = |id: NodeId| Some(id.0 >= 3);
        assert_eq!(tally(&joint, yes), Tally::Lost);
    }

    #[test]
    fn nobody_wins_without_voters() {
        assert_eq!(tally(&Membership::default(), |_| Some(true)), Tally::Lost);
    }
}
