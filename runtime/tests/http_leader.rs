//! Finding the leader: forwarding, waiting through elections, and the truth about outcomes.
#![cfg(not(madsim))]

mod http_support;

use http_support::{Node, SharedStore, Turn, member, patient};
use kvorum_core::raft::{Index, RoleName};
use kvorum_runtime::{
    config::Limits,
    handle::{ExecuteError, JoinError, MemberView, Phase, QueryError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// A leader and a follower of it, over one store.
async fn pair() -> (Node, Node) {
    let store = SharedStore::default();
    let leader = Node::start("app1", 1, store.clone(), Limits::default()).await;
    let follower = Node::start("app2", 2, store, Limits::default()).await;
    follower.follow(Some(leader.me()));
    (leader, follower)
}

/// An address at which nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A peer that reads a request and then does as `then` says with the connection.
async fn peer(answer: Option<&'static str>) -> (String, tokio::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (seen, requests) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0);
            seen.send(()).await.unwrap();
            if let Some(answer) = answer {
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    (address, requests)
}

#[tokio::test]
async fn a_follower_answers_everything() {
    let (leader, follower) = pair().await;
    let set = follower.post("/key", r#"{"a":"1"}"#).await;
    assert_eq!((set.status, set.text()), (200, r#"{"a":"1"}"#));
    assert_eq!(set.header("kvorum-served-by"), Some("app1"), "the leader decided");
    assert_eq!((set.header("etag"), set.header("kvorum-index")), (Some("\"2\""), Some("1")));
    let got = follower.get("/key/a").await;
    assert_eq!((got.status, got.text()), (200, r#"{"a":"1"}"#));
    assert_eq!(got.header("kvorum-served-by"), Some("app2"), "reads are answered where they come");

    let put = follower.call_with("PUT", "/key/a%2Fb", &[("if-none-match", "*")], "2").await;
    assert_eq!(put.status, 201);
    let put = follower.call_with("PUT", "/key/a%2Fb", &[("if-none-match", "*")], "2").await;
    assert_eq!(put.assert_problem(412, "precondition_failed")["current"]["value"], "2");
    let prefer = [("prefer", "return=minimal")];
    assert_eq!(follower.call_with("DELETE", "/key/a", &prefer, "").await.status, 204);
    follower.call("DELETE", "/key/a", "").await.assert_problem(404, "key_not_found");
    let binary: &[u8] = &[0, 1, 0xff];
    assert_eq!(follower.call("PUT", "/key/?b64=_w", binary).await.status, 201);
    assert_eq!(&leader.get("/key/%FF?raw").await.body[..], binary);
    let large = vec![b'x'; 1 << 20];
    assert_eq!(follower.call("PUT", "/key/large", large).await.status, 201);
    let current = follower.call_with("PUT", "/key/large", &[("if-match", "\"1\"")], "").await;
    let current = current.assert_problem(412, "precondition_failed");
    assert_eq!(current["current"]["value"].as_str().unwrap().len(), 1 << 20);
    assert_eq!(follower.executed(), 0);
}

#[tokio::test]
async fn mistakes_are_told_by_the_node_that_is_asked() {
    let (leader, follower) = pair().await;
    follower.post("/key", "{").await.assert_problem(400, "invalid_json");
    follower.call("PUT", "/key/", "x").await.assert_problem(400, "empty_key");
    follower.follow(None);
    follower.post("/key", "{}").await.assert_problem(400, "no_data");
    assert_eq!(leader.executed(), 0);
}

#[tokio::test]
async fn connections_to_the_leader_are_used_again() {
    let (leader, follower) = pair().await;
    for n in 0..50 {
        assert_eq!(follower.post("/key", format!("{{\"k\":{n}}}")).await.status, 200);
    }
    let calls: Vec<_> = (0..20)
        .map(|n| {
            let address = follower.address.clone();
            tokio::spawn(async move {
                http_support::call(&address, "PUT", &format!("/key/{n}"), &[], "v").await.status
            })
        })
        .collect();
    for call in calls {
        assert_eq!(patient(call).await.unwrap(), 201);
    }
    assert_eq!(leader.executed(), 70);
}

#[tokio::test]
async fn a_leader_that_restarts_is_found_again() {
    let (leader, follower) = pair().await;
    assert_eq!(follower.post("/key", r#"{"a":"1"}"#).await.status, 200);
    // Its server goes, with the kept connection, and another comes.
    leader.stop.stop();
    patient(leader.server).await.unwrap();
    let again = Node::start("app1", 1, leader.store, Limits::default()).await;
    follower.follow(Some(again.me()));
    assert_eq!(follower.post("/key", r#"{"a":"2"}"#).await.status, 200);
    assert_eq!(again.executed(), 1);
}

#[tokio::test]
async fn a_request_is_forwarded_once() {
    let (first, second) = pair().await;
    // The two point at each other.
    first.follow(Some(second.me()));
    let direct = [("kvorum-forwarded", "app9")];
    let refused = first.call_with("PUT", "/key/a", &direct, "v").await;
    assert_eq!(refused.assert_problem(503, "not_leader")["applied"], "no");
    let problem = second.call("PUT", "/key/a?timeout=200ms", "v").await;
    assert_eq!(problem.header("retry-after"), Some("1"));
    let problem = problem.assert_problem(503, "no_leader");
    assert_eq!(problem["applied"], "no");
    assert!(problem["message"].as_str().unwrap().contains("app1 does not lead"), "{problem}");
    assert_eq!((first.executed(), second.executed()), (0, 0));
}

#[tokio::test]
async fn a_forwarded_request_is_tried_again_until_somebody_leads() {
    let (leader, follower) = pair().await;
    let refusal = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 37\r\nconnection: close\r\n\r\n\
                   {\"applied\":\"no\",\"message\":\"not here\"}";
    let (address, mut refusals) = peer(Some(refusal)).await;
    follower.follow(Some(member("app3", 3, &address)));
    let call = follower.call("PUT", "/key/a?timeout=20s", "v");
    let election = async {
        for _ in 0..2 {
            refusals.recv().await.unwrap();
        }
        follower.follow(Some(leader.me()));
    };
    let (answer, ()) = patient(async { tokio::join!(call, election) }).await;
    assert_eq!(answer.status, 201);
    assert_eq!(leader.store.lock().unwrap().commands, 1);
}

#[tokio::test]
async fn a_503_that_does_not_say_that_nothing_was_applied_is_passed_on() {
    let (_leader, follower) = pair().await;
    let vague = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";
    let (address, mut requests) = peer(Some(vague)).await;
    follower.follow(Some(member("app3", 3, &address)));
    let answer = follower.call("PUT", "/key/a", "v").await;
    assert_eq!((answer.status, answer.text()), (503, "busy"));
    requests.recv().await.unwrap();
    assert!(requests.try_recv().is_err(), "never repeated");
}

#[tokio::test]
async fn requests_wait_through_an_election() {
    let (leader, follower) = pair().await;
    follower.follow(None);
    let calls: Vec<_> =
        [("PUT", "/key/a"), ("GET", "/key/b"), ("DELETE", "/key/c"), ("POST", "/join")]
            .into_iter()
            .map(|(method, path)| {
                let address = follower.address.clone();
                let body = r#"{"node_id":"n","address":"n:1","http":"n:2","id":"9"}"#;
                tokio::spawn(
                    async move { http_support::call(&address, method, path, &[], body).await },
                )
            })
            .collect();
    tokio::task::yield_now().await;
    follower.follow(Some(leader.me()));
    let mut statuses = Vec::new();
    for call in calls {
        statuses.push(patient(call).await.unwrap().status);
    }
    assert_eq!(statuses, [201, 404, 404, 200]);
}

#[tokio::test]
async fn a_node_that_wins_the_election_itself_serves_who_waits() {
    let node = Node::leader().await;
    node.follow(None);
    let call = node.call("PUT", "/key/a", "v");
    let win = async {
        tokio::task::yield_now().await;
        node.lead();
    };
    let (answer, ()) = patient(async { tokio::join!(call, win) }).await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn without_a_leader_the_wait_ends_with_certainty() {
    let node = Node::leader().await;
    node.follow(None);
    let answer = node.call("PUT", "/key/a?timeout=50ms", "v").await;
    assert_eq!(answer.header("retry-after"), Some("1"));
    let problem = answer.assert_problem(503, "no_leader");
    assert_eq!(problem["applied"], "no");
    assert_eq!(problem["message"], "the cluster has no leader");
    node.get("/key/a?timeout=50ms").await.assert_problem(503, "no_leader");
    // A stale read needs none.
    node.get("/key/a?consistency=stale").await.assert_problem(404, "key_not_found");
    assert_eq!(node.executed(), 0);
}

#[tokio::test]
async fn a_node_outside_a_cluster_answers_no_read_however_stale() {
    let node = Node::leader().await;
    node.change(|view| {
        view.phase = Phase::Joining;
        view.role = RoleName::Follower;
        view.leader = None;
    });
    for path in ["/key/a?timeout=30ms", "/key/a?timeout=30ms&consistency=stale"] {
        let problem = node.get(path).await.assert_problem(503, "no_leader");
        assert_eq!(problem["message"], "this node is not a member of a cluster yet");
    }
    assert!(node.script.lock().unwrap().consistencies.is_empty());
}

#[tokio::test]
async fn a_leader_that_cannot_be_reached_has_certainly_not_got_the_request() {
    let (leader, follower) = pair().await;
    follower.follow(Some(member("app3", 3, &nobody().await)));
    let problem =
        follower.call("PUT", "/key/a?timeout=100ms", "v").await.assert_problem(503, "no_leader");
    assert_eq!(problem["applied"], "no");
    assert!(problem["message"].as_str().unwrap().starts_with("the leader app3 at 127.0.0.1:"));
    // Refused, then another leader: tried again there.
    let call = follower.call("PUT", "/key/a", "v");
    let election = async {
        tokio::task::yield_now().await;
        follower.follow(Some(leader.me()));
    };
    let (answer, ()) = patient(async { tokio::join!(call, election) }).await;
    assert_eq!(answer.status, 201);
    assert_eq!(leader.store.lock().unwrap().commands, 1);
}

#[tokio::test]
async fn a_leader_that_dies_with_the_request_leaves_the_outcome_unknown() {
    let (leader, follower) = pair().await;
    let partial = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"a\"";
    for answer in [None, Some("HTTP/1.1 2"), Some(partial), Some("SSH-2.0-x\r\n\r\n")] {
        let (address, mut requests) = peer(answer).await;
        follower.follow(Some(member("app3", 3, &address)));
        let reply = follower.call("PUT", "/key/a", "v").await;
        let problem = reply.assert_problem(504, "outcome_unknown");
        assert_eq!(problem["applied"], "unknown");
        assert!(problem["message"].as_str().unwrap().contains("app3"), "{problem}");
        requests.recv().await.unwrap();
        assert!(requests.try_recv().is_err(), "never repeated");
    }
    assert_eq!(leader.executed(), 0);
}

#[tokio::test]
async fn a_leader_that_hangs_leaves_the_outcome_unknown() {
    let (leader, follower) = pair().await;
    for node in [&leader, &follower] {
        leader.next_write(Turn::Hang);
        let problem = node.call("PUT", "/key/a?timeout=100ms", "v").await;
        assert_eq!(problem.assert_problem(504, "outcome_unknown")["applied"], "unknown");
    }
    assert_eq!(leader.executed(), 2);
}

#[tokio::test]
async fn an_unknown_outcome_is_told_and_never_tried_again() {
    let (leader, follower) = pair().await;
    for node in [&leader, &follower] {
        leader.next_write(Turn::ApplyUnknown);
        let problem = node.call("PUT", "/key/a", "v").await.assert_problem(504, "outcome_unknown");
        assert_eq!(problem["applied"], "unknown");
    }
    assert_eq!((leader.executed(), leader.store.lock().unwrap().commands), (2, 2));
}

#[tokio::test]
async fn a_write_that_certainly_failed_is_tried_again() {
    let (leader, follower) = pair().await;
    for node in [&leader, &follower] {
        for error in [ExecuteError::Lost, ExecuteError::NotLeader] {
            leader.next_write(Turn::Fail(error.clone()));
            leader.next_write(Turn::Fail(error));
        }
        assert_eq!(node.call("PUT", "/key/a", "v").await.status / 100, 2);
    }
    assert_eq!((leader.executed(), leader.store.lock().unwrap().commands), (10, 2));
}

#[tokio::test]
async fn a_write_that_is_lost_again_and_again_ends_with_certainty() {
    let node = Node::leader().await;
    for _ in 0..100 {
        node.next_write(Turn::Fail(ExecuteError::Lost));
    }
    let problem =
        node.call("PUT", "/key/a?timeout=100ms", "v").await.assert_problem(503, "overwritten");
    assert_eq!(problem["applied"], "no");
}

#[tokio::test]
async fn overload_is_told_at_once() {
    let (leader, follower) = pair().await;
    for node in [&leader, &follower] {
        leader.next_write(Turn::Fail(ExecuteError::Overloaded));
        let answer = node.call("PUT", "/key/a", "v").await;
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.assert_problem(429, "overloaded")["applied"], "no");
    }
    assert_eq!(leader.executed(), 2);
    leader.script.lock().unwrap().reads.push_back(Err(QueryError::Overloaded));
    leader.get("/key/a").await.assert_problem(429, "overloaded");
    leader.next_write(Turn::Fail(ExecuteError::TooLarge));
    leader.call("PUT", "/key/a", "v").await.assert_problem(413, "value_too_large");
}

#[tokio::test]
async fn a_stopping_node_says_so_or_hands_the_request_to_its_successor() {
    let (leader, follower) = pair().await;
    leader.next_write(Turn::Fail(ExecuteError::Stopping));
    let problem = leader.call("PUT", "/key/a", "v").await.assert_problem(503, "stopping");
    assert_eq!(problem["applied"], "no");
    leader.script.lock().unwrap().reads.push_back(Err(QueryError::Stopping));
    leader.get("/key/a").await.assert_problem(503, "stopping");

    // With another voter there is somebody to wait for.
    leader.change(|view| {
        view.phase = Phase::Stopping;
        view.members.push(MemberView { member: follower.me(), voter: true });
    });
    leader.next_write(Turn::Fail(ExecuteError::Stopping));
    let call = leader.call("PUT", "/key/a", "v");
    let hand_over = async {
        tokio::task::yield_now().await;
        leader.follow(Some(follower.me()));
        follower.lead();
    };
    let (answer, ()) = patient(async { tokio::join!(call, hand_over) }).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("kvorum-served-by"), Some("app2"));
}

#[tokio::test]
async fn who_asks_not_to_forward_is_told_the_leader() {
    let (leader, follower) = pair().await;
    let stay = [("kvorum-forward", "no")];
    let answer = follower.call_with("PUT", "/key/a", &stay, "v").await;
    let named = format!("app1; url=\"http://{}\"", leader.address);
    assert_eq!(answer.header("kvorum-leader"), Some(named.as_str()));
    assert_eq!(answer.assert_problem(421, "forwarding_declined")["applied"], "no");
    assert_eq!(leader.call_with("PUT", "/key/a", &stay, "v").await.status, 201);
}

#[tokio::test]
async fn reads_wait_for_a_confirmation_until_the_deadline() {
    let node = Node::leader().await;
    node.call("PUT", "/key/a", "v").await;
    for _ in 0..3 {
        node.script.lock().unwrap().reads.push_back(Err(QueryError::NoLeader));
    }
    assert_eq!(node.get("/key/a").await.text(), r#"{"a":"v"}"#);
    assert_eq!(node.script.lock().unwrap().consistencies.len(), 4);
    node.script.lock().unwrap().hang_reads = true;
    let problem = node.get("/key/a?timeout=50ms").await.assert_problem(503, "read_timeout");
    assert!(problem.get("applied").is_none());
}

#[tokio::test]
async fn a_join_is_carried_to_the_leader_and_repeated_while_it_is_busy() {
    let (leader, follower) = pair().await;
    leader.script.lock().unwrap().joins.extend([Err(JoinError::Busy), Err(JoinError::NotLeader)]);
    let body = r#"{"node_id":"app3","address":"app3:7000","http":"app3:8080","id":"18446744073709551615"}"#;
    let answer = follower.post("/join", body).await;
    assert_eq!(answer.status, 200);
    let joiners = leader.script.lock().unwrap().joiners.clone();
    assert_eq!(joiners.len(), 3);
    assert_eq!(joiners[2], member_with("app3", u64::MAX));
    assert_eq!(leader.view.get().commit, Index(7));
}

fn member_with(name: &str, id: u64) -> kvorum_runtime::handle::Member {
    member(name, id, &format!("{name}:8080"))
}
