//! What a runtime promises the core (README, "What the runtime must keep"), and what it meets when it
//! breaks its word: an assertion that names the rule. Each rule is kept once and broken once.

use bytes::Bytes;
use kvorum_core::raft::{
    Chain, Config, Entry, EntryId, Envelope, Event, Index, Instant, LogRead, Membership, Message,
    NodeId, Output, Raft, Restored, SnapshotEvent, SnapshotMeta, SnapshotRequest, StreamDigest,
    Term, Write, Written,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

const NOW: Instant = Instant(0);
const SELF: NodeId = NodeId(1);
const LEADER: NodeId = NodeId(2);

/// Whether the runtime keeps the rule in this run.
type Keeps = bool;

/// The same run, once by the rule and once against it.
fn rule(rule: &str, run: impl Fn(Keeps)) {
    run(true);
    let broken = catch_unwind(AssertUnwindSafe(|| run(false)));
    let panic = broken.expect_err(rule);
    let said = panic.downcast_ref::<String>().cloned();
    let said = said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    let said = said.expect("words");
    assert!(said.contains(rule), "broken: {rule:?}, but it says: {said:?}");
}

fn restore(disk: Restored, config: Config, seed: u64) -> Raft {
    Raft::restore(SELF, config, disk, seed, NOW).expect("a sound disk")
}

/// A node that is a cluster of its own, leads it, and has committed its first entry.
fn sole() -> Raft {
    let mut raft = restore(Restored::bootstrap(SELF, Bytes::new()), Config::default(), 1);
    raft.handle(NOW, Event::Deadline);
    settle(&mut raft);
    assert_eq!(raft.status().applied, Index(1));
    raft
}

/// Does all that is asked for until it is quiet.
fn settle(raft: &mut Raft) {
    loop {
        let Output { write, committed, .. } = raft.poll(NOW);
        if write.is_none() && committed.is_empty() {
            return;
        }
        if let Some(write) = write {
            receipt(raft, write);
        }
        if let Some(last) = committed.last() {
            raft.handle(NOW, applied(last.index(), &[]));
        }
    }
}

fn receipt(raft: &mut Raft, write: Write) {
    raft.handle(NOW, Event::Written(write.durable().written));
}

fn applied(index: Index, digests: &[u64]) -> Event {
    Event::Applied { index, digests: digests.to_vec() }
}

/// Proposes one command; the write of it.
fn propose(raft: &mut Raft) -> Write {
    raft.propose(NOW, vec![Bytes::from_static(b"x")]).expect("it leads");
    raft.poll(NOW).write.expect("a write of the entry")
}

/// A follower of `LEADER` with nothing in its log.
fn follower() -> Raft {
    let mut disk = Restored::default();
    let ids = [SELF, LEADER];
    disk.base.membership.voters = ids.into();
    disk.base.membership.contexts = ids.into_iter().map(|id| (id, Bytes::new())).collect();
    let mut raft = restore(disk, Config::default(), 1);
    hear(&mut raft, HEARTBEAT);
    settle(&mut raft);
    raft
}

const HEARTBEAT: Message =
    Message::Heartbeat { commit: Index::ZERO, sequence: 0, compare: None, proven: None };

fn hear(raft: &mut Raft, message: Message) {
    let envelope = Envelope { from: LEADER, to: SELF, epoch: 0, term: Term(1), message };
    raft.handle(NOW, Event::Received(envelope));
}

#[test]
fn writes_complete_in_order() {
    rule("order: writes complete in the order they were made", |keeps| {
        let mut raft = sole();
        let (first, second) = (propose(&mut raft), propose(&mut raft));
        let (first, second) = if keeps { (first, second) } else { (second, first) };
        receipt(&mut raft, first);
        receipt(&mut raft, second);
    });
}

#[test]
fn a_write_completes_once() {
    rule("order: a receipt belongs to a write", |keeps| {
        let mut raft = sole();
        let written = propose(&mut raft).durable().written;
        let copy = (!keeps).then(|| written.clone());
        for written in [Some(written), copy].into_iter().flatten() {
            raft.handle(NOW, Event::Written(written));
        }
    });
}

#[test]
fn a_receipt_outlives_no_restart() {
    rule("order: a receipt belongs to this life of the node", |keeps| {
        let disk = || Restored::bootstrap(SELF, Bytes::new());
        let life = |seed| -> (Raft, Written) {
            let mut raft = restore(disk(), Config::default(), seed);
            raft.handle(NOW, Event::Deadline);
            let written = raft.poll(NOW).write.expect("its vote").durable().written;
            (raft, written)
        };
        let ((_, old), (mut raft, new)) = (life(1), life(2));
        raft.handle(NOW, Event::Written(if keeps { new } else { old }));
    });
}

#[test]
fn only_what_was_handed_out_is_applied() {
    rule("only what was handed out can be applied", |keeps| {
        let mut raft = sole();
        let write = propose(&mut raft);
        receipt(&mut raft, write);
        if keeps {
            assert_eq!(raft.poll(NOW).committed.len(), 1);
        }
        raft.handle(NOW, applied(Index(2), &[]));
    });
}

#[test]
fn digests_belong_to_what_was_just_applied() {
    rule("a digest belongs to an entry just applied", |keeps| {
        let mut raft = sole();
        let write = propose(&mut raft);
        receipt(&mut raft, write);
        assert_eq!(raft.poll(NOW).committed.len(), 1);
        raft.handle(NOW, applied(Index(2), if keeps { &[7] } else { &[6, 7] }));
    });
}

#[test]
fn durable_state_is_of_this_log() {
    rule("what is durably applied is what was committed", |keeps| {
        let mut raft = sole();
        let term = if keeps { raft.status().last.term } else { Term(9) };
        let chain = raft.status().chain;
        let meta = SnapshotMeta {
            last: EntryId { term, index: Index(1) },
            chain,
            membership: Membership::sole(SELF, Bytes::new()),
            membership_index: Index(1),
        };
        raft.handle(NOW, Event::Snapshot(SnapshotEvent::Durable { meta }));
        settle(&mut raft);
    });
}

/// A node that restarts with three entries on its disk and none of them in memory, and the wish for
/// them that follows.
fn asks_for_cold_entries() -> (Raft, LogRead, Vec<Entry>) {
    let mut first = sole();
    let founding = first.status().chain;
    let mut log: Vec<Entry> = Vec::new();
    for _ in 0..3 {
        let write = propose(&mut first);
        log.extend(write.append.iter().cloned());
        receipt(&mut first, write);
    }
    let mut disk = Restored::bootstrap(SELF, Bytes::new());
    disk.base.last = first.entry_id(Index(1)).expect("its first entry");
    disk.base.chain = founding;
    disk.chain = first.status().chain;
    disk.applied = Index(1);
    disk.last = first.status().last;
    disk.runs = vec![first.entry_id(Index(2)).expect("its first command")];
    disk.vote = first.status().vote;
    let mut raft = restore(disk, Config::default(), 2);
    raft.handle(NOW, Event::Deadline);
    loop {
        let mut output = raft.poll(NOW);
        if let Some(write) = output.write {
            receipt(&mut raft, write);
        }
        if let Some(request) = output.log_reads.pop() {
            return (raft, request, log);
        }
    }
}

#[test]
fn what_is_on_the_disk_can_be_read_back() {
    rule("committed entries that the log holds can be read back", |keeps| {
        let (mut raft, request, log) = asks_for_cold_entries();
        let entries = if keeps { log } else { Vec::new() };
        raft.handle(NOW, Event::LogRead { request, entries });
        assert_eq!(raft.poll(NOW).committed[0].index(), Index(2));
    });
}

#[test]
fn a_log_read_is_answered_once() {
    rule("a log read has one answer", |keeps| {
        let (mut raft, request, entries) = asks_for_cold_entries();
        let answer = Event::LogRead { request, entries };
        raft.handle(NOW, answer.clone());
        if !keeps {
            raft.handle(NOW, answer);
        }
    });
}

/// The snapshot that `LEADER` sends in these runs.
fn sent() -> SnapshotMeta {
    SnapshotMeta {
        last: EntryId { term: Term(1), index: Index(5) },
        chain: Chain(5),
        membership: Membership::sole(LEADER, Bytes::new()),
        membership_index: Index(1),
    }
}

/// The follower has staged a snapshot and asks to install it.
fn asks_to_install() -> Raft {
    let mut raft = follower();
    let data = Bytes::from_static(b"state");
    hear(
        &mut raft,
        Message::InstallSnapshot {
            meta: sent(),
            offset: 0,
            data,
            before: StreamDigest::default(),
            last: true,
            sequence: 0,
        },
    );
    let asked = raft.poll(NOW).snapshots;
    assert!(matches!(asked[..], [SnapshotRequest::Store { .. }]), "{asked:?}");
    let stored = SnapshotEvent::ChunkStored { last: sent().last, end: 5 };
    raft.handle(NOW, Event::Snapshot(stored));
    let asked = raft.poll(NOW).snapshots;
    assert!(matches!(asked[..], [SnapshotRequest::Install { .. }]), "{asked:?}");
    raft
}

fn installed(raft: &mut Raft, meta: SnapshotMeta) {
    raft.handle(NOW, Event::Snapshot(SnapshotEvent::Installed { meta }));
}

#[test]
fn a_snapshot_is_installed_on_request() {
    rule("a snapshot is installed only on request", |keeps| {
        let mut raft = if keeps { asks_to_install() } else { follower() };
        installed(&mut raft, sent());
        assert_eq!(raft.status().applied, Index(5));
    });
}

#[test]
fn what_is_installed_is_what_was_asked_for() {
    rule("what was installed is what was asked for", |keeps| {
        let mut raft = asks_to_install();
        let mut meta = sent();
        meta.last.index.0 += u64::from(!keeps);
        installed(&mut raft, meta);
    });
}
