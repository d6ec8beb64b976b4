//! Keys: every edge case of how a request names one.
#![cfg(not(madsim))]

mod http_support;

use http_support::{Node, Raw};
use kvorum_core::kv::{KeyRange, Query};

/// The bytes under `key` in the node's store.
fn stored(node: &Node, key: &[u8]) -> Option<Vec<u8>> {
    let query = Query::of(KeyRange::One(key.to_vec().into()));
    let store = node.store.lock().unwrap();
    let reply = kvorum_core::kv::query(&store.tables, &query).unwrap().unwrap();
    reply.items.first().map(|item| item.value.to_vec())
}

async fn put(node: &Node, path: &str, value: &'static str) {
    let put = node.call("PUT", path, value).await;
    assert!(matches!(put.status, 200 | 201), "{path}: {:?}", put.body);
}

#[tokio::test]
async fn slashes_and_empty_segments_are_part_of_the_key() {
    let node = Node::leader().await;
    put(&node, "/key/a/b/c", "1").await;
    put(&node, "/key/a//b", "2").await;
    put(&node, "/key/a/", "3").await;
    put(&node, "/key/a", "4").await;
    put(&node, "/key//", "5").await;
    let expected: [(&[u8], &[u8]); 5] =
        [(b"a/b/c", b"1"), (b"a//b", b"2"), (b"a/", b"3"), (b"a", b"4"), (b"/", b"5")];
    for (key, value) in expected {
        assert_eq!(stored(&node, key).as_deref(), Some(value), "{}", key.escape_ascii());
    }
    assert_eq!(node.get("/key/a%2Fb%2fc").await.text(), r#"{"a/b/c":"1"}"#);
}

#[tokio::test]
async fn percent_is_decoded_once_and_a_plus_is_a_plus() {
    let node = Node::leader().await;
    put(&node, "/key/a+b%20c", "1").await;
    assert_eq!(stored(&node, b"a+b c").as_deref(), Some(&b"1"[..]));
    put(&node, "/key/%2541", "2").await;
    assert_eq!(stored(&node, b"%41").as_deref(), Some(&b"2"[..]));
    for path in ["/key/%", "/key/%4", "/key/%zz", "/key/a%4g", "/key/%%41"] {
        let problem = node.get(path).await.assert_problem(400, "bad_percent_encoding");
        assert!(problem["hint"].as_str().unwrap().contains("%25"));
    }
}

#[tokio::test]
async fn any_byte_may_be_in_a_key() {
    let node = Node::leader().await;
    put(&node, "/key/%00%FF", "x").await;
    assert_eq!(stored(&node, &[0, 0xff]).as_deref(), Some(&b"x"[..]));
    node.get("/key/%00%FF").await.assert_problem(406, "not_text");
    let meta = node.get("/key/%00%FF?meta").await.json();
    assert_eq!((meta["key_base64"].as_str(), meta["value"].as_str()), (Some("AP8="), Some("x")));
    assert!(meta.get("key").is_none());
    assert_eq!(node.get("/key/%00%FF?raw").await.text(), "x");
    let gone = node.call("DELETE", "/key/%00%FF", "").await;
    assert_eq!(gone.status, 200);
    let missing = node.get("/key/%00%FF").await.assert_problem(404, "key_not_found");
    assert_eq!(missing["message"], r"key '\x00\xff' not found");
}

#[tokio::test]
async fn unicode_is_not_normalised_and_may_come_as_it_is() {
    let node = Node::leader().await;
    put(&node, "/key/%C3%A9", "composed").await;
    put(&node, "/key/e%CC%81", "decomposed").await;
    assert_eq!(node.get("/key/%C3%A9").await.text(), "{\"\u{e9}\":\"composed\"}");
    assert_eq!(node.get("/key/e%CC%81").await.text(), "{\"e\u{301}\":\"decomposed\"}");
    let mut raw = Raw::connect(&node.address).await;
    raw.send("GET /key/\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(raw.response(false).await.text(), "{\"\u{e9}\":\"composed\"}");
}

#[tokio::test]
async fn the_server_leaves_dot_segments_alone() {
    let node = Node::leader().await;
    let mut raw = Raw::connect(&node.address).await;
    for (path, key) in [("/key/a/../b", "a/../b"), ("/key/.", "."), ("/key/..", "..")] {
        raw.send(format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv")).await;
        assert_eq!(raw.response(false).await.status, 201);
        assert!(stored(&node, key.as_bytes()).is_some(), "{key}");
    }
}

#[tokio::test]
async fn base64url_names_any_key_for_every_method() {
    let node = Node::leader().await;
    // "../x?" in base64url, with and without padding; "-_" needs the url alphabet.
    put(&node, "/key/?b64=Li4veD8", "1").await;
    assert_eq!(stored(&node, b"../x?").as_deref(), Some(&b"1"[..]));
    assert_eq!(node.get("/key/?b64=Li4veD8%3D").await.text(), r#"{"../x?":"1"}"#);
    assert_eq!(node.call("HEAD", "/key/?b64=Li4veD8", "").await.status, 200);
    assert_eq!(node.call("DELETE", "/key/?b64=Li4veD8", "").await.status, 200);
    put(&node, "/key/?b64=-_8", "2").await;
    assert_eq!(stored(&node, &[0xfb, 0xff]).as_deref(), Some(&b"2"[..]));
    node.get("/key/?b64=*").await.assert_problem(400, "bad_base64");
    node.get("/key/?b64=").await.assert_problem(400, "empty_key");
    node.get("/key/a?b64=YQ").await.assert_problem(400, "invalid_parameter");
}

#[tokio::test]
async fn the_empty_key_is_refused_everywhere() {
    let node = Node::leader().await;
    for method in ["GET", "PUT", "DELETE"] {
        node.call(method, "/key/", "").await.assert_problem(400, "empty_key");
    }
    node.post("/key", r#"{"":"v"}"#).await.assert_problem(400, "empty_key");
    node.post("/key", r#"{"a":"v","":"v"}"#).await.assert_problem(400, "empty_key");
    assert_eq!(stored(&node, b"a"), None);
}

#[tokio::test]
async fn reading_the_collection_is_not_allowed_and_says_what_is() {
    let node = Node::leader().await;
    let answer = node.get("/key").await;
    assert_eq!(answer.header("allow"), Some("POST, OPTIONS"));
    let problem = answer.assert_problem(405, "method_not_allowed");
    assert!(problem["hint"].as_str().unwrap().contains("/key/{key}"));
}

#[tokio::test]
async fn a_key_may_have_4096_bytes_and_no_more() {
    let node = Node::leader().await;
    let (longest, too_long) = ("k".repeat(4096), "k".repeat(4097));
    put(&node, &format!("/key/{longest}"), "v").await;
    let problem = node.get(&format!("/key/{too_long}")).await.assert_problem(400, "key_too_long");
    assert_eq!(problem["message"], "the key has 4097 bytes, the limit is 4096");
    node.post("/key", format!(r#"{{"{too_long}":"v"}}"#)).await.assert_problem(400, "key_too_long");
    // The limit is on the decoded key.
    let encoded = "%6B".repeat(4096);
    assert_eq!(node.call("HEAD", &format!("/key/{encoded}"), "").await.status, 200);
}

#[tokio::test]
async fn keys_cannot_collide_with_paths() {
    let node = Node::leader().await;
    put(&node, "/key/key", "1").await;
    put(&node, "/key/status", "2").await;
    assert_eq!(node.get("/key/key").await.text(), r#"{"key":"1"}"#);
    assert_eq!(node.get("/status").await.json()["node_id"], "app1");
    assert_eq!(node.post("/key", r#"{"key/x":"1","__proto__":"2"}"#).await.status, 200);
    assert_eq!(node.get("/key/__proto__").await.text(), r#"{"__proto__":"2"}"#);
}

#[tokio::test]
async fn keys_are_case_sensitive() {
    let node = Node::leader().await;
    put(&node, "/key/Key", "1").await;
    node.get("/key/key").await.assert_problem(404, "key_not_found");
}
