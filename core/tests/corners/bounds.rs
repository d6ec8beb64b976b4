//! Each bound is met exactly.

use crate::bench::{
    LEADER, LIMIT, NOW, SELF, append, applied, confirm, durable, handed, hear, leader, offer,
    propose, size_of, sole, two,
};
use bytes::Bytes;
use kvorum_core::raft::{
    AppendOutcome, Change, Config, Envelope, Event, Full, Ignored, Index, Instant, Message, NodeId,
    Raft, Refused, Term, WriteId,
};

#[test]
fn as_much_is_handed_out_as_may_be_outstanding_and_no_more() {
    let three = 3 * size_of(10);
    let mut raft = sole(Config { max_apply_bytes: three, ..Config::default() });
    propose(&mut raft, &[10, 10, 10, 10]).unwrap();
    assert_eq!(handed(&mut raft), [2, 3, 4], "three fill the bound exactly");
    // Part of a batch frees nothing; the whole of it does.
    applied(&mut raft, 3);
    assert_eq!(handed(&mut raft), [0; 0]);
    applied(&mut raft, 4);
    assert_eq!(handed(&mut raft), [5]);
}

#[test]
fn proposals_fill_what_may_be_uncommitted_exactly() {
    let bytes = Config { max_uncommitted_bytes: 2 * size_of(10), ..Config::default() };
    let mut raft = leader(bytes);
    assert_eq!([offer(&mut raft, 1), offer(&mut raft, 1)], [Ok(2), Ok(3)]);
    assert_eq!(offer(&mut raft, 1), Err(Refused::Overloaded(Full::UncommittedBytes)));
    // One always fits when none waits, and none at all is nothing that waits.
    let mut raft = leader(Config { max_uncommitted_entries: 1, ..Config::default() });
    assert_eq!(
        [offer(&mut raft, 0), offer(&mut raft, 0), offer(&mut raft, 1)],
        [Ok(1), Ok(1), Ok(2)]
    );
    assert_eq!(offer(&mut raft, 1), Err(Refused::Overloaded(Full::UncommittedEntries)));
    // The leader's own first entry counts among the entries.
    let mut raft = leader(Config { max_uncommitted_entries: 3, ..Config::default() });
    assert_eq!([offer(&mut raft, 1), offer(&mut raft, 1)], [Ok(2), Ok(3)]);
    assert_eq!(offer(&mut raft, 1), Err(Refused::Overloaded(Full::UncommittedEntries)));
}

#[test]
fn a_proposal_counts_until_the_last_of_it_is_committed() {
    let mut raft = leader(Config { max_uncommitted_bytes: 3 * size_of(10), ..Config::default() });
    assert_eq!(offer(&mut raft, 3), Ok(4));
    let now = Instant(1 << 40);
    let write = raft.poll(now).write.expect("the entries");
    raft.handle(now, Event::Written(write.durable().written));
    let acknowledge = |raft: &mut Raft, last| {
        let outcome = AppendOutcome::Matched { last: Index(last) };
        hear(raft, now, Message::AppendReply { outcome, sequence: 0 });
    };
    acknowledge(&mut raft, 3);
    assert_eq!(raft.status().commit, Index(3));
    assert_eq!(offer(&mut raft, 1), Err(Refused::Overloaded(Full::UncommittedBytes)));
    acknowledge(&mut raft, 4);
    assert_eq!(offer(&mut raft, 1), Ok(5));
}

#[test]
fn a_slow_disk_may_fall_behind_by_its_bound_exactly() {
    let (max_uncommitted_bytes, max_inflight_bytes) = (2 * size_of(10), size_of(10));
    let config = Config { max_uncommitted_bytes, max_inflight_bytes, ..Config::default() };
    let mut raft = Raft::restore(SELF, config, two(), 1, NOW).expect("a sound disk");
    append(&mut raft, &[10, 10, 10]);
    append(&mut raft, &[10]);
    assert_eq!(raft.status().last.index, Index(4));
    append(&mut raft, &[10]);
    assert_eq!(raft.status().last.index, Index(4));
    assert_eq!(raft.status().ignored.get(&Ignored::Busy), Some(&1));
}

#[test]
fn a_disk_that_stands_still_is_given_so_many_writes_and_no_more() {
    const WRITES: usize = 4096;
    let mut raft = Raft::restore(SELF, Config::default(), two(), 1, NOW).expect("a sound disk");
    append(&mut raft, &[10]);
    // A leader that hears nothing asks again and again. Each answer waits for a write.
    let mut writes = Vec::new();
    for _ in 0..2 * WRITES {
        append(&mut raft, &[]);
        writes.extend(raft.poll(NOW).write);
    }
    assert_eq!(writes.len(), WRITES);
    assert_eq!(raft.status().ignored.get(&Ignored::Busy), Some(&(WRITES as u64)));
    // When the disk gets on, so does the node.
    confirm(&mut raft, writes.remove(0));
    append(&mut raft, &[10]);
    assert_eq!(raft.status().last.index, Index(2));
}

#[test]
fn a_configuration_has_a_largest_size() {
    let mut raft = sole(Config::default());
    let base = raft.status().membership_index;
    let members = |count: u64| {
        let add = (0..count).map(|id| (NodeId(100 + id), Bytes::new())).collect();
        Change { add, ..Change::default() }
    };
    // 32 bytes for each member, this node among them.
    let most = (1 << 20) / 32 - 1;
    let refused = raft.change_membership(NOW, base, members(most + 1));
    assert_eq!(refused, Err(Refused::TooLarge));
    assert_eq!(raft.status().membership_index, base);
    assert!(raft.change_membership(NOW, base, members(most)).is_ok());
}

#[test]
fn a_state_machine_may_lag_by_its_bound_exactly() {
    let config = Config { max_apply_lag_entries: 2, ..Config::default() };
    let mut raft = sole(config);
    for _ in 0..3 {
        propose(&mut raft, &[10]).unwrap();
    }
    assert_eq!(propose(&mut raft, &[10]), Err(Refused::Overloaded(Full::Apply)));
    handed(&mut raft);
    applied(&mut raft, 2);
    assert_eq!(propose(&mut raft, &[10]), Ok(()));
}

#[test]
fn an_entry_larger_than_the_bound_is_handed_out_alone() {
    let mut raft = sole(Config { max_apply_bytes: 1, ..Config::default() });
    propose(&mut raft, &[10, 10]).unwrap();
    assert_eq!(handed(&mut raft), [2]);
    assert_eq!(handed(&mut raft), [0; 0]);
    applied(&mut raft, 2);
    assert_eq!(handed(&mut raft), [3]);
}

#[test]
fn a_state_machine_may_lag_by_its_bound_of_bytes_exactly() {
    // Eight bytes between two compactions: the log is weighed byte by byte.
    let max_apply_lag_bytes = 2 * size_of(10);
    let config = Config { compact_after_bytes: 8, max_apply_lag_bytes, ..Config::default() };
    let mut raft = sole(config);
    for _ in 0..3 {
        assert_eq!(propose(&mut raft, &[10]), Ok(()));
    }
    assert_eq!(propose(&mut raft, &[10]), Err(Refused::Overloaded(Full::Apply)));
}

#[test]
fn a_command_may_be_as_large_as_the_bound() {
    let mut raft = sole(Config { max_entry_bytes: 10, ..Config::default() });
    assert_eq!(propose(&mut raft, &[10]), Ok(()));
    assert_eq!(propose(&mut raft, &[11]), Err(Refused::TooLarge));
}

#[test]
fn the_largest_term_is_one_below_the_limit() {
    let hears = |term| {
        let mut raft = Raft::restore(SELF, Config::default(), two(), 1, NOW).expect("sound");
        let message =
            Message::Heartbeat { commit: Index::ZERO, sequence: 0, compare: None, proven: None };
        let envelope = Envelope { from: LEADER, to: SELF, epoch: 0, term: Term(term), message };
        raft.handle(NOW, Event::Received(envelope));
        raft.status().vote.term
    };
    assert_eq!(hears(LIMIT - 1), Term(LIMIT - 1));
    assert_eq!(hears(LIMIT), Term(0));
}

#[test]
fn as_many_bytes_are_kept_as_a_compaction_is_worth() {
    let config =
        Config { compact_after_bytes: 2 * size_of(68), keep_entries: 100, ..Config::default() };
    let mut raft = sole(config);
    propose(&mut raft, &[68; 10]).unwrap();
    handed(&mut raft);
    applied(&mut raft, 11);
    let chain = raft.status().chain;
    durable(&mut raft, 11, chain);
    drop(raft.poll(NOW));
    assert_eq!(raft.status().base.index, Index(9));
}

#[test]
fn writes_are_numbered_from_one() {
    let mut raft = Raft::restore(SELF, Config::default(), two(), 1, NOW).expect("a sound disk");
    let ids = [1, 2].map(|_| {
        append(&mut raft, &[10]);
        raft.poll(NOW).write.expect("an entry").id()
    });
    assert_eq!(ids, [WriteId(1), WriteId(2)]);
}
