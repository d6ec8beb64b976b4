//! The golden transcript of the design on a real cluster, through every node.

use crate::{
    bed::{Bed, eventually, leader, settled},
    http::{self, Answer},
    node::Node,
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// One call, or the test fails.
#[track_caller]
fn call(node: &Node, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    http::call(node.http(), method, path, headers, body)
        .unwrap_or_else(|failed| panic!("{} {method} {path}: {failed:?}", node.name()))
}

fn revision(answer: &Answer) -> u64 {
    let told = answer.header("kvorum-revision").unwrap_or_else(|| panic!("{answer:?}"));
    told.parse().expect("a number")
}

#[track_caller]
fn is(answer: &Answer, status: u16, body: &str) {
    assert_eq!((answer.status, answer.body.as_str()), (status, body));
}

#[track_caller]
fn is_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.json()["code"], code, "{}", answer.body);
}

/// The transcript through `node`, from an empty store; what it leaves is read on all of `nodes`.
/// `first`: the revision of its first write.
fn transcript(node: &Node, nodes: &[Node], first: u64) {
    let json = [("content-type", "application/json")];
    let set = call(node, "POST", "/key", &json, br#"{"key1":"value1"}"#);
    is(&set, 200, r#"{"key1":"value1"}"#);
    assert_eq!(set.header("etag"), Some(format!("\"{first}\"").as_str()));
    for other in nodes {
        is(&other.get("/key/key1"), 200, r#"{"key1":"value1"}"#);
    }
    let set = call(node, "POST", "/key", &json, br#"{"key1":"value2"}"#);
    is(&set, 200, r#"{"key1":"value2"}"#);
    assert_eq!(set.header("etag"), Some(format!("\"{}\"", first + 1).as_str()));

    let exists = node.post("/key?create", r#"{"key1":"x"}"#);
    is_problem(&exists, 409, "key_exists");
    assert_eq!(exists.json()["message"], "key key1 already exists");
    let old = format!("\"{first}\"");
    let stale = call(node, "PUT", "/key/key1", &[("if-match", &old)], b"x");
    is_problem(&stale, 412, "precondition_failed");
    assert_eq!(stale.json()["current"]["mod_revision"], first + 1);

    is(&node.delete("/key/key1"), 200, r#"{"message":"key deleted successfully"}"#);
    for other in nodes {
        let gone = other.get("/key/key1");
        is_problem(&gone, 404, "key_not_found");
        assert_eq!(gone.json()["message"], "key 'key1' not found");
    }
    is_problem(&node.delete("/key/key1"), 404, "key_not_found");

    assert_eq!(node.post("/key", r#"{"a":"1","b":"2"}"#).status, 200);
    for other in nodes {
        let (a, b) = (other.get("/key/a?meta").json(), other.get("/key/b?meta").json());
        assert_eq!((&a["mod_revision"], &a["version"]), (&b["mod_revision"], &1.into()));
    }
    assert_eq!(node.post("/key", r#"{"a":1,"o":{"x":[true]}}"#).status, 200);
    for other in nodes {
        is(&other.get("/key/o"), 200, r#"{"o":{"x":[true]}}"#);
    }
    is_problem(&node.post("/key", r#"{"a":"1","a":"2"}"#), 400, "duplicate_key");
    let nothing = node.post("/key", "{}");
    is_problem(&nothing, 400, "no_data");
    assert_eq!(nothing.json()["message"], "no data provided");
    let garbage = node.post("/key", "not json");
    is_problem(&garbage, 400, "invalid_json");
    assert_eq!(garbage.json()["message"], "request is not a valid json");
    is_problem(&node.post("/key", r#"{"a":null}"#), 400, "invalid_value");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    is(&call(node, "POST", "/key", &form, br#"{"c":"d"}"#), 200, r#"{"c":"d"}"#);

    assert_eq!(call(node, "PUT", "/key/bin", &[], &[0x80, 0xff, 0x00]).status, 201);
    for other in nodes {
        is_problem(&other.get("/key/bin"), 406, "not_text");
        let raw = other.get("/key/bin?raw");
        assert_eq!((raw.status, &raw.bytes[..]), (200, &[0x80, 0xff, 0x00][..]));
        assert_eq!(raw.header("x-content-type-options"), Some("nosniff"));
    }

    let page = node.get("/keys?limit=2&keys_only").json();
    assert_eq!((&page["count"], &page["items"][1]["key"]), (&2.into(), &"b".into()));
    let next = page["next"].as_str().expect("more");
    // Whatever is written meanwhile, and whoever is asked.
    assert_eq!(node.delete("/key/bin").status, 200);
    assert_eq!(call(node, "PUT", "/key/bb", &[], b"").status, 201);
    for other in nodes {
        let page = other.get(&format!("/keys?limit=2&keys_only&cursor={next}")).json();
        assert_eq!((&page["count"], &page["items"][0]["key"]), (&2.into(), &"bin".into()));
        assert_eq!(page["items"][1]["key"], "c");
    }
}

#[test]
fn the_golden_transcript_goes_as_written_through_every_node() {
    let bed = Bed::new();
    let nodes = bed.cluster(3, Bed::durable);
    let mut first = 2;
    for node in &nodes {
        transcript(node, &nodes, first);
        let gone = node.delete("/keys?all=true");
        assert_eq!(gone.json()["deleted"], 5, "{}", gone.body);
        first = revision(&gone) + 1;
    }
}

#[test]
fn a_repeat_takes_effect_once_whoever_is_asked_and_whoever_dies() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::durable);
    let key = [("idempotency-key", "order-17")];
    let first = call(&nodes[0], "POST", "/key", &key, br#"{"n":1}"#);
    assert_eq!((first.status, first.header("idempotency-replayed")), (200, None));
    let etag = first.header("etag").expect("an ETag");
    let repeat = |node: &Node| {
        let again = call(node, "POST", "/key", &key, br#"{ "n": 1 }"#);
        assert_eq!((again.status, again.body.as_str()), (200, first.body.as_str()));
        assert_eq!(
            (again.header("etag"), again.header("idempotency-replayed")),
            (Some(etag), Some("true"))
        );
        assert_eq!(node.get("/key/n?meta").json()["version"], 1);
        is_problem(&call(node, "POST", "/key", &key, br#"{"n":2}"#), 422, "idempotency_mismatch");
    };
    nodes.iter().for_each(repeat);
    let old = leader(&nodes);
    nodes[old].kill();
    nodes.iter().filter(|node| node.is_running()).for_each(repeat);
    nodes[old].start();
    settled(&nodes.iter().collect::<Vec<_>>());
    nodes.iter().for_each(repeat);
}

#[test]
fn twins_under_one_key_take_effect_once_and_are_answered_alike() {
    let bed = Bed::new();
    let nodes = bed.cluster(3, Bed::durable);
    for round in 0..10 {
        let key = format!("twin-{round}");
        let path = format!("/key/t{round}");
        let answers: Vec<Answer> = thread::scope(|scope| {
            let put =
                |n: usize| call(&nodes[n % 3], "PUT", &path, &[("idempotency-key", &key)], b"x");
            let twins: Vec<_> = (0..6).map(|n| scope.spawn(move || put(n))).collect();
            twins.into_iter().map(|twin| twin.join().expect("an answer")).collect()
        });
        let first = &answers[0];
        for answer in &answers {
            assert_eq!((answer.status, &answer.body), (201, &first.body));
            assert_eq!(answer.header("etag"), first.header("etag"));
        }
        let replayed =
            answers.iter().filter(|a| a.header("idempotency-replayed").is_some()).count();
        assert_eq!(replayed, answers.len() - 1, "one of them did it");
        assert_eq!(nodes[0].get(&format!("{path}?meta")).json()["version"], 1);
    }
}

/// Reads events of a watch until `last` was told, or for as long as `more` says so.
fn follow(node: &Node, path: &str, from: Option<u64>, until: u64, seen: &mut Vec<(u64, String)>) {
    let id = from.map(|id| id.to_string());
    let headers: Vec<(&str, &str)> = id.iter().map(|id| ("last-event-id", id.as_str())).collect();
    for line in http::lines(node.http(), path, &headers) {
        let Ok(line) = line else { return };
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
        let revision = data["revision"].as_u64().expect("a revision");
        for event in data["events"].as_array().into_iter().flatten() {
            seen.push((revision, event["key"].as_str().expect("a key").to_owned()));
        }
        if revision >= until {
            return;
        }
    }
}

#[test]
fn a_watch_that_goes_on_at_another_node_misses_nothing_and_sees_nothing_twice() {
    let bed = Bed::new();
    let nodes = bed.cluster(3, Bed::durable);
    for n in 0..5 {
        nodes[0].put(&format!("a{n}"), "past");
    }
    let stop = AtomicBool::new(false);
    let (written, seen) = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written: Vec<(u64, String)> =
                (0..5).map(|n| (n + 2, format!("a{n}"))).collect();
            for n in 5.. {
                let key = format!("a{n}");
                let body = format!("{{\"{key}\":\"live\"}}");
                written.push((revision(&nodes[n % 3].post("/key", &body)), key));
                nodes[n % 3].put("other", "not watched");
                if stop.load(Ordering::Relaxed) {
                    return written;
                }
            }
            unreachable!("numbers do not end");
        });
        let mut seen = Vec::new();
        for round in 0..12 {
            let node = &nodes[round % 3];
            let from = seen.last().map(|(revision, _)| *revision);
            // `since` is what the client began with; `Last-Event-ID` is where it stopped.
            follow(node, "/watch?prefix=a&since=1", from, from.unwrap_or(1) + 7, &mut seen);
        }
        stop.store(true, Ordering::Relaxed);
        let written = writer.join().expect("the writer");
        let end = written.last().expect("something").0;
        let from = seen.last().map(|(revision, _)| *revision);
        if from < Some(end) {
            follow(&nodes[0], "/watch?prefix=a&since=1", from, end, &mut seen);
        }
        (written, seen)
    });
    assert!(written.len() > 20, "only {} writes", written.len());
    assert_eq!(seen, written);
}

#[test]
fn what_is_compacted_is_gone_on_every_node_and_nothing_else_is() {
    let bed = Bed::new();
    let nodes = bed.cluster(3, Bed::durable);
    for value in ["1", "2", "3"] {
        nodes[0].put("x", value);
    }
    nodes[1].put("y", "1");
    let next = nodes[0].get("/keys?limit=1&at=3").json()["next"].clone();
    assert_eq!(next, serde_json::Value::Null, "y came later");
    let next = nodes[0].get("/keys?limit=1").json()["next"].as_str().expect("more").to_owned();
    is(&nodes[2].post("/compact", r#"{"revision":4}"#), 200, r#"{"compacted":4,"revision":5}"#);
    for node in &nodes {
        let gone = node.get("/key/x?at=2");
        is_problem(&gone, 410, "compacted");
        assert_eq!(gone.json()["oldest"], 4);
        is_problem(&node.get("/keys?at=3"), 410, "compacted");
        is_problem(&node.get("/watch?key=x&since=1"), 410, "compacted");
        is(&node.get("/key/x?at=4"), 200, r#"{"x":"3"}"#);
        is(&node.get("/key/x"), 200, r#"{"x":"3"}"#);
        // The cursor's revision is still there.
        let page = node.get(&format!("/keys?limit=1&cursor={next}")).json();
        assert_eq!(page["items"][0]["key"], "y");
        is_problem(&node.post("/compact", r#"{"revision":4}"#), 410, "compacted");
        is_problem(&node.post("/compact", r#"{"revision":9}"#), 400, "future_revision");
    }
    nodes[0].put("x", "4");
    assert_eq!(nodes[2].post("/compact", r#"{"revision":6}"#).status, 200);
    for node in &nodes {
        is_problem(&node.get(&format!("/keys?limit=1&cursor={next}")), 410, "compacted");
    }
}

#[test]
fn a_node_alone_says_how_old_its_answers_may_be() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::durable);
    nodes[0].put("a", "1");
    let bounded = "/key/a?consistency=stale&max_staleness=200ms&timeout=300ms";
    for node in &nodes {
        assert_eq!(node.get(bounded).status, 200);
    }
    nodes[1].kill();
    nodes[2].kill();
    eventually("the node's word is too old", || {
        let answer = nodes[0].get(bounded);
        if answer.status == 200 {
            return None;
        }
        is_problem(&answer, 503, "too_stale");
        Some(())
    });
    is(&nodes[0].get("/key/a?consistency=stale"), 200, r#"{"a":"1"}"#);
    nodes[1].start();
    eventually("a majority is back", || (nodes[0].get(bounded).status == 200).then_some(()));
}
