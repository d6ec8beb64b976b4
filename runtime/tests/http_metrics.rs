//! The page for Prometheus, over HTTP: what requests move, and how it is asked for. The page of real
//! nodes is judged in `bin/tests/process/metrics.rs`.
#![cfg(not(madsim))]

mod http_support;

use bytes::Bytes;
use http_body_util::Full;
use http_support::{Node, member};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kvorum_core::raft::{Index, Instant, NodeId, PeerStatus, Term};
use kvorum_runtime::{handle::Phase, http::openapi, report::PeerReport, transport::LinkStats};
use std::time::Duration;
use tokio::net::TcpStream;

async fn page(node: &Node) -> String {
    let answer = node.get("/metrics").await;
    assert_eq!(answer.status, 200);
    answer.text().to_owned()
}

/// The value of a series, as it stands on the page.
fn value<'p>(page: &'p str, series: &str) -> Option<&'p str> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
}

fn series(route: &str, method: &str, code: &str) -> String {
    format!("kvorum_http_requests_total{{route=\"{route}\",method=\"{method}\",code=\"{code}\"}}")
}

#[tokio::test]
async fn requests_count_by_route_method_and_status() {
    let node = Node::leader().await;
    node.call("PUT", "/key/a/b", "v").await;
    node.call("PUT", "/key/a%2Fc", "v").await;
    node.call("HEAD", "/key/a/b", "").await;
    node.get("/key/nobody").await;
    node.get("/nowhere/else").await;
    node.call("PATCH", "/status", "").await;
    node.call("BREW", "/key", "").await;
    let page = page(&node).await;
    for (route, method, code, count) in [
        ("/key/{key}", "PUT", "201", "2"),
        ("/key/{key}", "HEAD", "200", "1"),
        ("/key/{key}", "GET", "404", "1"),
        ("none", "GET", "404", "1"),
        ("/status", "PATCH", "405", "1"),
        ("/key", "other", "405", "1"),
    ] {
        assert_eq!(value(&page, &series(route, method, code)), Some(count), "{route} {method}");
    }
    let took = "kvorum_http_request_duration_seconds_count{route=\"/key/{key}\"}";
    assert_eq!(value(&page, took), Some("4"));
    assert_eq!(value(&page, "kvorum_http_problems_total{code=\"key_not_found\"}"), Some("1"));
    assert_eq!(value(&page, "kvorum_http_problems_total{code=\"unknown_path\"}"), Some("1"));
    // The request that asks is under way itself.
    assert_eq!(value(&page, "kvorum_http_in_flight"), Some("1"));
    assert_eq!(value(&page, "kvorum_http_abandoned_total"), Some("0"));
    assert_eq!(value(&page, "kvorum_store_keys"), Some("2"));
}

#[tokio::test]
async fn every_route_has_a_name_of_its_own() {
    let node = Node::leader().await;
    // `/key/` is `/key/{key}` with its key in `?b64=`.
    for (path, _) in openapi::routes().filter(|(path, _)| *path != "/key/") {
        let concrete = path.replace(['{', '}'], "");
        assert_eq!(node.call("OPTIONS", &concrete, "").await.status, 204, "{path}");
        let page = page(&node).await;
        assert_eq!(value(&page, &series("none", "OPTIONS", "204")), None, "{path} has no label");
        assert!(value(&page, &series(path, "OPTIONS", "204")).is_some(), "{path}: {page}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_is_counted() {
    let node = Node::leader().await;
    node.script.lock().unwrap().hang_reads = true;
    // HTTP/2 says so by itself; over HTTP/1.1 a client may have closed its half only.
    let stream = TcpStream::connect(&node.address).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("http://{}/key/a", node.address));
    let request = request.body(Full::new(Bytes::new())).unwrap();
    let asked = tokio::spawn(async move { sender.send_request(request).await.map(drop) });
    while node.script.lock().unwrap().consistencies.is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    asked.abort();
    while value(&page(&node).await, "kvorum_http_abandoned_total") != Some("1") {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(value(&page(&node).await, "kvorum_http_in_flight"), Some("1"));
}

#[tokio::test]
async fn both_text_formats_are_spoken() {
    let node = Node::leader().await;
    let plain = node.get("/metrics").await;
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(plain.header("content-type"), Some(media_type));
    assert!(plain.text().contains("# TYPE kvorum_build_info gauge\n"));
    assert!(!plain.text().contains("# EOF"));
    let accept = "application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let open = node.call_with("GET", "/metrics", &[("accept", accept)], "").await;
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.header("content-type"), Some(media_type));
    assert!(open.text().contains("# TYPE kvorum_build info\n"));
    assert!(open.text().contains("# UNIT kvorum_disk_fsync_seconds seconds\n"));
    assert!(open.text().ends_with("# EOF\n"));
    node.get("/metrics?x").await.assert_problem(400, "unknown_parameter");
}

#[tokio::test]
async fn what_the_driver_knows_is_left_out_when_it_does_not_answer() {
    let node = Node::leader().await;
    let progress = PeerStatus {
        id: NodeId(2),
        matched: Index(5),
        state: "replicate",
        active: true,
        heard: Instant(0),
        inflight: (3, 400),
        snapshot_bytes: 0,
        term: Term(2),
    };
    node.script.lock().unwrap().peers.push(PeerReport {
        member: member("app2", 2, "app2:8080"),
        voter: true,
        silent: Duration::from_millis(250),
        progress: Some(progress),
        link: LinkStats { waiting_messages: 7, ..LinkStats::default() },
    });
    let whole = page(&node).await;
    for (series, is) in [
        ("kvorum_scrape_complete", "1"),
        ("kvorum_peer_lag_entries{peer=\"app2\"}", "2"),
        ("kvorum_peer_last_contact_seconds{peer=\"app2\"}", "0.25"),
        ("kvorum_peer_inflight_bytes{peer=\"app2\"}", "400"),
        ("kvorum_peer_state{peer=\"app2\",state=\"replicate\"}", "1"),
        ("kvorum_peer_queue_messages{peer=\"app2\"}", "7"),
        ("kvorum_raft_role{role=\"leader\"}", "1"),
        ("kvorum_raft_role{role=\"follower\"}", "0"),
        ("kvorum_raft_ignored_messages_total{reason=\"stale_term\"}", "3"),
        ("kvorum_raft_refused_requests_total{reason=\"not_leader\"}", "4"),
        ("kvorum_queue_limit{queue=\"log\"}", "8"),
    ] {
        assert_eq!(value(&whole, series), Some(is), "{series}");
    }
    node.script.lock().unwrap().driver_hangs = true;
    let partial = page(&node).await;
    assert_eq!(value(&partial, "kvorum_scrape_complete"), Some("0"));
    assert_eq!(value(&partial, "kvorum_raft_term"), None);
    assert!(value(&partial, &series("/metrics", "GET", "200")).is_some());
    // A node that is no member yet is not even asked.
    node.change(|view| view.phase = Phase::Joining);
    assert_eq!(value(&page(&node).await, "kvorum_scrape_complete"), Some("0"));
}
