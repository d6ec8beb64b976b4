//! Bugs the random search found, each as a story of its own.
#![cfg(madsim)]

mod stage;

use kvorum_sim::{clock::exactly, cluster::Crash, net::Weather};
use stage::{forgetful_on_disk, in_memory, now, play};
use std::time::Duration;

#[test]
fn a_node_that_forgot_everything_is_never_refused_for_its_own_former_life() {
    // The network breaks at some moment of the join: once, the leader has just dialled the joiner
    // and has not yet asked for the holder of its name, who lived at the same address.
    for moment in (0..120).step_by(3) {
        let violations = play(7, "flicker", in_memory(3), async move |mut stage| {
            let (cluster, net) = (stage.cluster.clone(), stage.cluster.net().clone());
            net.set_weather(Weather { latency: 5_000_000..5_000_001, ..Weather::default() });
            cluster.crash(2, Crash::Process);
            cluster.start(2);
            exactly(Duration::from_millis(moment)).await;
            for other in [0, 1] {
                net.cut(cluster.host(2), cluster.host(other));
                net.cut(cluster.host(other), cluster.host(2));
            }
            exactly(Duration::from_secs(3)).await;
            net.calm();
            let voter = stage.votes_soon(2).await;
            assert!(voter || !cluster.violations().is_empty(), "it is taken in again");
        });
        assert_eq!(violations, [], "the network breaks after {moment} ms");
    }
}

#[test]
fn a_power_cut_anywhere_in_a_snapshot_installation_leaves_a_node_that_starts() {
    for boundary in (1..90).step_by(3) {
        let violations = play(boundary, "install", forgetful_on_disk(3), async move |mut stage| {
            let cluster = stage.cluster.clone();
            cluster.crash(2, Crash::Power);
            for key in 0..10 {
                assert!(stage.set((key % 2) as usize, key, "while it was away").await);
            }
            cluster.start(2);
            if let Some(disk) = cluster.disk(2) {
                disk.cut_after(boundary);
            }
            let end = now() + Duration::from_secs(5);
            while now() < end && cluster.is_up(2) {
                exactly(Duration::from_millis(10)).await;
            }
            if let Some(disk) = cluster.disk(2) {
                disk.disarm();
            }
            cluster.start(2);
            let voter = stage.votes_soon(2).await;
            assert!(voter || !cluster.violations().is_empty(), "it starts again");
            assert!(!voter || stage.set(2, 99, "served").await, "and serves");
        });
        assert_eq!(violations, [], "cut at boundary {boundary}");
    }
}
