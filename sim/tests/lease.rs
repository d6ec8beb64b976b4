//! Leases through a change of leaders, each story on a clock that everybody can read.
#![cfg(madsim)]

mod stage;

use kvorum_sim::{clock::exactly, cluster::Crash};
use serde_json::json;
use stage::{Stage, in_memory, now, on_disk, play};
use std::time::Duration;

/// How long the lease lasts.
const TTL: Duration = Duration::from_secs(6);
/// The cluster may take so much longer to notice, to elect, and to tell.
const SLACK: Duration = Duration::from_millis(1_500);
/// Besides, nobody kept count while no node was up (decision 0025): the clock goes on from the last
/// command, which is no older than a tick.
const TICK: Duration = Duration::from_secs(5);

/// Grants a lease with a key; the times between which it was granted.
async fn grant(stage: &mut Stage) -> (Duration, Duration) {
    let before = now();
    assert!(stage.post(0, "/lease", &json!({"id": "7", "ttl": "6s"}).to_string()).await);
    let after = now();
    assert!(stage.put(1, "/key/held?lease=7", "by the lease").await);
    (before, after)
}

/// When the key is gone, seen at `machine` every few milliseconds.
async fn gone(stage: &mut Stage, machine: usize) -> Duration {
    loop {
        if stage.status(machine, "/key/held?timeout=60s").await == Some(404) {
            return now();
        }
        exactly(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_lease_ends_in_time_while_nothing_happens() {
    let violations = play(1, "quiet", in_memory(3), async |mut stage| {
        let (before, after) = grant(&mut stage).await;
        let gone = gone(&mut stage, 2).await;
        assert!(gone >= before + TTL && gone < after + TTL + SLACK, "{before:?} {gone:?}");
    });
    assert_eq!(violations, []);
}

#[test]
fn a_new_leader_neither_shortens_nor_lengthens_a_lease() {
    for seed in 0..6 {
        let violations = play(seed, "handed", in_memory(3), async move |mut stage| {
            let (before, after) = grant(&mut stage).await;
            // The leader disappears at some moment before the end.
            exactly(Duration::from_millis(500 + 900 * seed)).await;
            let leader = stage.leader();
            stage.isolate(leader);
            let gone = gone(&mut stage, (leader + 1) % 3).await;
            assert!(gone >= before + TTL, "seed {seed}: {before:?} {gone:?}");
            assert!(gone < after + TTL + SLACK, "seed {seed}: {after:?} {gone:?}");
        });
        assert_eq!(violations, [], "seed {seed}");
    }
}

/// Seeds 6 and 34 of the campaign found it: a node that was restarted has lost count, leads and
/// grants; another, which has counted all along, must not end that lease by its own count.
#[test]
fn a_leader_that_has_lost_count_grants_leases_that_last_under_the_next() {
    let violations = play(5, "behind", on_disk(3), async |mut stage| {
        assert!(stage.put(0, "/key/first", "the clock begins to count").await);
        let first = stage.leader();
        let (second, third) = ((first + 1) % 3, (first + 2) % 3);
        // Nothing is written for a while; who is started in between knows the last command only.
        exactly(Duration::from_secs(4)).await;
        let cluster = stage.cluster.clone();
        cluster.crash(second, Crash::Process);
        exactly(Duration::from_millis(100)).await;
        cluster.start(second);
        assert!(stage.votes_soon(second).await);
        stage.transfer(first, second).await;
        let (before, after) = grant(&mut stage).await;
        stage.transfer(second, third).await;
        let gone = gone(&mut stage, third).await;
        assert!(gone >= before + TTL, "{before:?} {gone:?}");
        assert!(gone < after + TTL + SLACK, "{after:?} {gone:?}");
    });
    assert_eq!(violations, []);
}

#[test]
fn a_lease_survives_the_loss_of_power_of_all_and_gains_no_more_than_a_tick() {
    let violations = play(3, "dark", on_disk(3), async |mut stage| {
        let (before, after) = grant(&mut stage).await;
        exactly(Duration::from_secs(2)).await;
        let dark = Duration::from_secs(1);
        let cluster = stage.cluster.clone();
        (0..3).for_each(|machine| cluster.crash(machine, Crash::Power));
        exactly(dark).await;
        (0..3).for_each(|machine| cluster.start(machine));
        let gone = gone(&mut stage, 0).await;
        assert!(gone >= before + TTL, "{before:?} {gone:?}");
        assert!(gone < after + TTL + dark + TICK + SLACK, "{after:?} {gone:?}");
    });
    assert_eq!(violations, []);
}
