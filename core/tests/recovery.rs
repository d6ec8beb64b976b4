//! Offline recovery from a lost quorum: what it keeps, what it says, and that nobody of the past is
//! heard afterwards.

use bytes::Bytes;
use kvorum_core::raft::{
    recovery::{Recovery, Survivor, Unrecoverable, recover},
    *,
};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use std::collections::{BTreeMap, BTreeSet};

mod arbitrary;

const CLUSTER: u64 = 0xc1;
const NEW: NodeId = NodeId(1000);

/// One reign: who leads, what it appends, and how much of its log reaches whom.
#[derive(Debug, Clone)]
struct Reign {
    leader: u8,
    entries: u8,
    reaches: Vec<(u8, u8)>,
}

impl Arbitrary for Reign {
    fn arbitrary(g: &mut Gen) -> Reign {
        Reign {
            leader: u8::arbitrary(g),
            entries: u8::arbitrary(g) % 4,
            reaches: (0..u8::arbitrary(g) % 6).map(|_| Arbitrary::arbitrary(g)).collect(),
        }
    }
}

/// Logs as Raft would leave them, and what was committed along the way.
struct History {
    membership: Membership,
    logs: Vec<Vec<Entry>>,
    /// With the entry of its own term by which each was committed (§5.4.2).
    committed: BTreeMap<EntryId, EntryId>,
    term: u64,
}

fn membership(nodes: u64) -> Membership {
    let ids = || (1..=nodes).map(NodeId);
    Membership {
        epoch: 1,
        voters: ids().collect(),
        contexts: ids().map(|id| (id, Bytes::from(format!("{id}:7000")))).collect(),
        ..Membership::default()
    }
}

fn last(log: &[Entry]) -> EntryId {
    log.last().map(|entry| entry.id).unwrap_or_default()
}

impl History {
    fn of(nodes: u64, reigns: &[Reign]) -> History {
        let logs = vec![Vec::new(); nodes as usize];
        let membership = membership(nodes);
        let mut history = History { membership, logs, committed: BTreeMap::new(), term: 0 };
        reigns.iter().for_each(|reign| history.reign(reign));
        history
    }

    /// Somebody whom a majority would elect leads, appends, and replicates some of it.
    fn reign(&mut self, reign: &Reign) {
        let nodes = self.logs.len();
        let leader = usize::from(reign.leader) % nodes;
        let behind = self.logs.iter().filter(|log| last(log) <= last(&self.logs[leader])).count();
        if behind <= nodes / 2 {
            return;
        }
        self.term += 1;
        for _ in 0..reign.entries {
            let log = &mut self.logs[leader];
            let id = EntryId { term: Term(self.term), index: last(log).index.next() };
            let parent = log.last().map_or(Chain::START, |entry| entry.chain);
            let payload = Payload::Command(Bytes::from(id.to_string()));
            log.push(Entry::new(parent, id, payload));
        }
        for (to, share) in &reign.reaches {
            let (to, log) = (usize::from(*to) % nodes, self.logs[leader].clone());
            let end = usize::from(*share) % (log.len() + 1);
            let held = &self.logs[to];
            let agrees = end <= held.len() && held[..end] == log[..end];
            if to != leader && !agrees {
                self.logs[to] = log[..end].to_vec();
            }
        }
        // What a majority holds of its own term is committed, with everything before it.
        let holds = |entry: &Entry| self.logs.iter().filter(|log| log.contains(entry)).count();
        let own = |entry: &&Entry| entry.term() == Term(self.term) && holds(entry) > nodes / 2;
        let reached = self.logs[leader].iter().rposition(|entry| own(&entry));
        let Some(reached) = reached else { return };
        let newly = &self.logs[leader][..=reached];
        for entry in newly {
            self.committed.entry(entry.id).or_insert(newly[reached].id);
        }
    }

    fn disk(&self, id: NodeId) -> Restored {
        let log = &self.logs[id.0 as usize - 1];
        let mut runs: Vec<EntryId> = Vec::new();
        for entry in log {
            if runs.last().is_none_or(|run| run.term != entry.term()) {
                runs.push(entry.id);
            }
        }
        let base = SnapshotMeta { membership: self.membership.clone(), ..SnapshotMeta::default() };
        Restored {
            vote: Vote { term: Term(self.term), voted_for: None },
            base,
            runs,
            last: last(log),
            chain: log.last().map_or(Chain::START, |entry| entry.chain),
            tail: log.clone(),
            ..Restored::default()
        }
    }

    fn recovered(&self, alive: &BTreeSet<NodeId>) -> Recovery {
        let survivors = alive.iter().map(|&id| Survivor::of(id, CLUSTER, &self.disk(id)));
        recover(&survivors.collect::<Vec<_>>(), NEW).expect("one history")
    }
}

fn subset(nodes: u64, mask: u8) -> BTreeSet<NodeId> {
    let mut alive: BTreeSet<NodeId> =
        (1..=nodes).filter(|id| mask >> id & 1 == 1).map(NodeId).collect();
    if alive.is_empty() {
        alive.insert(NodeId(1 + u64::from(mask) % nodes));
    }
    alive
}

#[test]
fn what_was_committed_on_a_quorum_with_a_survivor_in_it_is_kept() {
    fn holds(nodes: u8, reigns: Vec<Reign>, mask: u8) -> bool {
        let nodes = 1 + u64::from(nodes % 5);
        let history = History::of(nodes, &reigns);
        let alive = subset(nodes, mask);
        let recovery = history.recovered(&alive);
        let kept = &history.logs[recovery.from.0 as usize - 1];
        let has = |log: &[Entry], id: EntryId| log.iter().any(|entry| entry.id == id);
        let survives =
            |id: EntryId| alive.iter().any(|node| has(&history.logs[node.0 as usize - 1], id));
        let mut committed = history.committed.iter();
        let all = committed.all(|(&id, &by)| !survives(by) || has(kept, id));
        let nothing_lost = history.committed.keys().all(|&id| has(kept, id));
        all && (recovery.report.may_be_lost || nothing_lost)
    }
    QuickCheck::new().tests(20_000).quickcheck(holds as fn(u8, Vec<Reign>, u8) -> bool);
}

/// The new node, elected by itself.
fn started(history: &History, recovery: &Recovery) -> Raft {
    let disk = recovery.carried_out(history.disk(recovery.from));
    let config = Config::default();
    let mut raft = Raft::restore(NEW, config, disk, 7, Instant(0)).expect("its records fit");
    raft.handle(Instant(0), Event::Deadline);
    for _ in 0..4 {
        let output = raft.poll(Instant(0));
        assert!(output.fatal.is_none());
        if let Some(last) = output.committed.last() {
            let digests = Vec::new();
            raft.handle(Instant(0), Event::Applied { index: last.index(), digests });
        }
        if let Some(write) = output.write {
            raft.handle(Instant(0), Event::Written(write.durable().written));
        }
    }
    raft
}

#[test]
fn the_new_node_leads_alone_and_hears_nobody_of_the_past() {
    fn number(g: &mut Gen) -> u64 {
        u64::from(u8::arbitrary(g) % 9)
    }
    #[derive(Debug, Clone)]
    struct Past(Envelope);
    impl Arbitrary for Past {
        fn arbitrary(g: &mut Gen) -> Past {
            let from = NodeId(1 + number(g) % 5);
            let term = Term(number(g) * 20);
            let message = arbitrary::message(g, number);
            Past(Envelope { from, to: NEW, epoch: 1, term, message })
        }
    }
    fn holds(reigns: Vec<Reign>, mask: u8, past: Vec<Past>) -> bool {
        let history = History::of(5, &reigns);
        let recovery = history.recovered(&subset(5, mask));
        let mut raft = started(&history, &recovery);
        let leads = raft.status().role == RoleName::Leader;
        let all_committed = raft.status().commit == raft.status().last.index;
        let before = (raft.status().vote, raft.status().last, raft.status().commit);
        let said = past.len() as u64;
        for Past(envelope) in past {
            raft.handle(Instant(0), Event::Received(envelope));
        }
        let quiet = raft.poll(Instant(0)).is_empty();
        let status = raft.status();
        let counted = status.ignored.get(&Ignored::OtherEpoch).copied().unwrap_or(0);
        let unmoved = before == (status.vote, status.last, status.commit);
        leads && all_committed && unmoved && quiet && counted == said
    }
    let holds = holds as fn(Vec<Reign>, u8, Vec<Past>) -> bool;
    QuickCheck::new().tests(2_000).quickcheck(holds);
}

#[test]
fn a_blank_node_that_joins_gets_a_snapshot_of_the_new_epoch_and_nothing_from_before() {
    let reign = Reign { leader: 0, entries: 3, reaches: vec![(1, 3), (2, 3)] };
    let history = History::of(3, &[reign]);
    let recovery = history.recovered(&subset(3, 0b10));
    let mut raft = started(&history, &recovery);
    let base = raft.status().membership_index;
    let joiner = NodeId(2000);
    let change = Change { add: vec![(joiner, Bytes::new())], ..Change::default() };
    raft.change_membership(Instant(0), base, change).expect("it leads");
    let term = raft.status().vote.term;
    let mut asked = Vec::new();
    for _ in 0..4 {
        let output = raft.poll(Instant(0));
        asked.extend(output.snapshots);
        for envelope in output.messages {
            assert_eq!(envelope.epoch, 2);
            if let Message::Append { prev, entries, .. } = envelope.message {
                assert!(prev.index >= recovery.entry.index() && entries.len() < 3, "{prev}");
                let hint = EntryId::default();
                let outcome = AppendOutcome::Rejected { prev, hint, staged: None };
                let message = Message::AppendReply { outcome, sequence: 0 };
                let reply = Envelope { from: joiner, to: NEW, epoch: 0, term, message };
                raft.handle(Instant(0), Event::Received(reply));
            }
        }
        if let Some(write) = output.write {
            raft.handle(Instant(0), Event::Written(write.durable().written));
        }
    }
    assert!(
        matches!(asked[..], [SnapshotRequest::Read { peer, .. }] if peer == joiner),
        "{asked:?}"
    );
}

#[test]
fn what_cannot_be_recovered_is_named() {
    let reign = Reign { leader: 0, entries: 2, reaches: vec![(1, 2), (2, 1)] };
    let history = History::of(3, &[reign]);
    let survivor = |id: u64| Survivor::of(NodeId(id), CLUSTER, &history.disk(NodeId(id)));
    let (one, other) = (survivor(1), survivor(2));
    assert_eq!(recover(&[], NEW), Err(Unrecoverable::NoSurvivors));
    let blank = Survivor::of(NodeId(9), CLUSTER, &Restored::default());
    assert_eq!(recover(std::slice::from_ref(&blank), NEW), Err(Unrecoverable::NoSurvivors));
    assert_eq!(
        recover(std::slice::from_ref(&one), NodeId(3)),
        Err(Unrecoverable::IdTaken(NodeId(3)))
    );

    let stranger = Survivor { cluster: 7, ..other.clone() };
    let (a, b) = (NodeId(2), NodeId(1));
    let found = recover(&[one.clone(), stranger], NEW);
    assert_eq!(found, Err(Unrecoverable::OtherCluster { one: a, other: b }));

    let mut later = other.clone();
    later.memberships.last_mut().unwrap().epoch = 2;
    let found = recover(&[one.clone(), later], NEW);
    assert_eq!(found, Err(Unrecoverable::OtherEpoch { later: a, earlier: b }));

    let diverged = Survivor { chain: Chain(7), ..other.clone() };
    let found = recover(&[one.clone(), diverged], NEW);
    let at = one.last;
    assert_eq!(found, Err(Unrecoverable::Diverged { at, one: b, other: a }));

    // Two of three are a quorum, which is said; a blank disk beside them decides nothing.
    let report = recover(&[one, other, blank], NEW).unwrap().report;
    assert!(report.quorum_alive && !report.may_be_lost);
    assert_eq!(report.dead, BTreeSet::from([NodeId(3)]));
    assert_eq!(report.to_wipe, BTreeSet::from([NodeId(1), NodeId(3)]));
}

#[test]
fn a_survivor_speaks_of_the_configuration_that_was_in_force_and_of_later_ones() {
    let mut disk = Restored::bootstrap(NodeId(1), Bytes::new());
    let of = |epoch| Membership { epoch, ..disk.base.membership.clone() };
    disk.memberships = [2, 4, 6].map(|index| (Index(index), of(index))).into();
    for (applied, epochs) in
        [(1, &[1, 2, 4, 6][..]), (2, &[2, 4, 6]), (5, &[4, 6]), (6, &[6]), (9, &[6])]
    {
        disk.applied = Index(applied);
        let survivor = Survivor::of(NodeId(1), CLUSTER, &disk);
        let told: Vec<u64> = survivor.memberships.iter().map(|m| m.epoch).collect();
        assert_eq!(told, epochs, "applied {applied}");
    }
}
