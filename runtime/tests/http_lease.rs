//! Leases over HTTP: granted, kept alive, revoked, expired, and the keys that go with them.
#![cfg(not(madsim))]

mod http_support;

use http_support::{Node, SharedStore};
use kvorum_runtime::config::Limits;
use serde_json::{Value, json};

async fn grant(node: &Node, body: Value) -> String {
    let reply = node.post("/lease", body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["id"].as_str().unwrap().to_owned()
}

async fn revision(node: &Node) -> u64 {
    node.get("/leases").await.header("kvorum-revision").unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_life_of_a_lease() {
    let node = Node::leader().await;
    let granted = node.post("/lease", r#"{"ttl":"30s","id":"7"}"#).await;
    assert_eq!((granted.status, granted.text()), (200, r#"{"id":"7","ttl":30}"#));
    assert_eq!(granted.header("kvorum-revision"), Some("1"), "a lease is no key");
    node.call("PUT", "/key/a?lease=7", "1").await;
    node.call("PUT", "/key/%FF?lease=7", "2").await;
    node.pass(17_655);
    let seen = node.get("/lease/7").await;
    assert_eq!(
        seen.json(),
        json!({"id":"7","ttl":30,"remaining":12.345,"keys":["a",{"key_base64":"/w=="}],"more":false})
    );
    assert_eq!(seen.header("kvorum-consistency"), Some("linearizable"));
    let kept = node.post("/lease/7/keepalive", "").await;
    assert_eq!((kept.status, kept.text()), (200, r#"{"id":"7","ttl":30}"#));
    assert_eq!(node.get("/lease/7").await.json()["remaining"], 30);
    let before = revision(&node).await;
    let revoked = node.call("DELETE", "/lease/7", "").await;
    assert_eq!(revoked.text(), r#"{"message":"lease revoked","id":"7","deleted":2}"#);
    assert_eq!(revoked.header("kvorum-revision"), Some((before + 1).to_string().as_str()));
    node.get("/key/a").await.assert_problem(404, "key_not_found");
    for (method, path) in [("GET", "/lease/7"), ("DELETE", "/lease/7")] {
        node.call(method, path, "").await.assert_problem(404, "lease_not_found");
    }
    let gone = node.post("/lease/7/keepalive", "").await.assert_problem(404, "lease_not_found");
    assert_eq!(gone["applied"], "no");
}

#[tokio::test]
async fn a_lease_that_nobody_keeps_alive_goes_with_its_keys_at_one_revision() {
    let node = Node::leader().await;
    let id = grant(&node, json!({"ttl":"10s"})).await;
    for key in ["a", "b"] {
        node.call("PUT", &format!("/key/{key}?lease={id}"), "v").await;
    }
    node.pass(9_999);
    assert_eq!(node.get("/key/a").await.status, 200, "not a moment early");
    let before = revision(&node).await;
    node.pass(1);
    for key in ["a", "b"] {
        node.get(&format!("/key/{key}")).await.assert_problem(404, "key_not_found");
    }
    assert_eq!(revision(&node).await, before + 1);
    node.call("PUT", &format!("/key/a?lease={id}"), "v")
        .await
        .assert_problem(404, "lease_not_found");
}

/// Between its deadline and the command that ends it, a lease can be kept alive.
#[tokio::test]
async fn a_lease_that_is_due_and_not_ended_is_renewed() {
    let node = Node::leader().await;
    let id = grant(&node, json!({"ttl":"10s"})).await;
    // Time passes, and the leader has not come to it.
    node.store.lock().unwrap().clock_ms += 10_500;
    assert_eq!(node.get(&format!("/lease/{id}")).await.json()["remaining"], 0);
    assert_eq!(node.post(&format!("/lease/{id}/keepalive"), "").await.status, 200);
    node.pass(9_999);
    assert_eq!(node.get(&format!("/lease/{id}")).await.json()["remaining"], 0.001);
}

#[tokio::test]
async fn ttls_as_they_may_be_written() {
    let node = Node::leader().await;
    for (asked, granted) in [
        (json!("30s"), json!(30)),
        (json!("2500ms"), json!(2.5)),
        (json!("5m"), json!(300)),
        (json!("7"), json!(7)),
        (json!(30), json!(30)),
        (json!(2.25), json!(2.25)),
        (json!(0), json!(2)),
        (json!("500ms"), json!(2)),
        (json!(9_000_000_000u64), json!(9_000_000_000u64)),
    ] {
        let reply = node.post("/lease", json!({"ttl":asked}).to_string()).await;
        assert_eq!(reply.json()["ttl"], granted, "{asked}");
    }
    for wrong in ["9000000001", "-1", "1e3", "1.2345", "\"\"", "\"soon\"", "null", "true", "[1]"] {
        let body = format!("{{\"ttl\":{wrong}}}");
        let problem = node.post("/lease", body).await.assert_problem(400, "invalid_value");
        assert_eq!(problem["applied"], "no");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_for_a_lease_is_told() {
    let node = Node::leader().await;
    for (body, status, code) in [
        ("", 400, "empty_body"),
        ("{", 400, "invalid_json"),
        ("{}", 400, "invalid_value"),
        (r#"{"ttl":"3s","ttl":"4s"}"#, 400, "duplicate_key"),
        (r#"{"ttl":"3s","tll":"4s"}"#, 400, "invalid_value"),
        (r#"{"ttl":"3s","id":"0"}"#, 400, "invalid_lease"),
        (r#"{"ttl":"3s","id":"9223372036854775808"}"#, 400, "invalid_lease"),
        (r#"{"ttl":"3s","id":-4}"#, 400, "invalid_lease"),
    ] {
        node.post("/lease", body).await.assert_problem(status, code);
    }
    assert_eq!(grant(&node, json!({"ttl":1,"id":5})).await, "5");
    let taken = node.post("/lease", r#"{"ttl":"3s","id":"5"}"#).await;
    assert_eq!(taken.assert_problem(409, "lease_exists")["applied"], "no");
    for path in ["/lease/x", "/lease/0", "/lease/+5", "/lease/9223372036854775808"] {
        node.get(path).await.assert_problem(400, "invalid_lease");
    }
    for path in ["/lease/", "/lease//keepalive", "/lease/5/x", "/lease/5/keepalive/x"] {
        node.get(path).await.assert_problem(404, "unknown_path");
    }
    node.get("/lease/5?x").await.assert_problem(400, "unknown_parameter");
    node.get("/lease/5?limit=1001").await.assert_problem(400, "invalid_parameter");
    node.get("/lease/5?from=*").await.assert_problem(400, "invalid_cursor");
    node.get("/leases?after=x").await.assert_problem(400, "invalid_parameter");
    node.call_with("DELETE", "/lease/5", &[("if-match", "*")], "")
        .await
        .assert_problem(400, "invalid_condition");
    for (path, allow) in [
        ("/lease", "POST, OPTIONS"),
        ("/lease/5", "GET, HEAD, DELETE, OPTIONS"),
        ("/lease/5/keepalive", "POST, OPTIONS"),
        ("/leases", "GET, HEAD, OPTIONS"),
    ] {
        assert_eq!(node.call("OPTIONS", path, "").await.header("allow"), Some(allow));
        let refused = node.call("PUT", path, "").await;
        refused.assert_problem(405, "method_not_allowed");
        assert_eq!(refused.header("allow"), Some(allow));
    }
    assert!(node.call("HEAD", "/lease/5", "").await.body.is_empty());
}

#[tokio::test]
async fn leases_and_their_keys_come_in_pages() {
    let node = Node::leader().await;
    for id in [3, 1, 2] {
        grant(&node, json!({"ttl":"30s","id":id})).await;
    }
    let first = node.get("/leases?limit=2").await.json();
    assert_eq!(
        first,
        json!({"leases":[{"id":"1","ttl":30,"remaining":30},{"id":"2","ttl":30,"remaining":30}],
               "next":"2"})
    );
    let rest = node.get("/leases?limit=2&after=2").await.json();
    assert_eq!(rest, json!({"leases":[{"id":"3","ttl":30,"remaining":30}]}));
    let body = json!({"a":1,"b/c":1,"d":1}).to_string();
    let set = node.post("/key?lease=1", body).await;
    assert_eq!((set.status, set.header("kvorum-lease")), (200, None));
    let page = node.get("/lease/1?limit=2").await.json();
    assert_eq!((&page["keys"], &page["more"]), (&json!(["a", "b/c"]), &json!(true)));
    let next = page["next"].as_str().unwrap();
    let page = node.get(&format!("/lease/1?from={next}")).await.json();
    assert_eq!((&page["keys"], &page["more"]), (&json!(["d"]), &json!(false)));
    assert_eq!(page.get("next"), None);
}

#[tokio::test]
async fn a_put_with_a_ttl_grants_its_lease_in_the_same_command() {
    let node = Node::leader().await;
    let put = node.call("PUT", "/key/a?ttl=5s", "1").await;
    assert_eq!(put.status, 201);
    let id = put.header("kvorum-lease").unwrap().to_owned();
    assert_eq!(put.json(), json!({"key":"a","mod_revision":2,"version":1}));
    assert_eq!(node.executed(), 1);
    assert_eq!(node.get("/key/a?meta").await.json()["lease"], id);
    assert_eq!(node.get("/keys").await.json()["items"][0]["lease"], id);
    assert_eq!(node.get(&format!("/lease/{id}")).await.json()["keys"], json!(["a"]));
    // One lease for all keys of a body; the body comes back as ever.
    let set = node.post("/key?ttl=5s&create", r#"{"b":1,"c":2}"#).await;
    assert_eq!((set.status, set.text()), (200, r#"{"b":1,"c":2}"#));
    let of_both = set.header("kvorum-lease").unwrap();
    assert_eq!(node.get(&format!("/lease/{of_both}")).await.json()["keys"], json!(["b", "c"]));
    // A condition that fails grants nothing.
    let refused = node.call_with("PUT", "/key/a?ttl=5s", &[("if-none-match", "*")], "2").await;
    refused.assert_problem(412, "precondition_failed");
    node.post("/key?ttl=5s&create", r#"{"b":1}"#).await.assert_problem(409, "key_exists");
    assert_eq!(node.get("/leases").await.json()["leases"].as_array().unwrap().len(), 2);
    // A plain put takes the key out of its lease.
    node.call("PUT", "/key/a", "3").await;
    node.pass(5_000);
    assert_eq!(node.get("/key/a").await.status, 200);
    assert_eq!(node.get("/key/b").await.status, 404);
}

#[tokio::test]
async fn ttl_and_lease_exclude_each_other_and_are_checked() {
    let node = Node::leader().await;
    for path in ["/key/a?ttl=5s&lease=1", "/key/a?ttl=x", "/key/a?lease=x", "/key/a?lease=0"] {
        let problem = node.call("PUT", path, "v").await.assert_problem(400, "invalid_parameter");
        assert_eq!(problem["applied"], "no");
    }
    node.call("DELETE", "/key/a?ttl=5s", "").await.assert_problem(400, "unknown_parameter");
    assert_eq!(node.executed(), 0);
    let unknown = node.call("PUT", "/key/a?lease=99", "v").await;
    assert_eq!(unknown.assert_problem(404, "lease_not_found")["applied"], "no");
    node.get("/key/a").await.assert_problem(404, "key_not_found");
}

#[tokio::test]
async fn leases_within_transactions() {
    let node = Node::leader().await;
    let body = json!({"then":[
        {"grant":{"ttl":"30s","id":"9"}},
        {"put":{"key":"a","value":"1","ttl":"5s"}},
        {"put":{"key":"b","value":"1","lease":"9"}},
        {"txn":{"then":[{"put":{"key":"c","value":"1","ttl":3}}]}},
        {"get":{"key":"a"}},
    ]});
    let done = node.post("/txn", body.to_string()).await.json();
    let results = done["results"].as_array().unwrap();
    assert_eq!(results.len(), 5, "{done}");
    assert_eq!(results[0], json!({"grant":{"id":"9","ttl":30}}));
    let of_a = results[1]["put"]["lease"].clone();
    assert_eq!(
        results[1],
        json!({"put":{"key":"a","create_revision":2,"mod_revision":2,"version":1,"lease":of_a}})
    );
    assert_eq!(results[2]["put"].get("lease"), None, "it was the client who named it");
    let of_c = &results[3]["txn"]["results"][0]["put"]["lease"];
    assert_ne!(of_c, &of_a);
    assert_eq!(results[4]["get"]["items"][0]["lease"], of_a);
    let done = node.post("/txn", r#"{"then":[{"keepalive":{"id":"9"}}]}"#).await.json();
    assert_eq!(done["results"], json!([{"keepalive":{"id":"9","ttl":30}}]));
    let done = node.post("/txn", r#"{"then":[{"revoke":{"id":"9"}}]}"#).await.json();
    assert_eq!(done["results"], json!([{"revoke":{"id":"9","deleted":1}}]));
    for (body, status, code) in [
        (r#"{"then":[{"keepalive":{"id":"9"}}]}"#, 404, "lease_not_found"),
        (r#"{"then":[{"put":{"key":"a","value":"","lease":"9"}}]}"#, 404, "lease_not_found"),
        (r#"{"then":[{"grant":{"ttl":1,"id":"4"}},{"revoke":{"id":"4"}}]}"#, 400, "invalid_lease"),
        (r#"{"then":[{"revoke":{"id":"4"}},{"delete":{"key":"a"}}]}"#, 400, "invalid_lease"),
        (r#"{"then":[{"put":{"key":"a","value":"","lease":"4","ttl":1}}]}"#, 400, "invalid_txn"),
        (
            r#"{"then":[{"put":{"key":"a","value":"","lease":"18446744073709551615"}}]}"#,
            400,
            "invalid_lease",
        ),
        (r#"{"then":[{"put":{"key":"a","value":"","ttl":"x"}}]}"#, 400, "invalid_value"),
        (r#"{"then":[{"grant":{}}]}"#, 400, "invalid_txn"),
        (r#"{"then":[{"grant":{"ttl":1,"x":1}}]}"#, 400, "invalid_txn"),
        (r#"{"then":[{"revoke":{}}]}"#, 400, "invalid_txn"),
        (r#"{"then":[{"revoke":{"id":"4","x":1}}]}"#, 400, "invalid_txn"),
    ] {
        let problem = node.post("/txn", body).await.assert_problem(status, code);
        assert_eq!(problem["applied"], "no", "{body}");
    }
}

#[tokio::test]
async fn a_follower_takes_leases_as_the_leader_does() {
    let store = SharedStore::default();
    let leader = Node::start("app1", 1, store.clone(), Limits::default()).await;
    let follower = Node::start("app2", 2, store, Limits::default()).await;
    follower.follow(Some(leader.me()));
    let id = grant(&follower, json!({"ttl":"30s"})).await;
    let put = follower.call("PUT", &format!("/key/a?lease={id}"), "v").await;
    assert_eq!((put.status, put.header("kvorum-served-by")), (201, Some("app1")));
    let seen = follower.get(&format!("/lease/{id}")).await;
    assert_eq!(
        (&seen.json()["keys"], seen.header("kvorum-served-by")),
        (&json!(["a"]), Some("app2"))
    );
    assert_eq!(follower.post(&format!("/lease/{id}/keepalive"), "").await.status, 200);
    assert_eq!(follower.call("DELETE", &format!("/lease/{id}"), "").await.status, 200);
    assert_eq!(follower.executed(), 0);
}

#[tokio::test]
async fn a_repeat_under_an_idempotency_key_grants_once() {
    let node = Node::leader().await;
    let key = [("idempotency-key", "g-1")];
    let first = node.call_with("POST", "/lease", &key, r#"{"ttl":"30s"}"#).await;
    let second = node.call_with("POST", "/lease", &key, r#"{ "ttl": 30 }"#).await;
    assert_eq!(first.text(), second.text());
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    assert_eq!(node.get("/leases").await.json()["leases"].as_array().unwrap().len(), 1);
    let key = [("idempotency-key", "p-1")];
    let first = node.call_with("PUT", "/key/a?ttl=30s", &key, "v").await;
    let second = node.call_with("PUT", "/key/a?ttl=30s", &key, "v").await;
    assert_eq!(first.header("kvorum-lease"), second.header("kvorum-lease"));
    assert_eq!((first.status, second.status), (201, 201));
    let other = node.call_with("PUT", "/key/a?ttl=31s", &key, "v").await;
    other.assert_problem(422, "idempotency_mismatch");
}
