//! The catalogue of errors: documented completely, and every one of them can be met.
#![cfg(not(madsim))]

mod http_support;

use http_support::{Node, Raw, Turn};
use kvorum_core::{
    kv::{CommandError, Reply},
    raft::Index,
};
use kvorum_runtime::{
    config::Limits,
    handle::{ExecuteError, Executed, JoinError, QueryError},
    http::problem::{
        Applied, CATALOGUE, OUTCOME_UNKNOWN, Problem, REPLY_NOT_KEPT, REVISION_NOT_REACHED,
    },
};
use std::{collections::BTreeSet, time::Duration};

#[test]
fn the_document_and_the_catalogue_agree() {
    let document = include_str!("../../docs/errors.md");
    let mut sections = document.split("\n## ").skip(1);
    for kind in CATALOGUE {
        let section = sections.next().unwrap_or_else(|| panic!("{} is missing", kind.code));
        let (heading, text) = section.split_once('\n').unwrap();
        assert_eq!(heading, format!("`{}`", kind.code));
        assert!(text.contains(&format!("**{} · {}**", kind.status, kind.title)), "{}", kind.code);
        for label in ["\nCause: ", "\nCure: "] {
            let (_, said) = text.split_once(label).unwrap_or_else(|| panic!("{}", kind.code));
            let sentence = said.lines().next().unwrap();
            assert!(sentence.ends_with('.') && sentence.contains(' '), "{label} of {}", kind.code);
        }
    }
    assert_eq!(sections.next(), None);
}

#[test]
fn codes_are_unique_and_certainty_follows_the_status() {
    let codes: BTreeSet<&str> = CATALOGUE.iter().map(|kind| kind.code).collect();
    assert_eq!(codes.len(), CATALOGUE.len());
    for kind in CATALOGUE {
        let applied = Problem::new(*kind, "x").applied();
        match kind.status {
            _ if *kind == REPLY_NOT_KEPT => assert_eq!(applied, Applied::Yes),
            503 | 507 => assert_eq!(applied, Applied::No, "{}", kind.code),
            // Only reads wait for a revision.
            504 if *kind == REVISION_NOT_REACHED => {}
            504 => assert_eq!(applied, Applied::Unknown, "{}", kind.code),
            400..500 => assert_eq!(applied, Applied::No, "{}", kind.code),
            _ => {}
        }
    }
    assert_eq!(OUTCOME_UNKNOWN.status, 504);
}

fn refusal(error: CommandError) -> Turn {
    let reply = Reply { revision: 1, result: Err(error), replayed: false };
    Turn::Say(Executed { index: Index(1), reply })
}

#[tokio::test]
async fn every_problem_can_be_met() {
    let limits = Limits {
        key_bytes: 16,
        value_bytes: 16,
        body_bytes: 200,
        keys_per_request: 2,
        json_depth: 2,
        header_bytes: 8192,
        connections: 10_000,
        body_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let node = Node::leader_with(limits.clone()).await;
    let mut met = BTreeSet::new();
    let mut meet = |answer: http_support::Res| {
        let code = answer.json()["code"].as_str().unwrap().to_owned();
        let kind = CATALOGUE.iter().find(|kind| kind.code == code).expect("catalogued");
        answer.assert_problem(kind.status, kind.code);
        met.insert(code);
    };

    // What is wrong with the request itself.
    for body in ["x", "", "{}", r#"{"a":1,"a":1}"#, r#"{"":1}"#, r#"{"a":null}"#, r#"{"a":[[1]]}"#]
    {
        meet(node.post("/key", body).await);
    }
    meet(node.post("/key", r#"{"a":1,"b":1,"c":1}"#).await);
    meet(node.post("/key", r#"{"a":"12345678901234567"}"#).await);
    meet(node.post("/key", "x".repeat(201)).await);
    for path in ["/key/12345678901234567", "/key/%", "/key/?b64=*", "/key/a?x", "/key/a?at=x", "/"]
    {
        meet(node.get(path).await);
    }
    for (name, value) in [
        ("if-match", "x"),
        ("if-match", "*"),
        ("idempotency-key", "a b"),
        ("kvorum-fence", "1"),
        ("x-filler", &"f".repeat(9000)),
    ] {
        meet(node.call_with("PUT", "/key/a", &[(name, value)], "v").await);
    }
    meet(node.post("/txn", r#"{"if":1}"#).await);
    meet(node.get("/keys?cursor=x").await);
    let ahead = [("kvorum-min-revision", "99")];
    meet(node.call_with("GET", "/key/a?timeout=30ms", &ahead, "").await);
    meet(node.post("/status", "").await);
    let mut raw = Raw::connect(&node.address).await;
    raw.send("POST /key HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").await;
    meet(raw.response(false).await);
    let mut raw = Raw::connect(&node.address).await;
    raw.send("POST /key HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{").await;
    meet(raw.response(false).await);

    // What the store has to say.
    meet(node.get("/key/a").await);
    meet(node.get("/key/a?at=99").await);
    node.call("PUT", "/key/a", &b"\xff"[..]).await;
    meet(node.get("/key/a").await);
    meet(node.post("/key?create", r#"{"a":1}"#).await);
    for error in [
        CommandError::Compacted { oldest: 5 },
        CommandError::LeaseNotFound,
        CommandError::LeaseExists,
        CommandError::LeaseConflict,
        CommandError::Fenced { token: 3 },
        CommandError::NoSpace { used: 5, needed: 6, limit: 7 },
        CommandError::ReplyNotKept,
        CommandError::IdempotencyMismatch,
        CommandError::Unreadable,
    ] {
        node.next_write(refusal(error));
        meet(node.call("PUT", "/key/a", "v").await);
    }

    // What the node and the cluster have to say.
    for error in [ExecuteError::Overloaded, ExecuteError::Unknown, ExecuteError::Stopping] {
        node.next_write(Turn::Fail(error));
        meet(node.call("PUT", "/key/a", "v").await);
    }
    for _ in 0..50 {
        node.next_write(Turn::Fail(ExecuteError::Lost));
    }
    meet(node.call("PUT", "/key/a?timeout=30ms", "v").await);
    node.script.lock().unwrap().writes.clear();
    let join = r#"{"node_id":"n","address":"n:1","http":"n:2","id":"9"}"#;
    meet(node.post("/join", "{}").await);
    for error in [
        JoinError::DuplicateName { holder: "n:1".to_owned() },
        JoinError::Unreachable("nobody".to_owned()),
    ] {
        node.script.lock().unwrap().joins.push_back(Err(error));
        meet(node.post("/join", join).await);
    }
    node.script.lock().unwrap().joins.extend(vec![Err(JoinError::Busy); 50]);
    meet(node.post("/join?timeout=30ms", join).await);
    node.script.lock().unwrap().transfers.push_back(Err("no".to_owned()));
    meet(node.post("/cluster/transfer", "").await);
    node.script.lock().unwrap().reads.extend(vec![Err(QueryError::NoLeader); 50]);
    meet(node.get("/key/a?timeout=30ms").await);

    let mut other = node.me();
    other.id.0 += 1;
    node.follow(Some(other));
    meet(node.call_with("PUT", "/key/a", &[("kvorum-forward", "no")], "v").await);
    meet(node.call_with("PUT", "/key/a", &[("kvorum-forwarded", "x")], "v").await);
    node.follow(None);
    meet(node.call("PUT", "/key/a?timeout=30ms", "v").await);

    let full = Node::leader_with(Limits { connections: 0, ..limits }).await;
    meet(full.get("/livez").await);

    let full = Node::leader_with(Limits { watches: 0, ..Limits::default() }).await;
    meet(full.get("/watch").await);
    // Comes as the last event of a watch: see http_watch.rs.
    met.insert("slow_watcher".to_owned());

    let known: BTreeSet<String> = CATALOGUE.iter().map(|kind| kind.code.to_owned()).collect();
    let missed: Vec<&String> = known.difference(&met).collect();
    assert!(missed.is_empty(), "never met: {missed:?}");
}

#[tokio::test]
async fn instances_differ() {
    let node = Node::leader().await;
    let instances: BTreeSet<String> = [node.get("/").await, node.get("/").await]
        .iter()
        .map(|answer| answer.json()["instance"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(instances.len(), 2);
    assert!(instances.iter().all(|instance| instance.starts_with("req-")));
}
