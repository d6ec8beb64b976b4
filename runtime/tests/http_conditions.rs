//! Conditional requests.
#![cfg(not(madsim))]

mod http_support;

use http_support::Node;
use kvorum_runtime::config::Limits;
use serde_json::json;

async fn with(
    node: &Node,
    method: &str,
    path: &str,
    name: &str,
    value: &str,
    body: &'static str,
) -> http_support::Res {
    node.call_with(method, path, &[(name, value)], body).await
}

#[tokio::test]
async fn if_none_match_star_creates_only() {
    let node = Node::leader().await;
    assert_eq!(with(&node, "PUT", "/key/a", "if-none-match", "*", "1").await.status, 201);
    let failed = with(&node, "PUT", "/key/a", "if-none-match", "*", "2").await;
    assert_eq!(failed.header("etag"), Some("\"2\""));
    let problem = failed.assert_problem(412, "precondition_failed");
    assert_eq!(problem["current"]["value"], "1");
    assert_eq!(problem["applied"], "no");
    assert_eq!(node.get("/key/a").await.text(), r#"{"a":"1"}"#);
}

#[tokio::test]
async fn if_match_replaces_exactly_the_version_seen() {
    let node = Node::leader().await;
    node.call("PUT", "/key/a", "1").await;
    for etag in ["\"2\"", "2", " \"2\" "] {
        node.call("PUT", "/key/a", "0").await;
        with(&node, "PUT", "/key/a", "if-match", etag, "x")
            .await
            .assert_problem(412, "precondition_failed");
    }
    let seen = node.get("/key/a").await.header("etag").unwrap().to_owned();
    let put = with(&node, "PUT", "/key/a", "if-match", &seen, "new").await;
    assert_eq!(put.status, 200);
    let deleted = with(&node, "DELETE", "/key/a", "if-match", &seen, "").await;
    deleted.assert_problem(412, "precondition_failed");
    let now = put.header("etag").unwrap();
    assert_eq!(with(&node, "DELETE", "/key/a", "if-match", now, "").await.status, 200);
    let problem = with(&node, "DELETE", "/key/a", "if-match", now, "").await;
    assert!(problem.header("etag").is_none());
    let problem = problem.assert_problem(412, "precondition_failed");
    assert!(problem["current"].is_null(), "{problem}");
}

#[tokio::test]
async fn if_match_star_wants_the_key_to_exist() {
    let node = Node::leader().await;
    with(&node, "PUT", "/key/a", "if-match", "*", "1")
        .await
        .assert_problem(412, "precondition_failed");
    node.call("PUT", "/key/a", "1").await;
    assert_eq!(with(&node, "PUT", "/key/a", "if-match", "*", "2").await.status, 200);
}

#[tokio::test]
async fn if_none_match_of_revisions_refuses_those() {
    let node = Node::leader().await;
    node.call("PUT", "/key/a", "1").await;
    for tags in ["\"2\"", "\"9\", W/\"2\""] {
        with(&node, "PUT", "/key/a", "if-none-match", tags, "x")
            .await
            .assert_problem(412, "precondition_failed");
    }
    assert_eq!(with(&node, "PUT", "/key/a", "if-none-match", "\"9\"", "2").await.status, 200);
    assert_eq!(with(&node, "PUT", "/key/new", "if-none-match", "\"9\"", "2").await.status, 201);
}

#[tokio::test]
async fn a_condition_holds_for_every_key_of_a_post_or_nothing_is_written() {
    let node = Node::leader().await;
    node.post("/key", r#"{"a":"1"}"#).await;
    let failed = with(&node, "POST", "/key", "if-none-match", "*", r#"{"b":"2","a":"2"}"#).await;
    let problem = failed.assert_problem(412, "precondition_failed");
    assert_eq!(problem["current"][0]["key"], "b");
    assert_eq!(problem["current"][0]["exists"], false);
    assert_eq!(problem["current"][1]["mod_revision"], 2);
    assert!(problem["current"][1].get("value").is_none(), "many values could outgrow any limit");
    node.get("/key/b").await.assert_problem(404, "key_not_found");
    let both = node.post("/key", r#"{"a":"3","b":"3"}"#).await;
    let etag = both.header("etag").unwrap();
    let again = with(&node, "POST", "/key", "if-match", etag, r#"{"a":"4","b":"4"}"#).await;
    assert_eq!(again.status, 200);
}

#[tokio::test]
async fn create_names_the_first_key_that_exists() {
    let node = Node::leader().await;
    assert_eq!(node.post("/key?create", r#"{"a":"1"}"#).await.status, 200);
    let problem = node
        .post("/key?create", r#"{"b":"1","a":"2","c":"3"}"#)
        .await
        .assert_problem(409, "key_exists");
    assert_eq!(problem["message"], "key a already exists");
    node.get("/key/b").await.assert_problem(404, "key_not_found");
    assert_eq!(problem["current"][1].get("value"), None, "values of many could be too many");
    let one = node.post("/key?create", r#"{"a":"2"}"#).await.assert_problem(409, "key_exists");
    assert_eq!((&one["current"]["value"], &one["current"]["version"]), (&json!("1"), &json!(1)));
    assert_eq!(node.post("/key?create=false", r#"{"a":"2"}"#).await.status, 200);
    node.post("/key?create=maybe", r#"{"a":"2"}"#).await.assert_problem(400, "invalid_parameter");
}

#[tokio::test]
async fn a_reader_that_has_the_value_is_told_so() {
    let node = Node::leader().await;
    node.call("PUT", "/key/a", "1").await;
    for tags in ["\"2\"", "*", "W/\"2\"", "\"7\", \"2\""] {
        for method in ["GET", "HEAD"] {
            let answer = with(&node, method, "/key/a", "if-none-match", tags, "").await;
            assert_eq!((answer.status, answer.body.len()), (304, 0), "{method} {tags}");
            assert_eq!(answer.header("etag"), Some("\"2\""));
            assert_eq!(answer.header("kvorum-revision"), Some("2"));
        }
    }
    assert_eq!(with(&node, "GET", "/key/a", "if-none-match", "\"3\"", "").await.status, 200);
    with(&node, "GET", "/key/b", "if-none-match", "*", "")
        .await
        .assert_problem(404, "key_not_found");
    with(&node, "GET", "/key/a", "if-match", "\"3\"", "")
        .await
        .assert_problem(412, "precondition_failed");
    assert_eq!(with(&node, "GET", "/key/a", "if-match", "\"3\", \"2\"", "").await.status, 200);
}

#[tokio::test]
async fn conditions_that_cannot_be_understood_are_refused() {
    let node = Node::leader().await;
    let bad = [
        ("if-match", "\"0\""),
        ("if-match", "\"abc\""),
        ("if-match", ""),
        ("if-match", "*, \"2\""),
        ("if-match", "\"2\", \"3\""),
        ("if-match", "W/\"2\""),
        ("if-none-match", "\"-1\""),
        ("if-unmodified-since", "Sat, 29 Oct 1994 19:43:31 GMT"),
    ];
    for (name, value) in bad {
        let problem = with(&node, "PUT", "/key/a", name, value, "1").await;
        problem.assert_problem(400, "invalid_condition");
    }
    assert_eq!(node.executed(), 0);
}

#[tokio::test]
async fn promises_that_cannot_be_kept_are_not_made() {
    let node = Node::leader().await;
    for (method, path) in [("POST", "/lease"), ("DELETE", "/lease/5"), ("POST", "/lock/l")] {
        let refused = with(&node, method, path, "if-match", "\"2\"", r#"{"ttl":"3s"}"#).await;
        refused.assert_problem(400, "invalid_condition");
    }
    assert_eq!(node.executed(), 0);
}

#[tokio::test]
async fn a_server_may_insist_on_conditions() {
    let limits = Limits { require_condition: true, ..Limits::default() };
    let node = Node::leader_with(limits).await;
    for (method, path) in [("POST", "/key"), ("PUT", "/key/a"), ("DELETE", "/key/a")] {
        let refused = node.call(method, path, r#"{"a":1}"#).await;
        let problem = refused.assert_problem(428, "condition_required");
        assert_eq!(problem["applied"], "no");
    }
    assert_eq!(node.executed(), 0);
    assert_eq!(node.post("/key?create", r#"{"a":1}"#).await.status, 200);
    let any = [("if-match", "*")];
    assert_eq!(node.call_with("PUT", "/key/a", &any, "2").await.status, 200);
    assert_eq!(node.get("/key/a").await.status, 200);
    // What says itself what it expects, and what cannot.
    assert_eq!(node.post("/txn", r#"{"then":[{"delete":{"key":"a"}}]}"#).await.status, 200);
    assert_eq!(node.call("DELETE", "/keys?all=true", "").await.status, 200);
}

#[tokio::test]
async fn a_number_is_digits_and_is_given_once() {
    let node = Node::leader().await;
    for revision in ["+1", "-1", "0x1", "1.0", "", "18446744073709551616"] {
        let headers = [("kvorum-min-revision", revision)];
        let answer = node.call_with("GET", "/key/a", &headers, "").await;
        answer.assert_problem(400, "invalid_condition");
    }
    let twice = [("kvorum-min-revision", "1"), ("kvorum-min-revision", "2")];
    let answer = node.call_with("GET", "/key/a", &twice, "").await;
    answer.assert_problem(400, "invalid_condition");
    node.get("/key/a?at=%2B1").await.assert_problem(400, "invalid_parameter");
    let plus = [("if-match", "\"+1\"")];
    let answer = node.call_with("GET", "/key/a", &plus, "").await;
    answer.assert_problem(400, "invalid_condition");
}
