//! Three nodes wired straight to each other in one thread: nothing is lost, disks and state machines
//! answer at once. What is left to measure is the core.

use bytes::Bytes;
use kvorum_core::raft::{
    Chain, Config, Event, Instant, Membership, NodeId, Raft, Restored, RoleName, SnapshotEvent,
    SnapshotMeta,
};

/// Entries between two words of the state machines that their state is durable.
const CHECKPOINT: u64 = 16_384;
const NODES: u64 = 3;

/// The cluster. Node `n` stands at position `n`.
pub struct Cluster {
    nodes: Vec<Raft>,
    leader: usize,
    now: Instant,
    /// Entries that each node's state machine got.
    applied: [u64; NODES as usize],
    durable: [u64; NODES as usize],
}

impl Cluster {
    /// A cluster with a leader that has committed its first entry.
    pub fn new(config: &Config) -> Cluster {
        let ids = || (0..NODES).map(NodeId);
        let mut disk = Restored::default();
        disk.base.membership = Membership {
            voters: ids().collect(),
            contexts: ids().map(|id| (id, Bytes::new())).collect(),
            ..Membership::default()
        };
        let start = |id: NodeId| {
            Raft::restore(id, config.clone(), disk.clone(), id.0, Instant(0)).expect("a new disk")
        };
        let (applied, durable) = Default::default();
        let nodes = ids().map(start).collect();
        let mut cluster = Cluster { nodes, leader: 0, now: Instant(0), applied, durable };
        while cluster.nodes.iter().any(|node| node.status().commit.0 == 0) {
            let deadlines = cluster.nodes.iter().map(Raft::deadline);
            cluster.now = deadlines.min().expect("three nodes");
            cluster.tick();
        }
        let leads = |node: &Raft| node.status().role == RoleName::Leader;
        cluster.leader = cluster.nodes.iter().position(leads).expect("somebody committed");
        cluster
    }

    /// The leader takes `commands`, and everybody works until all is quiet: then they are applied
    /// everywhere.
    pub fn commit(&mut self, commands: Vec<Bytes>) {
        let count = commands.len() as u64;
        let before = self.applied;
        self.nodes[self.leader].propose(self.now, commands).expect("room for a batch");
        self.settle();
        assert_eq!(self.applied, before.map(|entries| entries + count), "applied everywhere");
    }

    /// Time passes: heartbeats are sent.
    pub fn pass(&mut self, nanos: u64) {
        self.now.0 += nanos;
        self.tick();
    }

    fn tick(&mut self) {
        for node in &mut self.nodes {
            if node.deadline() <= self.now {
                node.handle(self.now, Event::Deadline);
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        while (0..self.nodes.len()).filter(|&at| self.step(at)).count() > 0 {}
    }

    /// One poll of one node. False when there was nothing to do.
    fn step(&mut self, at: usize) -> bool {
        let now = self.now;
        let output = self.nodes[at].poll(now);
        if output.is_empty() {
            return false;
        }
        assert!(output.fatal.is_none() && output.log_reads.is_empty() && output.reads.is_empty());
        for envelope in output.messages {
            self.nodes[envelope.to.0 as usize].handle(now, Event::Received(envelope));
        }
        if let Some(write) = output.write {
            let durable = write.durable();
            self.nodes[at].handle(now, Event::Written(durable.written));
            for envelope in durable.messages {
                self.nodes[envelope.to.0 as usize].handle(now, Event::Received(envelope));
            }
        }
        if let Some(last) = output.committed.last() {
            let (last, chain) = (last.index(), last.chain);
            self.applied[at] += output.committed.len() as u64;
            self.nodes[at].handle(now, Event::Applied { index: last, digests: Vec::new() });
            self.checkpoint(at, last.0, chain);
        }
        true
    }

    fn checkpoint(&mut self, at: usize, index: u64, chain: Chain) {
        if index < self.durable[at] + CHECKPOINT {
            return;
        }
        self.durable[at] = index;
        let status = self.nodes[at].status();
        let meta = SnapshotMeta {
            last: self.nodes[at].entry_id(status.applied).expect("it was applied just now"),
            chain,
            membership: status.membership.clone(),
            membership_index: status.membership_index,
        };
        self.nodes[at].handle(self.now, Event::Snapshot(SnapshotEvent::Durable { meta }));
    }
}
