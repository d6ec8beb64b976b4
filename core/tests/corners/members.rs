//! Members that come, learn, lag and go.

use crate::bench::{
    LEADER, LEARNER, NOW, SELF, hear, leader_with_a_learner, learner_says, offer, sole, two,
};
use bytes::Bytes;
use kvorum_core::raft::{
    AppendOutcome, Chain, Change, Config, Entry, EntryId, Envelope, Event, Index, Instant,
    Membership, Message, NodeId, Payload, Raft, Refused, Restored, Term,
};

#[test]
fn a_cluster_is_born_in_epoch_one() {
    assert_eq!(Restored::bootstrap(SELF, Bytes::new()).base.membership.epoch, 1);
}

#[test]
fn a_learner_that_was_too_slow_ten_times_rests_ten_election_timeouts() {
    const LEARNER: NodeId = NodeId(3);
    let config = Config::default();
    let timeout = u64::try_from(config.election_timeout.as_nanos()).unwrap();
    let mut raft = sole(config);
    let add = vec![(LEARNER, Bytes::new())];
    raft.change_membership(NOW, Index(1), Change { add, ..Change::default() }).unwrap();
    let mut now = NOW;
    let work = |raft: &mut Raft, now: Instant| {
        while let Some(write) = raft.poll(now).write {
            raft.handle(now, Event::Written(write.durable().written));
        }
        raft.status().membership.is_voter(LEARNER)
    };
    let acknowledge = |raft: &mut Raft, now: Instant, last| {
        let outcome = AppendOutcome::Matched { last };
        let message = Message::AppendReply { outcome, sequence: 0 };
        let (term, epoch) = (raft.status().vote.term, raft.status().membership.epoch);
        let envelope = Envelope { from: LEARNER, to: SELF, epoch, term, message };
        raft.handle(now, Event::Received(envelope));
    };
    assert!(!work(&mut raft, now));
    for round in 0..10 {
        // What the round was for arrives late, and there is more by then, but for the last time.
        let target = raft.status().last.index;
        now = Instant(now.0 + timeout);
        if round < 9 {
            raft.propose(now, vec![Bytes::from_static(b"x")]).unwrap();
        }
        acknowledge(&mut raft, now, target);
        assert!(!work(&mut raft, now));
    }
    // It has everything now, and is not looked at for a while.
    let all = raft.status().last.index;
    let rested = Instant(now.0 + 10 * timeout);
    for moment in [now, Instant(rested.0 - 1)] {
        acknowledge(&mut raft, moment, all);
        assert!(!work(&mut raft, moment), "at {moment}");
    }
    acknowledge(&mut raft, rested, all);
    assert!(work(&mut raft, rested));
}

#[test]
fn a_configuration_of_another_epoch_than_its_message_is_nonsense() {
    let hears = |epoch| {
        let mut raft = Raft::restore(SELF, Config::default(), two(), 1, NOW).expect("sound");
        let membership = Membership { epoch, ..two().base.membership };
        let id = EntryId { index: Index(1), term: Term(1) };
        let entries = vec![Entry::new(Chain::START, id, Payload::Membership(membership))];
        let message = Message::Append {
            prev: EntryId::default(),
            prev_chain: Chain::START,
            entries,
            commit: Index::ZERO,
            sequence: 0,
        };
        let envelope = Envelope { from: LEADER, to: SELF, epoch: 1, term: Term(1), message };
        raft.handle(NOW, Event::Received(envelope));
        raft.status().last.index.0
    };
    assert_eq!([hears(0), hears(1), hears(2)], [0, 1, 0]);
}

#[test]
fn a_learner_is_promoted_after_the_change_that_added_it_and_while_a_quorum_answers() {
    let now = Instant(1 << 40);
    let promoted = |raft: &mut Raft, now| {
        let outcome = AppendOutcome::Matched { last: Index(2) };
        learner_says(raft, now, Message::AppendReply { outcome, sequence: 0 });
        drop(raft.poll(now));
        raft.status().membership.is_voter(LEARNER)
    };
    let commit = |raft: &mut Raft| {
        let outcome = AppendOutcome::Matched { last: Index(2) };
        hear(raft, now, Message::AppendReply { outcome, sequence: 0 });
        assert_eq!(raft.status().commit, Index(2));
    };
    // It has everything, but the change that added it is not committed.
    let mut raft = leader_with_a_learner(now);
    assert!(!promoted(&mut raft, now));
    commit(&mut raft);
    assert!(promoted(&mut raft, now));
    // Nobody else has answered for an election time-out; the node has not looked at its clock yet.
    let mut raft = leader_with_a_learner(now);
    commit(&mut raft);
    assert!(!promoted(&mut raft, now.after(Config::default().election_timeout)));
}

#[test]
fn nobody_comes_and_goes_in_one_change() {
    let ids = |ids: &[u64]| ids.iter().map(|&id| NodeId(id)).collect::<Vec<_>>();
    let now = Membership {
        voters: [1, 2].map(NodeId).into(),
        learners: [3].map(NodeId).into(),
        contexts: [1, 2, 3].map(|id| (NodeId(id), Bytes::new())).into(),
        ..Membership::default()
    };
    let after = |add: &[u64], promote: &[u64], demote: &[u64], remove: &[u64]| {
        let add = add.iter().map(|&id| (NodeId(id), Bytes::new())).collect();
        let (promote, demote, remove) = (ids(promote), ids(demote), ids(remove));
        now.after(&Change { add, promote, demote, remove }).map(|next| next.voters.len())
    };
    assert_eq!(after(&[], &[], &[], &[2]), Ok(1));
    assert_eq!(after(&[4], &[], &[], &[2]), Ok(1));
    assert_eq!(after(&[], &[3], &[], &[2]), Ok(2));
    assert_eq!(after(&[], &[], &[1], &[3]), Ok(1));
    for change in [
        after(&[2], &[], &[], &[2]),
        after(&[], &[3], &[], &[3]),
        after(&[], &[], &[2], &[2]),
        after(&[], &[3], &[3], &[]),
        after(&[], &[], &[], &[9]),
    ] {
        assert_eq!(change, Err(Refused::NotMember));
    }
    assert_eq!(after(&[], &[], &[], &[1, 2]), Err(Refused::NoVoters));
}

#[test]
fn whoever_is_demoted_learns_or_still_counts_in_the_old_half() {
    let consistent = |voters: &[u64], outgoing: &[u64], learners: &[u64], demoted: &[u64]| {
        let set = |ids: &[u64]| ids.iter().map(|&id| NodeId(id)).collect();
        let mut membership = Membership {
            voters: set(voters),
            outgoing: set(outgoing),
            learners: set(learners),
            demoted: set(demoted),
            ..Membership::default()
        };
        let all = [voters, outgoing, learners].concat();
        membership.contexts = all.into_iter().map(|id| (NodeId(id), Bytes::new())).collect();
        membership.is_consistent()
    };
    assert!(consistent(&[1], &[1, 2], &[3], &[2, 3]));
    assert!(!consistent(&[1], &[], &[], &[2]), "a stranger");
    assert!(!consistent(&[1, 2], &[1, 2], &[], &[2]), "a voter that stays");
    assert!(!consistent(&[1], &[], &[1], &[]), "voter and learner");
}

#[test]
fn a_learner_that_lags_for_a_moment_is_promoted_and_one_that_lags_for_longer_is_not() {
    let now = Instant(1 << 40);
    let timeout = Config::default().election_timeout;
    let lagging = |pause| {
        let mut raft = leader_with_a_learner(now);
        let matched = |last| {
            let outcome = AppendOutcome::Matched { last: Index(last) };
            Message::AppendReply { outcome, sequence: 0 }
        };
        // It has caught up, while the change that added it is not committed.
        learner_says(&mut raft, now, matched(2));
        drop(raft.poll(now));
        assert_eq!(offer(&mut raft, 1), Ok(3));
        drop(raft.poll(now));
        // Some time later it still lacks the last entry, and may be promoted.
        let later = now.after(pause);
        for moment in [now.after(pause / 2), later] {
            let alive = Message::HeartbeatReply { sequence: 0, state: None, staged: None };
            learner_says(&mut raft, moment, alive);
            drop(raft.poll(moment));
        }
        hear(&mut raft, later, matched(2));
        drop(raft.poll(later));
        assert_eq!(raft.status().commit, Index(2));
        raft.status().membership.is_voter(LEARNER)
    };
    assert!(lagging(timeout / 2));
    assert!(!lagging(timeout));
}
