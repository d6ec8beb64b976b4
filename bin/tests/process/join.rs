//! Becoming a cluster: any order, any member, one shared directory.

use crate::bed::{Bed, leader, settled};

#[test]
fn nodes_started_in_any_order_become_one_cluster() {
    let orders: [&[usize]; 3] = [&[3, 2, 1, 0], &[1, 3, 0, 2], &[0, 1, 2, 3]];
    for order in orders {
        let bed = Bed::new();
        let mut nodes: Vec<_> = (1..=4).map(|n| bed.durable(&format!("app{n}"))).collect();
        let (first, others) = nodes.split_at_mut(1);
        others.iter_mut().for_each(|node| {
            node.join(&first[0]);
        });
        for &at in order {
            nodes[at].start();
        }
        settled(&nodes.iter().collect::<Vec<_>>());
        let cluster = nodes[0].cluster_id();
        assert!(cluster.is_some());
        for node in &nodes {
            assert_eq!(node.cluster_id(), cluster, "{order:?}: one cluster");
            node.put(node.name(), "here");
        }
        for node in &nodes {
            for key in ["app1", "app2", "app3", "app4"] {
                assert_eq!(node.read(key).as_deref(), Some("here"), "{order:?} {}", node.name());
            }
        }
    }
}

#[test]
fn a_node_joins_through_a_follower() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(2, Bed::memory);
    let follower = 1 - leader(&nodes);
    nodes[0].put("before", "1");
    let mut third = bed.memory("app3");
    third.join(&nodes[follower]).start();
    nodes.push(third);
    settled(&nodes.iter().collect::<Vec<_>>());
    assert_eq!(nodes[2].cluster_id(), nodes[0].cluster_id());
    assert_eq!(nodes[2].read("before").as_deref(), Some("1"), "it has caught up");
}

#[test]
fn four_nodes_share_one_data_directory() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(4, Bed::durable);
    nodes[2].put("k", "v");
    for node in &nodes {
        assert!(bed.data().join(node.name()).is_dir(), "{} has its part", node.name());
    }
    nodes.iter_mut().for_each(|node| node.kill());
    nodes.iter_mut().for_each(|node| node.start());
    settled(&nodes.iter().collect::<Vec<_>>());
    for node in &nodes {
        assert_eq!(node.read("k").as_deref(), Some("v"), "{}", node.name());
    }
}

#[test]
fn the_calls_of_the_contract_work_against_every_node() {
    let bed = Bed::new();
    let nodes = bed.cluster(3, Bed::memory);
    for node in &nodes {
        let set = node.post("/key", r#"{"key1": "value1", "key2": "value2"}"#);
        assert_eq!((set.status, set.body.as_str()), (200, r#"{"key1":"value1","key2":"value2"}"#));
        for other in &nodes {
            let read = other.get("/key/key1");
            assert_eq!((read.status, read.body.as_str()), (200, r#"{"key1":"value1"}"#));
            let stale = other.get("/key/key1?consistency=stale");
            assert!([200, 404].contains(&stale.status), "{}", stale.body);
        }
        let both = node.get("/key/key1").header("etag").map(ToOwned::to_owned);
        assert!(both.is_some(), "a read says the revision");
        assert_eq!(node.get("/key/key2").header("etag"), both.as_deref(), "set atomically");
        let deleted = node.delete("/key/key1");
        assert_eq!(deleted.status, 200);
        assert_eq!(deleted.json()["message"], "key deleted successfully");
        for other in &nodes {
            let gone = other.get("/key/key1");
            assert_eq!(gone.status, 404);
            assert_eq!(gone.json()["message"], "key 'key1' not found");
            assert_eq!(gone.header("content-type"), Some("application/problem+json"));
        }
        assert_eq!(node.delete("/key/key1").status, 404);
    }
}
