//! Figure 2, the condensed summary: what every server, follower, candidate and leader does.

use crate::node::*;
use kvorum_core::raft::{Index, Message, NodeId, Restored, RoleName, Term, Vote};

// State.

/// "Updated on stable storage before responding to RPCs": a vote.
#[test]
fn a_vote_is_on_the_disk_before_it_is_given() {
    let mut node = Node::new();
    let done = node.hear(2, 1, request_vote(id(0, 0)));
    assert!(done.at_once.is_empty(), "{done:?}");
    assert_eq!(done.gated.len(), 1);
    assert_eq!(done.gated[0].message, GRANTED);
    assert_eq!(node.vote, Vote { term: Term(1), voted_for: Some(NodeId(2)) });
}

/// "Updated on stable storage before responding to RPCs": log entries.
#[test]
fn entries_are_on_the_disk_before_they_are_acknowledged() {
    let mut node = Node::new();
    let done = node.hear(2, 1, append(&log(&[1, 1]), 0, 0));
    assert!(done.at_once.is_empty(), "{done:?}");
    assert!(done.gated.iter().any(|envelope| is_match(&envelope.message, 2)), "{done:?}");
    assert_eq!(done.appended.len(), 2);
}

/// `currentTerm`, `votedFor` "persistent": a vote outlives a restart.
#[test]
fn a_node_that_restarts_votes_no_second_time() {
    let mut before = Node::new();
    assert!(before.hear(2, 1, request_vote(id(0, 0))).says(|said| *said == GRANTED));
    let mut disk = Restored { vote: before.vote, ..Restored::default() };
    disk.base.membership = before.status().membership.clone();
    for (candidate, answer) in [(3, REFUSED), (2, GRANTED)] {
        let mut after = Node::restored(disk.clone());
        let done = after.hear(candidate, 1, request_vote(id(0, 0)));
        assert!(done.says(|said| *said == answer), "{candidate}: {done:?}");
    }
}

/// `currentTerm` "increases monotonically".
#[test]
fn terms_never_go_back() {
    let mut node = Node::new();
    for (heard, term) in [(3, 3), (1, 3), (7, 7), (6, 7)] {
        node.hear(2, heard, request_vote(id(0, 0)));
        assert_eq!(node.term(), term);
    }
}

/// `commitIndex`, `lastApplied` "increase monotonically".
#[test]
fn the_commit_index_never_goes_back() {
    let mut node = Node::holding(&[1, 1, 1]);
    for (said, commit) in [(2, 2), (1, 2), (0, 2), (3, 3), (2, 3)] {
        node.hear(2, 1, heartbeat(said));
        assert_eq!((node.status().commit, node.status().applied), (Index(commit), Index(commit)));
    }
}

/// `nextIndex` "initialized to leader last log index + 1".
#[test]
fn a_new_leader_first_tries_the_end_of_its_own_log() {
    let mut node = Node::holding(&[1, 2]);
    let done = node.elect();
    for peer in [2, 3] {
        let prevs: Vec<_> = done.to(peer).into_iter().filter_map(prev).collect();
        assert_eq!(prevs, [id(2, 2)], "{done:?}");
    }
}

fn prev(message: &Message) -> Option<kvorum_core::raft::EntryId> {
    if let Message::Append { prev, .. } = message { Some(*prev) } else { None }
}

// AppendEntries, as the receiver implements it.

/// (1) "Reply false if term < currentTerm."
#[test]
fn an_append_of_an_old_term_changes_nothing_and_hears_the_new_term() {
    let mut node = Node::holding(&[1, 3]);
    let done = node.hear(3, 2, append(&log(&[1, 2]), 1, 2));
    assert!(!done.says(|said| is_match(said, 2)) && done.terms() == [3], "{done:?}");
    assert_eq!((node.terms(), node.status().commit), (vec![1, 3], Index(0)));
}

/// (2) "Reply false if log doesn't contain an entry at prevLogIndex whose term matches prevLogTerm."
#[test]
fn an_append_after_something_unknown_is_rejected() {
    for (case, held, sent, prev) in
        [("too short", &[1][..], &[1, 1, 1][..], 2), ("another term", &[1, 1], &[1, 2, 2], 2)]
    {
        let mut node = Node::holding(held);
        let done = node.hear(2, 2, append(&log(sent), prev, 0));
        assert!(done.says(is_rejection), "{case}: {done:?}");
        assert_eq!(node.terms(), held, "{case}");
    }
}

/// (3) "If an existing entry conflicts with a new one …, delete the existing entry and all that
/// follow it."
#[test]
fn what_contradicts_the_leader_goes_with_all_that_follows() {
    let mut node = Node::holding(&[1, 1, 1, 1]);
    let done = node.hear(3, 2, append(&log(&[1, 2]), 1, 0));
    assert_eq!(done.truncated, Some(Index(2)));
    assert_eq!(node.terms(), [1, 2]);
}

/// (4) "Append any new entries not already in the log": what agrees is kept, also beyond the append.
#[test]
fn an_append_that_says_less_than_is_known_takes_nothing_away() {
    let mut node = Node::holding(&[1, 1, 1]);
    let done = node.hear(2, 1, append(&log(&[1, 1]), 0, 0));
    assert_eq!((done.truncated, node.terms()), (None, vec![1, 1, 1]));
    assert!(done.says(|said| is_match(said, 2)), "acknowledged is what it said: {done:?}");
}

/// (5) "Set commitIndex = min(leaderCommit, index of last new entry)."
#[test]
fn an_append_commits_no_more_than_it_has_shown() {
    for (commit, expected) in [(1, 1), (2, 2), (9, 2)] {
        let mut node = Node::holding(&[1, 1, 1]);
        node.hear(2, 1, append(&log(&[1, 1]), 1, commit));
        assert_eq!(node.status().commit, Index(expected), "leader's commit {commit}");
    }
}

// RequestVote, as the receiver implements it.

/// (1) "Reply false if term < currentTerm."
#[test]
fn an_old_candidate_gets_no_vote_and_hears_the_new_term() {
    let mut node = Node::holding(&[3]);
    let done = node.hear(3, 2, request_vote(id(9, 2)));
    assert!(done.says(|said| *said == REFUSED) && done.terms() == [3], "{done:?}");
}

/// (2) "If votedFor is null or candidateId, and candidate's log is at least as up-to-date as
/// receiver's log, grant vote."
#[test]
fn a_vote_goes_to_the_first_candidate_whose_log_is_as_up_to_date() {
    // The voter holds 1@1 2@2; up-to-date is the term of the last entry, then the length.
    for (last, answer) in [
        (id(2, 2), GRANTED),
        (id(3, 2), GRANTED),
        (id(1, 3), GRANTED),
        (id(1, 2), REFUSED),
        (id(9, 1), REFUSED),
        (id(0, 0), REFUSED),
    ] {
        let mut node = Node::holding(&[1, 2]);
        node.forget_leader();
        let done = node.hear(3, 5, request_vote(last));
        assert!(done.says(|said| *said == answer), "{last}: {done:?}");
    }
    let mut node = Node::new();
    for (candidate, answer) in [(2, GRANTED), (3, REFUSED), (2, GRANTED)] {
        let done = node.hear(candidate, 1, request_vote(id(0, 0)));
        assert!(done.says(|said| *said == answer), "{candidate}: {done:?}");
    }
}

// All servers.

/// "If commitIndex > lastApplied: increment lastApplied, apply log[lastApplied]."
#[test]
fn what_is_committed_is_applied_in_order_and_once() {
    let mut node = Node::holding(&[1, 1, 1]);
    assert_eq!(node.hear(2, 1, heartbeat(2)).applied, [1, 2]);
    assert_eq!(node.hear(2, 1, heartbeat(2)).applied, []);
    assert_eq!(node.hear(2, 1, heartbeat(3)).applied, [3]);
}

/// "If RPC request or response contains term T > currentTerm: set currentTerm = T, convert to
/// follower."
#[test]
fn a_higher_term_makes_a_follower_of_anybody() {
    let (mut candidate, leader) = (Node::new(), Node::leading(&[]));
    candidate.campaign();
    for mut node in [candidate, leader] {
        let term = node.term() + 4;
        node.hear(3, term, heartbeat(0));
        assert_eq!((node.status().role, node.term()), (RoleName::Follower, term));
    }
    for answer in [REFUSED, matched(1)] {
        let mut leader = Node::leading(&[]);
        leader.hear(3, 9, answer);
        assert_eq!((leader.status().role, leader.term()), (RoleName::Follower, 9));
    }
}

// Followers.

/// "If election timeout elapses without receiving AppendEntries RPC from current leader or granting
/// vote to candidate: convert to candidate."
#[test]
fn silence_ends_in_a_candidacy_and_a_word_or_a_vote_puts_it_off() {
    let mut silent = Node::new();
    assert_eq!(silent.campaign().to(3).len(), 1);
    for (case, message) in [
        ("heartbeat", heartbeat(0)),
        ("append", append(&[], 0, 0)),
        ("vote", request_vote(id(0, 0))),
    ] {
        let mut node = Node::new();
        let due = node.raft.deadline();
        node.now.0 = due.0 - 1;
        node.hear(2, 1, message);
        assert!(node.raft.deadline() > due, "{case}");
    }
}

// Candidates.

/// "Increment currentTerm, vote for self, reset election timer, send RequestVote RPCs to all other
/// servers."
#[test]
fn a_candidate_votes_for_itself_in_a_new_term_and_asks_everybody() {
    let mut node = Node::holding(&[1]);
    let done = node.campaign();
    assert_eq!(node.vote, Vote { term: Term(2), voted_for: Some(NodeId(ME)) });
    for peer in [2, 3] {
        assert_eq!(done.to(peer), [&request_vote(id(1, 1))]);
    }
    assert!(node.raft.deadline() > node.now);
}

/// "If votes received from majority of servers: become leader."
#[test]
fn a_majority_of_votes_and_no_fewer_makes_a_leader() {
    for (voters, needed) in [(&[1, 2, 3][..], 1), (&[1, 2, 3, 4], 2), (&[1, 2, 3, 4, 5], 2)] {
        let mut node = Node::with_voters(voters);
        node.time_out();
        for &peer in &voters[1..=needed] {
            node.hear(peer, 1, Message::PreVoteReply { granted: true });
        }
        for (votes, &peer) in (1..).zip(&voters[1..=needed]) {
            assert_eq!(node.status().role, RoleName::Candidate);
            // The same voter twice is one vote.
            for _ in 0..2 {
                node.hear(peer, 1, GRANTED);
            }
            assert_eq!(node.status().role == RoleName::Leader, votes == needed, "{voters:?}");
        }
    }
}

/// "If AppendEntries RPC received from new leader: convert to follower."
#[test]
fn a_candidate_follows_who_won() {
    let mut node = Node::new();
    node.campaign();
    node.hear(3, 1, append(&log(&[1]), 0, 0));
    assert_eq!(node.status().role, RoleName::Follower);
    assert_eq!((node.status().leader, node.terms()), (Some(NodeId(3)), vec![1]));
}

/// "If election timeout elapses: start new election."
#[test]
fn a_candidate_without_a_result_tries_again_in_a_later_term() {
    let mut node = Node::new();
    node.campaign();
    let first = node.term();
    node.campaign();
    assert_eq!(node.term(), first + 1);
}

// Leaders.

/// "Upon election: send initial empty AppendEntries RPCs …; repeat during idle periods."
#[test]
fn a_leader_is_heard_at_once_and_in_every_idle_period() {
    let mut node = Node::holding(&[]);
    let done = node.elect();
    for peer in [2, 3] {
        assert!(!done.to(peer).is_empty(), "{done:?}");
    }
    for _ in 0..3 {
        let done = node.time_out();
        node.hear(2, 1, Message::HeartbeatReply { sequence: 0, state: None, staged: None });
        for peer in [2, 3] {
            let says = done.to(peer);
            assert!(says.iter().any(|said| matches!(said, Message::Heartbeat { .. })), "{says:?}");
        }
    }
}

/// "If command received from client: append entry to local log, respond after entry applied."
#[test]
fn a_command_is_appended_and_applied_once_a_majority_has_it() {
    let mut node = Node::leading(&[]);
    node.hear(2, 1, matched(1));
    let done = node.propose();
    assert_eq!((done.appended.len(), done.applied.len()), (1, 0));
    assert_eq!(node.hear(2, 1, matched(2)).applied, [2]);
}

/// "If last log index ≥ nextIndex for a follower: send AppendEntries RPC with log entries starting
/// at nextIndex."
#[test]
fn every_follower_is_sent_what_it_misses() {
    let mut node = Node::leading(&[1, 1]);
    node.hear(2, 2, matched(3));
    let done = node.propose();
    let [Message::Append { prev, entries, .. }] = done.to(2)[..] else { panic!("{done:?}") };
    assert_eq!((prev.index, entries.len(), entries[0].index()), (Index(3), 1, Index(4)));
}

/// "If successful: update nextIndex and matchIndex for follower."
#[test]
fn what_a_follower_has_acknowledged_is_remembered() {
    let mut node = Node::leading(&[1, 1]);
    for (acknowledged, known) in [(2, 2), (3, 3), (1, 3)] {
        node.hear(3, 2, matched(acknowledged));
        let peer = node.raft.peers().find(|peer| peer.id == NodeId(3)).expect("a peer");
        assert_eq!(peer.matched, Index(known));
    }
}

/// "If AppendEntries fails because of log inconsistency: decrement nextIndex and retry."
#[test]
fn a_follower_that_disagrees_is_asked_about_something_earlier() {
    let mut node = Node::leading(&[1, 1, 2]);
    let done = node.hear(3, 3, rejected(id(3, 2), id(2, 1)));
    let prevs: Vec<_> = done.to(3).into_iter().filter_map(prev).collect();
    assert_eq!(prevs, [id(2, 1)]);
}

/// "If there exists an N such that N > commitIndex, a majority of matchIndex[i] ≥ N, and
/// log[N].term == currentTerm: set commitIndex = N."
#[test]
fn a_majority_commits_what_is_of_the_leaders_term() {
    // The leader's log: 1@1 2@2 3@3, the last of its own term.
    for (acknowledged, commit) in [(0, 0), (1, 0), (2, 0), (3, 3)] {
        let mut node = Node::leading(&[1, 2]);
        node.hear(2, 3, matched(acknowledged));
        assert_eq!(node.status().commit, Index(commit), "{acknowledged} on two of three");
    }
}
