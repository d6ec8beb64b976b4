//! The properties of Figure 3, from the side of the one node whose rules make them true.

use crate::node::*;
use kvorum_core::raft::{Evidence, Index, NodeId, RoleName, Term};

/// Election Safety: "at most one leader can be elected in a given term."
#[test]
fn no_second_candidate_of_a_term_gets_this_vote_and_a_second_leader_is_evidence() {
    let mut voter = Node::new();
    assert!(voter.hear(2, 1, request_vote(id(0, 0))).says(|said| *said == GRANTED));
    assert!(voter.hear(3, 1, request_vote(id(9, 1))).says(|said| *said == REFUSED));

    let mut follower = Node::new();
    follower.hear(2, 1, heartbeat(0));
    let evidence = follower.hear(3, 1, heartbeat(0)).fatal;
    let (known, claims) = (NodeId(2), NodeId(3));
    assert_eq!(evidence, Some(Evidence::TwoLeaders { term: Term(1), known, claims }));
}

/// Leader Append-Only: "a leader never overwrites or deletes entries in its log."
#[test]
fn nothing_that_a_leader_hears_changes_its_log() {
    let others = log(&[1, 1, 1, 1]);
    for message in [append(&others, 0, 4), append(&others, 1, 0), matched(9), heartbeat(9)] {
        for term in [1, 2] {
            let mut node = Node::leading(&[1]);
            let done = node.hear(3, term, message.clone());
            assert_eq!((done.truncated, node.terms()), (None, vec![1, 2]), "{message:?}");
        }
    }
}

/// Log Matching: "if two logs contain an entry with the same index and term, then the logs are
/// identical in all entries up through the given index."
#[test]
fn entries_are_taken_only_after_an_entry_that_both_logs_hold() {
    let leaders = [&[1, 1, 3][..], &[1, 2, 3], &[1, 1, 1, 3], &[1, 2, 2, 3]];
    for held in [&[][..], &[1], &[1, 1], &[1, 1, 1], &[1, 2], &[1, 2, 2, 2]] {
        for leader in leaders {
            for prev in 0..leader.len() {
                let mut node = Node::holding(held);
                node.hear(3, 3, append(&log(leader), prev, 0));
                let now = node.terms();
                if now.get(leader.len() - 1) == Some(&3) {
                    assert_eq!(now, leader, "{held:?} after {prev} of {leader:?}");
                } else {
                    assert_eq!(now, held, "{held:?} after {prev} of {leader:?}");
                }
            }
        }
    }
}

/// Leader Completeness: "if a log entry is committed in a given term, then that entry will be
/// present in the logs of the leaders for all higher-numbered terms."
#[test]
fn who_lacks_what_is_committed_gets_no_vote_of_those_that_have_it() {
    // 3@2 is committed on this node and one other: any majority has one of them.
    let mut node = Node::holding(&[1, 1, 2]);
    node.hear(2, 2, heartbeat(3));
    node.forget_leader();
    for (last, granted) in
        [(id(2, 1), false), (id(9, 1), false), (id(2, 2), false), (id(3, 2), true)]
    {
        let done = node.hear(3, 9, request_vote(last));
        assert_eq!(done.says(|said| *said == GRANTED), granted, "{last}");
    }
}

/// Figure 8: "a leader cannot determine commitment using log entries from older terms."
#[test]
fn an_entry_of_an_older_term_is_committed_only_by_one_of_the_leaders_own() {
    let mut node = Node::leading(&[1, 2]);
    let done = node.hear(2, 3, matched(2));
    assert_eq!((node.status().commit, done.applied.len()), (Index(0), 0));
    let done = node.hear(2, 3, matched(3));
    assert_eq!((node.status().commit, done.applied), (Index(3), vec![1, 2, 3]));
}

/// State Machine Safety: "if a server has applied a log entry at a given index …, no other server
/// will ever apply a different log entry for the same index."
#[test]
fn a_leader_that_would_overwrite_what_is_committed_is_evidence_and_nothing_is_overwritten() {
    let mut node = Node::holding(&[1, 1]);
    node.hear(2, 1, heartbeat(2));
    let done = node.hear(3, 2, append(&log(&[1, 2]), 1, 0));
    let (ours, theirs, leader) = (id(2, 1), id(2, 2), NodeId(3));
    assert_eq!(done.fatal, Some(Evidence::CommittedConflict { ours, theirs, leader }));
    assert_eq!((done.truncated, node.terms()), (None, vec![1, 1]));
    assert!(done.at_once.is_empty() && done.gated.is_empty(), "{done:?}");
    assert_eq!(node.status().role, RoleName::Follower);
}
