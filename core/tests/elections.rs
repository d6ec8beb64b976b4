//! Three nodes whose disks and network work at once: the shortest way from nothing to a commit.

use bytes::Bytes;
use kvorum_core::raft::*;
use std::collections::{BTreeMap, VecDeque};

struct Cluster {
    now: Instant,
    nodes: BTreeMap<NodeId, Raft>,
    applied: BTreeMap<NodeId, Vec<Entry>>,
    reads: Vec<(NodeId, ReadReady)>,
}

impl Cluster {
    fn of(voters: u64) -> Cluster {
        let ids = (1..=voters).map(NodeId);
        let membership = Membership {
            voters: ids.clone().collect(),
            contexts: ids.clone().map(|id| (id, Bytes::new())).collect(),
            ..Membership::default()
        };
        let mut restored = Restored::default();
        restored.base.membership = membership;
        let node = |id: NodeId| {
            let config = Config::default();
            Raft::restore(id, config, restored.clone(), id.0, Instant(0)).unwrap()
        };
        Cluster {
            now: Instant(0),
            nodes: ids.map(|id| (id, node(id))).collect(),
            applied: BTreeMap::new(),
            reads: Vec::new(),
        }
    }

    fn settle(&mut self) {
        let mut network = VecDeque::new();
        loop {
            let mut quiet = true;
            for (&id, node) in &mut self.nodes {
                let output = node.poll(self.now);
                assert!(output.fatal.is_none());
                quiet &= output.is_empty();
                network.extend(output.messages);
                self.reads.extend(output.reads.into_iter().map(|read| (id, read)));
                if let Some(write) = output.write {
                    let durable = write.durable();
                    network.extend(durable.messages);
                    node.handle(self.now, Event::Written(durable.written));
                }
                if let Some(last) = output.committed.last().map(Entry::index) {
                    self.applied.entry(id).or_default().extend(output.committed);
                    node.handle(self.now, Event::Applied { index: last, digests: Vec::new() });
                }
            }
            if quiet && network.is_empty() {
                return;
            }
            while let Some(envelope) = network.pop_front() {
                if let Some(node) = self.nodes.get_mut(&envelope.to) {
                    node.handle(self.now, Event::Received(envelope));
                }
            }
        }
    }

    fn run_for(&mut self, milliseconds: u64) {
        let end = Instant(self.now.0 + milliseconds * 1_000_000);
        self.settle();
        while let Some(next) = self.nodes.values().map(Raft::deadline).min()
            && next <= end
        {
            self.now = self.now.max(next);
            for node in self.nodes.values_mut().filter(|node| node.deadline() <= self.now) {
                node.handle(self.now, Event::Deadline);
            }
            self.settle();
        }
        self.now = end;
    }

    fn leader(&self) -> NodeId {
        let leads = |node: &&Raft| node.status().role == RoleName::Leader;
        self.nodes.values().find(leads).expect("somebody leads").status().id
    }
}

#[test]
fn three_nodes_elect_a_leader_and_apply_the_same_commands() {
    let mut cluster = Cluster::of(3);
    cluster.run_for(1_500);
    let leader = cluster.leader();
    let now = cluster.now;
    let commands = vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")];
    let indexes = cluster.nodes.get_mut(&leader).unwrap().propose(now, commands).unwrap();
    assert_eq!(indexes, Index(2)..=Index(3));
    cluster.settle();
    for id in 1..=3 {
        let applied = &cluster.applied[&NodeId(id)];
        assert_eq!(applied.len(), 3, "n{id}: the configuration and two commands");
        assert_eq!(applied, &cluster.applied[&leader]);
    }
    let follower = *cluster.nodes.keys().find(|&&id| id != leader).unwrap();
    for id in [leader, follower] {
        cluster.nodes.get_mut(&id).unwrap().read(now, ReadId(id.0)).unwrap();
    }
    cluster.settle();
    assert_eq!(cluster.reads.len(), 2);
    for (node, read) in &cluster.reads {
        assert_eq!(read, &ReadReady { id: ReadId(node.0), result: Ok(Index(3)) });
    }
}

#[test]
fn a_leader_in_peace_stays_and_the_term_does_not_move() {
    let mut cluster = Cluster::of(5);
    cluster.run_for(3_000);
    let (leader, term) = (cluster.leader(), cluster.nodes[&NodeId(1)].status().vote.term);
    cluster.run_for(60_000);
    assert_eq!(cluster.leader(), leader);
    assert_eq!(cluster.nodes[&NodeId(1)].status().vote.term, term);
}

#[test]
fn a_killed_leader_is_replaced_within_two_heartbeats_once_its_connections_break() {
    let mut cluster = Cluster::of(3);
    cluster.run_for(2_000);
    let leader = cluster.leader();
    let killed_at = cluster.now;
    cluster.nodes.remove(&leader);
    for node in cluster.nodes.values_mut() {
        node.handle(killed_at, Event::Unreachable(leader));
    }
    let heartbeat = Config::default().heartbeat_interval.as_millis() as u64;
    cluster.run_for(2 * heartbeat);
    assert_ne!(cluster.leader(), leader);
}

#[test]
fn one_voter_leads_and_commits_without_waiting_for_a_time_out() {
    let mut cluster = Cluster::of(1);
    cluster.run_for(0);
    assert_eq!(cluster.leader(), NodeId(1));
    assert_eq!(cluster.applied[&NodeId(1)].len(), 1);
}
