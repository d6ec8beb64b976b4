//! What a leader does unasked, on whole nodes whose clock is moved on by hand.
#![cfg(not(madsim))]

mod node_support;

use node_support::{Alone, Connection, eventually};
use std::time::Duration;

/// Both defaults: ten minutes and ten thousand revisions.
const KEPT: u64 = 10_000;
const KEPT_FOR: Duration = Duration::from_secs(600);

/// Writes `count` revisions, over several connections so that they share batches.
async fn write(node: &Alone, count: u64) {
    const WRITERS: u64 = 16;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let address = node.address.clone();
            tokio::spawn(async move {
                let mut connection = Connection::open(&address).await;
                for _ in (writer..count).step_by(WRITERS as usize) {
                    let path = format!("/key/w{writer}");
                    let put = connection.call("PUT", &path, &[], "v").await;
                    assert!(matches!(put.status, 200 | 201), "{put:?}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

/// What reading the first write's revision says.
async fn first_revision(node: &Alone) -> u16 {
    node.get("/key/first?at=2").await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_compacted_once_it_is_old_and_long_and_not_before() {
    let node = Alone::start(None).await;
    assert_eq!(node.call("PUT", "/key/first", "v").await.status, 201);
    // Old, and not long enough.
    node.world.pass(2 * KEPT_FOR);
    write(&node, 100).await;
    assert_eq!(first_revision(&node).await, 200);
    // Long, and not old enough: all but the first few are of this minute.
    write(&node, KEPT + 700).await;
    node.world.pass(KEPT_FOR / 2);
    write(&node, 1).await;
    assert_eq!(first_revision(&node).await, 200, "nothing is younger than ten minutes but long");
    // Old and long. Nobody writes any more: the leader does it by itself.
    node.world.pass(KEPT_FOR);
    eventually("the first revision is compacted", async || {
        (first_revision(&node).await == 410).then_some(())
    })
    .await;
    let oldest = node.get("/key/first?at=2").await.json()["oldest"].as_u64().unwrap();
    let revision: u64 =
        node.get("/key/first").await.header("kvorum-revision").unwrap().parse().unwrap();
    assert!(oldest <= revision - KEPT, "{KEPT} revisions stay: {oldest} of {revision}");
    node.stop().await;
}

/// The log index of a node's state.
async fn index(node: &Alone) -> u64 {
    let seen = node.get("/leases").await;
    seen.header("kvorum-index").unwrap().parse().unwrap()
}

async fn remaining(node: &Alone, lease: &str) -> f64 {
    let seen = node.get(&format!("/lease/{lease}")).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    seen.json()["remaining"].as_f64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_by_itself_when_it_is_due_and_not_before() {
    let node = Alone::start(None).await;
    let put = node.call("PUT", "/key/a?ttl=100s", "v").await;
    let lease = put.header("kvorum-lease").unwrap().to_owned();
    node.world.pass(Duration::from_secs(60));
    assert_eq!(node.call("POST", &format!("/lease/{lease}/keepalive"), "").await.status, 200);
    node.world.pass(Duration::from_secs(60));
    let before = index(&node).await;
    // The leader has looked after the jump: while there are leases, it moves the clock.
    eventually("the clock is moved", async || (index(&node).await > before).then_some(())).await;
    assert_eq!(node.get("/key/a").await.status, 200);
    assert!(remaining(&node, &lease).await <= 40.0);
    node.world.pass(Duration::from_secs(40));
    eventually("it is gone", async || (node.get("/key/a").await.status == 404).then_some(())).await;
    assert_eq!(node.get(&format!("/lease/{lease}")).await.status, 404);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_lengthens_a_lease_by_no_more_than_a_tick() {
    const TICK: f64 = kvorum_core::kv::chores::TICK_MS as f64 / 1000.0;
    let dir = std::env::temp_dir().join(format!("kvorum-chores-{}", std::process::id()));
    let node = Alone::start(Some(&dir)).await;
    let put = node.call("PUT", "/key/a?ttl=1000s", "v").await;
    let lease = put.header("kvorum-lease").unwrap().to_owned();
    let before = index(&node).await;
    node.world.pass(Duration::from_secs(700));
    eventually("the clock is moved", async || (index(&node).await > before).then_some(())).await;
    node.stop().await;
    // Its own clock begins anew.
    let node = Alone::start(Some(&dir)).await;
    let left = remaining(&node, &lease).await;
    assert!(left <= 300.0 + TICK, "{left}");
    assert_eq!(node.get("/key/a?meta").await.json()["lease"], lease);
    node.world.pass(Duration::from_secs_f64(left - 100.0));
    assert_eq!(node.get("/key/a").await.status, 200);
    node.world.pass(Duration::from_secs(101));
    eventually("it is gone", async || (node.get("/key/a").await.status == 404).then_some(())).await;
    node.stop().await;
    std::fs::remove_dir_all(&dir).unwrap();
}
