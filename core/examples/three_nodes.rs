//! Three nodes in one thread: they elect a leader, commit, lose it, and go on.

use kvorum_core::raft::{
    Config, Event, Instant, Membership, NodeId, Payload, Raft, Restored, RoleName,
};
use std::collections::BTreeMap;

struct Node {
    raft: Raft,
    state: Vec<String>, // the state machine: a list of what was said
}

struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    now: Instant,
}

impl Cluster {
    fn start(ids: [NodeId; 3]) -> Cluster {
        let now = Instant(0);
        let mut disk = Restored::default(); // of a node that has never run
        let voters = ids.into_iter().collect();
        let contexts = ids.into_iter().map(|id| (id, Default::default())).collect();
        disk.base.membership = Membership { voters, contexts, ..Membership::default() };
        let start = |id: NodeId| {
            let raft = Raft::restore(id, Config::default(), disk.clone(), id.0, now);
            (id, Node { raft: raft.expect("a sound disk"), state: Vec::new() })
        };
        Cluster { nodes: ids.into_iter().map(start).collect(), now }
    }

    /// Does what one node asks for. False when that was nothing.
    fn step(&mut self, id: NodeId) -> bool {
        let node = self.nodes.get_mut(&id).expect("a node that is up");
        let output = node.raft.poll(self.now);
        if output.is_empty() {
            return false;
        }
        let mut messages = output.messages; // may leave at once
        if let Some(write) = output.write {
            let durable = write.durable(); // here a disk writes and syncs
            messages.extend(durable.messages);
            node.raft.handle(self.now, Event::Written(durable.written));
        }
        for entry in output.committed {
            let applied = Event::Applied { index: entry.index(), digests: Vec::new() };
            node.raft.handle(self.now, applied);
            if let Payload::Command(words) = entry.payload {
                node.state.push(String::from_utf8_lossy(&words).into_owned());
            }
        }
        for envelope in messages {
            if let Some(peer) = self.nodes.get_mut(&envelope.to) {
                peer.raft.handle(self.now, Event::Received(envelope));
            }
        }
        true
    }

    /// Lets all nodes work; when all is quiet, time passes until the next deadline.
    fn run_until(&mut self, done: impl Fn(&Cluster) -> bool) {
        while !done(self) {
            let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            let worked = ids.into_iter().filter(|&id| self.step(id)).count();
            if worked == 0 {
                let deadlines = self.nodes.values().map(|node| node.raft.deadline());
                self.now = deadlines.min().expect("somebody is up");
                for node in self.nodes.values_mut() {
                    node.raft.handle(self.now, Event::Deadline); // early ones do nothing
                }
            }
        }
    }

    fn leader(&self) -> Option<NodeId> {
        let leads = |node: &Node| node.raft.status().role == RoleName::Leader;
        self.nodes.iter().find(|(_, node)| leads(node)).map(|(&id, _)| id)
    }

    /// Proposes to whoever leads, and waits until every node has applied it.
    fn say(&mut self, words: &'static str) {
        self.run_until(|cluster| cluster.leader().is_some());
        let leader = self.leader().and_then(|id| self.nodes.get_mut(&id)).expect("just seen");
        leader.raft.propose(self.now, vec![words.into()]).expect("a leader takes proposals");
        let has = |node: &Node| node.state.last().is_some_and(|last| last == words);
        self.run_until(|cluster| cluster.nodes.values().all(has));
    }
}

fn main() {
    let mut cluster = Cluster::start([NodeId(1), NodeId(2), NodeId(3)]);
    cluster.say("hello");
    let leader = cluster.leader().expect("it just committed something");
    cluster.nodes.remove(&leader); // it crashes
    cluster.say("still here");
    for (id, node) in &cluster.nodes {
        println!("{id} at {}: {:?}", cluster.now, node.state);
        assert_eq!(node.state, ["hello", "still here"]);
    }
}
