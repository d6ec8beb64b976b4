//! Membership and probes.
#![cfg(not(madsim))]

mod http_support;

use http_support::{Node, member};
use kvorum_core::raft::{Index, RoleName};
use kvorum_runtime::handle::{JoinError, MemberView, Phase};
use serde_json::json;

const JOIN: &str = r#"{"node_id":"app2","address":"app2:7000","http":"app2:8080","id":"42"}"#;

#[tokio::test]
async fn a_join_names_the_cluster_and_its_members() {
    let node = Node::leader().await;
    let answer = node.post("/join", JOIN).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(body["message"], "Added node to cluster");
    assert_eq!(body["cluster_id"], "0000000000006f1c");
    assert_eq!(
        body["members"][1],
        json!({"node_id": "app2", "id": "42", "address": "app2:7000", "http": "app2:8080", "voter": false})
    );
    assert_eq!(node.script.lock().unwrap().joiners, [member("app2", 42, "app2:8080")]);
    let later = JOIN.replace('}', r#","of_a_later_version":[1]}"#);
    assert_eq!(node.post("/join", later).await.status, 200);
}

#[tokio::test]
async fn a_join_without_an_identity_says_what_is_missing() {
    let node = Node::leader().await;
    let seed = r#"{"node_id":"app2","address":"app2:7000"}"#;
    let problem = node.post("/join", seed).await.assert_problem(400, "invalid_join");
    assert_eq!(problem["message"], "member \"http\" (the HTTP address) is missing");
    assert!(problem["hint"].as_str().unwrap().contains("RAFT_JOIN_ADDR"));
    assert_eq!(problem["applied"], "no");
    for (from, to) in [
        (r#""42""#, r#""-1""#),
        (r#""42""#, r#""18446744073709551616""#),
        (r#""42""#, "42"),
        (r#""app2:7000""#, r#""app2""#),
        (r#""app2:7000""#, r#"":7000""#),
        (r#""app2:7000""#, r#""app2:0""#),
        (r#""app2:8080""#, r#""app2:99999""#),
        (r#""app2","#, r#""","#),
        (r#""app2","#, r#""a\nb","#),
        (r#""app2","#, "null,"),
    ] {
        let body = JOIN.replace(from, to);
        assert_ne!(body, JOIN);
        node.post("/join", body).await.assert_problem(400, "invalid_join");
    }
    let long = JOIN.replace("app2\",", &format!("{}\",", "n".repeat(256)));
    node.post("/join", long).await.assert_problem(400, "invalid_join");
    let hraftd = r#"{"id":"app2","addr":"app2:7000"}"#;
    node.post("/join", hraftd).await.assert_problem(400, "invalid_join");
    node.post("/join", "").await.assert_problem(400, "empty_body");
    node.post("/join", "[]").await.assert_problem(400, "invalid_json");
    node.post("/join", JOIN.replace("\"id\"", "\"http\""))
        .await
        .assert_problem(400, "duplicate_key");
    assert!(node.script.lock().unwrap().joiners.is_empty());
}

#[tokio::test]
async fn a_name_that_lives_elsewhere_is_refused_and_its_holder_named() {
    let node = Node::leader().await;
    let holder = JoinError::DuplicateName { holder: "app2:7000".to_owned() };
    node.script.lock().unwrap().joins.push_back(Err(holder));
    let second = JOIN.replace("app2:7000", "other:7000");
    let problem = node.post("/join", second).await.assert_problem(409, "duplicate_node_id");
    assert_eq!(
        problem["message"],
        "NODE_ID \"app2\" is already used by a live node at app2:7000 (the joiner is at \
         other:7000). Choose another NODE_ID."
    );
    assert_eq!(problem["holder"], "app2:7000");
}

#[tokio::test]
async fn a_join_that_cannot_be_now_says_so() {
    let node = Node::leader().await;
    let script = |error| node.script.lock().unwrap().joins.extend(vec![Err(error); 50]);
    script(JoinError::Busy);
    let problem = node.post("/join?timeout=50ms", JOIN).await.assert_problem(503, "join_busy");
    assert_eq!(problem["applied"], "no");
    node.script.lock().unwrap().joins.clear();
    script(JoinError::HolderSilent { holder: "app2:7000".to_owned() });
    let problem = node.post("/join?timeout=50ms", JOIN).await.assert_problem(503, "join_busy");
    assert!(problem["message"].as_str().unwrap().contains("app2:7000 that does not answer"));
    node.script.lock().unwrap().joins.clear();
    script(JoinError::Unreachable("nothing listens there".to_owned()));
    let problem = node.post("/join", JOIN).await.assert_problem(422, "address_unreachable");
    assert!(problem["message"].as_str().unwrap().ends_with("nothing listens there"));
    node.script.lock().unwrap().joins.clear();
    script(JoinError::Stopping);
    node.post("/join", JOIN).await.assert_problem(503, "stopping");
}

#[tokio::test]
async fn the_cluster_says_who_belongs_to_it_and_what_it_tolerates() {
    let node = Node::leader().await;
    node.change(|view| {
        for id in 2..=4 {
            let member = member(&format!("app{id}"), id, &format!("app{id}:8080"));
            view.members.push(MemberView { member, voter: true });
        }
    });
    let cluster = node.get("/cluster").await.json();
    assert_eq!(cluster["cluster_id"], "0000000000006f1c");
    assert_eq!((&cluster["leader"], &cluster["term"]), (&json!("app1"), &json!(2)));
    assert_eq!((&cluster["voters"], &cluster["quorum"]), (&json!(4), &json!(3)));
    assert_eq!(cluster["note"], "4 voters tolerate 1 failure, the same as 3 (quorum 3)");
    assert_eq!(cluster["members"].as_array().unwrap().len(), 4);
    assert_eq!(cluster["members"][3]["http"], "app4:8080");

    node.change(|view| {
        view.cluster = None;
        view.leader = None;
        view.members.clear();
    });
    let cluster = node.get("/cluster").await.json();
    assert!(cluster["cluster_id"].is_null() && cluster["leader"].is_null());
    assert_eq!(cluster["quorum"], 0);
}

#[tokio::test]
async fn leadership_is_handed_over_on_request() {
    let node = Node::leader().await;
    let answer = node.post("/cluster/transfer", r#"{"to":"app3"}"#).await;
    assert_eq!((answer.status, &answer.json()["leader"]), (200, &json!("app3")));
    for body in ["", "{}"] {
        assert_eq!(node.post("/cluster/transfer", body).await.status, 200);
    }
    assert_eq!(node.script.lock().unwrap().transferred, [Some("app3".to_owned()), None, None]);
    node.script.lock().unwrap().transfers.push_back(Err("app9 is not a voter".to_owned()));
    let problem = node.post("/cluster/transfer", r#"{"to":"app9"}"#).await;
    let problem = problem.assert_problem(409, "transfer_refused");
    assert_eq!(problem["message"], "app9 is not a voter");
    for body in [r#"{"to":5}"#, r#"{"too":"app3"}"#] {
        node.post("/cluster/transfer", body).await.assert_problem(400, "invalid_value");
    }
    node.post("/cluster/transfer", "x").await.assert_problem(400, "invalid_json");
}

#[tokio::test]
async fn the_status_tells_how_the_node_is() {
    let node = Node::leader().await;
    node.change(|view| view.commit = Index(9));
    let status = node.get("/status").await.json();
    let expected = [
        ("node_id", json!("app1")),
        ("id", json!("1")),
        ("cluster_id", json!("0000000000006f1c")),
        ("phase", json!("serving")),
        ("role", json!("leader")),
        ("term", json!(2)),
        ("leader", json!("app1")),
        ("commit", json!(9)),
        ("applied", json!(7)),
        ("lag", json!(2)),
        ("voter", json!(true)),
        ("durability", json!("memory (majority of processes)")),
        ("address", json!("app1:7000")),
        ("http", json!(node.address)),
        ("uptime_seconds", json!(0)),
    ];
    for (name, value) in expected {
        assert_eq!(status[name], value, "{name}");
    }
    node.change(|view| view.durable = true);
    assert_eq!(node.get("/status").await.json()["durability"], "disk (fsync on a majority)");
}

#[tokio::test]
async fn health_follows_the_leader_and_life_does_not() {
    let node = Node::leader().await;
    let healthy = node.get("/health").await;
    assert_eq!((healthy.status, healthy.text()), (200, r#"{"status":"ok","health":"true"}"#));
    node.follow(None);
    let sick = node.get("/health").await;
    assert_eq!(sick.status, 503);
    assert_eq!(sick.json()["health"], "false");
    assert_eq!(sick.json()["reason"], "no leader");
    assert_eq!(node.get("/livez").await.status, 200);
}

#[tokio::test]
async fn ready_means_that_a_client_sent_here_is_served() {
    let node = Node::leader().await;
    assert_eq!(node.get("/readyz").await.text(), r#"{"status":"ok"}"#);
    let verbose = node.get("/readyz?verbose").await.json();
    assert_eq!(
        verbose["checks"],
        json!({"serving": "ok", "leader": "ok", "member": "ok", "caught_up": "ok"})
    );

    let me = node.me();
    let unready = async |reason: &str| {
        let answer = node.get("/readyz").await;
        assert_eq!((answer.status, &answer.json()["reason"]), (503, &json!(reason)));
    };
    node.follow(None);
    unready("no leader").await;
    assert_eq!(node.get("/readyz?exclude=leader").await.status, 200);
    node.follow(Some(me.clone()));
    node.change(|view| view.phase = Phase::Joining);
    unready("not a member of a cluster yet").await;
    node.change(|view| view.phase = Phase::Stopping);
    unready("stopping").await;
    node.change(|view| view.phase = Phase::Serving);
    node.change(|view| view.commit = Index(view.applied.0 + 1_001));
    unready("catching up").await;
    node.change(|view| view.commit = Index(view.applied.0 + 1_000));
    assert_eq!(node.get("/readyz").await.status, 200);

    // A learner is ready once it has caught up, and not before it has heard anything.
    node.change(|view| view.members = vec![MemberView { member: me.clone(), voter: false }]);
    assert_eq!(node.get("/readyz").await.status, 200);
    node.change(|view| (view.commit, view.applied) = (Index(0), Index(0)));
    unready("catching up").await;
    node.change(|view| view.members.clear());
    unready("not in the membership").await;
    node.get("/readyz?exclude=nothing").await.assert_problem(400, "invalid_parameter");
}

#[tokio::test]
async fn the_version_is_readable_for_etcds_clients() {
    let node = Node::leader().await;
    let version = node.get("/version").await.json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    for field in ["etcdserver", "etcdcluster"] {
        let parts: Vec<&str> = version[field].as_str().unwrap().split('.').collect();
        assert_eq!(parts.len(), 3);
        assert!(parts.iter().all(|part| part.parse::<u32>().is_ok()), "{version}");
    }
}

#[tokio::test]
async fn every_role_has_a_name() {
    let node = Node::leader().await;
    for (role, name) in [
        (RoleName::Follower, "follower"),
        (RoleName::PreCandidate, "pre_candidate"),
        (RoleName::Candidate, "candidate"),
        (RoleName::Leader, "leader"),
    ] {
        node.change(|view| view.role = role);
        assert_eq!(node.get("/status").await.json()["role"], name);
    }
}
