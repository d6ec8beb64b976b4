//! Watches: nothing missing, nothing twice, in order; what ends one says why.
#![cfg(not(madsim))]

mod http_support;

use http_support::{Node, Raw, patient};
use kvorum_core::kv::{Body, Command};
use kvorum_runtime::config::Limits;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// A watch in lines of JSON, read from the chunks of its connection.
struct Lines {
    stream: BufReader<TcpStream>,
    text: String,
}

impl Lines {
    async fn open(node: &Node, path: &str) -> Lines {
        let mut stream = BufReader::new(TcpStream::connect(&node.address).await.unwrap());
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut line = String::new();
        patient(stream.read_line(&mut line)).await.unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while line != "\r\n" {
            line.clear();
            patient(stream.read_line(&mut line)).await.unwrap();
        }
        Lines { stream, text: String::new() }
    }

    /// The next message; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((line, rest)) = self.text.split_once('\n') {
                let message: Value = serde_json::from_str(line).unwrap();
                let event = message["event"].as_str().unwrap().to_owned();
                let data = message["data"].clone();
                self.text = rest.to_owned();
                return Some((event, data));
            }
            let mut size = String::new();
            patient(self.stream.read_line(&mut size)).await.unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            patient(self.stream.read_exact(&mut chunk)).await.unwrap();
            if size == 0 {
                return None;
            }
            self.text.push_str(std::str::from_utf8(&chunk[..size]).unwrap());
        }
    }

    /// The next change: its revision and, per event, type, key and value.
    async fn change(&mut self) -> (u64, Vec<(String, String, String)>) {
        let (event, data) = self.next().await.unwrap();
        assert_eq!(event, "change", "{data}");
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let events = data["events"].as_array().unwrap().iter();
        let events = events.map(|e| (text(&e["type"]), text(&e["key"]), text(&e["value"])));
        (data["revision"].as_u64().unwrap(), events.collect())
    }
}

fn put(key: &str, value: &str) -> (String, String, String) {
    ("put".to_owned(), key.to_owned(), value.to_owned())
}

fn gone(key: &str) -> (String, String, String) {
    ("delete".to_owned(), key.to_owned(), String::new())
}

async fn write(node: &Node, body: &Value) {
    assert_eq!(node.post("/key", body.to_string()).await.status, 200);
}

#[tokio::test]
async fn without_since_a_watch_says_where_it_begins() {
    let node = Node::leader().await;
    write(&node, &json!({"a":"1"})).await;
    let mut watch = Lines::open(&node, "/watch?prefix=a").await;
    assert_eq!(watch.next().await.unwrap(), ("sync".to_owned(), json!({"revision":2})));
    write(&node, &json!({"b":"not watched"})).await;
    write(&node, &json!({"a":"2","ab":"3","c":"not watched"})).await;
    assert_eq!(watch.change().await, (4, vec![put("a", "2"), put("ab", "3")]));
    node.call("DELETE", "/key/a", "").await;
    assert_eq!(watch.change().await, (5, vec![gone("a")]));
}

#[tokio::test]
async fn the_past_comes_first_and_then_the_present_without_a_seam() {
    let node = Node::leader().await;
    for n in 0..1200 {
        write(&node, &json!({ format!("k{}", n % 7): n.to_string() })).await;
    }
    let mut watch = Lines::open(&node, "/watch?since=1&key=k3").await;
    for n in 1200..1400 {
        write(&node, &json!({ format!("k{}", n % 7): n.to_string() })).await;
    }
    for n in (0..1400u64).filter(|n| n % 7 == 3) {
        assert_eq!(watch.change().await, (n + 2, vec![put("k3", &n.to_string())]));
    }
}

#[tokio::test]
async fn server_sent_events_resume_after_the_last_id() {
    let node = Node::leader().await;
    write(&node, &json!({"a":"1"})).await;
    write(&node, &json!({"a":{"n":[2]}})).await;
    let mut raw = Raw::connect(&node.address).await;
    raw.send("GET /watch?key=a&since=1&prev HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 2\r\n\r\n").await;
    let stop = std::sync::Arc::clone(&node.stop);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.stop();
    });
    let text = String::from_utf8(raw.rest().await).unwrap();
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    let event = "id: 3\nevent: change\ndata: {\"revision\":3,\"events\":[{\"type\":\"put\",\"key\":\"a\",\
                 \"value_json\":{\"n\":[2]},\"create_revision\":2,\"mod_revision\":3,\"version\":2,\
                 \"previous\":{\"key\":\"a\",\"value\":\"1\",\"create_revision\":2,\"mod_revision\":2,\
                 \"version\":1}}]}\n\n";
    assert!(text.contains(event), "{text}");
    assert!(!text.contains("id: 2"), "{text}");
    // The end has a reason.
    assert!(
        text.contains("event: error\ndata: {") && text.contains("\"code\":\"stopping\""),
        "{text}"
    );
}

#[tokio::test]
async fn a_watcher_that_falls_behind_is_told_and_misses_nothing() {
    let node = Node::leader().await;
    let mut watch = Lines::open(&node, "/watch").await;
    assert_eq!(watch.next().await.unwrap().0, "sync");
    // More than any queue or socket holds, while nothing is read.
    let value = "x".repeat(60_000);
    for n in 0..400 {
        write(&node, &json!({ "big": format!("{n}-{value}") })).await;
    }
    let mut lagged = false;
    let mut expected = 2;
    while expected < 402 {
        let (event, data) = watch.next().await.unwrap();
        match event.as_str() {
            "lag" => {
                assert_eq!(data["revision"], expected - 1);
                assert!(data["behind"].as_u64().unwrap() > 0);
                lagged = true;
            }
            "change" => {
                assert_eq!(data["revision"], expected);
                expected += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(lagged, "nothing was ever behind: the test is too small");
}

#[tokio::test]
async fn a_great_revision_comes_in_parts_that_move_the_position_only_at_the_end() {
    let node = Node::leader().await;
    let many: serde_json::Map<String, Value> =
        (0..1024).map(|n| (format!("k{n:04}"), json!("v"))).collect();
    write(&node, &Value::Object(many.clone())).await;
    let more: serde_json::Map<String, Value> =
        (1024..2100).map(|n| (format!("k{n:04}"), json!("v"))).collect();
    for chunk in more.into_iter().collect::<Vec<_>>().chunks(1000) {
        write(&node, &Value::Object(chunk.iter().cloned().collect())).await;
    }
    let live = Lines::open(&node, "/watch").await;
    let gone = node.call("DELETE", "/keys?all", "").await;
    assert_eq!(gone.json()["deleted"], 2100);
    let past = Lines::open(&node, "/watch?since=4").await;
    for (mut watch, first) in [(live, "sync"), (past, "change")] {
        let mut keys = Vec::new();
        let mut messages = 0;
        loop {
            let (event, data) = watch.next().await.unwrap();
            if event == "sync" && first == "sync" {
                continue;
            }
            assert_eq!((event.as_str(), &data["revision"]), ("change", &json!(5)));
            messages += 1;
            let events = data["events"].as_array().unwrap();
            keys.extend(events.iter().map(|e| e["key"].as_str().unwrap().to_owned()));
            if data.get("more").is_none() {
                break;
            }
        }
        assert!(messages > 1);
        assert_eq!(keys.len(), 2100);
        assert!(keys.is_sorted());
    }
}

#[tokio::test]
async fn what_is_compacted_is_refused_at_the_start_and_told_in_the_stream() {
    let node = Node::leader().await;
    for n in 0..8 {
        write(&node, &json!({"a": n.to_string()})).await;
    }
    let compact = |revision| Command { time_ms: 0, ..Command::new(Body::Compact { revision }) };
    {
        let mut store = node.store.lock().unwrap();
        let reply = kvorum_core::kv::apply(&mut store.tables, &compact(6)).unwrap();
        assert!(reply.result.is_ok());
    }
    let problem = node.get("/watch?since=3").await.assert_problem(410, "compacted");
    assert_eq!(problem["oldest"], 6);
    let mut watch = Lines::open(&node, "/watch?since=5").await;
    assert_eq!(watch.change().await.0, 6);
}

#[tokio::test]
async fn what_a_watch_refuses() {
    let watch_progress = Duration::from_millis(50);
    let limits = Limits { watches: 1, watch_progress, ..Limits::default() };
    let node = Node::leader_with(limits).await;
    write(&node, &json!({"a":"1"})).await;
    node.get("/watch?since=9").await.assert_problem(400, "future_revision");
    for path in ["/watch?key=a&prefix=b", "/watch?key=", "/watch?since=x", "/watch?prefix=a&end=b"]
    {
        node.get(path).await.assert_problem(400, "invalid_parameter");
    }
    node.get("/watch?sinse=1").await.assert_problem(400, "unknown_parameter");
    let id = [("last-event-id", "abc")];
    node.call_with("GET", "/watch", &id, "").await.assert_problem(400, "invalid_parameter");
    let open = Lines::open(&node, "/watch").await;
    node.get("/watch").await.assert_problem(429, "too_many_watches");
    drop(open);
    // The seat comes back once the server has noticed.
    patient(async {
        while node.hub.watchers() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    Lines::open(&node, "/watch").await;
}

#[tokio::test]
async fn who_never_reads_is_cut_off() {
    let limits = Limits { watch_patience: Duration::from_millis(100), ..Limits::default() };
    let node = Node::leader_with(limits).await;
    let mut watch = Lines::open(&node, "/watch").await;
    let value = "x".repeat(500_000);
    for n in 0..60 {
        write(&node, &json!({ "big": format!("{n}{value}") })).await;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // Whatever still comes is in order, and the end has a reason.
    let mut last = 1;
    let mut reason = Value::Null;
    while let Some((event, data)) = watch.next().await {
        match event.as_str() {
            "change" => {
                assert_eq!(data["revision"], last + 1);
                last += 1;
            }
            "error" => reason = data["code"].clone(),
            _ => {}
        }
    }
    assert_eq!(reason, "slow_watcher");
    assert!(last < 61, "the client was cut off before everything was told");
}
