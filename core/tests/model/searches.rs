//! The searches: which clusters, which troubles, how much of each.
//!
//! Rule: the small ones run with every test and end by themselves; the large ones are for
//! `make model`. Must never: expect less to be seen than the trouble is there for.

use crate::{
    planted::Planted,
    setup::{Budget, Setup},
    sights::Sight::{self, *},
};
use bytes::Bytes;
use kvorum_core::raft::{Change, NodeId};

/// Troubles in a short form.
fn budget(ticks: u8, proposals: u8) -> Budget {
    Budget { ticks, proposals, ..Budget::default() }
}

fn add(id: u64) -> Change {
    Change { add: vec![(NodeId(id), Bytes::new())], ..Change::default() }
}

fn promote(ids: &[u64]) -> Change {
    Change { promote: ids.iter().copied().map(NodeId).collect(), ..Change::default() }
}

fn remove(id: u64) -> Change {
    Change { remove: vec![NodeId(id)], ..Change::default() }
}

fn three(name: &'static str, budget: Budget, expected: &[Sight]) -> Setup {
    Setup { budget, expected: expected.to_vec(), ..Setup::three_voters(name) }
}

/// Small enough for every test run.
pub fn small() -> Vec<Setup> {
    let at_least = |at_least: usize, setup: Setup| Setup { at_least, ..setup };
    vec![
        at_least(300_000, every_order(budget(2, 0))),
        at_least(300_000, campaigns(budget(3, 1))),
        at_least(50_000, copies(Budget { copies: 1, beats: 1, ..budget(2, 0) })),
        at_least(150_000, crashes(Budget { crashes: 1, ..budget(2, 0) })),
        at_least(150_000, polls_apart(budget(2, 1))),
        at_least(300_000, hand_over(Budget { transfers: 1, ..budget(2, 1) })),
        at_least(50_000, snapshots(Budget { checkpoints: 1, ..budget(2, 1) })),
        at_least(300_000, joins(Budget { changes: 2, crashes: 1, ..budget(2, 1) })),
        at_least(80_000, removal(Budget { changes: 1, ..budget(2, 1) })),
        at_least(100_000, joint(Budget { changes: 1, crashes: 1, ..budget(2, 1) })),
    ]
}

/// For `make model`: minutes each.
pub fn large() -> Vec<Setup> {
    // Cut off where the memory would not suffice; the table says so.
    let larger = |setup: Setup| Setup { at_least: 100_000, at_most: 30_000_000, ..setup };
    vec![
        larger(Setup { terms: 4, ..campaigns(budget(4, 0)) }),
        larger(copies(Budget { copies: 1, beats: 1, ..budget(2, 1) })),
        larger(crashes(Budget { crashes: 1, ..budget(2, 1) })),
        larger(crashes(Budget { crashes: 2, ..budget(2, 0) })),
        larger(snapshots(Budget { checkpoints: 1, crashes: 1, ..budget(2, 1) })),
        larger(removal(Budget { changes: 1, crashes: 1, ..budget(2, 1) })),
        larger(joint(Budget { changes: 1, crashes: 1, ..budget(3, 1) })),
    ]
}

fn every_order(budget: Budget) -> Setup {
    three("every order of messages", budget, &[Leader, TwoLeaders, Truncation])
}

fn campaigns(budget: Budget) -> Setup {
    let expected = [TwoLeaders, Truncation, Figure8];
    Setup { per_link: 1, ..three("campaigns", budget, &expected) }
}

fn copies(budget: Budget) -> Setup {
    let expected = [TwoLeaders, Truncation];
    Setup { per_link: 1, resends: true, ..three("copies and heartbeats", budget, &expected) }
}

fn crashes(budget: Budget) -> Setup {
    let expected = [TwoLeaders, Truncation, LostWrites, CommitAfterCrash];
    let setup = three("crashes and slow disks", budget, &expected);
    Setup { per_link: 1, sync_at_once: false, ..setup }
}

fn polls_apart(budget: Budget) -> Setup {
    let expected = [CommittedCommand, TwoLeaders];
    let setup = three("many events before a poll", budget, &expected);
    Setup { per_link: 1, polls_apart: true, ..setup }
}

fn hand_over(budget: Budget) -> Setup {
    let expected = [CommittedCommand, HandOver, TwoLeaders];
    Setup { per_link: 1, ..three("hand-over", budget, &expected) }
}

fn snapshots(budget: Budget) -> Setup {
    let expected = [CommittedCommand, Truncation, Snapshot];
    Setup { per_link: 1, ..three("snapshots", budget, &expected) }
}

fn joins(budget: Budget) -> Setup {
    let expected = [CommittedCommand, CommittedChange, Promotion, TwoLeaders, CommitAfterCrash];
    Setup {
        voters: vec![1, 2],
        alike: vec![vec![1, 2]],
        changes: vec![add(3), promote(&[3])],
        per_link: 1,
        ..three("a node joins and becomes a voter", budget, &expected)
    }
}

fn removal(budget: Budget) -> Setup {
    let expected = [CommittedCommand, CommittedChange, RemovedLeader, TwoLeaders];
    Setup {
        alike: vec![vec![2, 3]],
        changes: vec![remove(1)],
        per_link: 1,
        ..three("a voter is removed, and may lead", budget, &expected)
    }
}

fn joint(budget: Budget) -> Setup {
    let expected = [CommittedCommand, CommittedChange, Joint, LeftJoint, RemovedLeader];
    Setup {
        voters: vec![1],
        learners: vec![2, 3],
        alike: vec![vec![2, 3]],
        changes: vec![Change { remove: vec![NodeId(1)], ..promote(&[2, 3]) }],
        per_link: 1,
        ..three("a joint change to other voters", budget, &expected)
    }
}

/// Where a planted bug must show.
pub fn planted(planted: Planted) -> Setup {
    let (crashes, slow) = match planted {
        Planted::SentBeforeDurable => (1, true),
        Planted::VoteLost | Planted::TermLost | Planted::TailLost => (1, false),
        Planted::ForgedMatch | Planted::ForgedVote => (0, false),
        Planted::ForgedCommit => (0, true),
    };
    Setup {
        planted: Some(planted),
        per_link: 1,
        sync_at_once: !slow,
        ..three("planted", Budget { crashes, ..budget(2, 0) }, &[])
    }
}
