//! Killed and started again, with the data still there.

use crate::{
    bed::{Bed, eventually, leader, settled},
    node::Node,
};

fn all(nodes: &[Node]) -> Vec<&Node> {
    nodes.iter().collect()
}

#[test]
fn a_follower_then_the_leader_are_killed_and_come_back_with_their_data() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::durable);
    let ids: Vec<_> = nodes.iter().map(Node::id).collect();
    nodes[0].put("k0", "v0");

    let follower = (leader(&nodes) + 1) % 3;
    nodes[follower].kill();
    nodes[(follower + 1) % 3].put("k1", "v1");
    nodes[follower].start();
    settled(&all(&nodes));

    let first = leader(&nodes);
    nodes[first].kill();
    let survivor = &nodes[(first + 1) % 3];
    survivor.put("k2", "v2");
    let second = leader(&nodes);
    assert_ne!(first, second);
    nodes[first].start();
    settled(&all(&nodes));

    for (node, id) in nodes.iter().zip(ids) {
        assert_eq!(node.id(), id, "{} is the same incarnation", node.name());
        for n in 0..3 {
            assert_eq!(node.read(&format!("k{n}")), Some(format!("v{n}")), "{}", node.name());
        }
    }
}

#[test]
fn all_nodes_are_killed_and_come_back() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::durable);
    let cluster = nodes[0].cluster_id();
    for n in 0..50 {
        nodes[n % 3].put(&format!("k{n}"), &format!("v{n}"));
    }
    for round in 0..3 {
        nodes.iter_mut().for_each(Node::kill);
        // Whoever comes back first: a restart needs no first node and no member to join.
        for n in 0..3 {
            nodes[(n + round) % 3].start();
        }
        settled(&all(&nodes));
        nodes[round].put("round", &round.to_string());
    }
    for node in &nodes {
        assert_eq!(node.cluster_id(), cluster);
        assert_eq!(node.read("round").as_deref(), Some("2"));
        for n in 0..50 {
            assert_eq!(node.read(&format!("k{n}")), Some(format!("v{n}")));
        }
    }
}

#[test]
fn all_nodes_are_stopped_gracefully_and_come_back() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::durable);
    nodes[1].put("k", "v");
    for node in &mut nodes {
        node.signal(rustix::process::Signal::TERM);
        assert_eq!(node.wait().code(), Some(0), "{}", node.name());
    }
    nodes.iter_mut().rev().for_each(Node::start);
    settled(&all(&nodes));
    assert_eq!(nodes[2].read("k").as_deref(), Some("v"));
}

#[test]
fn a_minority_refuses_writes_and_says_that_nothing_was_applied() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::durable);
    nodes[0].put("k", "v");
    let last = leader(&nodes);
    for (at, node) in nodes.iter_mut().enumerate() {
        if at != last {
            node.kill();
        }
    }
    let alone = &nodes[last];
    eventually("it stops leading", || (alone.status()?["role"] != "leader").then_some(()));
    let answer = alone.post("/key?timeout=300ms", r#"{"k":"lost"}"#);
    assert_eq!((answer.status, &answer.json()["applied"]), (503, &"no".into()), "{}", answer.body);
    let read = alone.get("/key/k?timeout=300ms");
    assert_eq!(read.status, 503, "a linearizable read needs a majority: {}", read.body);
    assert_eq!(alone.get("/key/k?consistency=stale").status, 200);
    assert_eq!(alone.get("/livez").status, 200, "nobody should restart it");
    assert_eq!(alone.get("/readyz").status, 503);
    for node in nodes.iter_mut().filter(|node| !node.is_running()) {
        node.start();
    }
    settled(&all(&nodes));
    assert_eq!(nodes[0].read("k").as_deref(), Some("v"));
}

#[test]
fn a_member_comes_back_under_other_addresses() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::durable);
    let id = nodes[1].id();
    nodes[1].kill();
    nodes[0].put("k", "v");
    // The same name and directory, other ports.
    let mut moved = bed.durable("app2");
    moved.start();
    nodes[1] = moved;
    settled(&all(&nodes));
    assert_eq!(nodes[1].id(), id, "the same incarnation");
    assert_eq!(nodes[1].read("k").as_deref(), Some("v"));
    let address = nodes[1].var("RAFT_BIND_ADDR");
    eventually("the others know where it is", || {
        nodes[0].get("/cluster").body.contains(address).then_some(())
    });
    // It counts: with another one gone, it is needed for the majority.
    nodes[2].kill();
    nodes[0].put("k", "w");
    assert_eq!(nodes[1].read("k").as_deref(), Some("w"));
}

#[test]
fn a_single_node_is_killed_and_comes_back() {
    let bed = Bed::new();
    let mut node = bed.durable("app1");
    for round in 0..4 {
        node.start();
        node.ready();
        let seen = node.read("round");
        assert_eq!(seen, (round > 0).then(|| (round - 1).to_string()));
        node.put("round", &round.to_string());
        node.kill();
    }
}
