//! The protocol around the API: limits, keep-alive, HTTP/2, HEAD, OPTIONS, parameters, draining.
#![cfg(not(madsim))]

mod http_support;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use http_support::{Node, Raw, Turn, patient};
use hyper::Request;
use hyper_util::rt::TokioIo;
use kvorum_runtime::{config::Limits, http::rt::TaskExecutor};
use std::time::Duration;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_body_announced_as_too_large_is_refused_before_it_is_sent() {
    let node = Node::leader().await;
    let mut raw = Raw::connect(&node.address).await;
    raw.send(
        "POST /key HTTP/1.1\r\nHost: x\r\nContent-Length: 2097153\r\nExpect: 100-continue\r\n\r\n",
    )
    .await;
    // Not one byte of the body is sent, and no `100 Continue` comes.
    let answer = raw.response(false).await;
    assert_eq!(answer.header("connection"), Some("close"));
    let problem = answer.assert_problem(413, "body_too_large");
    assert_eq!(problem["message"], "the request body has 2097153 bytes, the limit is 2097152");
    assert_eq!(problem["applied"], "no");
    assert!(raw.rest().await.is_empty());

    let mut raw = Raw::connect(&node.address).await;
    raw.send("PUT /key/a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n").await;
    raw.response(false).await.assert_problem(413, "body_too_large");
}

#[tokio::test]
async fn a_client_that_sends_on_still_reads_its_refusal() {
    let node = Node::leader().await;
    let mut raw = Raw::connect(&node.address).await;
    let length = 3 << 20;
    raw.send(format!("POST /key HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")).await;
    raw.send(vec![b'x'; length]).await;
    raw.response(false).await.assert_problem(413, "body_too_large");
    // The whole of it was taken off the connection, which goes on.
    raw.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(raw.response(false).await.status, 200);
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let node = Node::leader().await;
    let mut raw = Raw::connect(&node.address).await;
    raw.send("POST /key HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(raw.response(false).await.status, 100);
    raw.send("{\"a\":\"b\"}").await;
    assert_eq!(raw.response(false).await.text(), "{\"a\":\"b\"}");
}

#[tokio::test]
async fn a_body_without_a_length_is_refused_when_it_outgrows_the_limit() {
    let node = Node::leader_with(Limits { body_bytes: 100, ..Limits::default() }).await;
    let mut raw = Raw::connect(&node.address).await;
    raw.send("POST /key HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for _ in 0..3 {
        raw.send(format!("28\r\n{}\r\n", "x".repeat(40))).await;
    }
    let problem = raw.response(false).await.assert_problem(413, "body_too_large");
    assert_eq!(problem["message"], "the request body has more than 100 bytes, the limit is 100");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let limits = Limits { body_timeout: Duration::from_millis(50), ..Limits::default() };
    let node = Node::leader_with(limits).await;
    let mut raw = Raw::connect(&node.address).await;
    raw.send("POST /key HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{\"a\"").await;
    let answer = raw.response(false).await;
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(answer.assert_problem(408, "body_timeout")["applied"], "no");
    assert!(raw.rest().await.is_empty(), "closed");
    assert_eq!(node.executed(), 0);
}

#[tokio::test]
async fn a_body_with_broken_framing_is_refused() {
    let node = Node::leader().await;
    let mut raw = Raw::connect(&node.address).await;
    raw.send("POST /key HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").await;
    raw.response(false).await.assert_problem(400, "broken_body");
    assert_eq!(node.executed(), 0);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let node = Node::leader_with(Limits { header_bytes: 8192, ..Limits::default() }).await;
    let header = |bytes: usize| [("x-filler", "f".repeat(bytes))];
    let call = |bytes: usize| {
        let header = header(bytes);
        let node = &node;
        async move { node.call_with("GET", "/livez", &[(header[0].0, &header[0].1)], "").await }
    };
    assert_eq!(call(8000).await.status, 200);
    call(9000).await.assert_problem(431, "header_too_large");
    // Beyond twice the limit hyper answers, without a body.
    assert_eq!(call(40_000).await.status, 431);
}

#[tokio::test]
async fn connections_are_kept_alive_and_requests_may_be_pipelined() {
    let node = Node::leader().await;
    let mut raw = Raw::connect(&node.address).await;
    let mut requests = String::new();
    for n in 0..10 {
        let body = format!("{{\"k\":{n}}}");
        requests += &format!(
            "POST /key HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}GET /key/k HTTP/1.1\r\nHost: x\r\n\r\n",
            body.len()
        );
    }
    raw.send(requests).await;
    for n in 0..10 {
        for _ in 0..2 {
            assert_eq!(raw.response(false).await.text(), format!("{{\"k\":{n}}}"));
        }
    }
    // A mistake does not cost the connection.
    raw.send("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    raw.response(false).await.assert_problem(404, "unknown_path");
    assert_eq!(raw.response(false).await.status, 200);
}

#[tokio::test]
async fn http2_with_prior_knowledge_carries_many_requests_at_once() {
    let node = Node::leader().await;
    let stream = TcpStream::connect(&node.address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TaskExecutor, TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let calls: Vec<_> = (0..50)
        .map(|n| {
            let mut sender = sender.clone();
            let uri = format!("http://{}/key", node.address);
            tokio::spawn(async move {
                let body = Full::new(Bytes::from(format!("{{\"k{n}\":{n}}}")));
                let request = Request::post(uri).body(body).unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.status(), 200);
                response.into_body().collect().await.unwrap().to_bytes()
            })
        })
        .collect();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(patient(call).await.unwrap(), format!("{{\"k{n}\":{n}}}"));
    }
    let mut sender = sender.clone();
    let head = Request::head(format!("http://{}/key/k7", node.address));
    let response = sender.send_request(head.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-length"], "8");
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());

    let large = Request::post(format!("http://{}/key", node.address));
    let large = large.body(Full::new(Bytes::from(vec![b'x'; 3 << 20]))).unwrap();
    let response = patient(sender.send_request(large)).await.unwrap();
    assert_eq!(response.status(), 413);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let node = Node::leader().await;
    node.post("/key", r#"{"a":"1"}"#).await;
    let mut raw = Raw::connect(&node.address).await;
    for path in [
        "/key/a",
        "/key/a?raw",
        "/key/a?meta",
        "/key/none",
        "/key/",
        "/status",
        "/cluster",
        "/livez",
        "/readyz",
        "/health",
        "/version",
        "/nowhere",
    ] {
        let get = node.get(path).await;
        raw.send(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let head = raw.response(true).await;
        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-type", "content-length", "etag", "kvorum-revision"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
    }
    // Had a body been sent, it would be in front of this.
    raw.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(raw.response(false).await.text(), "{\"status\":\"ok\"}");
}

#[tokio::test]
async fn options_and_405_say_what_is_allowed() {
    let node = Node::leader().await;
    let table = [
        ("/key", "POST, OPTIONS", "GET"),
        ("/key/a", "GET, HEAD, PUT, DELETE, OPTIONS", "POST"),
        ("/join", "POST, OPTIONS", "GET"),
        ("/cluster", "GET, HEAD, OPTIONS", "POST"),
        ("/cluster/transfer", "POST, OPTIONS", "GET"),
        ("/status", "GET, HEAD, OPTIONS", "DELETE"),
        ("/health", "GET, HEAD, OPTIONS", "PUT"),
        ("/livez", "GET, HEAD, OPTIONS", "PATCH"),
        ("/readyz", "GET, HEAD, OPTIONS", "POST"),
        ("/version", "GET, HEAD, OPTIONS", "TRACE"),
    ];
    for (path, allow, wrong) in table {
        let options = node.call("OPTIONS", path, "").await;
        assert_eq!((options.status, options.header("allow")), (204, Some(allow)), "{path}");
        let refused = node.call(wrong, path, "").await;
        assert_eq!(refused.header("allow"), Some(allow), "{path}");
        refused.assert_problem(405, "method_not_allowed");
    }
    node.call("OPTIONS", "/nowhere", "").await.assert_problem(404, "unknown_path");
    let mut raw = Raw::connect(&node.address).await;
    raw.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(raw.response(false).await.status, 204);
}

#[tokio::test]
async fn unknown_paths_are_problems() {
    let node = Node::leader().await;
    for path in ["/", "/keys/", "/Key/a", "/key1", "/join/", "/cluster/x", "//key/a"] {
        let problem = node.get(path).await.assert_problem(404, "unknown_path");
        assert!(problem.get("applied").is_none(), "a read applies nothing");
    }
    let problem = node.post("/", "").await.assert_problem(404, "unknown_path");
    assert_eq!(problem["applied"], "no");
}

#[tokio::test]
async fn unknown_parameters_are_refused_with_the_nearest_known_one() {
    let node = Node::leader().await;
    let problem =
        node.get("/key/a?consistancy=stale").await.assert_problem(400, "unknown_parameter");
    assert_eq!(problem["suggestion"], "consistency");
    assert_eq!(problem["hint"], "did you mean consistency?");
    let problem = node.post("/key?craete", "{}").await.assert_problem(400, "unknown_parameter");
    assert_eq!(problem["suggestion"], "create");
    let problem = node.get("/key/a?zzzzzz").await.assert_problem(400, "unknown_parameter");
    assert!(problem.get("suggestion").is_none());
    for path in ["/livez?x", "/status?x=1", "/cluster?x", "/health?x", "/version?x", "/readyz?x"] {
        node.get(path).await.assert_problem(400, "unknown_parameter");
    }
    // A weaker read is never taken for a write's parameter.
    node.call("PUT", "/key/a?consistency=stale", "").await.assert_problem(400, "unknown_parameter");
    node.get("/key/a?raw&raw").await.assert_problem(400, "invalid_parameter");
    node.get("/key/a?consistency=eventual").await.assert_problem(400, "invalid_parameter");
    node.get("/key/a?at=-1").await.assert_problem(400, "invalid_parameter");
    node.get("/key/a?raw=%GG").await.assert_problem(400, "bad_percent_encoding");
    node.get("/key/a?raw=%FF").await.assert_problem(400, "invalid_parameter");
    node.get("/key/a?&&raw=1&").await.assert_problem(404, "key_not_found");
}

#[tokio::test]
async fn timeouts_are_durations_within_bounds() {
    let node = Node::leader().await;
    node.post("/key", r#"{"a":"1"}"#).await;
    for timeout in ["1ms", "500ms", "30s", "60", "1m", "60000ms"] {
        // Only what is proposed may time out; the parse is what matters here.
        let status = node.get(&format!("/key/a?timeout={timeout}")).await.status;
        assert!(matches!(status, 200 | 503), "{timeout}: {status}");
    }
    for timeout in
        ["", "0", "0s", "61", "2m", "60001ms", "1.5s", "-1s", "1h", "s", "99999999999999999999"]
    {
        let problem = node.get(&format!("/key/a?timeout={timeout}")).await;
        problem.assert_problem(400, "invalid_parameter");
    }
}

#[tokio::test]
async fn answers_say_who_gave_them_and_where_they_stand() {
    let node = Node::leader().await;
    let set = node.post("/key", r#"{"a":"1"}"#).await;
    assert_eq!(set.header("kvorum-served-by"), Some("app1"));
    assert_eq!(set.header("kvorum-revision"), Some("2"));
    assert_eq!(set.header("kvorum-index"), Some("1"));
    assert!(set.header("server-timing").unwrap().starts_with("total;dur="));
    for path in ["/key/a", "/key/none"] {
        let got = node.get(path).await;
        assert_eq!(got.header("kvorum-revision"), Some("2"));
        assert_eq!(got.header("kvorum-index"), Some("1"));
        assert_eq!(got.header("kvorum-consistency"), Some("linearizable"));
    }
    let stale = node.get("/key/a?consistency=stale").await;
    assert_eq!(stale.header("kvorum-consistency"), Some("stale"));
    let refused = node.post("/key?create", r#"{"a":"1"}"#).await;
    assert_eq!(refused.header("kvorum-index"), Some("2"), "a refusal stands in the log, too");
    let missing = node.call("DELETE", "/key/none", "").await;
    assert_eq!(missing.header("kvorum-index"), Some("3"));
    assert_eq!(missing.header("kvorum-revision"), Some("2"), "deleting nothing is no change");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away() {
    let node = Node::leader_with(Limits { connections: 2, ..Limits::default() }).await;
    let livez = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut raw = Raw::connect(&node.address).await;
        raw.send(livez).await;
        assert_eq!(raw.response(false).await.status, 200);
        kept.push(raw);
    }
    let mut third = Raw::connect(&node.address).await;
    third.send("DELETE /key/a HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = third.response(false).await;
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.assert_problem(503, "too_many_connections")["applied"], "no");
    assert!(third.rest().await.is_empty(), "closed");
    kept.pop();
    // The seat is free as soon as the server has seen the close.
    patient(async {
        loop {
            let mut raw = Raw::connect(&node.address).await;
            raw.send(livez).await;
            if raw.response(false).await.status == 200 {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_may_close_its_half_after_the_request() {
    let node = Node::leader().await;
    let stream = TcpStream::connect(&node.address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    write.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    write.shutdown().await.unwrap();
    let mut answer = String::new();
    patient(read.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn stopping_finishes_requests_under_way_and_closes_idle_connections() {
    let node = Node::leader().await;
    let mut idle = Raw::connect(&node.address).await;
    idle.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(idle.response(false).await.status, 200);
    let silent = TcpStream::connect(&node.address).await.unwrap();

    // A write that waits for a leader is under way.
    node.follow(None);
    let mut busy = Raw::connect(&node.address).await;
    busy.send("PUT /key/a?timeout=60s HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv").await;
    let mut half = Raw::connect(&node.address).await;
    half.send("PUT /key/b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nv").await;
    // Both are in the server's hands once it has asked for the rest of the second one's body.
    let mut asking = Raw::connect(&node.address).await;
    asking
        .send("PUT /key/c HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(asking.response(false).await.status, 100);

    node.stop.stop();
    assert!(idle.rest().await.is_empty(), "closed");
    drop(silent);
    assert!(!node.server.is_finished());
    node.lead();
    half.send("w").await;
    asking.send("x").await;
    for raw in [&mut busy, &mut half, &mut asking] {
        assert_eq!(raw.response(false).await.status, 201);
        assert!(raw.rest().await.is_empty(), "closed after the answer");
    }
    patient(node.server).await.unwrap();
    assert!(TcpStream::connect(&node.address).await.is_err(), "no new connections");
}

#[tokio::test]
async fn stopping_an_http2_connection_finishes_its_streams() {
    let node = Node::leader().await;
    let stream = TcpStream::connect(&node.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TaskExecutor, TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    node.next_write(Turn::Fail(kvorum_runtime::handle::ExecuteError::Lost));
    node.follow(None);
    let request = Request::put(format!("http://{}/key/a?timeout=60s", node.address));
    let answer = tokio::spawn(sender.send_request(request.body(Full::<Bytes>::from("v")).unwrap()));
    // A second stream's answer shows that the first is being served.
    let probe = Request::get(format!("http://{}/livez", node.address));
    let probe = patient(sender.send_request(probe.body(Full::default()).unwrap())).await.unwrap();
    assert_eq!(probe.status(), 200);
    drop(probe);
    node.stop.stop();
    node.lead();
    assert_eq!(patient(answer).await.unwrap().unwrap().status(), 201);
    drop(sender);
    patient(node.server).await.unwrap();
}
