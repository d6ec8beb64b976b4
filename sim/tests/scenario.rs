//! Bugs the random search found, each as a story of its own.
#![cfg(madsim)]

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use kvorum_core::raft;
use kvorum_sim::{
    check::Violation,
    client::{Client, Exchange, Proxy},
    clock::exactly,
    cluster::{Cluster, ClusterPlan, Crash, disk_base},
    net::{Net, Weather},
    simulate::simulate,
    trace::{Keep, Trace},
    world::SimWorld,
};
use std::{future::Future, sync::Arc, time::Duration};

const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster and somebody who looks at it.
struct Stage {
    cluster: Cluster,
    client: Client,
}

fn in_memory(nodes: usize) -> ClusterPlan {
    ClusterPlan {
        nodes,
        disks: false,
        raft: raft::Config::default(),
        checkpoint_bytes: 1 << 20,
        segment_bytes: 64 << 10,
    }
}

/// Logs that are forgotten at once, so that whoever was away needs a snapshot.
fn forgetful_on_disk(nodes: usize) -> ClusterPlan {
    let raft = raft::Config {
        keep_entries: 0,
        compact_after_bytes: 200,
        snapshot_chunk_bytes: 1_000,
        ..raft::Config::default()
    };
    ClusterPlan { disks: true, raft, checkpoint_bytes: 200, ..in_memory(nodes) }
}

/// Plays `story` on a cluster whose nodes all vote, and returns what was wrong.
fn play<F>(
    seed: u64,
    name: &'static str,
    plan: ClusterPlan,
    story: impl FnOnce(Stage) -> F + Send + 'static,
) -> Vec<Violation>
where
    F: Future<Output = ()> + 'static,
{
    let base = disk_base(&format!("{name}-{seed}"));
    simulate(seed, move || async move {
        let trace = Trace::new(Keep::Last(50), &base.display().to_string());
        let _recording = trace.start();
        let net = Net::start(seed);
        let cluster = Cluster::new(seed, net.clone(), trace.clone(), plan, &base)
            .expect("the directory of simulated disks can be made");
        let place = net.power_on(net.add_host("observer"));
        let world = SimWorld::new(net, place, Default::default(), Arc::default(), seed);
        let client = Client::new(world, Proxy::Honest);
        let mut stage = Stage { cluster: cluster.clone(), client };
        (0..cluster.len()).for_each(|machine| cluster.start(machine));
        for machine in 0..cluster.len() {
            assert!(stage.votes_soon(machine).await, "the cluster forms");
        }
        story(stage).await;
        let mut violations = cluster.violations();
        violations.extend(trace.violations());
        trace.stop();
        cluster.scrap();
        let _ = std::fs::remove_dir_all(&base);
        violations
    })
}

impl Stage {
    async fn votes(&mut self, machine: usize) -> bool {
        let status = self.client.ask(&self.cluster.http_address(machine), "/status").await;
        status.is_some_and(|json| json.get("voter").is_some_and(|voter| *voter == true))
    }

    async fn votes_soon(&mut self, machine: usize) -> bool {
        let end = now() + PATIENCE;
        while now() < end {
            if self.votes(machine).await {
                return true;
            }
            exactly(Duration::from_millis(20)).await;
        }
        false
    }

    async fn set(&mut self, machine: usize, key: u32, value: &str) -> bool {
        let address = self.cluster.http_address(machine);
        let request = Request::post("/key")
            .header("host", &address)
            .body(Full::new(Bytes::from(format!("{{\"k{key}\":\"{value}\"}}"))))
            .expect("the request is well formed");
        matches!(
            self.client.send(&address, request, Duration::from_secs(5)).await,
            Exchange::Answer(answer) if answer.status().is_success()
        )
    }
}

fn now() -> Duration {
    madsim::time::TimeHandle::current().elapsed()
}

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
