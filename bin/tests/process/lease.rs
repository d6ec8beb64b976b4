//! Leases, locks and repeats across killed leaders, restarts and snapshots.

use crate::{
    bed::{Bed, eventually, leader, settled},
    http::{self, Answer},
    node::Node,
};
use std::{
    io::Write,
    net::TcpStream,
    time::{Duration, Instant},
};

/// A request with an idempotency key.
#[derive(Debug)]
struct Keyed(&'static str, &'static str, &'static str, &'static str);

/// Asks until there is an answer other than "try again"; all of it is safe under the key.
fn once(node: &Node, Keyed(key, method, path, body): &Keyed) -> Answer {
    eventually(&format!("{method} {path} is answered by {}", node.name()), || {
        let mut stream = TcpStream::connect(node.http()).ok()?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nIdempotency-Key: {key}\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}",
            node.http()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let answer = http::read(&mut stream).ok()?;
        (!matches!(answer.status, 503 | 504)).then_some(answer)
    })
}

#[test]
fn a_lease_is_not_ended_early_by_a_new_leader_and_is_ended_by_it() {
    const TTL: Duration = Duration::from_secs(6);
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::durable);
    let begun = Instant::now();
    let put = Keyed("p", "PUT", "/key/a?ttl=6s", "v");
    let answer = once(&nodes[1], &put);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let lease = answer.header("kvorum-lease").expect("the lease is named").to_owned();
    let killed = leader(&nodes);
    nodes[killed].kill();
    let other = &nodes[(killed + 1) % 3];
    let gone = eventually("the lease ends", || {
        let answer = other.request("GET", "/key/a", None).ok()?;
        (answer.status == 404).then(|| begun.elapsed())
    });
    assert!(gone >= TTL, "ended {:?} after it was asked for", gone);
    let seen = eventually("somebody leads", || {
        let answer = other.request("GET", &format!("/lease/{lease}"), None).ok()?;
        (answer.status != 503).then_some(answer)
    });
    assert_eq!((seen.status, seen.json()["code"].as_str()), (404, Some("lease_not_found")));
    // The write itself is remembered, whatever became of it.
    let again = once(other, &put);
    assert_eq!((again.status, again.body), (201, answer.body));
}

#[test]
fn a_repeat_is_answered_the_same_after_kills_restarts_and_a_snapshot() {
    let bed = Bed::new();
    let forgetful = |bed: &Bed, name: &str| {
        let mut node = bed.durable(name);
        node.set("KVORUM_CHECKPOINT_BYTES", "64KiB");
        node.set("KVORUM_COMPACT_AFTER_BYTES", "64KiB");
        node.set("KVORUM_KEEP_ENTRIES", "0");
        node
    };
    let mut nodes = bed.cluster(3, forgetful);
    let requests = [
        Keyed("k1", "POST", "/lease", r#"{"ttl":"60m"}"#),
        Keyed("k2", "PUT", "/key/counter?ttl=60m", "1"),
        Keyed("k3", "POST", "/lock/job?ttl=60m&wait=1s", "me"),
        Keyed("k4", "POST", "/txn", r#"{"then":[{"put":{"key":"t","value":1,"ttl":"60m"}}]}"#),
        Keyed("k5", "DELETE", "/key/t", ""),
        Keyed("k6", "POST", "/lock/other?ttl=60m", ""),
    ];
    let told = |node: &Node, request: &Keyed| {
        let answer = once(node, request);
        let header = |name: &str| answer.header(name).map(str::to_owned);
        let replayed = header("idempotency-replayed");
        let told = (answer.status, header("kvorum-lease"), header("kvorum-revision"));
        (replayed.is_some(), told, answer.body)
    };
    let first: Vec<_> = requests.iter().map(|request| told(&nodes[0], request)).collect();
    for (request, first) in requests.iter().zip(&first) {
        assert!(!first.0 && first.1.0 / 100 == 2, "{request:?}: {first:?}");
    }
    let check = |node: &Node, when: &str| {
        for (request, first) in requests.iter().zip(&first) {
            let again = told(node, request);
            assert_eq!((true, &first.1, &first.2), (again.0, &again.1, &again.2), "{when}");
        }
        assert_eq!(node.get("/key/counter?meta").json()["version"], 1, "{when}");
        assert_eq!(node.get("/leases").json()["leases"].as_array().map(Vec::len), Some(5));
    };
    let killed = leader(&nodes);
    nodes[killed].kill();
    check(&nodes[(killed + 1) % 3], "after the leader was killed");
    // While it is away, the log goes on and is forgotten: it comes back by a snapshot.
    let large = "x".repeat(20 << 10);
    for number in 0..20 {
        nodes[(killed + 2) % 3].put(&format!("large{number}"), &large);
    }
    nodes[killed].start();
    settled(&nodes.iter().collect::<Vec<_>>());
    eventually("it has come back by a snapshot", || {
        nodes[killed].log().contains("snapshot installed").then_some(())
    });
    let name = nodes[killed].name().to_owned();
    eventually("the one that came back leads", || {
        let to = format!("{{\"to\":\"{name}\"}}");
        let _ = nodes[(killed + 1) % 3].request("POST", "/cluster/transfer", Some(&to));
        (nodes[killed].status()?["role"].as_str()? == "leader").then_some(())
    });
    check(&nodes[killed], "out of a snapshot");
    nodes.iter_mut().for_each(Node::kill);
    nodes.iter_mut().for_each(Node::start);
    settled(&nodes.iter().collect::<Vec<_>>());
    check(&nodes[1], "after all were killed");
}
