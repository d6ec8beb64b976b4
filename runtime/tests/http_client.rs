//! The client that members use among themselves.
#![cfg(not(madsim))]

mod http_support;

use bytes::Bytes;
use http_body_util::Full;
use http_support::{Node, patient};
use hyper::Request;
use kvorum_runtime::{
    http::client::{Client, ClientError},
    world::{TokioWorld, World},
};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).body(Full::default()).unwrap()
}

#[tokio::test]
async fn a_response_comes_back_whole() {
    let node = Node::leader().await;
    let client = Client::new(TokioWorld::new());
    let body = Full::new(Bytes::from_static(b"{\"a\":\"1\"}"));
    let request = Request::post("/key").body(body).unwrap();
    let response = patient(client.request(&node.address, request)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(&response.body()[..], b"{\"a\":\"1\"}");
}

#[tokio::test]
async fn what_never_left_is_told_from_what_may_have_arrived() {
    let client = Client::new(TokioWorld::new());
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    for address in [free.as_str(), "no port", "name.invalid:80", "a\nb:80"] {
        let error = patient(client.request(address, get("/livez"))).await.unwrap_err();
        assert!(matches!(error, ClientError::NotSent(_)), "{address}: {error:?}");
        assert!(!error.to_string().is_empty());
    }

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
        }
    });
    let error = patient(client.request(&address, get("/livez"))).await.unwrap_err();
    assert!(matches!(error, ClientError::Unknown(_)), "{error:?}");
}

#[tokio::test]
async fn the_deadline_ends_a_request_whose_fate_is_open() {
    let world = TokioWorld::new();
    let client = Client::new(world.clone());
    // It accepts (the kernel does) and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let deadline = world.now().after(Duration::from_millis(50));
    let error = patient(client.request_until(&address, get("/livez"), deadline)).await.unwrap_err();
    assert_eq!(error, ClientError::Unknown("no answer came in time".to_owned()));
    assert!(world.now() >= deadline);
}

#[tokio::test]
async fn a_kept_connection_that_has_closed_costs_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (closed, mut closes) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        let mut served = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(buffer[..count].starts_with(b"GET /livez"));
            served += 1;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{served}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            drop(stream);
            closed.send(()).await.unwrap();
        }
    });
    let client = Client::new(TokioWorld::new());
    for served in 1..=5 {
        let response = patient(client.request(&address, get("/livez"))).await.unwrap();
        assert_eq!(response.body(), &served.to_string());
        closes.recv().await.unwrap();
        // Lets the client's connection see the end.
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests_in_turn() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        while stream.read(&mut buffer).await.unwrap() > 0 {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
        // A second connection would wait for ever.
    });
    let client = Client::new(TokioWorld::new());
    for _ in 0..20 {
        let response = patient(client.clone().request(&address, get("/livez"))).await.unwrap();
        assert_eq!(&response.body()[..], b"ok");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![b'x'; 64 * 1024];
        let _ = stream.read(&mut buffer).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(&buffer).await.is_ok() {}
    });
    let client = Client::new(TokioWorld::new());
    let error = patient(client.request(&address, get("/livez"))).await.unwrap_err();
    assert_eq!(error, ClientError::Unknown("the answer is too large".to_owned()));
}
