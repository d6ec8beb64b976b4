//! Chapter 4 of the dissertation: changing the members, and the correction of 2015.

use crate::node::*;
use bytes::Bytes;
use kvorum_core::raft::{
    Change, Entry, Index, Membership, Message, NodeId, Payload, Refused, RoleName,
};

fn add(member: u64) -> Change {
    Change { add: vec![(NodeId(member), Bytes::new())], ..Change::default() }
}

fn remove(members: &[u64]) -> Change {
    Change { remove: members.iter().copied().map(NodeId).collect(), ..Change::default() }
}

fn change(node: &mut Node, change: Change) -> Result<Done, Refused> {
    let base = node.status().membership_index;
    node.raft.change_membership(node.now, base, change)?;
    Ok(node.settle())
}

/// A leader of `1, 2, 3` that has committed an entry of its term, 1.
fn ready() -> Node {
    let mut node = Node::leading(&[]);
    node.hear(2, 1, matched(1));
    assert!(node.status().own_term_committed);
    node
}

fn voters(node: &Node) -> Vec<u64> {
    node.status().membership.voters.iter().map(|id| id.0).collect()
}

/// A log of one configuration after another, all of term 1.
fn configurations(sets: &[&[u64]]) -> Vec<Entry> {
    let membership = |voters: &[u64]| Membership {
        voters: voters.iter().copied().map(NodeId).collect(),
        contexts: voters.iter().map(|&id| (NodeId(id), Bytes::new())).collect(),
        ..Membership::default()
    };
    let payloads = sets.iter().map(|voters| Payload::Membership(membership(voters)));
    entries(payloads)
}

/// "Each server uses the latest configuration stored in its log, regardless of whether the entry is
/// committed" (§4.1).
#[test]
fn a_configuration_is_in_force_from_its_append() {
    let mut node = Node::new();
    node.hear(2, 1, append(&configurations(&[&[1, 2, 3], &[1, 2, 3, 4]]), 0, 0));
    assert_eq!((voters(&node), node.status().commit), (vec![1, 2, 3, 4], Index(0)));
}

/// "A server must be prepared to fall back to the previous configuration in its log" (§4.1).
#[test]
fn a_configuration_that_is_cut_off_is_no_longer_in_force() {
    let mut node = Node::new();
    let log_1 = configurations(&[&[1, 2, 3], &[1, 2, 3, 4], &[1, 2, 3, 4, 5]]);
    node.hear(2, 1, append(&log_1, 0, 0));
    assert_eq!(voters(&node), [1, 2, 3, 4, 5]);
    let mut log_2 = log_1[..1].to_vec();
    push(&mut log_2, 2);
    node.hear(3, 2, append(&log_2, 1, 0));
    assert_eq!(voters(&node), [1, 2, 3]);
}

/// "A server is also not permitted to begin a change until the previous one is committed" (§4.1).
#[test]
fn one_change_at_a_time() {
    let mut node = ready();
    change(&mut node, add(4)).expect("the first");
    assert_eq!(change(&mut node, add(5)).err(), Some(Refused::ChangePending));
    node.hear(2, 1, matched(2));
    assert!(change(&mut node, add(5)).is_ok());
}

/// 2015: "a leader may not append a new configuration entry until it has committed an entry from its
/// current term."
#[test]
fn no_change_before_an_entry_of_the_term_is_committed() {
    let mut node = Node::leading(&[]);
    assert_eq!(change(&mut node, add(4)).err(), Some(Refused::NotReady));
    node.hear(2, 1, matched(1));
    assert!(change(&mut node, add(4)).is_ok());
}

/// "A server accepts AppendEntries requests from a leader that is not part of the server's latest
/// configuration" (§4.1).
#[test]
fn a_leader_of_a_configuration_not_yet_known_is_followed() {
    let mut node = Node::new();
    let done = node.hear(9, 1, append(&log(&[1]), 0, 0));
    assert!(done.says(|said| is_match(said, 1)), "{done:?}");
}

/// "A server also grants its vote to a candidate that is not part of its latest configuration"
/// (§4.1).
#[test]
fn a_candidate_of_a_configuration_not_yet_known_can_get_a_vote() {
    let mut node = Node::new();
    assert!(node.hear(9, 1, request_vote(id(0, 0))).says(|said| *said == GRANTED));
}

/// "The leader replicates log entries to it, but it is not yet counted towards majorities" (§4.2.1).
#[test]
fn a_new_member_gets_the_log_and_counts_for_nothing() {
    let mut node = ready();
    let done = change(&mut node, add(4)).expect("a change");
    assert!(node.status().membership.is_learner(NodeId(4)));
    assert!(!done.to(4).is_empty(), "{done:?}");
    node.hear(4, 1, matched(2));
    assert_eq!(node.status().commit, Index(1));
}

/// "If the last round lasts less than an election timeout, the leader adds the new server to the
/// cluster" (§4.2.1).
#[test]
fn a_member_that_has_caught_up_becomes_a_voter_by_itself() {
    let mut node = ready();
    change(&mut node, add(4)).expect("a change");
    node.hear(2, 1, matched(2));
    assert_eq!(voters(&node), [1, 2, 3]);
    for index in 2..=3 {
        node.hear(4, 1, matched(index));
    }
    assert_eq!(voters(&node), [1, 2, 3, 4]);
}

/// "A leader that is removed from the configuration steps down once the Cnew entry is committed" and
/// "does not count itself in majorities" (§4.2.2).
#[test]
fn a_leader_commits_its_own_removal_without_its_own_vote_and_goes() {
    let mut node = ready();
    change(&mut node, remove(&[1])).expect("its own removal");
    node.hear(2, 1, matched(2));
    assert_eq!((node.status().role, node.status().commit), (RoleName::Leader, Index(1)));
    node.hear(3, 1, matched(2));
    assert_eq!((node.status().role, node.status().commit), (RoleName::Follower, Index(2)));
}

/// "If a server receives a RequestVote request within the minimum election timeout of hearing from a
/// current leader, it does not update its term or grant its vote" (§4.2.3).
#[test]
fn who_hears_a_leader_is_disturbed_by_nobody() {
    let mut node = Node::new();
    node.hear(2, 1, heartbeat(0));
    let done = node.hear(3, 7, request_vote(id(9, 7)));
    assert!(!done.says(|said| *said == GRANTED), "{done:?}");
    assert_eq!(node.term(), 1);
    node.now.0 += 2_000_000_000;
    assert!(node.hear(3, 7, request_vote(id(9, 7))).says(|said| *said == GRANTED));
}

/// §3.10: a leader that hands over lifts that protection.
#[test]
fn a_candidate_that_the_leader_chose_is_heard_all_the_same() {
    let mut node = Node::new();
    node.hear(2, 1, heartbeat(0));
    let chosen = Message::RequestVote { last: id(0, 0), transfer: true };
    assert!(node.hear(3, 2, chosen).says(|said| *said == GRANTED));
}

/// "Agreement (for elections and entry commitment) requires separate majorities from both the old
/// and new configurations" (§4.3).
#[test]
fn a_joint_configuration_needs_both_majorities() {
    let mut node = ready();
    for (member, index) in [(4, 2), (5, 3)] {
        change(&mut node, add(member)).expect("a learner");
        node.hear(2, 1, matched(index));
    }
    let both = Change { promote: vec![NodeId(4), NodeId(5)], ..remove(&[2, 3]) };
    change(&mut node, both).expect("a joint change");
    assert!(node.status().membership.is_joint());
    // Old: 1 2 3. New: 1 4 5.
    node.hear(4, 1, matched(4));
    assert_eq!(node.status().commit, Index(3), "a majority of the new half alone");
    node.hear(2, 1, matched(4));
    assert!(node.status().commit >= Index(4), "and one of the old");
}

/// "Once Cold,new has been committed, … the leader creates a log entry describing Cnew" (§4.3).
#[test]
fn a_joint_configuration_is_left_as_soon_as_it_is_committed() {
    let mut node = Node::with_voters(&[1, 2, 3, 4, 5]);
    node.time_out();
    for peer in [2, 3] {
        node.hear(peer, 1, Message::PreVoteReply { granted: true });
    }
    for peer in [2, 3] {
        node.hear(peer, 1, GRANTED);
    }
    for peer in [2, 3] {
        node.hear(peer, 1, matched(1));
    }
    change(&mut node, remove(&[4, 5])).expect("a joint change");
    assert!(node.status().membership.is_joint());
    for peer in [2, 3] {
        node.hear(peer, 1, matched(2));
    }
    assert!(!node.status().membership.is_joint());
    assert_eq!((voters(&node), node.status().last), (vec![1, 2, 3], id(3, 1)));
}
