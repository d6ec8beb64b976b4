//! Who may come in: clusters, incarnations, versions, and what is reported of those who may not.

mod transport_support;

use kvorum_core::raft::NodeId;
use kvorum_runtime::transport::{
    PeerEvent,
    frame::Kind,
    handshake::{Reason, Reject},
};
use transport_support::{CLUSTER, Hand, Start, heartbeat, hello, member, sequence, start, until};

#[tokio::test]
async fn a_node_of_another_cluster_is_turned_away_and_reported_on_both_sides() {
    let mut a = start(1).go().await;
    let mut b = Start { cluster: Some(0xbad), ..start(2) }.go().await;
    a.transport.set_members(&[a.me.clone(), b.me.clone()]);
    a.transport.send(heartbeat(1, 2, 0));
    b.see(PeerEvent::Called { cluster: CLUSTER, caller: a.me.clone(), expected: b.me.id }).await;
    a.see(PeerEvent::Unreachable(b.me.id)).await;
    assert_eq!(a.stats().connected, 0);
    assert_eq!(b.stats().received_messages, 0);
    assert!(b.stats().rejected > 0);
}

#[tokio::test]
async fn a_node_without_a_cluster_says_not_yet_reports_who_called_and_is_found_when_ready() {
    let mut a = start(1).go().await;
    let mut b = Start { cluster: None, ..start(2) }.go().await;
    // The cluster remembers a former incarnation, n9, at b's address.
    let former = member(9, &b.me.raft_address);
    a.transport.set_members(&[a.me.clone(), former]);
    let called = |expected| PeerEvent::Called { cluster: CLUSTER, caller: a.me.clone(), expected };
    let (by_former, by_name) = (called(NodeId(9)), called(b.me.id));
    b.see(by_former).await;
    a.see(PeerEvent::Unreachable(NodeId(9))).await;
    // It joins: now it is meant itself.
    a.transport.set_members(&[a.me.clone(), b.me.clone()]);
    b.see(by_name).await;
    b.transport.set_cluster(CLUSTER);
    a.see(PeerEvent::Connected(b.me.id)).await;
    a.transport.send(heartbeat(1, 2, 4));
    assert_eq!(sequence(&b.message().await), 4);
}

#[tokio::test]
async fn a_message_for_a_former_incarnation_does_not_reach_its_successor() {
    let mut a = start(1).go().await;
    let mut b = start(2).go().await;
    a.transport.set_members(&[a.me.clone(), member(9, &b.me.raft_address)]);
    a.transport.send(heartbeat(1, 9, 0));
    a.see(PeerEvent::Unreachable(NodeId(9))).await;
    a.see(PeerEvent::Unreachable(NodeId(9))).await;
    assert!(b.stats().rejected >= 2);
    assert_eq!(a.stats().connected, 0);
    assert_eq!(b.events_so_far(), []);
}

/// What `to` answers to `hello`.
async fn refusal(hand: &mut Hand) -> Reject {
    let frame = hand.next().await.expect("an answer");
    assert_eq!(frame.kind, Kind::Reject);
    Reject::decode(frame.payload).unwrap()
}

#[tokio::test]
async fn every_refusal_names_the_refuser_and_the_reason() {
    let mut node = start(1).go().await;
    let base = hello(2, &node.me);
    let mut other_cluster = base.clone();
    other_cluster.cluster = Some(7);
    let mut no_cluster = base.clone();
    no_cluster.cluster = None;
    let mut other_incarnation = base.clone();
    other_incarnation.expected = Some(NodeId(9));
    let mut later = base.clone();
    later.versions = (2, 9);
    for (hello, reason) in [
        (other_cluster, Reason::OtherCluster),
        (no_cluster, Reason::NotYet),
        (other_incarnation, Reason::OtherIncarnation),
        (later, Reason::Version { min: 1, max: 1 }),
    ] {
        let mut hand = Hand::dial(&node.me.raft_address).await;
        hand.frame(Kind::Hello, |out| hello.encode(out)).await;
        let acceptor = node.me.clone();
        let reject = Reject { reason, cluster: Some(CLUSTER), acceptor };
        assert_eq!(refusal(&mut hand).await, reject);
        assert_eq!(hand.next().await, None, "the connection ends");
    }
    assert_eq!(node.stats().rejected, 4);
    let calls = node.events_so_far();
    assert_eq!(calls.len(), 1, "only the other cluster is news: {calls:?}");
}

#[tokio::test]
async fn a_member_is_told_whether_it_is_one() {
    let mut a = start(1).go().await;
    let mut b = start(2).go().await;
    // a has a list without b; b believes itself a member.
    a.transport.set_members(&[a.me.clone(), member(3, "127.0.0.1:1")]);
    b.transport.set_members(&[a.me.clone(), b.me.clone()]);
    b.see(PeerEvent::NotMember { by: a.me.clone() }).await;
    // Once a has learnt of b, it is content.
    a.transport.set_members(&[a.me.clone(), b.me.clone()]);
    a.see(PeerEvent::Connected(b.me.id)).await;
    b.events_so_far();
    let before = a.stats().received_bytes;
    until("pings go on", || a.stats().received_bytes > before + 16 * 5).await;
    let told = b.events_so_far();
    assert!(told.len() <= 1, "at most one that was under way: {told:?}");
}

#[tokio::test]
async fn the_newest_connection_of_an_incarnation_replaces_the_older_without_alarm() {
    let mut node = start(1).go().await;
    let mut older = Hand::peer(2, &node.me).await;
    let mut newer = Hand::peer(2, &node.me).await;
    assert_eq!(older.next().await, None, "the older one is closed");
    newer
        .frame(Kind::Messages, |out| {
            let mut message = bytes::BytesMut::new();
            heartbeat(2, 1, 6).encode(&mut message);
            out.extend_from_slice(&(message.len() as u32).to_le_bytes());
            out.extend_from_slice(&message);
        })
        .await;
    assert_eq!(node.event().await, PeerEvent::Received(heartbeat(2, 1, 6)));
    drop(newer);
    assert_eq!(node.event().await, PeerEvent::Unreachable(NodeId(2)));
}
