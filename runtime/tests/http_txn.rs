//! Transactions in JSON: what they mean, how they are answered, what is refused.
#![cfg(not(madsim))]

mod http_support;

use http_support::Node;
use serde_json::{Value, json};

async fn run(node: &Node, body: Value) -> Value {
    let reply = node.post("/txn", body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

#[tokio::test]
async fn the_example_of_the_design() {
    let node = Node::leader().await;
    run(
        &node,
        json!({"then":[
            {"put":{"key":"a","value":"0"}}, {"put":{"key":"c","value":"x"}},
            {"put":{"key":"jobs/1","value":{"n":1}}},
        ]}),
    )
    .await;
    let guarded = json!({
        "if":[{"key":"a","mod_revision":2},{"key":"b","exists":false},{"key":"c","value":"x"},
              {"prefix":"jobs/","version":{">":0}}],
        "then":[{"put":{"key":"a","value":"1","previous":true}},{"delete":{"key":"b"}},
                {"get":{"key":"c"}},{"get":{"key":"a"}}],
        "else":[{"get":{"key":"a"}}]});
    let done = run(&node, guarded.clone()).await;
    assert_eq!((&done["succeeded"], &done["revision"]), (&json!(true), &json!(3)));
    let results = done["results"].as_array().unwrap();
    assert_eq!(
        results[0]["put"],
        json!({"key":"a","create_revision":2,"mod_revision":3,"version":2,
               "previous":{"key":"a","value":"0","create_revision":2,"mod_revision":2,"version":1}})
    );
    assert_eq!(results[1], json!({"delete":{"deleted":0}}));
    assert_eq!(results[2]["get"]["items"][0]["value"], "x");
    // Operations see the writes before them.
    assert_eq!(results[3]["get"]["items"][0]["value"], "1");
    let again = run(&node, guarded).await;
    assert_eq!((&again["succeeded"], &again["revision"]), (&json!(false), &json!(3)));
    assert_eq!(again["results"][0]["get"]["items"][0]["mod_revision"], 3);
}

#[tokio::test]
async fn failed_conditions_without_else_are_a_412() {
    let node = Node::leader().await;
    let body = json!({"if":[{"key":"a","exists":true}],"then":[{"put":{"key":"a","value":"1"}}]});
    let problem =
        node.post("/txn", body.to_string()).await.assert_problem(412, "precondition_failed");
    assert_eq!((&problem["succeeded"], &problem["applied"]), (&json!(false), &json!("no")));
    node.get("/key/a").await.assert_problem(404, "key_not_found");
}

#[tokio::test]
async fn every_comparison() {
    let node = Node::leader().await;
    run(&node, json!({"then":[{"put":{"key":"a","value":"m"}}]})).await;
    for (condition, holds) in [
        (json!({"key":"a","version":1}), true),
        (json!({"key":"a","version":{"!=":1}}), false),
        (json!({"key":"a","create_revision":{"<":3}}), true),
        (json!({"key":"a","mod_revision":{">":2}}), false),
        (json!({"key":"a","lease":0}), true),
        (json!({"key":"a","lease":"0"}), true),
        (json!({"key":"a","value":{">":"l"}}), true),
        (json!({"key":"a","value":{"<":"l"}}), false),
        (json!({"key":"a","value_base64":"bQ=="}), true),
        (json!({"key":"a","exists":true,"version":2}), false),
        (json!({"key":"none","value":{"!=":"x"}}), false),
        (json!({"key_base64":"YQ==","exists":true}), true),
        (json!({"start":"a","end":"b","version":1}), true),
    ] {
        let body = json!({"if":[condition],"then":[],"else":[{"get":{"key":"a"}}]});
        assert_eq!(run(&node, body.clone()).await["succeeded"], holds, "{body}");
    }
}

#[tokio::test]
async fn transactions_within_and_ranges() {
    let node = Node::leader().await;
    run(
        &node,
        json!({"then":[
            {"put":{"key":"a1","value":1}},{"put":{"key":"a2","value":[true]}},
            {"put":{"key":"b","value_base64":"gA=="}},
        ]}),
    )
    .await;
    let done = run(
        &node,
        json!({"then":[
            {"txn":{"if":[{"key":"b","exists":true}],
                    "then":[{"delete":{"prefix":"a","previous":true}}]}},
            {"get":{"start":"a","limit":1,"keys_only":true,"reverse":true}},
            {"get":{"prefix":"","count_only":true}},
        ]}),
    )
    .await;
    let inner = &done["results"][0]["txn"];
    assert_eq!(inner["succeeded"], true);
    assert_eq!(inner["results"][0]["delete"]["deleted"], 2);
    assert_eq!(inner["results"][0]["delete"]["previous"][1]["value_json"], json!([true]));
    let found = &done["results"][1]["get"];
    assert_eq!((&found["items"][0]["key"], &found["more"]), (&json!("b"), &json!(false)));
    assert_eq!(found["items"][0].get("value_base64"), None);
    assert_eq!(done["results"][2]["get"], json!({"count":1}));
}

#[tokio::test]
async fn a_repeat_under_an_idempotency_key_takes_effect_once() {
    let node = Node::leader().await;
    let key = [("idempotency-key", "t-1")];
    let body = json!({"then":[{"put":{"key":"a","value":"1"}}]}).to_string();
    let first = node.call_with("POST", "/txn", &key, body.clone()).await;
    let second = node.call_with("POST", "/txn", &key, body).await;
    assert_eq!(first.text(), second.text());
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    let other = json!({"then":[{"put":{"key":"a","value":"2"}}]}).to_string();
    let other = node.call_with("POST", "/txn", &key, other).await;
    other.assert_problem(422, "idempotency_mismatch");
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_its_place() {
    let node = Node::leader().await;
    for (body, code, said) in [
        (r#"[]"#, "invalid_txn", "a transaction is not an object"),
        (r#"{"iff":[]}"#, "invalid_txn", "no member \"iff\""),
        (r#"{"if":{}}"#, "invalid_txn", "\"if\" is not a list"),
        (r#"{"if":[{"key":"a"}]}"#, "invalid_txn", "says nothing"),
        (r#"{"if":[{"exists":true}]}"#, "invalid_txn", "names no key"),
        (r#"{"if":[{"key":"a","version":"x"}]}"#, "invalid_txn", "not a whole number"),
        (r#"{"if":[{"key":"a","version":{"~":1}}]}"#, "invalid_txn", "compared with \"~\""),
        (r#"{"if":[{"key":"a","version":{">":1,"<":3}}]}"#, "invalid_txn", "not one comparison"),
        (r#"{"if":[{"key":"a","prefix":"a","exists":true}]}"#, "invalid_txn", "both a key"),
        (r#"{"if":[{"prefix":"a","start":"a","exists":true}]}"#, "invalid_txn", "prefix together"),
        (r#"{"then":[{"put":{"key":"a"}}]}"#, "invalid_txn", "not one of value"),
        (r#"{"then":[{"put":{"value":"a"}}]}"#, "invalid_txn", "no key"),
        (r#"{"then":[{"put":{"key":"a","value":"1","x":1}}]}"#, "invalid_txn", "no member \"x\""),
        (r#"{"then":[{"put":{"key":"a","value_base64":"!"}}]}"#, "invalid_txn", "value_base64"),
        (r#"{"then":[{"put":{"key":"a","value":null}}]}"#, "invalid_value", "null"),
        (r#"{"then":[{"post":{}}]}"#, "invalid_txn", "no operation \"post\""),
        (r#"{"then":[{"get":{"key":"a"},"put":{}}]}"#, "invalid_txn", "not exactly one member"),
        (r#"{"then":[{"get":{"key":"a","limit":0}}]}"#, "invalid_txn", "\"limit\""),
        (r#"{"then":[{"put":{"key":"","value":""}}]}"#, "empty_key", "empty"),
        (r#"{"then":[],"then":[]}"#, "duplicate_key", "given twice"),
        (
            r#"{"then":[{"put":{"key":"a","value":"1"}},{"delete":{"prefix":""}}]}"#,
            "duplicate_key",
            "written twice",
        ),
        ("", "empty_body", "valid json"),
        ("{", "invalid_txn", "not an object"),
    ] {
        let problem = node.post("/txn", body).await.assert_problem(400, code);
        let message = problem["message"].as_str().unwrap();
        assert!(message.contains(said), "{body}: {message}");
        assert_eq!(problem["applied"], "no");
    }
    let deep = (0..9).fold(r#"{"get":{"key":"a"}}"#.to_owned(), |inner, _| {
        format!(r#"{{"txn":{{"then":[{inner}]}}}}"#)
    });
    let deep = format!(r#"{{"then":[{deep}]}}"#);
    node.post("/txn", deep).await.assert_problem(400, "invalid_txn");
    let many = vec![r#"{"get":{"key":"a"}}"#; 1025].join(",");
    node.post("/txn", format!(r#"{{"then":[{many}]}}"#)).await.assert_problem(400, "too_many_keys");
    assert_eq!(node.executed(), 0);
}
