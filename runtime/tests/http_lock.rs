//! Locks over HTTP: one holder, rising tokens, waiters in order, and fences.
#![cfg(not(madsim))]

mod http_support;

use bytes::Bytes;
use http_body_util::Full;
use http_support::{Node, Raw, Res, SharedStore, Turn, call, patient};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::TokioIo;
use kvorum_core::kv::{Body, Command, Delete, KeyRange, Op, Put, Txn};
use kvorum_runtime::{config::Limits, handle::ExecuteError, http::rt::TaskExecutor};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpStream, task::JoinHandle};

fn token(reply: &Res) -> u64 {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["token"].as_u64().unwrap()
}

async fn acquire(node: &Node, path: &str) -> u64 {
    token(&node.post(path, "").await)
}

async fn release(node: &Node, name: &str, token: u64) -> Res {
    node.call("DELETE", &format!("/lock/{name}?token={token}"), "").await
}

/// A request that runs beside the test.
fn beside(node: &Node, path: &str, headers: &[(&str, &str)]) -> JoinHandle<Res> {
    let (address, path) = (node.address.clone(), path.to_owned());
    let headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    tokio::spawn(async move {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        call(&address, "POST", &path, &headers, "").await
    })
}

/// Until so many wait for changes at the node: the first of each lock's queue does.
async fn watched(node: &Node, watchers: usize) {
    let waiting = async {
        while node.hub.watchers() != watchers {
            tokio::task::yield_now().await;
        }
    };
    patient(waiting).await;
}

#[tokio::test]
async fn a_lock_has_one_holder_and_rising_tokens() {
    let node = Node::leader().await;
    node.get("/lock/a/b").await.assert_problem(404, "lock_free");
    let got = node.post("/lock/a/b", "worker 7").await;
    let reply = got.json();
    let first = token(&got);
    assert_eq!((&reply["name"], &reply["ttl"]), (&json!("a/b"), &json!(10)));
    assert_eq!(got.header("kvorum-revision"), Some(first.to_string().as_str()));
    node.pass(3_000);
    let seen = node.get("/lock/a%2Fb").await.json();
    assert_eq!(
        seen,
        json!({"name":"a/b","token":first,"note":"worker 7","remaining":7,
               "lease":reply["lease"],"ttl":10})
    );
    let held = node.post("/lock/a/b", "").await.assert_problem(409, "lock_held");
    assert_eq!(held["holder"], json!({"token":first,"note":"worker 7","remaining":7}));
    assert_eq!(held["applied"], "no");
    // Keeping the lease alive keeps the lock.
    let lease = reply["lease"].as_str().unwrap();
    assert_eq!(node.post(&format!("/lease/{lease}/keepalive"), "").await.status, 200);
    node.pass(9_999);
    assert_eq!(node.get("/lock/a/b").await.json()["remaining"], 0.001);
    let released = release(&node, "a/b", first).await;
    assert_eq!(
        (released.status, released.text()),
        (200, r#"{"message":"lock released","name":"a/b"}"#)
    );
    node.get(&format!("/lease/{lease}")).await.assert_problem(404, "lease_not_found");
    release(&node, "a/b", first).await.assert_problem(409, "lock_lost");
    let second = acquire(&node, "/lock/a/b").await;
    assert!(second > first);
    let lost = release(&node, "a/b", first).await.assert_problem(409, "lock_lost");
    assert_eq!(lost["applied"], "no");
    assert_eq!(node.get("/lock/a/b").await.json()["token"], second);
    // Another name is another lock.
    assert_eq!(node.post("/lock/a", "").await.status, 200);
}

#[tokio::test]
async fn a_lock_that_nobody_keeps_alive_is_lost_with_its_token() {
    let node = Node::leader().await;
    let first = acquire(&node, "/lock/l?ttl=5s").await;
    node.pass(5_000);
    node.get("/lock/l").await.assert_problem(404, "lock_free");
    let second = acquire(&node, "/lock/l").await;
    assert!(second > first);
    let fence = format!("l={first}");
    let fenced = node.call_with("PUT", "/key/a", &[("kvorum-fence", &fence)], "old").await;
    let problem = fenced.assert_problem(412, "fenced");
    assert_eq!((&problem["applied"], &problem["token"]), (&json!("no"), &json!(second)));
    node.get("/key/a").await.assert_problem(404, "key_not_found");
}

#[tokio::test]
async fn a_fence_guards_every_kind_of_write() {
    let node = Node::leader().await;
    let token = acquire(&node, "/lock/a=b/%FF").await;
    node.post("/lease", r#"{"ttl":"30s","id":"5"}"#).await;
    let good = format!("a=b/%ff={token}");
    let bad = format!("a=b/%ff={}", token + 1);
    for (method, path, body) in [
        ("POST", "/key", r#"{"a":1}"#),
        ("PUT", "/key/a", "v"),
        ("POST", "/txn", r#"{"then":[{"put":{"key":"b","value":1}}]}"#),
        ("DELETE", "/key/a", ""),
        ("DELETE", "/keys?prefix=b", ""),
        ("POST", "/lease", r#"{"ttl":"30s"}"#),
        ("POST", "/lease/5/keepalive", ""),
        ("DELETE", "/lease/5", ""),
        ("POST", "/lock/other", ""),
    ] {
        let before = node.get("/leases").await;
        let refused = node.call_with(method, path, &[("kvorum-fence", &bad)], body).await;
        assert_eq!(refused.assert_problem(412, "fenced")["applied"], "no", "{method} {path}");
        let after = node.get("/leases").await;
        assert_eq!(before.header("kvorum-revision"), after.header("kvorum-revision"));
        let done = node.call_with(method, path, &[("kvorum-fence", &good)], body).await;
        assert_eq!(done.status / 100, 2, "{method} {path}: {}", done.text());
    }
    for wrong in ["", "x", "x=", "=1", "l=0", "l=-1", "l=1x", "%zz=1"] {
        let refused = node.call_with("PUT", "/key/a", &[("kvorum-fence", wrong)], "v").await;
        refused.assert_problem(400, "invalid_fence");
    }
    let twice = [("kvorum-fence", good.as_str()), ("kvorum-fence", good.as_str())];
    node.call_with("PUT", "/key/a", &twice, "v").await.assert_problem(400, "invalid_fence");
    // A key of the same name is no lock.
    node.call("PUT", "/key/plain", "v").await;
    let revision = node.get("/key/plain?meta").await.json()["create_revision"].as_u64().unwrap();
    let fence = format!("plain={revision}");
    let refused = node.call_with("PUT", "/key/a", &[("kvorum-fence", &fence)], "v").await;
    refused.assert_problem(412, "fenced");
}

#[tokio::test]
async fn waiters_get_the_lock_in_their_order_and_cost_the_log_nothing() {
    let node = Node::leader().await;
    let mut held = acquire(&node, "/lock/l").await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(beside(&node, "/lock/l?wait=30s", &[]));
        // Only the first looks at the lock; that the others are behind it cannot be seen from here.
        watched(&node, 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(node.executed(), 1, "nobody who waits proposes anything");
    for waiter in waiting {
        assert_eq!(release(&node, "l", held).await.status, 200);
        let next = token(&patient(waiter).await.unwrap());
        assert!(next > held);
        assert_eq!(node.get("/lock/l").await.json()["token"], next);
        held = next;
    }
    // Six acquisitions and five releases.
    assert_eq!(node.executed(), 11);
}

#[tokio::test]
async fn an_expiry_wakes_who_waits() {
    let node = Node::leader().await;
    let first = acquire(&node, "/lock/l?ttl=5s").await;
    let waiter = beside(&node, "/lock/l?wait=30s", &[]);
    watched(&node, 1).await;
    node.pass(5_000);
    assert!(token(&patient(waiter).await.unwrap()) > first);
    watched(&node, 0).await;
}

#[tokio::test]
async fn who_waited_in_vain_is_told_and_leaves_nothing_behind() {
    let node = Node::leader().await;
    let held = acquire(&node, "/lock/l").await;
    let problem = node.post("/lock/l?wait=30ms", "").await.assert_problem(409, "lock_held");
    assert_eq!((&problem["applied"], &problem["holder"]["token"]), (&json!("no"), &json!(held)));
    assert_eq!((node.executed(), node.hub.watchers()), (1, 0));
    // Who gives up makes room for the next.
    let first = beside(&node, "/lock/l?wait=500ms", &[]);
    watched(&node, 1).await;
    let next = beside(&node, "/lock/l?wait=30s", &[]);
    patient(first).await.unwrap().assert_problem(409, "lock_held");
    release(&node, "l", held).await;
    assert!(token(&patient(next).await.unwrap()) > held);
}

#[tokio::test]
async fn who_has_left_gets_no_lock_and_holds_up_nobody() {
    let store = SharedStore::default();
    let leader = Node::start("app1", 1, store.clone(), Limits::default()).await;
    let follower = Node::start("app2", 2, store, Limits::default()).await;
    follower.follow(Some(leader.me()));
    let held = acquire(&leader, "/lock/l").await;
    // One came directly, one through another node.
    for node in [&leader, &follower] {
        let mut leaver = Raw::connect(&node.address).await;
        leaver.send("POST /lock/l?wait=30s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        watched(&leader, 1).await;
        drop(leaver);
        watched(&leader, 0).await;
    }
    assert_eq!(release(&leader, "l", held).await.status, 200);
    leader.get("/lock/l").await.assert_problem(404, "lock_free");
    // A client that sends the next request ahead has not left.
    let held = acquire(&leader, "/lock/l").await;
    let mut eager = Raw::connect(&leader.address).await;
    eager.send("POST /lock/l?wait=30s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    watched(&leader, 1).await;
    eager.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    release(&leader, "l", held).await;
    assert!(token(&eager.response(false).await) > held);
    assert_eq!(eager.response(false).await.text(), r#"{"status":"ok"}"#);
}

/// Between the look at the lock and the command, another has become its holder.
#[tokio::test]
async fn a_release_that_comes_too_late_releases_nobody_elses_lock() {
    let node = Node::leader().await;
    let key = Bytes::from_static(b"\0lock/l");
    let command = |op: Op| Command::new(Body::Txn(Txn { then: vec![op], ..Txn::default() }));
    let range = KeyRange::One(key.clone());
    let lost = command(Op::Delete(Delete { range, previous: false }));
    let taken = command(Op::Put(Put::new(key, Bytes::from_static(b"another"))));
    let first = acquire(&node, "/lock/l").await;
    node.next_write(Turn::Meanwhile(vec![lost.clone(), taken.clone()]));
    release(&node, "l", first).await.assert_problem(409, "lock_lost");
    assert_eq!(node.get("/lock/l").await.json()["note"], "another");
    // The same of who tries to acquire: free at the look, held at the command.
    node.next_write(Turn::Meanwhile(vec![lost]));
    let second = acquire(&node, "/lock/l").await;
    assert_eq!(release(&node, "l", second).await.status, 200);
    node.next_write(Turn::Meanwhile(vec![taken]));
    let refused = node.post("/lock/l?wait=100ms", "").await.assert_problem(409, "lock_held");
    assert_eq!(refused["holder"]["note"], "another");
    assert_eq!(node.executed(), 5, "one attempt, and then it waited");
}

/// Over HTTP/2, other requests share the connection of one that waits.
#[tokio::test]
async fn a_waiting_request_does_not_hold_up_its_connection() {
    let node = Node::leader().await;
    let held = acquire(&node, "/lock/l").await;
    let stream = TcpStream::connect(&node.address).await.unwrap();
    let (sender, connection) = http2::handshake(TaskExecutor, TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = |method: &str, path: &str| {
        let uri = format!("http://{}{path}", node.address);
        Request::builder().method(method).uri(uri).body(Full::<Bytes>::default()).unwrap()
    };
    let mut first = sender.clone();
    let waiter = tokio::spawn(first.send_request(request("POST", "/lock/l?wait=30s")));
    watched(&node, 1).await;
    for _ in 0..3 {
        let mut other = sender.clone();
        let answer = patient(other.send_request(request("GET", "/livez"))).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    // Giving up is noticed, too.
    waiter.abort();
    watched(&node, 0).await;
    assert_eq!(release(&node, "l", held).await.status, 200);
}

#[tokio::test]
async fn waiters_are_bounded() {
    let limits = Limits { lock_waiters: 2, ..Limits::default() };
    let node = Node::leader_with(limits).await;
    for lock in ["l", "m"] {
        acquire(&node, &format!("/lock/{lock}")).await;
    }
    let waiting = [beside(&node, "/lock/l?wait=3s", &[]), beside(&node, "/lock/m?wait=3s", &[])];
    watched(&node, 2).await;
    let refused = node.post("/lock/l?wait=1s", "").await;
    refused.assert_problem(429, "too_many_waiters");
    assert_eq!(refused.header("retry-after"), Some("1"));
    // Who does not wait is not refused, and writes go on.
    node.post("/lock/l", "").await.assert_problem(409, "lock_held");
    assert_eq!(node.call("PUT", "/key/a", "v").await.status, 201);
    for waiter in waiting {
        patient(waiter).await.unwrap().assert_problem(409, "lock_held");
    }
    watched(&node, 0).await;
    node.post("/lock/l?wait=10ms", "").await.assert_problem(409, "lock_held");
}

#[tokio::test]
async fn a_repeat_under_an_idempotency_key_gets_the_same_token() {
    let node = Node::leader().await;
    let held = acquire(&node, "/lock/l").await;
    let key = [("idempotency-key", "k-1")];
    // In vain: that is not remembered.
    let refused = node.call_with("POST", "/lock/l", &key, "").await;
    refused.assert_problem(409, "lock_held");
    release(&node, "l", held).await;
    let first = node.call_with("POST", "/lock/l", &key, "").await;
    // It does not wait for itself, even while others wait.
    let again = node.call_with("POST", "/lock/l?wait=10s", &key, "").await;
    assert_eq!((first.status, first.text()), (200, again.text()));
    let other = beside(&node, "/lock/l?wait=30s", &[]);
    watched(&node, 1).await;
    let again = node.call_with("POST", "/lock/l?wait=10s", &key, "").await;
    assert_eq!((first.status, first.text()), (200, again.text()));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    node.call_with("POST", "/lock/m", &key, "").await.assert_problem(422, "idempotency_mismatch");
    let release_key = [("idempotency-key", "k-2")];
    let path = format!("/lock/l?token={}", token(&first));
    let released = node.call_with("DELETE", &path, &release_key, "").await;
    let taken = token(&patient(other).await.unwrap());
    let again = node.call_with("DELETE", &path, &release_key, "").await;
    assert_eq!((released.status, released.text()), (200, again.text()));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    // The late repeat has not taken the lock away from its new holder.
    assert_eq!(node.get("/lock/l").await.json()["token"], taken);
    let late = node.call_with("POST", "/lock/l", &key, "").await;
    assert_eq!(token(&late), token(&first), "what was once acquired is answered, held or not");
    assert_eq!(node.get("/lock/l").await.json()["token"], taken);
}

#[tokio::test]
async fn an_unknown_outcome_is_not_tried_again() {
    let node = Node::leader().await;
    node.next_write(Turn::ApplyUnknown);
    let unknown = node.post("/lock/l?wait=1s", "").await.assert_problem(504, "outcome_unknown");
    assert_eq!(unknown["applied"], "unknown");
    assert_eq!(node.executed(), 1);
    assert_eq!(node.get("/lock/l").await.status, 200, "it was acquired; it will expire");
    node.next_write(Turn::Fail(ExecuteError::Overloaded));
    assert_eq!(node.post("/lock/m", "").await.assert_problem(429, "overloaded")["applied"], "no");
}

#[tokio::test]
async fn a_waiter_follows_the_leadership() {
    let store = SharedStore::default();
    let old = Node::start("app1", 1, store.clone(), Limits::default()).await;
    let new = Node::start("app2", 2, store, Limits::default()).await;
    new.follow(Some(old.me()));
    let held = acquire(&new, "/lock/l").await;
    assert_eq!(new.executed(), 0, "forwarded");
    let waiters = [beside(&new, "/lock/l?wait=30s", &[]), beside(&old, "/lock/l?wait=30s", &[])];
    watched(&old, 1).await;
    old.follow(Some(new.me()));
    new.lead();
    watched(&new, 1).await;
    let mut held = held;
    for _ in &waiters {
        release(&old, "l", held).await;
        let next = async {
            loop {
                let seen = new.get("/lock/l").await;
                match seen.json()["token"].as_u64() {
                    Some(next) if next != held => return next,
                    _ => {}
                }
            }
        };
        held = patient(next).await;
    }
    let tokens: Vec<u64> = {
        let mut tokens = Vec::new();
        for waiter in waiters {
            tokens.push(token(&patient(waiter).await.unwrap()));
        }
        tokens
    };
    assert_ne!(tokens[0], tokens[1]);
    assert!(tokens.contains(&held));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_about_a_lock_is_told() {
    let node = Node::leader().await;
    let long = format!("/lock/{}", "n".repeat(1025));
    for (method, path, status, code) in [
        ("POST", "/lock/", 404, "unknown_path"),
        ("GET", long.as_str(), 400, "invalid_lock_name"),
        ("GET", "/lock/%zz", 400, "bad_percent_encoding"),
        ("POST", "/lock/l?ttl=x", 400, "invalid_parameter"),
        ("POST", "/lock/l?wait=61s", 400, "invalid_parameter"),
        ("POST", "/lock/l?wat=1s", 400, "unknown_parameter"),
        ("DELETE", "/lock/l", 400, "missing_parameter"),
        ("DELETE", "/lock/l?token=x", 400, "invalid_parameter"),
        ("DELETE", "/lock/l?token=5", 409, "lock_lost"),
        ("GET", "/lock/l?x", 400, "unknown_parameter"),
        ("PUT", "/lock/l", 405, "method_not_allowed"),
        ("GET", "/lock", 404, "unknown_path"),
    ] {
        node.call(method, path, "").await.assert_problem(status, code);
    }
    let long = "n".repeat(1025);
    node.post("/lock/l", long.clone()).await.assert_problem(413, "value_too_large");
    node.call_with("POST", "/lock/l", &[("if-match", "*")], "")
        .await
        .assert_problem(400, "invalid_condition");
    assert_eq!(node.post("/lock/l", long[1..].to_owned()).await.status, 200);
    assert_eq!(
        node.call("OPTIONS", "/lock/l", "").await.header("allow"),
        Some("GET, HEAD, POST, DELETE, OPTIONS")
    );
    node.call("PUT", "/key/%00lock/bare", &b"\xff"[..]).await;
    let bare = node.get("/lock/bare").await.json();
    assert_eq!((&bare["note_base64"], &bare["remaining"]), (&json!("/w=="), &Value::Null));
    let token = bare["token"].as_u64().unwrap();
    assert_eq!(release(&node, "bare", token).await.status, 200);
    node.get("/key/%00lock/bare").await.assert_problem(404, "key_not_found");
}

/// Many at once, each holding the lock for a moment: never two.
#[tokio::test(flavor = "multi_thread")]
async fn contenders_exclude_each_other() {
    let node = Arc::new(Node::leader().await);
    let contenders: Vec<_> = (0..16)
        .map(|_| {
            let node = Arc::clone(&node);
            tokio::spawn(async move {
                let mut tokens = Vec::new();
                for _ in 0..5 {
                    let token = acquire(&node, "/lock/l?wait=60s").await;
                    let fence = format!("l={token}");
                    // A read and a write that only a holder may do.
                    let counter = node.get("/key/n?raw").await;
                    let before: u64 =
                        if counter.status == 404 { 0 } else { counter.text().parse().unwrap() };
                    let after = (before + 1).to_string();
                    let put =
                        node.call_with("PUT", "/key/n", &[("kvorum-fence", &fence)], after).await;
                    assert_eq!(put.status / 100, 2, "{}", put.text());
                    assert_eq!(release(&node, "l", token).await.status, 200);
                    tokens.push(token);
                }
                tokens
            })
        })
        .collect();
    let mut tokens = Vec::new();
    for contender in contenders {
        tokens.extend(patient(contender).await.unwrap());
    }
    assert_eq!(node.get("/key/n?raw").await.text(), "80", "no increment was lost");
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 80);
}
