//! Strangers, liars and confused ports: each gets its answer, costs little, and is counted.

mod transport_support;

use bytes::BytesMut;
use kvorum_core::raft::NodeId;
use kvorum_runtime::transport::{
    Answered, PeerEvent, ProbeError, TransportConfig,
    frame::{HEADER_BYTES, Kind, put, put_messages},
};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use transport_support::{
    CLUSTER, Hand, Node, Start, append, heartbeat, member, pair, quick, sequence, soon, start,
    until, welcome,
};

#[tokio::test]
async fn a_browser_at_the_raft_port_is_told_where_to_go() {
    let node = start(1).go().await;
    for request in ["GET /key/a HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(&node.me.raft_address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon("an answer and the end", stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
        assert!(body.contains("Raft port"), "{answer}");
        assert!(body.contains(&node.me.http_address), "{answer}");
        assert_eq!(body.matches('\n').count(), 1, "{answer}");
    }
    assert_eq!(node.stats().strangers, 2);
}

#[tokio::test]
async fn a_browser_that_types_slowly_is_recognised_too() {
    let node = start(1).go().await;
    let mut stream = TcpStream::connect(&node.me.raft_address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in b"GET " {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut answer = [0; 12];
    soon("an answer", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
}

/// A server that accepts, reads a little, answers with `answer`, and closes.
async fn server(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer).await;
        }
    });
    address
}

async fn probe(node: &Node, address: &str) -> Result<Answered, ProbeError> {
    soon("the probe ends", node.transport.probe(address)).await
}

#[tokio::test]
async fn a_probe_learns_who_lives_there() {
    let mut a = start(1).go().await;
    let mut blank = Start { cluster: None, ..start(2) }.go().await;
    let answered = probe(&blank, &a.me.raft_address).await;
    let expected = Answered { id: NodeId(1), name: "n1".to_owned(), cluster: Some(CLUSTER) };
    assert_eq!(answered, Ok(expected.clone()));
    let answered = probe(&a, &blank.me.raft_address).await;
    assert_eq!(answered, Ok(Answered { id: NodeId(2), name: "n2".to_owned(), cluster: None }));
    assert_eq!(probe(&a, &a.me.raft_address.clone()).await, Ok(expected), "itself, too");
    // A probe is nobody's business.
    assert_eq!(a.events_so_far(), []);
    assert_eq!(blank.events_so_far(), []);
}

#[tokio::test]
async fn a_probe_of_an_http_server_says_that_it_is_one() {
    let node = start(1).go().await;
    let address = server(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    match probe(&node, &address).await {
        Err(ProbeError::Stranger(text)) => {
            assert!(text.contains(&address) && text.contains("HTTP server"), "{text}");
            assert!(text.contains("RAFT_BIND_ADDR"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_probe_of_something_else_quotes_it() {
    let node = start(1).go().await;
    let address = server(b"220 smtp.example ready\r\n").await;
    match probe(&node, &address).await {
        Err(ProbeError::Stranger(text)) => {
            assert!(text.contains("220 smtp.example"), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_probe_of_a_free_port_or_an_unknown_host_finds_nobody() {
    let node = start(1).go().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = listener.local_addr().unwrap().to_string();
    drop(listener);
    for address in [free.as_str(), "no-such-host.invalid:7000", "not an address"] {
        match probe(&node, address).await {
            Err(ProbeError::Nobody(text)) => assert!(text.contains(address), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_probe_of_a_host_that_does_not_answer_finds_silence() {
    let config = TransportConfig { dial_timeout: Duration::from_millis(50), ..quick() };
    let node = Start { config, ..start(1) }.go().await;
    // Connects in the kernel; nobody accepts.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap().to_string();
    assert!(matches!(probe(&node, &silent).await, Err(ProbeError::Silent(_))));
}

#[tokio::test]
async fn a_probe_that_is_closed_without_a_word_proves_nothing() {
    let node = start(1).go().await;
    let address = server(b"").await;
    assert!(matches!(probe(&node, &address).await, Err(ProbeError::Silent(_))));
}

#[tokio::test]
async fn whoever_says_nothing_is_closed_in_time() {
    let config = TransportConfig { dial_timeout: Duration::from_millis(30), ..quick() };
    let node = Start { config, ..start(1) }.go().await;
    let mut hand = Hand::dial(&node.me.raft_address).await;
    assert_eq!(hand.next().await, None);
    assert_eq!(node.stats().unfinished, 1);
}

#[tokio::test]
async fn a_corrupt_frame_closes_the_connection_and_is_counted() {
    let mut node = start(1).go().await;
    let mut hand = Hand::peer(2, &node.me).await;
    let mut bytes = BytesMut::new();
    put_messages(&mut bytes, 1, &[heartbeat(2, 1, 0)], 1 << 20);
    let good = bytes.len();
    put_messages(&mut bytes, 1, &[heartbeat(2, 1, 1)], 1 << 20);
    bytes[good + HEADER_BYTES + 6] ^= 1;
    hand.stream.write_all(&bytes).await.unwrap();
    // What came before it counts; the rest does not.
    assert_eq!(node.event().await, PeerEvent::Received(heartbeat(2, 1, 0)));
    assert_eq!(node.event().await, PeerEvent::Unreachable(NodeId(2)));
    assert_eq!(hand.next().await, None);
    assert_eq!(node.stats().corrupt, 1);
}

#[tokio::test]
async fn a_frame_that_verifies_and_holds_no_message_is_corrupt_too() {
    let mut node = start(1).go().await;
    let mut hand = Hand::peer(2, &node.me).await;
    hand.frame(Kind::Messages, |out| out.extend_from_slice(b"\x05\0\0\0hello")).await;
    assert_eq!(node.event().await, PeerEvent::Unreachable(NodeId(2)));
    assert_eq!(node.stats().corrupt, 1);
}

#[tokio::test]
async fn a_frame_that_announces_a_gigabyte_is_refused_by_its_header() {
    let node = start(1).go().await;
    let mut hand = Hand::peer(2, &node.me).await;
    let mut bytes = BytesMut::new();
    put(&mut bytes, 1, Kind::Messages, |_| {});
    bytes[4..8].copy_from_slice(&(1u32 << 30).to_le_bytes());
    let sum = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    hand.stream.write_all(&bytes).await.unwrap();
    assert_eq!(hand.next().await, None);
    assert_eq!(node.stats().corrupt, 1);
}

#[tokio::test]
async fn a_message_in_another_name_or_for_another_node_is_not_delivered() {
    let mut node = start(1).go().await;
    for (count, message) in [(1, heartbeat(3, 1, 0)), (2, heartbeat(2, 9, 0))] {
        let mut hand = Hand::peer(2, &node.me).await;
        let mut bytes = BytesMut::new();
        put_messages(&mut bytes, 1, &[message], 1 << 20);
        hand.stream.write_all(&bytes).await.unwrap();
        assert_eq!(node.event().await, PeerEvent::Unreachable(NodeId(2)));
        assert_eq!(node.stats().impostors, count);
    }
}

#[tokio::test]
async fn a_second_hello_is_no_conversation() {
    let mut node = start(1).go().await;
    let mut hand = Hand::peer(2, &node.me).await;
    hand.frame(Kind::Hello, |_| {}).await;
    assert_eq!(node.event().await, PeerEvent::Unreachable(NodeId(2)));
    assert_eq!(node.stats().corrupt, 1);
}

#[tokio::test]
async fn a_peer_that_never_reads_costs_a_bounded_queue_and_the_rest_is_counted() {
    let config = TransportConfig { queue_messages: 64, queue_bytes: 4 << 20, ..quick() };
    let mut node = Start { config, ..start(1) }.go().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = member(2, &listener.local_addr().unwrap().to_string());
    node.transport.set_members(&[node.me.clone(), peer]);
    let hand = welcome(&listener, 2).await;
    node.see(PeerEvent::Connected(NodeId(2))).await;
    let mut sent = 0;
    until("messages are dropped", || {
        node.transport.send(append(1, 2, sent, 100_000));
        sent += 1;
        node.stats().dropped_full >= 100
    })
    .await;
    let (messages, bytes) = node.transport.waiting(NodeId(2)).unwrap();
    assert!(messages <= 64 && bytes <= 4 << 20, "{messages} messages, {bytes} bytes");
    let heartbeats = node.stats().dropped_full;
    node.transport.send(heartbeat(1, 2, 0));
    assert_eq!(node.stats().dropped_full, heartbeats, "a heartbeat still finds room");
    assert_eq!(node.events_so_far(), [], "and the peer is not given up: it may only be slow");
    drop(hand);
    node.see(PeerEvent::Unreachable(NodeId(2))).await;
    until("what waited is let go", || node.transport.waiting(NodeId(2)) == Some((0, 0))).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_a_free_place_is_used_again() {
    let config = TransportConfig { max_inbound: 2, ..quick() };
    let mut node = Start { config, ..start(1) }.go().await;
    let first = Hand::peer(2, &node.me).await;
    let second = Hand::peer(3, &node.me).await;
    let mut third = Hand::dial(&node.me.raft_address).await;
    assert_eq!(third.next().await, None);
    assert_eq!(node.stats().refused_inbound, 1);
    drop(first);
    node.see(PeerEvent::Unreachable(NodeId(2))).await;
    // The place is free a moment after the loss is told.
    let again = soon("a place is free", async {
        loop {
            let mut hand = Hand::dial(&node.me.raft_address).await;
            let hello = transport_support::hello(4, &node.me);
            hand.frame(Kind::Hello, |out| hello.encode(out)).await;
            if hand.next().await.is_some() {
                return hand;
            }
        }
    })
    .await;
    drop((second, again));
}

#[tokio::test]
async fn noise_does_not_disturb_the_others() {
    let (a, mut b) = pair().await;
    for seed in 0..50u64 {
        let mut noise: Vec<u8> = (0..200)
            .map(|i| (seed.wrapping_mul(6_364_136_223_846_793_005) >> (i % 57)) as u8)
            .collect();
        if seed % 2 == 0 {
            noise[..2].copy_from_slice(b"kv");
        }
        let mut hand = Hand::dial(&b.me.raft_address).await;
        let _ = hand.stream.write_all(&noise).await;
        a.transport.send(heartbeat(1, 2, seed));
        assert_eq!(sequence(&b.message().await), seed);
    }
    assert_eq!((a.stats().connected, b.stats().connected), (1, 1));
}
