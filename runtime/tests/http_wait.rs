//! Long polls, and reads that must have reached a revision.
#![cfg(not(madsim))]

mod http_support;

use http_support::{Node, Res, patient};
use kvorum_runtime::config::Limits;
use std::{sync::Arc, time::Duration};

async fn put(node: &Node, key: &str, value: &'static str) {
    let put = node.call("PUT", &format!("/key/{key}"), value).await;
    assert!(matches!(put.status, 200 | 201));
}

/// Asks, lets `act` happen while the answer waits, and returns the answer.
async fn while_waiting<F: Future>(
    node: &Arc<Node>,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    act: F,
) -> Res {
    let asking = Arc::clone(node);
    let answer = tokio::spawn(async move { asking.call_with("GET", path, headers, "").await });
    patient(async {
        while node.hub.watchers() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert!(!answer.is_finished(), "answered at once");
    act.await;
    patient(answer).await.unwrap()
}

#[tokio::test]
async fn the_answer_comes_with_the_change() {
    let node = Arc::new(Node::leader().await);
    put(&node, "a", "1").await;
    const NEWS: [(&str, &str); 1] = [("if-none-match", "\"2\"")];
    let change = async {
        put(&node, "b", "other").await;
        put(&node, "a", "2").await;
    };
    let answer = while_waiting(&node, "/key/a?wait=20s", &NEWS, change).await;
    assert_eq!((answer.status, answer.text()), (200, r#"{"a":"2"}"#));
    assert_eq!(answer.header("etag"), Some("\"4\""));
    let since = while_waiting(&node, "/key/a?wait=20s&since=4", &[], async {
        node.call("DELETE", "/key/a", "").await;
    });
    since.await.assert_problem(404, "key_not_found");
    let born = while_waiting(&node, "/key/new?wait=20s&since=5", &[], put(&node, "new", "x"));
    assert_eq!(born.await.text(), r#"{"new":"x"}"#);
    const PREFER: [(&str, &str); 2] = [("if-none-match", "\"6\""), ("prefer", "wait=20")];
    let preferred = while_waiting(&node, "/key/new", &PREFER, put(&node, "new", "y"));
    assert_eq!(preferred.await.text(), r#"{"new":"y"}"#);
}

#[tokio::test]
async fn what_has_changed_already_is_not_waited_for() {
    let node = Node::leader().await;
    put(&node, "a", "1").await;
    put(&node, "a", "2").await;
    let known = [("if-none-match", "\"2\"")];
    let answer = node.call_with("GET", "/key/a?wait=20s", &known, "").await;
    assert_eq!(answer.text(), r#"{"a":"2"}"#);
    assert_eq!(node.get("/key/a?wait=20s&since=2").await.status, 200);
    node.call("DELETE", "/key/a", "").await;
    node.get("/key/a?wait=20s&since=3").await.assert_problem(404, "key_not_found");
}

#[tokio::test]
async fn without_a_change_the_answer_is_304() {
    let node = Node::leader().await;
    put(&node, "a", "1").await;
    for path in ["/key/a?wait=20ms&since=2", "/key/a?since=2", "/key/none?wait=20ms&since=2"] {
        let answer = node.get(path).await;
        assert_eq!((answer.status, answer.text()), (304, ""), "{path}");
    }
    let known = [("if-none-match", "\"2\"")];
    assert_eq!(node.call_with("GET", "/key/a?wait=20ms", &known, "").await.status, 304);
    assert_eq!(node.hub.watchers(), 0);
}

#[tokio::test]
async fn a_wait_says_from_where_on() {
    let node = Node::leader().await;
    for path in
        ["/key/a?wait=5s", "/key/a?wait=x&since=1", "/key/a?wait=2h&since=1", "/key/a?since=1&at=1"]
    {
        node.get(path).await.assert_problem(400, "invalid_parameter");
    }
    let both = [("if-none-match", "\"1\"")];
    let both = node.call_with("GET", "/key/a?since=1", &both, "").await;
    both.assert_problem(400, "invalid_parameter");
    let full = Node::leader_with(Limits { watches: 0, ..Limits::default() }).await;
    full.get("/key/a?wait=5s&since=1").await.assert_problem(429, "too_many_watches");
}

#[tokio::test]
async fn a_read_waits_for_the_revision_the_client_knows() {
    let node = Arc::new(Node::leader().await);
    put(&node, "a", "1").await;
    let two = [("kvorum-min-revision", "2")];
    assert_eq!(node.call_with("GET", "/key/a", &two, "").await.status, 200);
    assert_eq!(node.call_with("GET", "/keys?consistency=stale", &two, "").await.status, 200);
    let asking = Arc::clone(&node);
    let answer = tokio::spawn(async move {
        let three = [("kvorum-min-revision", "3")];
        asking.call_with("GET", "/key/a?consistency=stale", &three, "").await
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!answer.is_finished());
    put(&node, "a", "2").await;
    assert_eq!(patient(answer).await.unwrap().text(), r#"{"a":"2"}"#);
    let ahead = [("kvorum-min-revision", "9")];
    let late = node.call_with("GET", "/keys?timeout=30ms", &ahead, "").await;
    late.assert_problem(504, "revision_not_reached");
    let bad = [("kvorum-min-revision", "x")];
    let bad = node.call_with("GET", "/key/a", &bad, "").await;
    bad.assert_problem(400, "invalid_condition");
}
