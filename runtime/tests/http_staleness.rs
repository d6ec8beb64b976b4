//! Reads from a node's own state that may be old, but not older than the client says.
#![cfg(not(madsim))]

mod http_support;

use http_support::Node;
use kvorum_runtime::handle::Consistency::{Linearizable, Stale};

const BOUNDED: &str = "/key/a?consistency=stale&max_staleness=60s&timeout=50ms";

async fn filled() -> Node {
    let node = Node::leader().await;
    node.call("PUT", "/key/a", "1").await;
    node
}

#[tokio::test]
async fn a_state_that_was_confirmed_lately_is_shown_without_asking() {
    let node = filled().await;
    node.get("/key/a").await;
    let answer = node.get(BOUNDED).await;
    assert_eq!((answer.status, answer.header("kvorum-consistency")), (200, Some("stale")));
    assert_eq!(node.script.lock().unwrap().consistencies, [Linearizable, Stale]);
    // That holds without a leader as well.
    node.follow(None);
    assert_eq!(node.get(BOUNDED).await.status, 200);
    assert_eq!(node.get("/keys?consistency=stale&max_staleness=60s").await.status, 200);
}

#[tokio::test]
async fn a_state_that_was_never_confirmed_is_confirmed_first() {
    let node = filled().await;
    assert_eq!(node.get(BOUNDED).await.status, 200);
    assert_eq!(node.script.lock().unwrap().consistencies, [Stale, Linearizable]);
    // From then on it counts as confirmed.
    assert_eq!(node.get(BOUNDED).await.status, 200);
    assert_eq!(node.script.lock().unwrap().consistencies, [Stale, Linearizable, Stale]);
    // A stale answer confirms nothing, and no state is younger than 0 s.
    assert_eq!(node.get("/key/a?consistency=stale&max_staleness=0s").await.status, 200);
    assert_eq!(node.script.lock().unwrap().consistencies.last(), Some(&Linearizable));
}

#[tokio::test]
async fn a_state_that_cannot_be_confirmed_is_not_shown() {
    let node = filled().await;
    node.follow(None);
    assert_eq!(node.get("/key/a?consistency=stale").await.status, 200);
    let refused = node.get(BOUNDED).await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    let problem = refused.assert_problem(503, "too_stale");
    let message = problem["message"].as_str().unwrap();
    assert_eq!(message, "the state may be older than 60s: the cluster has no leader");
    let scan = "/keys?consistency=stale&max_staleness=60s&timeout=50ms";
    node.get(scan).await.assert_problem(503, "too_stale");
}

#[tokio::test]
async fn a_bound_without_a_stale_read_is_a_mistake() {
    let node = filled().await;
    for query in [
        "max_staleness=1s",
        "consistency=linearizable&max_staleness=1s",
        "consistency=stale&max_staleness=soon",
        "consistency=stale&max_staleness=",
    ] {
        node.get(&format!("/key/a?{query}")).await.assert_problem(400, "invalid_parameter");
        node.get(&format!("/keys?{query}")).await.assert_problem(400, "invalid_parameter");
    }
}
