//! A cluster in a simulated world, and somebody who tells its story.
#![allow(dead_code, reason = "each story uses what it needs")]

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use kvorum_core::raft;
use kvorum_sim::{
    check::Violation,
    client::{Client, Exchange, Proxy},
    clock::exactly,
    cluster::{Cluster, ClusterPlan, disk_base},
    net::Net,
    simulate::simulate,
    trace::{Keep, Trace},
    world::SimWorld,
};
use std::{future::Future, sync::Arc, time::Duration};

const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster and somebody who looks at it.
pub struct Stage {
    pub cluster: Cluster,
    pub client: Client,
}

pub fn in_memory(nodes: usize) -> ClusterPlan {
    ClusterPlan {
        nodes,
        disks: false,
        raft: raft::Config::default(),
        checkpoint_bytes: 1 << 20,
        segment_bytes: 64 << 10,
    }
}

pub fn on_disk(nodes: usize) -> ClusterPlan {
    ClusterPlan { disks: true, ..in_memory(nodes) }
}

/// Logs that are forgotten at once, so that whoever was away needs a snapshot.
pub fn forgetful_on_disk(nodes: usize) -> ClusterPlan {
    let raft = raft::Config {
        keep_entries: 0,
        compact_after_bytes: 200,
        snapshot_chunk_bytes: 1_000,
        ..raft::Config::default()
    };
    ClusterPlan { disks: true, raft, checkpoint_bytes: 200, ..in_memory(nodes) }
}

/// Plays `story` on a cluster whose nodes all vote, and returns what was wrong.
pub fn play<F>(
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
    pub async fn votes(&mut self, machine: usize) -> bool {
        let status = self.client.ask(&self.cluster.http_address(machine), "/status").await;
        status.is_some_and(|json| json.get("voter").is_some_and(|voter| *voter == true))
    }

    pub async fn votes_soon(&mut self, machine: usize) -> bool {
        let end = now() + PATIENCE;
        while now() < end {
            if self.votes(machine).await {
                return true;
            }
            exactly(Duration::from_millis(20)).await;
        }
        false
    }

    pub async fn set(&mut self, machine: usize, key: u32, value: &str) -> bool {
        self.post(machine, "/key", &format!("{{\"k{key}\":\"{value}\"}}")).await
    }

    pub async fn post(&mut self, machine: usize, target: &str, body: &str) -> bool {
        self.send(machine, "POST", target, body).await.is_some_and(|status| status < 300)
    }

    pub async fn put(&mut self, machine: usize, target: &str, body: &str) -> bool {
        self.send(machine, "PUT", target, body).await.is_some_and(|status| status < 300)
    }

    pub async fn status(&mut self, machine: usize, target: &str) -> Option<u16> {
        self.send(machine, "GET", target, "").await
    }

    async fn send(
        &mut self,
        machine: usize,
        method: &str,
        target: &str,
        body: &str,
    ) -> Option<u16> {
        let address = self.cluster.http_address(machine);
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", &address)
            .body(Full::new(Bytes::from(body.to_owned())))
            .expect("the request is well formed");
        match self.client.send(&address, request, Duration::from_secs(5)).await {
            Exchange::Answer(answer) => Some(answer.status().as_u16()),
            Exchange::NotSent | Exchange::Lost => None,
        }
    }

    /// The machine of the node that became leader last.
    pub fn leader(&self) -> usize {
        let leader = self.cluster.trace().leader();
        leader.and_then(|(name, _)| self.cluster.named(&name)).expect("somebody leads")
    }

    /// Leadership goes from one machine's node to another's.
    pub async fn transfer(&mut self, from: usize, to: usize) {
        let body = format!("{{\"to\":\"{}\"}}", self.cluster.name(to));
        for _ in 0..100 {
            self.post(from, "/cluster/transfer", &body).await;
            exactly(Duration::from_millis(50)).await;
            if self.leader() == to {
                return;
            }
        }
        panic!("{} leads", self.cluster.name(to));
    }

    /// Nothing passes between the machine and the others any more.
    pub fn isolate(&self, machine: usize) {
        let (cluster, net) = (&self.cluster, self.cluster.net());
        for other in (0..cluster.len()).filter(|other| *other != machine) {
            net.cut(cluster.host(machine), cluster.host(other));
            net.cut(cluster.host(other), cluster.host(machine));
        }
    }
}

pub fn now() -> Duration {
    madsim::time::TimeHandle::current().elapsed()
}
