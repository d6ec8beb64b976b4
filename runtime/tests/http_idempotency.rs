//! `Idempotency-Key`: a request takes effect once, however often it is sent.
#![cfg(not(madsim))]

mod http_support;

use http_support::{Node, Res, SharedStore, Turn};
use kvorum_runtime::config::Limits;

async fn keyed(node: &Node, method: &str, path: &str, key: &str, body: &'static str) -> Res {
    node.call_with(method, path, &[("idempotency-key", key)], body).await
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_changes_nothing() {
    let node = Node::leader().await;
    for (method, path, body) in
        [("POST", "/key", r#"{"a":"1","b":"2"}"#), ("PUT", "/key/c", "3"), ("DELETE", "/key/a", "")]
    {
        let key = format!("\"{method}-1\"");
        let first = keyed(&node, method, path, &key, body).await;
        assert_eq!(first.header("idempotency-replayed"), None);
        let state = node.get("/key/b?meta").await;
        let again = keyed(&node, method, path, &key, body).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{method}");
        assert_eq!((again.status, &again.body), (first.status, &first.body));
        for name in ["etag", "kvorum-revision", "content-type"] {
            assert_eq!(again.header(name), first.header(name), "{name} of {method}");
        }
        assert_eq!(node.get("/key/b?meta").await.body, state.body);
    }
}

#[tokio::test]
async fn whitespace_makes_no_other_request_but_everything_else_does() {
    let node = Node::leader().await;
    assert_eq!(keyed(&node, "POST", "/key", "k", r#"{"a":"1"}"#).await.status, 200);
    let again = keyed(&node, "POST", "/key?timeout=9s", "k", " { \"a\" : \"1\" } ").await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let others = [
        ("POST", "/key", r#"{"a":"2"}"#),
        ("POST", "/key", r#"{"b":"1"}"#),
        ("POST", "/key?create", r#"{"a":"1"}"#),
        ("PUT", "/key/a", "1"),
        ("DELETE", "/key/a", ""),
    ];
    for (method, path, body) in others {
        let problem = keyed(&node, method, path, "k", body).await;
        assert_eq!(problem.assert_problem(422, "idempotency_mismatch")["applied"], "no");
    }
    assert_eq!(node.get("/key/a").await.header("etag"), Some("\"2\""));
}

#[tokio::test]
async fn what_was_not_found_or_not_met_is_an_outcome_too() {
    let node = Node::leader().await;
    keyed(&node, "DELETE", "/key/a", "k", "").await.assert_problem(404, "key_not_found");
    let create = [("idempotency-key", "l"), ("if-match", "*")];
    let failed = node.call_with("PUT", "/key/a", &create, "1").await;
    failed.assert_problem(412, "precondition_failed");
    node.call("PUT", "/key/a", "1").await;
    let again = keyed(&node, "DELETE", "/key/a", "k", "").await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    again.assert_problem(404, "key_not_found");
    let again = node.call_with("PUT", "/key/a", &create, "1").await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert!(again.assert_problem(412, "precondition_failed")["current"].is_null());
    assert_eq!(node.get("/key/a").await.text(), r#"{"a":"1"}"#);
}

#[tokio::test]
async fn a_repeat_after_an_unknown_outcome_is_safe_on_any_node() {
    let store = SharedStore::default();
    let leader = Node::start("app1", 1, store.clone(), Limits::default()).await;
    let follower = Node::start("app2", 2, store, Limits::default()).await;
    follower.follow(Some(leader.me()));
    leader.next_write(Turn::ApplyUnknown);
    let problem = keyed(&leader, "PUT", "/key/a", "k", "v").await;
    let problem = problem.assert_problem(504, "outcome_unknown");
    assert!(problem["hint"].as_str().unwrap().contains("Idempotency-Key"));
    let again = keyed(&follower, "PUT", "/key/a", "k", "v").await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, Some("true")));
    assert_eq!(again.json()["version"], 1);
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_refused() {
    let node = Node::leader().await;
    for key in ["", "a b", "\u{e9}", &"k".repeat(129)] {
        let problem = node.call_with("PUT", "/key/a", &[("idempotency-key", key)], "v").await;
        problem.assert_problem(400, "invalid_idempotency_key");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    let problem = node.call_with("PUT", "/key/a", &twice, "v").await;
    problem.assert_problem(400, "invalid_idempotency_key");
    assert_eq!(keyed(&node, "PUT", "/key/a", &"k".repeat(128), "v").await.status, 201);
}

#[tokio::test]
async fn an_answer_too_large_to_keep_is_not_made_up() {
    let node = Node::leader().await;
    node.call("PUT", "/key/large", "x".repeat(70_000)).await;
    let key = [("idempotency-key", "k1")];
    let txn = r#"{"then":[{"put":{"key":"large","value":"small","previous":true}}]}"#;
    let first = node.call_with("POST", "/txn", &key, txn).await;
    assert_eq!(first.status, 200);
    let again = node.call_with("POST", "/txn", &key, txn).await;
    let problem = again.assert_problem(409, "reply_not_kept");
    assert_eq!(problem["applied"], "yes");
    assert_eq!(node.get("/key/large?meta").await.json()["version"], 2);
}
