//! Bodies in and values out: JSON, text, bytes.
#![cfg(not(madsim))]

mod http_support;

use http_support::{Node, patient};
use kvorum_runtime::config::Limits;
use serde_json::json;

async fn echo(node: &Node, body: &str) -> String {
    let answer = node.post("/key", body.to_owned()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.text().to_owned()
}

#[tokio::test]
async fn the_echo_is_compact_and_in_the_clients_order() {
    let node = Node::leader().await;
    let sent = " { \"z\" : \"1\" ,\n\t\"a\" : [ 1 , { \"y\" : null , \"x\" : \"a b\" } ] } ";
    assert_eq!(echo(&node, sent).await, r#"{"z":"1","a":[1,{"y":null,"x":"a b"}]}"#);
    assert_eq!(node.get("/key/a").await.text(), r#"{"a":[1,{"y":null,"x":"a b"}]}"#);
}

#[tokio::test]
async fn the_text_of_numbers_survives() {
    let node = Node::leader().await;
    for number in ["5", "1.0", "1e3", "-0", "0.1000", "123456789012345678901234567890", "1E+400"] {
        let body = format!(r#"{{"n":{number}}}"#);
        assert_eq!(echo(&node, &body).await, body);
        assert_eq!(node.get("/key/n").await.text(), body);
        let raw = node.get("/key/n?raw").await;
        assert_eq!(raw.text(), number);
        assert_eq!(raw.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn strings_are_stored_as_their_text() {
    let node = Node::leader().await;
    let body = r#"{"s":"a\u00e9\ud83d\ude00\n\"\\/\u0000"}"#;
    assert_eq!(node.post("/key", body).await.status, 200);
    assert_eq!(node.get("/key/s?raw").await.text(), "a\u{e9}\u{1f600}\n\"\\/\0");
    assert_eq!(node.get("/key/s").await.json()["s"], "a\u{e9}\u{1f600}\n\"\\/\0");
    assert_eq!(node.get("/key/s").await.text(), "{\"s\":\"a\u{e9}\u{1f600}\\n\\\"\\\\/\\u0000\"}");
}

#[tokio::test]
async fn what_is_no_json_object_is_refused_with_the_words_of_the_original() {
    let node = Node::leader().await;
    let bodies: [&[u8]; 14] = [
        b"not json",
        b"{",
        b"[]",
        b"\"a\"",
        b"5",
        b"null",
        b"{\"a\":1}x",
        b"{\"a\":1,}",
        b"{'a':1}",
        b"{\"a\":01}",
        b"{\"a\":NaN}",
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\\ud800\"}",
        b"\xef\xbb\xbf{\"a\":1}",
    ];
    for body in bodies {
        let problem = node.call("POST", "/key", body).await.assert_problem(400, "invalid_json");
        assert_eq!(problem["message"], "request is not a valid json");
        assert_eq!(problem["applied"], "no");
    }
    let problem = node.post("/key", "").await.assert_problem(400, "empty_body");
    assert_eq!(problem["message"], "request is not a valid json");
    for body in ["{}", " { } "] {
        let problem = node.post("/key", body).await.assert_problem(400, "no_data");
        assert_eq!(problem["message"], "no data provided");
    }
    assert_eq!(node.executed(), 0, "mistakes are told before anything is proposed");
}

#[tokio::test]
async fn duplicate_members_are_refused_at_every_level() {
    let node = Node::leader().await;
    for body in [
        r#"{"a":"1","a":"2"}"#,
        r#"{"a":"1","\u0061":"2"}"#,
        r#"{"a":{"b":1,"b":2}}"#,
        r#"{"a":[{"x":{"b":1,"c":2,"b":3}}]}"#,
    ] {
        node.post("/key", body).await.assert_problem(400, "duplicate_key");
    }
    let same_name_elsewhere = r#"{"a":{"b":{"b":1}},"b":["b","b"]}"#;
    assert_eq!(echo(&node, same_name_elsewhere).await, same_name_elsewhere);
}

#[tokio::test]
async fn null_is_no_value() {
    let node = Node::leader().await;
    let problem =
        node.post("/key", r#"{"ok":1,"a":null}"#).await.assert_problem(400, "invalid_value");
    assert!(problem["hint"].as_str().unwrap().contains("DELETE"));
    node.get("/key/ok").await.assert_problem(404, "key_not_found");
    let json = [("content-type", "application/json")];
    node.call_with("PUT", "/key/a", &json, "null").await.assert_problem(400, "invalid_value");
}

#[tokio::test]
async fn json_may_nest_64_deep_and_a_bomb_does_no_harm() {
    let node = Node::leader().await;
    let nested = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert_eq!(echo(&node, &nested(63)).await, nested(63));
    node.post("/key", nested(64)).await.assert_problem(400, "json_too_deep");
    node.post("/key", nested(900_000)).await.assert_problem(400, "json_too_deep");
    node.post("/key", "[".repeat(2_000_000)).await.assert_problem(400, "invalid_json");
    let json = [("content-type", "application/json")];
    let array = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(node.call_with("PUT", "/key/d", &json, array(64)).await.status, 201);
    node.call_with("PUT", "/key/d", &json, array(65)).await.assert_problem(400, "json_too_deep");
}

#[tokio::test]
async fn keys_and_values_have_limits() {
    let node =
        Node::leader_with(Limits { keys_per_request: 2, value_bytes: 4, ..Limits::default() })
            .await;
    assert_eq!(echo(&node, r#"{"a":"1234","b":1234}"#).await, r#"{"a":"1234","b":1234}"#);
    node.post("/key", r#"{"a":1,"b":1,"c":1}"#).await.assert_problem(400, "too_many_keys");
    for body in [r#"{"a":"12345"}"#, r#"{"a":12345}"#] {
        let problem = node.post("/key", body).await.assert_problem(413, "value_too_large");
        assert_eq!(problem["applied"], "no");
    }
    node.call("PUT", "/key/a", "12345").await.assert_problem(413, "value_too_large");
    assert_eq!(node.call("PUT", "/key/a", "1234").await.status, 200);
}

#[tokio::test]
async fn a_thousand_keys_are_set_at_one_revision() {
    let node = Node::leader().await;
    let members: Vec<String> = (0..1024).map(|n| format!(r#""k{n}":{n}"#)).collect();
    let body = format!("{{{}}}", members.join(","));
    assert_eq!(echo(&node, &body).await, body);
    let (first, last) = (node.get("/key/k0").await, node.get("/key/k1023").await);
    assert_eq!(first.header("etag"), last.header("etag"));
    assert_eq!(node.store.lock().unwrap().commands, 1);
}

#[tokio::test]
async fn put_stores_bytes_untouched_unless_they_say_they_are_json() {
    let node = Node::leader().await;
    let created = node.call("PUT", "/key/p", " {\"a\": 1} ").await;
    assert_eq!(created.status, 201);
    assert_eq!(created.text(), r#"{"key":"p","mod_revision":2,"version":1}"#);
    assert_eq!(created.header("etag"), Some("\"2\""));
    assert_eq!(node.get("/key/p?raw").await.text(), " {\"a\": 1} ");
    assert_eq!(node.get("/key/p").await.json(), json!({"p": " {\"a\": 1} "}));

    for content_type in
        ["application/json", "Application/JSON; charset=utf-8", "application/ld+json"]
    {
        let headers = [("content-type", content_type)];
        let replaced = node.call_with("PUT", "/key/p", &headers, " {\"a\": 1.0} ").await;
        assert_eq!(replaced.status, 200);
        assert_eq!(node.get("/key/p?raw").await.text(), r#"{"a":1.0}"#);
        assert_eq!(node.get("/key/p").await.text(), r#"{"p":{"a":1.0}}"#);
        node.call_with("PUT", "/key/p", &headers, "{").await.assert_problem(400, "invalid_json");
        node.call_with("PUT", "/key/p", &headers, "").await.assert_problem(400, "empty_body");
    }
    assert_eq!(node.call("PUT", "/key/p", "").await.json()["version"], 5, "empty is a value");
    assert_eq!(node.get("/key/p").await.text(), r#"{"p":""}"#);
}

#[tokio::test]
async fn the_client_chooses_between_text_bytes_and_record() {
    let node = Node::leader().await;
    node.call("PUT", "/key/k", "v").await;
    let raw = [
        "text/plain",
        "application/octet-stream",
        "TEXT/*",
        "application/json;q=0.5, text/plain;q=0.7",
        "*/*;q=0, text/plain;q=0.001",
    ];
    for accept in raw {
        assert_eq!(node.call_with("GET", "/key/k", &[("accept", accept)], "").await.text(), "v");
    }
    let text = [
        "*/*",
        "application/json",
        "text/html,application/xhtml+xml,*/*;q=0.8",
        "text/plain;q=0.5, */*;q=0.5",
        "image/png",
        "text/plain;q=x",
        "",
    ];
    for accept in text {
        let answer = node.call_with("GET", "/key/k", &[("accept", accept)], "").await;
        assert_eq!(answer.text(), r#"{"k":"v"}"#, "Accept: {accept}");
    }
    let meta = node.get("/key/k?meta").await;
    assert_eq!(
        meta.text(),
        r#"{"key":"k","value":"v","create_revision":2,"mod_revision":2,"version":1}"#
    );
    node.post("/key", r#"{"j":{"x":1}}"#).await;
    assert_eq!(node.get("/key/j?meta").await.json()["value_json"], json!({"x": 1}));
    node.call("PUT", "/key/b", &b"\xff"[..]).await;
    assert_eq!(node.get("/key/b?meta").await.json()["value_base64"], "/w==");
}

#[tokio::test]
async fn a_client_may_be_spared_the_body() {
    let node = Node::leader().await;
    for (method, path) in [("POST", "/key"), ("PUT", "/key/a"), ("DELETE", "/key/a")] {
        let prefer = [("prefer", "respond-async, Return=Minimal")];
        let answer = node.call_with(method, path, &prefer, r#"{"a":"b"}"#).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{method}");
        assert_eq!(answer.header("preference-applied"), Some("return=minimal"));
        assert!(answer.header("kvorum-revision").is_some());
    }
}

#[tokio::test]
async fn an_old_revision_can_be_read_until_it_is_compacted() {
    let node = Node::leader().await;
    node.post("/key", r#"{"a":"1"}"#).await;
    node.post("/key", r#"{"a":"2"}"#).await;
    assert_eq!(node.get("/key/a?at=2").await.text(), r#"{"a":"1"}"#);
    node.get("/key/a?at=9").await.assert_problem(400, "future_revision");
    {
        let command = kvorum_core::kv::Command::new(kvorum_core::kv::Body::Compact { revision: 3 });
        kvorum_core::kv::apply(&mut node.store.lock().unwrap().tables, &command).unwrap();
    }
    let problem = node.get("/key/a?at=2").await.assert_problem(410, "compacted");
    assert!(problem["oldest"].is_u64(), "{problem}");
}

#[tokio::test]
async fn chunked_bodies_are_read_like_others() {
    let node = Node::leader().await;
    let mut raw = http_support::Raw::connect(&node.address).await;
    raw.send("POST /key HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for chunk in ["{\"a\"", ":", "\"b\"}"] {
        raw.send(format!("{:x}\r\n{chunk}\r\n", chunk.len())).await;
        tokio::task::yield_now().await;
    }
    raw.send("0\r\n\r\n").await;
    assert_eq!(patient(raw.response(false)).await.text(), r#"{"a":"b"}"#);
}
