//! Connections between nodes of one cluster, on loopback: delivery, batching, loss, return.

mod transport_support;

use kvorum_core::raft::NodeId;
use kvorum_runtime::transport::{PeerEvent, TransportConfig};
use std::time::Duration;
use tokio::runtime::Runtime;
use transport_support::{
    CLUSTER, NEVER, Node, PATIENCE, Start, TestWorld, append, heartbeat, pair, pair_of, quick,
    sequence, soon, start, until,
};

#[tokio::test]
async fn messages_arrive_in_both_directions_and_in_order() {
    let (mut a, mut b) = pair().await;
    for i in 0..100 {
        a.transport.send(heartbeat(1, 2, i));
        b.transport.send(append(2, 1, i, 100));
    }
    for i in 0..100 {
        assert_eq!(b.message().await, heartbeat(1, 2, i));
        assert_eq!(a.message().await, append(2, 1, i, 100));
    }
}

#[tokio::test]
async fn a_large_message_arrives_whole() {
    let (a, mut b) = pair().await;
    a.transport.send(append(1, 2, 1, 5 << 20));
    assert!(b.message().await == append(1, 2, 1, 5 << 20));
}

#[tokio::test]
async fn what_waits_leaves_in_one_write() {
    // Without a cluster nobody is dialled, so everything waits.
    let mut a = Start { cluster: None, ..start(1) }.go().await;
    let mut b = Start { events: 5000, ..start(2) }.go().await;
    let members = [a.me.clone(), b.me.clone()];
    a.transport.set_members(&members);
    for i in 0..1000 {
        a.transport.send(heartbeat(1, 2, i));
    }
    a.transport.set_cluster(CLUSTER);
    a.see(PeerEvent::Connected(b.me.id)).await;
    for i in 0..1000 {
        assert_eq!(sequence(&b.message().await), i);
    }
    let stats = a.stats();
    assert_eq!(stats.sent_messages, 1000);
    // Pings apart, of which there may be some on a slow machine.
    assert!(stats.sent_batches < 50, "{} writes for 1,000 messages", stats.sent_batches);
}

#[tokio::test]
async fn a_name_is_resolved_anew_at_every_dial() {
    let b = start(2).go().await;
    let first = b.me.raft_address.clone();
    let world = TestWorld::default();
    world.names.lock().unwrap().insert("b.example:7000".to_owned(), first);
    let mut a = Start { world: world.clone(), ..start(1) }.go().await;
    let mut named = b.me.clone();
    named.raft_address = "b.example:7000".to_owned();
    a.transport.set_members(&[a.me.clone(), named]);
    a.see(PeerEvent::Connected(b.me.id)).await;

    // The node moves to another machine under the same name.
    drop(b);
    let mut moved = start(2).go().await;
    world.names.lock().unwrap().insert("b.example:7000".to_owned(), moved.me.raft_address.clone());
    a.see(PeerEvent::Unreachable(NodeId(2))).await;
    a.see(PeerEvent::Connected(NodeId(2))).await;
    a.transport.send(heartbeat(1, 2, 5));
    assert_eq!(sequence(&moved.message().await), 5);
}

#[tokio::test]
async fn a_peer_that_restarts_on_its_port_is_found_again_in_both_directions() {
    let (mut a, b) = pair().await;
    let members = [a.me.clone(), b.me.clone()];
    let bind = b.me.raft_address.clone();
    drop(b);
    a.see(PeerEvent::Unreachable(NodeId(2))).await;
    let mut b = Start { bind, ..start(2) }.go().await;
    b.transport.set_members(&members);
    a.see(PeerEvent::Connected(NodeId(2))).await;
    b.see(PeerEvent::Connected(NodeId(1))).await;
    a.transport.send(heartbeat(1, 2, 1));
    b.transport.send(heartbeat(2, 1, 2));
    assert_eq!(sequence(&b.message().await), 1);
    assert_eq!(sequence(&a.message().await), 2);
}

#[tokio::test]
async fn what_waited_for_a_failed_dial_is_stale_and_dropped() {
    let mut a = start(1).go().await;
    let b = start(2).go().await;
    let members = [a.me.clone(), b.me.clone()];
    let bind = b.me.raft_address.clone();
    b.transport.stop(PATIENCE).await;
    drop(b);
    a.transport.set_members(&members);
    a.transport.send(heartbeat(1, 2, 1));
    a.see(PeerEvent::Unreachable(NodeId(2))).await;
    until("it is dropped", || a.stats().dropped_stale == 1).await;
    let mut b = Start { bind, ..start(2) }.go().await;
    a.see(PeerEvent::Connected(NodeId(2))).await;
    a.transport.send(heartbeat(1, 2, 2));
    assert_eq!(sequence(&b.message().await), 2);
}

#[tokio::test]
async fn a_peer_that_calls_is_dialled_at_once_whatever_the_back_off() {
    let config = TransportConfig { backoff_min: NEVER, backoff_max: NEVER, ..quick() };
    let mut a = Start { config, ..start(1) }.go().await;
    let b = start(2).go().await;
    let members = [a.me.clone(), b.me.clone()];
    let bind = b.me.raft_address.clone();
    b.transport.stop(PATIENCE).await;
    a.transport.set_members(&members);
    a.see(PeerEvent::Unreachable(NodeId(2))).await;
    let b = Start { bind, ..start(2) }.go().await;
    b.transport.set_members(&members);
    a.see(PeerEvent::Connected(NodeId(2))).await;
}

/// A pair whose second node lives in a runtime of its own, which can be shut down like a process.
async fn pair_with_a_process(config: TransportConfig) -> (Node, Node, Runtime) {
    let process = Runtime::new().unwrap();
    let mut a = Start { config: config.clone(), ..start(1) }.go().await;
    let b = process.spawn(Start { config, ..start(2) }.go()).await.unwrap();
    let members = [a.me.clone(), b.me.clone()];
    a.transport.set_members(&members);
    let guard = process.enter();
    b.transport.set_members(&members);
    drop(guard);
    a.see(PeerEvent::Connected(b.me.id)).await;
    until("b is connected", || b.stats().connected == 1).await;
    // The connection of b is accepted before it stands for b.
    until("a has accepted b", || a.stats().accepted == 1).await;
    (a, b, process)
}

#[tokio::test]
async fn a_killed_process_is_noticed_at_once_on_both_connections() {
    // Neither silence nor a failed dial can tell: only the ends of the two connections.
    let config = TransportConfig { backoff_min: NEVER, backoff_max: NEVER, ..quick() };
    let (mut a, b, process) = pair_with_a_process(config).await;
    process.shutdown_background();
    a.see(PeerEvent::Unreachable(b.me.id)).await;
    a.see(PeerEvent::Unreachable(b.me.id)).await;
    assert_eq!(a.stats().dials_failed, 0);
    assert_eq!(a.stats().idle_closed, 0);
}

#[tokio::test]
async fn a_machine_that_loses_its_power_is_noticed_by_its_silence() {
    let config = TransportConfig { idle_timeout: Duration::from_millis(200), ..quick() };
    let (mut a, mut b) =
        pair_of(Start { config: config.clone(), ..start(1) }, Start { config, ..start(2) }).await;
    b.world.dark.store(true, std::sync::atomic::Ordering::SeqCst);
    a.see(PeerEvent::Unreachable(NodeId(2))).await;
    until("a closes both of its connections", || a.stats().idle_closed >= 2).await;
    b.see(PeerEvent::Unreachable(NodeId(1))).await;
    until("b closes both of its connections", || b.stats().idle_closed >= 2).await;
}

#[tokio::test]
async fn an_idle_connection_that_lives_is_kept() {
    let config = TransportConfig { idle_timeout: Duration::from_millis(200), ..quick() };
    let (mut a, mut b) =
        pair_of(Start { config: config.clone(), ..start(1) }, Start { config, ..start(2) }).await;
    // Each ping is 16 bytes: wait for many idle timeouts' worth of them.
    until("pings come", || a.stats().received_bytes >= 16 * 40).await;
    assert_eq!(a.events_so_far(), []);
    assert_eq!(b.events_so_far(), []);
    assert_eq!((a.stats().connected, b.stats().connected), (1, 1));
}

#[tokio::test]
async fn a_slow_driver_slows_its_peer_and_is_not_taken_for_dead() {
    let config =
        TransportConfig { idle_timeout: Duration::from_millis(200), queue_messages: 50, ..quick() };
    let a = Start { config: config.clone(), ..start(1) };
    let b = Start { config, events: 2, ..start(2) };
    let (mut a, mut b) = pair_of(a, b).await;
    // The driver of b takes nothing: its connection fills, then the queue of a.
    let mut sent = 0;
    until("messages are dropped", || {
        a.transport.send(append(1, 2, sent, 100_000));
        sent += 1;
        a.stats().dropped_full > 0
    })
    .await;
    let (messages, bytes) = a.transport.waiting(NodeId(2)).unwrap();
    assert!(messages <= 50 && bytes <= 60 * 101_000, "{messages} messages, {bytes} bytes");
    let before = a.stats().received_bytes;
    until("many pings have come", || a.stats().received_bytes > before + 16 * 30).await;
    assert_eq!(a.events_so_far(), [], "a never lost b");
    // And when it takes again, everything that was not dropped is there, in order.
    let last = heartbeat(1, 2, u64::MAX);
    let mut next = 0;
    a.transport.send(last.clone());
    loop {
        let message = b.message().await;
        if message == last {
            // A small message overtakes the bulk behind it.
            break;
        }
        assert_eq!(sequence(&message), next);
        next += 1;
    }
}

#[tokio::test]
async fn stop_sends_what_waits_and_then_tells_nothing_more() {
    let (mut a, mut b) = pair().await;
    for i in 0..500 {
        a.transport.send(append(1, 2, i, 1000));
    }
    // The peer must read meanwhile, or nothing could be flushed.
    let reading = tokio::spawn(async move {
        for i in 0..500 {
            assert_eq!(sequence(&b.message().await), i);
        }
        b
    });
    a.transport.stop(PATIENCE).await;
    soon("all arrives", reading).await.unwrap();
    a.events_so_far();
    a.transport.send(heartbeat(1, 2, 0));
    tokio::task::yield_now().await;
    assert_eq!(a.events_so_far(), []);
}

#[tokio::test]
async fn stop_gives_up_on_a_peer_that_takes_nothing() {
    let (a, b) = pair_of(start(1), Start { events: 2, ..start(2) }).await;
    for i in 0..200 {
        a.transport.send(append(1, 2, i, 100_000));
    }
    soon("the stop ends", a.transport.stop(Duration::from_millis(20))).await;
    drop(b);
}

#[tokio::test]
async fn everything_ends_when_the_last_handle_is_gone() {
    let (mut a, b) = pair().await;
    let bind = a.me.raft_address.clone();
    let clone = a.transport.clone();
    drop(a.transport);
    clone.send(heartbeat(1, 2, 1));
    drop(clone);
    // The channel closes when no task holds its sender any more; the port is free again.
    soon("all tasks end", async { while a.events.recv().await.is_some() {} }).await;
    let again = Start { bind, ..start(1) }.go().await;
    drop((again, b));
}

#[tokio::test]
async fn a_member_that_is_removed_is_told_so_and_its_connection_ends_without_alarm() {
    let (mut a, mut b) = pair().await;
    a.transport.set_members(std::slice::from_ref(&a.me.clone()));
    b.see(PeerEvent::NotMember { by: a.me.clone() }).await;
    // Again and again, until it acts on it.
    b.see(PeerEvent::NotMember { by: a.me.clone() }).await;
    until("a has left b", || a.transport.waiting(NodeId(2)).is_none()).await;
    let alarms = |events: Vec<PeerEvent>| {
        events.iter().filter(|event| matches!(event, PeerEvent::Unreachable(_))).count()
    };
    assert_eq!(alarms(a.events_so_far()), 0);
    assert_eq!(alarms(b.events_so_far()), 0);
    // A node that does not believe itself a member is not bothered.
    b.transport.set_members(std::slice::from_ref(&a.me.clone()));
    b.events_so_far();
    let before = a.stats().received_bytes;
    until("pings go on", || a.stats().received_bytes > before + 16 * 5).await;
    let told = b.events_so_far();
    assert!(told.len() <= 1, "at most one that was under way: {told:?}");
}

#[tokio::test]
async fn a_caller_that_is_no_member_is_answered_at_the_address_it_gave() {
    let mut a = start(1).go().await;
    let mut b = start(2).go().await;
    // Only b knows a: a joiner that has heard of the leader.
    b.transport.set_members(&[a.me.clone(), b.me.clone()]);
    b.see(PeerEvent::Connected(a.me.id)).await;
    a.transport.send(heartbeat(1, 9, 0));
    assert_eq!(a.stats().dropped_unknown, 1);
    b.transport.send(heartbeat(2, 1, 1));
    assert_eq!(sequence(&a.message().await), 1);
    a.transport.send(heartbeat(1, 2, 2));
    assert_eq!(sequence(&b.message().await), 2);
}

#[tokio::test]
async fn a_member_that_calls_from_a_new_address_is_answered_there() {
    let (mut a, b) = pair().await;
    let members = [a.me.clone(), b.me.clone()];
    drop(b);
    a.see(PeerEvent::Unreachable(NodeId(2))).await;
    // Another port; the log of a still says the old one.
    let mut b = start(2).go().await;
    b.transport.set_members(&members);
    a.see(PeerEvent::Connected(NodeId(2))).await;
    a.transport.send(heartbeat(1, 2, 3));
    assert_eq!(sequence(&b.message().await), 3);
}

#[tokio::test]
async fn a_message_to_oneself_goes_nowhere() {
    let a = start(1).go().await;
    a.transport.set_members(std::slice::from_ref(&a.me));
    a.transport.send(heartbeat(1, 1, 0));
    assert_eq!(a.stats().dropped_unknown, 1);
    assert_eq!(a.stats().dials, 0);
}

#[tokio::test]
async fn a_message_larger_than_any_frame_is_dropped_and_the_connection_stays() {
    let config = TransportConfig { max_frame_bytes: 10_000, ..quick() };
    let a = Start { config, ..start(1) };
    let (a, mut b) = pair_of(a, start(2)).await;
    a.transport.send(append(1, 2, 0, 20_000));
    a.transport.send(append(1, 2, 1, 2_000));
    assert_eq!(sequence(&b.message().await), 1);
    assert_eq!(a.stats().dropped_too_large, 1);
}
