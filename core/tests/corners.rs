//! What no script can say: events in an order, or with a content, that the scripts' machine never
//! has, and bounds that are met exactly. One node alone, through the public surface.

use bytes::Bytes;
use kvorum_core::raft::{
    AppendOutcome, Chain, Change, Config, Entry, EntryId, Envelope, Event, Evidence, Full, Ignored,
    Index, Instant, Membership, Message, NodeId, Output, Payload, Raft, ReadFailure, ReadId,
    Refused, Restored, RoleName, SnapshotEvent, SnapshotMeta, SnapshotRequest, Staged, StateReport,
    StreamDigest, Term, Write, WriteId,
};

const NOW: Instant = Instant(0);
const SELF: NodeId = NodeId(1);
const LEADER: NodeId = NodeId(2);

/// A node that is a cluster of its own, leads it, and has applied its first entry.
fn sole(config: Config) -> Raft {
    let disk = Restored::bootstrap(SELF, Bytes::new());
    let mut raft = Raft::restore(SELF, config, disk, 1, NOW).expect("a sound disk");
    raft.handle(NOW, Event::Deadline);
    loop {
        let Output { write, committed, .. } = raft.poll(NOW);
        if write.is_none() && committed.is_empty() {
            break;
        }
        write.into_iter().for_each(|write| confirm(&mut raft, write));
        if let Some(last) = committed.last() {
            applied(&mut raft, last.index().0);
        }
    }
    assert_eq!(raft.status().applied, Index(1));
    raft
}

fn confirm(raft: &mut Raft, write: Write) {
    raft.handle(NOW, Event::Written(write.durable().written));
}

fn applied(raft: &mut Raft, index: u64) {
    raft.handle(NOW, Event::Applied { index: Index(index), digests: Vec::new() });
}

/// Proposes commands of so many bytes; they are written.
fn propose(raft: &mut Raft, sizes: &[usize]) -> Result<(), Refused> {
    let commands = sizes.iter().map(|&size| Bytes::from(vec![0; size])).collect();
    raft.propose(NOW, commands)?;
    let write = raft.poll(NOW).write.expect("a write of the entries");
    confirm(raft, write);
    Ok(())
}

/// What is handed to the state machine now.
fn handed(raft: &mut Raft) -> Vec<u64> {
    raft.poll(NOW).committed.iter().map(|entry| entry.index().0).collect()
}

/// Bytes that a command of this length counts for.
fn size_of(length: usize) -> u64 {
    let id = EntryId { index: Index(1), term: Term(1) };
    Entry::new(Chain::START, id, Payload::Command(Bytes::from(vec![0; length]))).size()
}

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

/// A disk with which `SELF` and `LEADER` are a cluster.
fn two() -> Restored {
    let mut disk = Restored::default();
    let ids = [SELF, LEADER];
    disk.base.membership.voters = ids.into();
    disk.base.membership.contexts = ids.into_iter().map(|id| (id, Bytes::new())).collect();
    disk
}

fn hear(raft: &mut Raft, now: Instant, message: Message) {
    let envelope = Envelope { from: LEADER, to: SELF, epoch: 0, term: Term(1), message };
    raft.handle(now, Event::Received(envelope));
}

/// A leader of two, of whose log the other one has nothing.
fn leader(config: Config) -> Raft {
    let now = Instant(1 << 40);
    let mut raft = Raft::restore(SELF, config, two(), 1, NOW).expect("a sound disk");
    raft.handle(now, Event::Deadline);
    hear(&mut raft, now, Message::PreVoteReply { granted: true });
    let write = raft.poll(now).write.expect("its vote");
    raft.handle(now, Event::Written(write.durable().written));
    hear(&mut raft, now, Message::VoteReply { granted: true });
    assert_eq!(raft.status().role, RoleName::Leader);
    raft
}

fn offer(raft: &mut Raft, count: usize) -> Result<u64, Refused> {
    let commands = vec![Bytes::from(vec![0; 10]); count];
    raft.propose(Instant(1 << 40), commands).map(|range| range.end().0)
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

/// A follower hears an append of commands of so many bytes after what it has.
fn append(raft: &mut Raft, sizes: &[usize]) {
    let status = raft.status();
    let (prev, prev_chain) = (status.last, status.chain);
    let (mut id, mut chain) = (prev, prev_chain);
    let mut entries = Vec::new();
    for &size in sizes {
        id = EntryId { index: id.index.next(), term: Term(1) };
        entries.push(Entry::new(chain, id, Payload::Command(Bytes::from(vec![0; size]))));
        chain = entries.last().map_or(chain, |entry| entry.chain);
    }
    let commit = Index::ZERO;
    hear(raft, NOW, Message::Append { prev, prev_chain, entries, commit, sequence: 0 });
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
fn a_cluster_is_born_in_epoch_one() {
    assert_eq!(Restored::bootstrap(SELF, Bytes::new()).base.membership.epoch, 1);
}

#[test]
fn a_command_may_be_as_large_as_the_bound() {
    let mut raft = sole(Config { max_entry_bytes: 10, ..Config::default() });
    assert_eq!(propose(&mut raft, &[10]), Ok(()));
    assert_eq!(propose(&mut raft, &[11]), Err(Refused::TooLarge));
}

/// What the state machine says it can restart from.
fn durable(raft: &mut Raft, index: u64, chain: Chain) {
    let last = raft.entry_id(Index(index)).expect("it is in the log");
    let status = raft.status();
    let meta = SnapshotMeta {
        last,
        chain,
        membership: status.membership.clone(),
        membership_index: status.membership_index,
    };
    raft.handle(NOW, Event::Snapshot(SnapshotEvent::Durable { meta }));
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

const LIMIT: u64 = 1 << 62;

/// A chunk of a snapshot of entry 3, as its leader would send it.
fn chunk(change: impl FnOnce(&mut SnapshotMeta, &mut u64, &mut Bytes, &mut bool)) -> Message {
    let membership = two().base.membership;
    let last = EntryId { index: Index(3), term: Term(1) };
    let mut meta = SnapshotMeta { last, chain: Chain(7), membership, membership_index: Index(1) };
    let (mut offset, mut data, mut end) = (0, Bytes::from_static(b"abc"), false);
    change(&mut meta, &mut offset, &mut data, &mut end);
    let before = StreamDigest::default();
    Message::InstallSnapshot { meta, offset, data, before, last: end, sequence: 0 }
}

/// Whether a chunk is taken for something that no leader sends.
fn is_nonsense(message: Message) -> bool {
    let mut raft = Raft::restore(SELF, Config::default(), two(), 1, NOW).expect("a sound disk");
    hear(&mut raft, NOW, message);
    raft.status().ignored.contains_key(&Ignored::Nonsense)
}

#[test]
fn a_chunk_that_no_leader_sends_is_nonsense_for_each_reason_alone() {
    assert!(!is_nonsense(chunk(|_, _, _, _| {})));
    assert!(is_nonsense(chunk(|meta, _, _, _| meta.last.index = Index::ZERO)));
    assert!(is_nonsense(chunk(|meta, _, _, _| meta.last.index = Index(LIMIT))));
    assert!(!is_nonsense(chunk(|meta, _, _, _| meta.last.index = Index(LIMIT - 1))));
    assert!(is_nonsense(chunk(|meta, _, _, _| meta.last.term = Term(2))));
    assert!(is_nonsense(chunk(|meta, _, _, _| meta.membership_index = Index(4))));
    assert!(!is_nonsense(chunk(|meta, _, _, _| meta.membership_index = Index(3))));
    assert!(is_nonsense(chunk(|meta, _, _, _| meta.membership = Membership::default())));
    assert!(is_nonsense(chunk(|meta, _, _, _| meta.membership.contexts.clear())));
    assert!(is_nonsense(chunk(|_, offset, _, _| *offset = LIMIT - 3)));
    assert!(!is_nonsense(chunk(|_, offset, _, _| *offset = LIMIT - 4)));
    assert!(is_nonsense(chunk(|_, _, data, _| data.clear())));
    assert!(!is_nonsense(chunk(|_, _, data, last| {
        data.clear();
        *last = true;
    })));
    assert!(!is_nonsense(chunk(|_, _, _, last| *last = true)));
}

#[test]
fn a_snapshot_of_another_history_stops_its_leader() {
    let read = |chain| {
        let mut raft = sole(Config::default());
        let status = raft.status();
        let (last, membership) = (status.last, status.membership.clone());
        let chain = if chain { status.chain } else { Chain(7) };
        let meta = SnapshotMeta { last, chain, membership, membership_index: Index(1) };
        let (peer, data) = (LEADER, Bytes::from_static(b"abc"));
        let event = SnapshotEvent::ChunkRead { peer, meta, offset: 0, data, last: true };
        raft.handle(NOW, Event::Snapshot(event));
        raft.poll(NOW).fatal
    };
    assert_eq!(read(true), None);
    assert!(matches!(read(false), Some(Evidence::DiskChanged { found: Chain(7), .. })));
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

const LEARNER: NodeId = NodeId(3);

/// `message` of the learner, in the leader's term.
fn learner_says(raft: &mut Raft, now: Instant, message: Message) {
    let (term, epoch) = (raft.status().vote.term, raft.status().membership.epoch);
    let envelope = Envelope { from: LEARNER, to: SELF, epoch, term, message };
    raft.handle(now, Event::Received(envelope));
}

/// A leader of two that has committed its first entry, and then added a learner.
fn leader_with_a_learner(now: Instant) -> Raft {
    let mut raft = leader(Config::default());
    let write = raft.poll(now).write.expect("the first entry");
    raft.handle(now, Event::Written(write.durable().written));
    let outcome = AppendOutcome::Matched { last: Index(1) };
    hear(&mut raft, now, Message::AppendReply { outcome, sequence: 0 });
    let add = vec![(LEARNER, Bytes::new())];
    raft.change_membership(now, Index(1), Change { add, ..Change::default() }).unwrap();
    let write = raft.poll(now).write.expect("the change");
    raft.handle(now, Event::Written(write.durable().written));
    raft
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

/// A leader that reads a snapshot for a learner, which said that it holds `staged`.
fn sending(staged: Option<Staged>) -> Raft {
    let now = Instant(1 << 40);
    let config = Config { compact_after_bytes: 1, keep_entries: 0, ..Config::default() };
    let mut raft = leader(config);
    let write = raft.poll(now).write.expect("the first entry");
    raft.handle(now, Event::Written(write.durable().written));
    let outcome = AppendOutcome::Matched { last: Index(1) };
    hear(&mut raft, now, Message::AppendReply { outcome, sequence: 0 });
    drop(raft.poll(now));
    raft.handle(now, Event::Applied { index: Index(1), digests: Vec::new() });
    let chain = raft.status().chain;
    durable(&mut raft, 1, chain);
    drop(raft.poll(now));
    assert_eq!(raft.status().base.index, Index(1));
    let add = vec![(LEARNER, Bytes::new())];
    raft.change_membership(now, Index(1), Change { add, ..Change::default() }).unwrap();
    drop(raft.poll(now));
    let outcome =
        AppendOutcome::Rejected { prev: raft.status().last, hint: EntryId::default(), staged };
    learner_says(&mut raft, now, Message::AppendReply { outcome, sequence: 0 });
    let asked = raft.poll(now).snapshots;
    assert!(matches!(asked[..], [SnapshotRequest::Read { .. }]), "{asked:?}");
    raft
}

/// What becomes of a chunk that was read: where it starts when it is sent; the snapshot is closed.
fn read(raft: &mut Raft, offset: u64, term: u64) -> (Option<u64>, bool) {
    let now = Instant(1 << 40);
    let status = raft.status();
    let last = EntryId { index: status.base.index, term: Term(term) };
    let (chain, membership) = (status.chain, two().base.membership);
    // The chain of the base: its only entry is the one it was durable at.
    let chain = if term == 1 { base_chain(raft) } else { chain };
    let meta = SnapshotMeta { last, chain, membership, membership_index: Index(1) };
    let data = Bytes::from_static(b"abc");
    let event = SnapshotEvent::ChunkRead { peer: LEARNER, meta, offset, data, last: false };
    raft.handle(now, Event::Snapshot(event));
    let output = raft.poll(now);
    assert_eq!(output.fatal, None);
    let sent = output.messages.iter().find_map(|envelope| match envelope.message {
        Message::InstallSnapshot { offset, .. } => Some(offset),
        _ => None,
    });
    (sent, output.snapshots.contains(&SnapshotRequest::Close { peer: LEARNER }))
}

/// The chain of a log of one entry: the configuration with which the cluster was born.
fn base_chain(raft: &Raft) -> Chain {
    let payload = Payload::Membership(two().base.membership);
    Chain::START.then(raft.status().base, &payload)
}

#[test]
fn a_chunk_is_sent_when_it_is_the_one_that_was_asked_for() {
    let staged = || {
        let last = EntryId { index: Index(1), term: Term(1) };
        Some(Staged { last, end: 5, digest: StreamDigest(9) })
    };
    // From the beginning.
    assert_eq!(read(&mut sending(None), 0, 1), (Some(0), false));
    assert_eq!(read(&mut sending(None), 3, 1), (None, false));
    // The rest of what the learner holds the beginning of, or afresh.
    assert_eq!(read(&mut sending(staged()), 5, 1), (Some(5), false));
    assert_eq!(read(&mut sending(staged()), 0, 1), (Some(0), false));
    assert_eq!(read(&mut sending(staged()), 3, 1), (None, false));
    // Of another entry than the log has there.
    assert_eq!(read(&mut sending(None), 0, 7), (None, true));
}

#[test]
fn a_chunk_is_stored_when_the_word_is_of_that_chunk() {
    let stored = |last: u64, end: u64| {
        let mut raft = Raft::restore(SELF, Config::default(), two(), 1, NOW).expect("sound");
        hear(&mut raft, NOW, chunk(|_, _, _, _| {}));
        drop(raft.poll(NOW));
        let last = EntryId { index: Index(last), term: Term(1) };
        raft.handle(NOW, Event::Snapshot(SnapshotEvent::ChunkStored { last, end }));
        raft.poll(NOW).messages.len()
    };
    assert_eq!([stored(3, 3), stored(3, 2), stored(4, 3)], [1, 0, 0]);
}
