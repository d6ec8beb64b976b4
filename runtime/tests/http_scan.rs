//! Scans: pages, cursors, streams, counts, and range deletes.
#![cfg(not(madsim))]

mod http_support;

use http_support::{Node, Res};
use serde_json::{Value, json};

async fn filled(keys: &[&str]) -> Node {
    let node = Node::leader().await;
    for key in keys {
        let put = node.call("PUT", &format!("/key/{key}"), format!("v-{key}")).await;
        assert_eq!(put.status, 201);
    }
    node
}

fn keys(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
}

fn next_of(page: &Res) -> Option<String> {
    let link = page.header("link")?;
    let path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    Some(path.to_owned())
}

#[tokio::test]
async fn pages_follow_each_other_at_one_revision_whatever_is_written_between() {
    let node = filled(&["a1", "a2", "a3", "a4", "b1"]).await;
    let first = node.get("/keys?prefix=a&limit=2").await;
    let page = first.json();
    assert_eq!(keys(&page), ["a1", "a2"]);
    assert_eq!((page["revision"].as_u64(), page["count"].as_u64()), (Some(6), Some(2)));
    node.call("DELETE", "/key/a3", "").await;
    node.call("PUT", "/key/a2x", "new").await;
    node.call("PUT", "/key/a4", "changed").await;
    let second = node.get(&next_of(&first).unwrap()).await;
    let page = second.json();
    assert_eq!(keys(&page), ["a3", "a4"]);
    assert_eq!(page["items"][1]["value"], "v-a4");
    assert_eq!(page["revision"], 6);
    assert_eq!((page.get("next"), next_of(&second)), (None, None));
    assert_eq!(keys(&node.get("/keys?prefix=a").await.json()), ["a1", "a2", "a2x", "a4"]);
}

#[tokio::test]
async fn a_scan_backwards_goes_on_backwards() {
    let node = filled(&["a", "b", "c", "d"]).await;
    let mut path = "/keys?limit=1&reverse&start=b".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = node.get(&path).await;
        seen.extend(keys(&page.json()));
        match next_of(&page) {
            Some(next) => path = next,
            None => break,
        }
    }
    assert_eq!(seen, ["d", "c", "b"]);
}

#[tokio::test]
async fn bounds_maps_counts_and_keys() {
    let node = filled(&["a", "b", "c"]).await;
    node.post("/key", r#"{"n":5}"#).await;
    assert_eq!(keys(&node.get("/keys?start=b&end=n").await.json()), ["b", "c"]);
    assert_eq!(keys(&node.get("/keys?end=b").await.json()), ["a"]);
    assert_eq!(keys(&node.get("/keys?start=z").await.json()), [""; 0]);
    assert_eq!(node.get("/keys?count_only").await.json(), json!({"revision":5,"count":4}));
    let map = node.get("/keys?format=map&start=c").await.json();
    assert_eq!(map["items"], json!({"c":"v-c","n":5}));
    let bare = node.get("/keys?keys_only&limit=1").await.json();
    assert_eq!(bare["items"][0].get("value"), None);
    assert_eq!(bare["items"][0]["version"], 1);
    assert_eq!(keys(&node.get("/keys?at=2").await.json()), ["a"]);
    node.get("/keys?at=99").await.assert_problem(400, "future_revision");
    assert_eq!(node.get("/keys?prefix=%FF").await.json()["count"], 0);
    let head = node.call("HEAD", "/keys", "").await;
    assert_eq!((head.status, head.text()), (200, ""));
}

#[tokio::test]
async fn a_map_has_no_place_for_bytes() {
    let node = filled(&["a"]).await;
    node.call("PUT", "/key/bin", &b"\x80"[..]).await;
    node.get("/keys?format=map").await.assert_problem(406, "not_text");
    let items = node.get("/keys").await.json();
    assert_eq!(items["items"][1]["value_base64"], "gA==");
}

#[tokio::test]
async fn a_page_is_bounded_by_bytes_but_has_one_item() {
    let node = Node::leader().await;
    for key in 0..6 {
        let put = node.call("PUT", &format!("/key/{key}"), vec![b'x'; 1 << 20]).await;
        assert_eq!(put.status, 201);
    }
    let first = node.get("/keys").await;
    assert_eq!(first.json()["count"], 3);
    let second = node.get(&next_of(&first).unwrap()).await;
    assert_eq!(keys(&second.json()), ["3", "4", "5"]);
}

#[tokio::test]
async fn what_a_scan_refuses() {
    let node = filled(&["a", "b"]).await;
    let cursor = node.get("/keys?limit=1").await.json()["next"].as_str().unwrap().to_owned();
    for path in ["/keys?prefix=a&start=b", "/keys?limit=0", "/keys?limit=1001", "/keys?format=x"] {
        node.get(path).await.assert_problem(400, "invalid_parameter");
    }
    node.get("/keys?consistancy=stale").await.assert_problem(400, "unknown_parameter");
    for path in [
        "/keys?cursor=zzz".to_owned(),
        format!("/keys?prefix=a&cursor={cursor}"),
        format!("/keys?reverse&cursor={cursor}"),
        format!("/keys?cursor={}", cursor.replacen(|c: char| c != 'A', "A", 1)),
    ] {
        node.get(&path).await.assert_problem(400, "invalid_cursor");
    }
    let ok = node.get(&format!("/keys?cursor={cursor}")).await.json();
    assert_eq!(keys(&ok), ["b"]);
}

async fn lines(node: &Node, path: &str) -> Vec<Value> {
    let accept = [("accept", "application/x-ndjson")];
    let reply = node.call_with("GET", path, &accept, "").await;
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_stream_has_everything_and_says_that_it_has() {
    let node = Node::leader().await;
    let body: serde_json::Map<String, Value> =
        (0..700).map(|n| (format!("k{n:04}"), json!(n))).collect();
    node.post("/key", serde_json::to_string(&body).unwrap()).await;
    let all = lines(&node, "/keys").await;
    assert_eq!(all.len(), 701);
    assert_eq!(all[699]["key"], "k0699");
    assert_eq!(all[700], json!({"end":true,"revision":2,"count":700,"more":false}));
    let some = lines(&node, "/keys?limit=300&reverse").await;
    assert_eq!(some[299]["key"], "k0400");
    assert_eq!(some[300], json!({"end":true,"revision":2,"count":300,"more":true}));
    let none = lines(&node, "/keys?prefix=x").await;
    assert_eq!(none, [json!({"end":true,"revision":2,"count":0,"more":false})]);
    let accept = [("accept", "application/x-ndjson")];
    let refused = node.call_with("GET", "/keys?count_only", &accept, "").await;
    refused.assert_problem(400, "invalid_parameter");
}

#[tokio::test]
async fn a_range_goes_at_once_and_everything_only_on_demand() {
    let node = filled(&["a1", "a2", "b1", "c1"]).await;
    let gone = node.call("DELETE", "/keys?prefix=a", "").await;
    assert_eq!(gone.json(), json!({"deleted":2,"revision":6}));
    let none = node.call("DELETE", "/keys?prefix=a", "").await;
    assert_eq!(none.json(), json!({"deleted":0,"revision":6}));
    for path in ["/keys", "/keys?prefix=", "/keys?start=", "/keys?all&prefix=b"] {
        let problem = node.call("DELETE", path, "").await.assert_problem(400, "invalid_parameter");
        assert_eq!(problem["applied"], "no");
    }
    let conditional = [("if-match", "\"2\"")];
    let refused = node.call_with("DELETE", "/keys?prefix=b", &conditional, "").await;
    refused.assert_problem(400, "invalid_condition");
    let all = node.call("DELETE", "/keys?all=true", "").await;
    assert_eq!(all.json(), json!({"deleted":2,"revision":7}));
}

#[tokio::test]
async fn keys_that_share_a_beginning_are_listed_as_one_directory() {
    let node = filled(&["a", "d/1", "d/2", "d/e/1", "d/f/1", "d/f/2", "d/g", "e"]).await;
    let listing = node.get("/keys?prefix=d/&delimiter=/").await.json();
    assert_eq!(keys(&listing), ["d/1", "d/2", "d/g"]);
    assert_eq!(listing["prefixes"], json!(["d/e/", "d/f/"]));
    assert_eq!(listing["count"], 5);
    let top = node.get("/keys?delimiter=/&format=map").await.json();
    assert_eq!(top["items"], json!({"a": "v-a", "e": "v-e"}));
    assert_eq!(top["prefixes"], json!(["d/"]));
    // A delimiter may have several bytes, and a group need not end in the name of a key.
    let odd = node.get("/keys?prefix=d&delimiter=/f").await.json();
    assert_eq!(odd["prefixes"], json!(["d/f"]));
    assert_eq!(node.get("/keys?prefix=e&delimiter=/").await.json()["prefixes"], json!([]));
    assert_eq!(node.get("/keys?prefix=e").await.json().get("prefixes"), None);
}

#[tokio::test]
async fn pages_of_a_listing_skip_what_is_in_a_directory_in_both_directions() {
    let node = filled(&["a/1", "a/2", "b", "c/1", "c/2", "d"]).await;
    node.call("PUT", "/key/%FF%FF/1", "last").await;
    for (direction, expected) in
        [("", ["a/", "b", "c/", "d", "*"]), ("&reverse", ["*", "d", "c/", "b", "a/"])]
    {
        let mut path = format!("/keys?delimiter=/&limit=1{direction}");
        let mut seen = Vec::new();
        for _ in 0..10 {
            let page = node.get(&path).await;
            let json = page.json();
            assert_eq!(json["count"], 1);
            seen.extend(keys(&json));
            for prefix in json["prefixes"].as_array().unwrap() {
                seen.push(match prefix.as_str() {
                    Some(text) => text.to_owned(),
                    None => {
                        assert_eq!(*prefix, json!({"prefix_base64": "//8v"}));
                        "*".to_owned()
                    }
                });
            }
            match next_of(&page) {
                Some(next) => path = next,
                None => break,
            }
        }
        assert_eq!(seen, expected, "{direction}");
    }
}

#[tokio::test]
async fn a_delimiter_that_makes_no_sense_is_refused() {
    let node = filled(&["a"]).await;
    for query in ["delimiter=", "delimiter=/&count_only"] {
        node.get(&format!("/keys?{query}")).await.assert_problem(400, "invalid_parameter");
    }
    let lines = [("accept", "application/x-ndjson")];
    let streamed = node.call_with("GET", "/keys?delimiter=/", &lines, "").await;
    streamed.assert_problem(400, "invalid_parameter");
    // A cursor of another listing does not fit.
    let node = filled(&["a", "b"]).await;
    let next = node.get("/keys?limit=1").await.json()["next"].as_str().unwrap().to_owned();
    let other = node.get(&format!("/keys?delimiter=/&cursor={next}")).await;
    other.assert_problem(400, "invalid_cursor");
}
