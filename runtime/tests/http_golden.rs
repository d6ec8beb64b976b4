//! The golden transcript of the HTTP API, as far as its endpoints exist.
#![cfg(not(madsim))]

mod http_support;

use http_support::Node;
use serde_json::json;

#[tokio::test]
async fn the_transcript_of_the_design_goes_as_written() {
    let node = Node::leader().await;

    let set = node.post("/key", r#"{"key1":"value1"}"#).await;
    assert_eq!((set.status, set.text()), (200, r#"{"key1":"value1"}"#));
    assert_eq!(set.header("etag"), Some("\"2\""), "the first write of an empty store, as in etcd");
    let got = node.get("/key/key1").await;
    assert_eq!((got.status, got.text()), (200, r#"{"key1":"value1"}"#));
    assert_eq!(got.header("etag"), Some("\"2\""));
    assert_eq!(got.header("content-type"), Some("application/json"));

    let set = node.post("/key", r#"{"key1":"value2"}"#).await;
    assert_eq!((set.status, set.text()), (200, r#"{"key1":"value2"}"#));
    assert_eq!(set.header("etag"), Some("\"3\""));

    let exists =
        node.post("/key?create", r#"{"key1":"x"}"#).await.assert_problem(409, "key_exists");
    assert_eq!(exists["message"], "key key1 already exists");
    assert_eq!(exists["applied"], "no");

    let stale = node.call_with("PUT", "/key/key1", &[("if-match", "\"2\"")], "x").await;
    assert_eq!(stale.header("etag"), Some("\"3\""));
    let stale = stale.assert_problem(412, "precondition_failed");
    assert_eq!(stale["current"]["mod_revision"], 3);
    assert_eq!(stale["current"]["value"], "value2");

    let deleted = node.call("DELETE", "/key/key1", "").await;
    assert_eq!(
        (deleted.status, deleted.text()),
        (200, r#"{"message":"key deleted successfully"}"#)
    );
    let missing = node.get("/key/key1").await.assert_problem(404, "key_not_found");
    assert_eq!(missing["message"], "key 'key1' not found");
    node.call("DELETE", "/key/key1", "").await.assert_problem(404, "key_not_found");

    assert_eq!(node.post("/key", r#"{"a":"1","b":"2"}"#).await.status, 200);
    let (a, b) = (node.get("/key/a?meta").await.json(), node.get("/key/b?meta").await.json());
    assert_eq!(a["mod_revision"], b["mod_revision"]);
    assert_eq!((&a["key"], &a["value"], &a["version"]), (&json!("a"), &json!("1"), &json!(1)));

    assert_eq!(node.post("/key", r#"{"a":1,"o":{"x":[true]}}"#).await.status, 200);
    assert_eq!(node.get("/key/o").await.text(), r#"{"o":{"x":[true]}}"#);
    node.post("/key", r#"{"a":"1","a":"2"}"#).await.assert_problem(400, "duplicate_key");
    let nothing = node.post("/key", "{}").await.assert_problem(400, "no_data");
    assert_eq!(nothing["message"], "no data provided");
    let garbage = node.post("/key", "not json").await.assert_problem(400, "invalid_json");
    assert_eq!(garbage["message"], "request is not a valid json");
    node.post("/key", r#"{"a":null}"#).await.assert_problem(400, "invalid_value");

    let curl = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(node.call_with("POST", "/key", &curl, r#"{"c":"d"}"#).await.status, 200);

    let bytes: &[u8] = &[0x80, 0xff, 0x00];
    assert_eq!(node.call("PUT", "/key/bin", bytes).await.status, 201);
    node.get("/key/bin").await.assert_problem(406, "not_text");
    let raw = node.get("/key/bin?raw").await;
    assert_eq!((raw.status, &raw.body[..]), (200, bytes));
    assert_eq!(raw.header("content-type"), Some("application/octet-stream"));
    assert_eq!(raw.header("x-content-type-options"), Some("nosniff"));
}
