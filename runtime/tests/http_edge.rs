//! Edges between this server, its peers and HTTP: what travels along, and what has no length.
#![cfg(not(madsim))]

mod http_support;

use http_support::{Node, Raw, member, patient};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Pretends to lead for one request; the head of the request as it came.
async fn one_request(listener: TcpListener) -> String {
    let (mut stream, _) = patient(listener.accept()).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"body") {
        let mut buffer = [0; 4096];
        let count = patient(stream.read(&mut buffer)).await.unwrap();
        assert!(count > 0, "closed within the request");
        read.extend_from_slice(&buffer[..count]);
    }
    let answer = "HTTP/1.1 201 Created\r\nKvorum-Served-By: app2\r\nETag: \"7\"\r\n\
                  Kvorum-Revision: 7\r\nKvorum-Index: 9\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
                  Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(read).unwrap().to_ascii_lowercase()
}

#[tokio::test]
async fn what_belongs_to_the_request_travels_to_the_leader_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let leader = tokio::spawn(one_request(listener));
    let node = Node::leader().await;
    node.follow(Some(member("app2", 2, &address)));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [
        ("traceparent", trace),
        ("tracestate", "vendor=1"),
        ("authorization", "Bearer secret"),
        ("idempotency-key", "k1"),
        ("if-match", "\"3\""),
        ("connection", "x-private"),
        ("x-private", "1"),
        ("te", "trailers"),
    ];
    let path = "/key/a%2Fb?timeout=7s";
    let answer = node.call_with("PUT", path, &headers, "body").await;
    let request = patient(leader).await.unwrap();
    assert!(request.starts_with("put /key/a%2fb?timeout=7s http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nkvorum-forwarded: app1\r\n"), "{request}");
    assert!(request.contains(&format!("\r\nhost: {address}\r\n")), "{request}");
    for (name, value) in &headers[..5] {
        let line = format!("\r\n{name}: {}\r\n", value.to_ascii_lowercase());
        assert!(request.contains(&line), "{name} in {request}");
    }
    for (name, _) in &headers[5..] {
        assert!(!request.contains(&format!("\r\n{name}:")), "{name} in {request}");
    }
    assert_eq!((answer.status, answer.text()), (201, "{}"));
    assert_eq!(answer.header("kvorum-served-by"), Some("app2"), "who did the work");
    assert_eq!((answer.header("etag"), answer.header("x-hop")), (Some("\"7\""), None));
}

#[tokio::test]
async fn the_head_of_a_stream_promises_no_length() {
    let node = Node::leader().await;
    node.call("PUT", "/key/a", "1").await;
    for (path, accept, media) in [
        ("/watch", "*/*", "text/event-stream"),
        ("/keys", "application/x-ndjson", "application/x-ndjson"),
    ] {
        let mut raw = Raw::connect(&node.address).await;
        raw.send(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n")).await;
        let answer = raw.response(true).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(media)));
        assert_eq!(answer.header("content-length"), None, "{path}");
        // Nothing of the stream follows: the connection is at the next request's disposal.
        raw.send("GET /key/a HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(raw.response(false).await.text(), r#"{"a":"1"}"#);
    }
    let whole = node.call("HEAD", "/keys", "").await;
    let length = node.get("/keys").await.body.len().to_string();
    assert_eq!(whole.header("content-length"), Some(length.as_str()));
}
