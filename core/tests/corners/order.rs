//! Events in an order, or at moments, that the scripts' machine never has.

use crate::bench::{LEADER, NOW, SELF, applied, durable, handed, hear, leader, propose, sole, two};
use bytes::Bytes;
use kvorum_core::raft::{
    AppendOutcome, Chain, Config, Envelope, Event, Evidence, Index, Instant, Message, NodeId, Raft,
    ReadFailure, ReadId, RoleName, StateReport, Term,
};

#[test]
fn a_state_machine_without_digests_differs_from_nobodys() {
    let now = Instant(1 << 40);
    let mut raft = leader(Config::default());
    let write = raft.poll(now).write.expect("the first entry");
    raft.handle(now, Event::Written(write.durable().written));
    let outcome = AppendOutcome::Matched { last: Index(1) };
    hear(&mut raft, now, Message::AppendReply { outcome, sequence: 0 });
    assert_eq!(raft.poll(now).committed.len(), 1);
    raft.handle(now, Event::Applied { index: Index(1), digests: vec![7] });
    let now = Instant(now.0 + 50_000_000);
    raft.handle(now, Event::Deadline);
    let answer = |digest| Message::HeartbeatReply {
        sequence: 0,
        state: Some(StateReport { index: Index(1), digest }),
        staged: None,
    };
    hear(&mut raft, now, answer(None));
    assert_eq!(raft.status().unproven_divergences, 0);
}

#[test]
fn an_election_is_won_when_the_disk_says_so_and_not_before() {
    let mut disk = two();
    disk.base.membership.voters.insert(NodeId(3));
    disk.base.membership.contexts.insert(NodeId(3), Bytes::new());
    let mut raft = Raft::restore(SELF, Config::default(), disk, 1, NOW).expect("a sound disk");
    let now = Instant(1 << 40);
    raft.handle(now, Event::Deadline);
    hear(&mut raft, now, Message::PreVoteReply { granted: true });
    let durable = raft.poll(now).write.expect("its vote").durable();
    assert_eq!(durable.messages.len(), 2, "two are asked");
    // Both answers overtake the receipt.
    for from in [LEADER, NodeId(3)] {
        let message = Message::VoteReply { granted: true };
        let envelope = Envelope { from, to: SELF, epoch: 0, term: Term(1), message };
        raft.handle(now, Event::Received(envelope));
        assert_eq!(raft.status().role, RoleName::Candidate);
    }
    raft.handle(now, Event::Written(durable.written));
    assert_eq!(raft.status().role, RoleName::Leader);
}

#[test]
fn the_log_waits_for_the_word_that_its_state_is_applied() {
    let config = Config { compact_after_bytes: 1, keep_entries: 0, ..Config::default() };
    let mut raft = sole(config);
    propose(&mut raft, &[10]).unwrap();
    assert_eq!(handed(&mut raft), [2]);
    // The state machine is quick: its state of 2 is durable before it says that it has applied 2.
    let chain = raft.status().chain;
    durable(&mut raft, 2, chain);
    assert!(raft.poll(NOW).write.is_none());
    applied(&mut raft, 2);
    let write = raft.poll(NOW).write.expect("the base moves");
    assert_eq!(write.base.map(|base| base.last.index), Some(Index(2)));
}

#[test]
fn a_state_of_another_history_stops_the_node() {
    let mut raft = sole(Config { compact_after_bytes: 1, keep_entries: 0, ..Config::default() });
    propose(&mut raft, &[10]).unwrap();
    handed(&mut raft);
    applied(&mut raft, 2);
    durable(&mut raft, 2, Chain(7));
    let found = raft.poll(NOW).fatal;
    assert!(matches!(found, Some(Evidence::DiskChanged { found: Chain(7), .. })), "{found:?}");
}

fn read_at(raft: &mut Raft, id: u64, now: Instant) {
    raft.read(now, ReadId(id)).expect("it waits");
}

/// Reads that were answered, and whether they were given up.
fn answers(raft: &mut Raft, now: Instant) -> Vec<(u64, bool)> {
    let answers = raft.poll(now).reads.into_iter();
    answers.map(|read| (read.id.0, read.result == Err(ReadFailure::TimedOut))).collect()
}

#[test]
fn each_read_is_given_up_in_its_own_time() {
    let start = Instant(1 << 40);
    let at = |milliseconds: u64| Instant(start.0 + milliseconds * 1_000_000);
    let alive = |raft: &mut Raft, now| {
        let reply = Message::HeartbeatReply { sequence: 0, state: None, staged: None };
        hear(raft, now, reply);
    };
    // A leader whose reads nobody confirms: in the queue before it has committed, in rounds after.
    for committed in [false, true] {
        let mut raft = leader(Config::default());
        let write = raft.poll(start).write.expect("the first entry");
        raft.handle(start, Event::Written(write.durable().written));
        if committed {
            let outcome = AppendOutcome::Matched { last: Index(1) };
            hear(&mut raft, start, Message::AppendReply { outcome, sequence: 0 });
            drop(raft.poll(start));
            raft.handle(start, Event::Applied { index: Index(1), digests: Vec::new() });
        }
        for (id, moment) in [(1, at(0)), (2, at(100))] {
            read_at(&mut raft, id, moment);
            assert_eq!(answers(&mut raft, moment), []);
        }
        for (moment, expected) in [(499, None), (500, Some(1)), (599, None), (600, Some(2))] {
            alive(&mut raft, at(moment));
            raft.handle(at(moment), Event::Deadline);
            let expected: Vec<_> = expected.into_iter().map(|id| (id, true)).collect();
            assert_eq!(answers(&mut raft, at(moment)), expected, "at {moment}");
        }
    }
}

#[test]
fn each_forwarded_read_is_given_up_in_its_own_time() {
    let at = |milliseconds: u64| Instant(milliseconds * 1_000_000);
    let heartbeat =
        || Message::Heartbeat { commit: Index::ZERO, sequence: 0, compare: None, proven: None };
    let mut raft = Raft::restore(SELF, Config::default(), two(), 1, NOW).expect("a sound disk");
    hear(&mut raft, NOW, heartbeat());
    // Sixteen batches are on their way; the seventeenth read waits for one to come back.
    for id in 0..17 {
        let moment = at(10 * id);
        read_at(&mut raft, id, moment);
        assert_eq!(answers(&mut raft, moment), []);
    }
    let mut given_up = Vec::new();
    for moment in 490..=670 {
        hear(&mut raft, at(moment), heartbeat());
        raft.handle(at(moment), Event::Deadline);
        given_up.extend(answers(&mut raft, at(moment)).into_iter().map(|(id, _)| (id, moment)));
    }
    // The seventeenth goes out when the first is given up, and is waited for no longer.
    let expected: Vec<(u64, u64)> = (0..17).map(|id| (id, 500 + 10 * id)).collect();
    assert_eq!(given_up, expected);
}
