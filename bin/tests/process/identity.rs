//! Who a node is: names, incarnations, directories.

use crate::{
    bed::{Bed, eventually, settled},
    node::{Member, Node},
};
use std::fs;

/// The member called `name`, once `seer` sees exactly one.
#[track_caller]
fn only(seer: &Node, name: &str) -> Member {
    eventually(&format!("exactly one {name}"), || {
        let mut found = seer.members()?.into_iter().filter(|member| member.name == name);
        match (found.next(), found.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    })
}

#[test]
fn a_second_live_node_with_a_used_name_is_refused() {
    let bed = Bed::new();
    let nodes = bed.cluster(3, Bed::memory);
    let before = nodes[0].members();
    let mut twin = bed.memory("app2");
    twin.join(&nodes[0]);
    let (code, log) = twin.run_to_end();
    assert_eq!(code, 69, "{log}");
    let line = log.lines().last().unwrap_or_default();
    let holder = nodes[1].var("RAFT_BIND_ADDR");
    assert!(line.starts_with("join refused: NODE_ID \"app2\" is already used by"), "{line}");
    assert!(line.contains(holder) && line.contains("Choose another NODE_ID"), "{line}");

    assert_eq!(nodes[0].members(), before, "the cluster is as it was");
    for node in &nodes {
        node.put(node.name(), "unharmed");
    }
    assert_eq!(nodes[1].read("app3").as_deref(), Some("unharmed"));
}

#[test]
fn three_nodes_named_app2_by_mistake_leave_one() {
    let bed = Bed::new();
    let mut first = bed.memory("app1");
    first.start();
    let mut twins: Vec<Node> = (0..3).map(|_| bed.memory("app2")).collect();
    for twin in &mut twins {
        twin.join(&first).start();
    }
    // Whoever is taken in first stays; the others end with the message.
    let mut refused = 0;
    let mut left = Vec::new();
    for mut twin in twins {
        let outcome = eventually("taken in or refused", || {
            (twin.is_ready() || twin.log().contains("join refused")).then(|| twin.is_ready())
        });
        if outcome {
            left.push(twin);
        } else {
            assert_eq!(twin.wait().code(), Some(69));
            refused += 1;
        }
    }
    assert_eq!((left.len(), refused), (1, 2));
    settled(&[&first, &left[0]]);
    left[0].put("k", "v");
    assert_eq!(first.read("k").as_deref(), Some("v"));
}

#[test]
fn a_node_whose_disk_was_wiped_comes_back_as_a_new_incarnation() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::durable);
    let cluster = nodes[0].cluster_id();
    nodes[0].put("k", "v");
    // A joiner, and the node that started the cluster and has no RAFT_JOIN_ADDR.
    for at in [2, 0] {
        let name = nodes[at].name().to_owned();
        let before = nodes[at].id();
        nodes[at].kill();
        fs::remove_dir_all(bed.data().join(&name)).expect("the directory can be wiped");
        nodes[at].start();
        settled(&nodes.iter().collect::<Vec<_>>());
        let after = nodes[at].id();
        assert_ne!(before, after, "{name} is somebody new");
        assert_eq!(nodes[at].cluster_id(), cluster, "{name} started no cluster of its own");
        assert_eq!(Some(only(&nodes[1], &name).id), after, "its former self is gone");
        assert_eq!(nodes[at].read("k").as_deref(), Some("v"));
    }
}

#[test]
fn an_in_memory_node_that_restarts_is_a_new_incarnation() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::memory);
    let cluster = nodes[0].cluster_id();
    nodes[0].put("k", "v");
    // A joiner, and the first node: without RAFT_JOIN_ADDR it must find the living cluster.
    for at in [1, 0] {
        let name = nodes[at].name().to_owned();
        let before = nodes[at].id();
        nodes[at].kill();
        nodes[at].start();
        settled(&nodes.iter().collect::<Vec<_>>());
        assert_ne!(nodes[at].id(), before, "{name} does not vote as its former self");
        assert_eq!(nodes[at].cluster_id(), cluster, "{name} rejoined the living cluster");
        assert_eq!(Some(only(&nodes[2], &name).id), nodes[at].id());
        assert_eq!(nodes[at].read("k").as_deref(), Some("v"));
        nodes[at].put("after", &name);
        assert_eq!(nodes[2].read("after").as_deref(), Some(name.as_str()));
    }
}

#[test]
fn the_data_directory_of_another_node_is_refused() {
    let bed = Bed::new();
    let mut node = bed.durable("app1");
    node.start();
    node.ready();
    node.kill();
    fs::rename(bed.data().join("app1"), bed.data().join("app3")).expect("a moved directory");
    let (code, log) = bed.durable("app3").run_to_end();
    assert_eq!(code, 65, "{log}");
    let line = log.lines().last().unwrap_or_default();
    assert!(line.contains("belongs to NODE_ID app1"), "{line}");
    assert!(line.contains("app3") && line.contains(bed.data().to_str().unwrap()), "{line}");
}

#[test]
fn a_data_directory_in_use_is_refused() {
    let bed = Bed::new();
    let mut node = bed.durable("app1");
    node.start();
    node.ready();
    node.put("k", "v");
    let (code, log) = bed.durable("app1").run_to_end();
    assert_eq!(code, 75, "{log}");
    let line = log.lines().last().unwrap_or_default();
    assert!(line.contains("is locked by a running kvorum"), "{line}");
    assert_eq!(node.read("k").as_deref(), Some("v"), "the holder is unharmed");
}
