//! The past of a key over HTTP.
#![cfg(not(madsim))]

mod http_support;

use http_support::Node;
use kvorum_core::kv::{self, Body, Command};
use serde_json::json;

#[tokio::test]
async fn a_history_is_told_newest_first_with_deletions_and_dates() {
    let node = Node::leader().await;
    node.store.lock().unwrap().wall_ms = 1_795_953_600_123;
    node.post("/key", r#"{"a":"x"}"#).await;
    node.pass(1000);
    node.post("/key?ttl=30s", r#"{"a":{"n":1.50}}"#).await;
    let lease = node.get("/key/a?meta").await.json()["lease"].clone();
    node.call("DELETE", "/key/a", "").await;
    node.call("PUT", "/key/a", &b"\xff"[..]).await;
    let seen = node.get("/key/a?history").await;
    assert_eq!(
        seen.json(),
        json!({"key":"a","versions":[
            {"revision":5,"version":1,"value_base64":"/w==","time":"2026-11-29T12:00:01.123Z"},
            {"revision":4,"deleted":true,"time":"2026-11-29T12:00:01.123Z"},
            {"revision":3,"version":2,"value_json":{"n":1.50},"lease":lease,
             "time":"2026-11-29T12:00:01.123Z"},
            {"revision":2,"version":1,"value":"x","time":"2026-11-29T12:00:00.123Z"}],
            "compacted_before":0,"more":false})
    );
    assert_eq!(seen.header("kvorum-consistency"), Some("linearizable"));
    assert!(seen.text().contains("1.50"), "numbers stay as they came");
    assert!(node.call("HEAD", "/key/a?history", "").await.body.is_empty());
    let stale = node.get("/key/a?history&consistency=stale").await;
    assert_eq!(stale.header("kvorum-consistency"), Some("stale"));
}

#[tokio::test]
async fn a_history_comes_in_pages() {
    let node = Node::leader().await;
    for n in 0..5 {
        node.post("/key", format!("{{\"a\":{n}}}")).await;
    }
    let page = node.get("/key/a?history&limit=2").await.json();
    let revisions = |page: &serde_json::Value| -> Vec<u64> {
        let versions = page["versions"].as_array().unwrap();
        versions.iter().map(|version| version["revision"].as_u64().unwrap()).collect()
    };
    assert_eq!((revisions(&page), &page["more"]), (vec![6, 5], &json!(true)));
    let page = node.get("/key/a?history&limit=2&before=5").await.json();
    assert_eq!((revisions(&page), &page["more"]), (vec![4, 3], &json!(true)));
    let page = node.get("/key/a?history&before=3").await.json();
    assert_eq!((revisions(&page), &page["more"]), (vec![2], &json!(false)));
    // A version that is too large for a page comes alone.
    let large = "x".repeat(1 << 20);
    for _ in 0..6 {
        node.call("PUT", "/key/b", large.clone()).await;
    }
    let page = node.get("/key/b?history").await.json();
    assert_eq!((revisions(&page).len(), &page["more"]), (4, &json!(true)));
}

#[tokio::test]
async fn what_is_compacted_is_not_in_it() {
    let node = Node::leader().await;
    for n in 0..4 {
        node.post("/key", format!("{{\"a\":{n}}}")).await;
    }
    node.post("/key", r#"{"gone":1}"#).await;
    node.call("DELETE", "/key/gone", "").await;
    node.post("/key", r#"{"other":1}"#).await;
    {
        let mut store = node.store.lock().unwrap();
        let compact = Command::new(Body::Compact { revision: 8 });
        kv::apply(&mut store.tables, &compact).unwrap().result.unwrap();
    }
    let seen = node.get("/key/a?history").await.json();
    assert_eq!(
        (&seen["compacted_before"], seen["versions"].as_array().unwrap().len()),
        (&json!(8), 1)
    );
    node.get("/key/gone?history").await.assert_problem(404, "key_not_found");
    node.get("/key/never?history").await.assert_problem(404, "key_not_found");
}

#[tokio::test]
async fn what_contradicts_a_history_is_refused() {
    let node = Node::leader().await;
    for query in [
        "history&raw",
        "history&meta",
        "history&at=2",
        "history&since=1",
        "history&wait=1s",
        "history&limit=0",
        "history&limit=1001",
        "history&before=x",
        "history=x",
        "limit=5",
        "before=5",
    ] {
        node.get(&format!("/key/a?{query}")).await.assert_problem(400, "invalid_parameter");
    }
    node.call_with("GET", "/key/a?history", &[("if-none-match", "\"1\"")], "")
        .await
        .assert_problem(400, "invalid_condition");
    assert_eq!(node.get("/key/a?history=false").await.status, 404);
}
