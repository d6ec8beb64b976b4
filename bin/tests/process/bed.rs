//! Where a test runs: a directory, a loopback address of its own, and patience.

use crate::node::Node;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

/// Longer than anything takes on a machine that is doing other things as well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A test's directory and addresses.
pub struct Bed {
    dir: PathBuf,
}

impl Bed {
    pub fn new() -> Bed {
        static BEDS: AtomicU32 = AtomicU32::new(0);
        let number = BEDS.fetch_add(1, Ordering::Relaxed);
        let name = format!("kvorum-test-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).expect("a directory for the test");
        Bed { dir }
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The data directory that all nodes of the test share.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// An address of this test process alone. Connections leave from 127.0.0.1, so no outgoing
    /// connection can ever take a port of a node that is down for a moment.
    pub fn ip() -> String {
        let pid = std::process::id();
        format!("127.{}.{}.{}", 64 + ((pid >> 14) & 0x7f), (pid >> 7) & 0x7f, 1 + (pid & 0x7f))
    }

    /// A port nobody else of this process has.
    pub fn port() -> u16 {
        static PORTS: AtomicU16 = AtomicU16::new(10_000);
        PORTS.fetch_add(1, Ordering::Relaxed)
    }

    /// A node that keeps its data in the shared directory.
    pub fn durable(&self, name: &str) -> Node {
        let mut node = self.memory(name);
        node.set("RAFT_DIR", self.data().to_str().expect("temporary paths are text"));
        node
    }

    /// A node that keeps its data in memory.
    pub fn memory(&self, name: &str) -> Node {
        Node::new(name, self.path())
    }

    /// `app1` … , started in this order, all asking app1; ready and voting.
    pub fn cluster(&self, nodes: usize, make: impl Fn(&Bed, &str) -> Node) -> Vec<Node> {
        let mut cluster: Vec<Node> = Vec::new();
        for number in 1..=nodes {
            let mut node = make(self, &format!("app{number}"));
            if let Some(first) = cluster.first() {
                node.join(first);
            }
            node.start();
            cluster.push(node);
        }
        settled(&cluster.iter().collect::<Vec<_>>());
        cluster
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Asks until there is something, or fails saying what never came.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// Waits until all of `nodes` are ready and see exactly themselves, all voters, under one leader.
#[track_caller]
pub fn settled(nodes: &[&Node]) {
    let mut names: Vec<&str> = nodes.iter().map(|node| node.name()).collect();
    names.sort_unstable();
    eventually(&format!("{names:?} are a cluster of voters"), || {
        nodes
            .iter()
            .all(|node| {
                node.is_ready()
                    && node.members().is_some_and(|members| {
                        let mut voters: Vec<&str> = members
                            .iter()
                            .filter(|member| member.voter)
                            .map(|member| member.name.as_str())
                            .collect();
                        voters.sort_unstable();
                        members.len() == names.len() && voters == names
                    })
            })
            .then_some(())
    });
}

/// The position of the node that leads, once one does and all others that run agree.
#[track_caller]
pub fn leader(nodes: &[Node]) -> usize {
    eventually("one leader, known to all", || {
        let running: Vec<&Node> = nodes.iter().filter(|node| node.is_running()).collect();
        let status: Vec<_> = running.iter().filter_map(|node| node.status()).collect();
        let name = status.first()?["leader"].as_str()?.to_owned();
        let agreed = status.len() == running.len()
            && status.iter().all(|one| one["leader"].as_str() == Some(&name));
        let at = nodes.iter().position(|node| node.name() == name)?;
        let leads = nodes[at].status()?["role"].as_str() == Some("leader");
        (agreed && leads).then_some(at)
    })
}
