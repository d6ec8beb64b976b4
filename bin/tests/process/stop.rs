//! SIGTERM: leadership handed over, requests finished, exit code 0.

use crate::{
    bed::{Bed, eventually, leader},
    http,
};
use rustix::process::Signal;
use std::{io::Write, net::TcpStream};

#[test]
fn a_leader_that_stops_hands_over_first() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::durable);
    let before = leader(&nodes);
    let term = nodes[before].term();
    nodes[before].signal(Signal::TERM);
    assert_eq!(nodes[before].wait().code(), Some(0));
    // Nobody had to find out: when the process has ended, its successor leads already.
    let roles: Vec<_> = nodes.iter().filter(|node| node.is_running()).map(|n| n.status()).collect();
    let leading = roles.iter().flatten().filter(|status| status["role"] == "leader").count();
    assert_eq!(leading, 1, "{roles:?}");
    let after = leader(&nodes);
    assert!(nodes[after].term() > term);
    nodes[after].put("k", "v");
    nodes[before].start();
    nodes[before].ready();
    assert_eq!(nodes[before].read("k").as_deref(), Some("v"));
}

#[test]
fn a_request_under_way_is_finished() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::durable);
    for role in ["leader", "follower"] {
        let lead = leader(&nodes);
        let at = if role == "leader" { lead } else { (lead + 1) % 3 };
        let key = format!("under-way-{role}");
        let body = format!("{{\"{key}\":\"v\"}}");
        let text = http::text(nodes[at].http(), "POST", "/key", Some(&body));
        let mut stream = TcpStream::connect(nodes[at].http()).expect("a connection");
        stream.write_all(&text.as_bytes()[..text.len() - 4]).expect("most of a request");
        // The head has been read once a later request has been answered.
        assert_eq!(nodes[at].get("/livez").status, 200);
        nodes[at].signal(Signal::TERM);
        eventually("no new connections", || TcpStream::connect(nodes[at].http()).err());
        stream.write_all(&text.as_bytes()[text.len() - 4..]).expect("the rest of it");
        let answer = http::read(&mut stream).expect("an answer");
        assert_eq!((answer.status, answer.body), (200, body), "{role}");
        assert_eq!(nodes[at].wait().code(), Some(0), "{role}");
        let other = (at + 1) % 3;
        assert_eq!(nodes[other].read(&key).as_deref(), Some("v"), "{role}");
        nodes[at].start();
        nodes[at].ready();
    }
}

#[test]
fn a_node_that_is_still_joining_stops_at_once() {
    let bed = Bed::new();
    let mut node = bed.memory("app2");
    node.set("RAFT_JOIN_ADDR", &format!("{}:9", Bed::ip())).start();
    eventually("it is alive", || node.request("GET", "/livez", None).ok());
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let bed = Bed::new();
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut node = bed.memory("app1");
        node.set("KVORUM_STOP_TIMEOUT", "10m").set("KVORUM_BODY_TIMEOUT", "10m").start();
        node.ready();
        // A request that never ends keeps a graceful stop waiting.
        let mut stream = TcpStream::connect(node.http()).expect("a connection");
        let text = http::text(node.http(), "POST", "/key", Some("{\"k\":\"v\"}"));
        stream.write_all(&text.as_bytes()[..text.len() - 4]).expect("most of a request");
        assert_eq!(node.get("/livez").status, 200);
        node.signal(signal);
        eventually("it is stopping", || node.log().contains("stopping gracefully").then_some(()));
        node.signal(signal);
        assert_eq!(node.wait().code(), Some(code));
    }
}
