//! What operators ask for: members, settings, compaction, quota, watches, status.
#![cfg(not(madsim))]

mod http_support;

use http_support::{Node, Turn, member};
use kvorum_core::raft::{Index, Instant, NodeId, PeerStatus, RoleName, Term};
use kvorum_runtime::{
    config::Limits,
    handle::{ExecuteError, MemberChange, MemberError, MemberView, Phase, QueryError},
    report::PeerReport,
    transport::LinkStats,
};
use serde_json::json;
use std::time::Duration;

fn peer(name: &str, id: u64, silent: u64, matched: Option<u64>) -> PeerReport {
    PeerReport {
        member: member(name, id, &format!("{name}:8080")),
        voter: true,
        silent: Duration::from_secs(silent),
        progress: matched.map(|matched| PeerStatus {
            id: NodeId(id),
            matched: Index(matched),
            state: "replicate",
            active: silent == 0,
            heard: Instant(0),
            inflight: (0, 0),
            snapshot_bytes: 0,
            term: Term(2),
        }),
        link: LinkStats::default(),
    }
}

/// A leader of `voters` voters, app1 itself.
async fn leader_of(voters: u64) -> Node {
    let node = Node::leader().await;
    node.change(|view| {
        for id in 2..=voters {
            let member = member(&format!("app{id}"), id, &format!("app{id}:8080"));
            view.members.push(MemberView { member, voter: true });
        }
    });
    node
}

#[tokio::test]
async fn members_are_removed_promoted_and_demoted() {
    let node = Node::leader().await;
    let removed = node.call("DELETE", "/cluster/members/app3", "").await;
    assert_eq!(removed.status, 200);
    assert_eq!(removed.json(), json!({"message": "member removed", "name": "app3"}));
    let promoted = node.post("/cluster/members/app4/promote", "").await;
    assert_eq!(promoted.json(), json!({"message": "member promoted", "name": "app4"}));
    let demoted = node.post("/cluster/members/app%34/demote", "").await;
    assert_eq!(demoted.json(), json!({"message": "member demoted", "name": "app4"}));
    assert_eq!(
        node.script.lock().unwrap().changed,
        [
            ("app3".to_owned(), MemberChange::Remove),
            ("app4".to_owned(), MemberChange::Promote),
            ("app4".to_owned(), MemberChange::Demote),
        ]
    );
    node.script.lock().unwrap().changes.push_back(Ok(false));
    let nothing = node.post("/cluster/members/app4/promote", "").await;
    assert_eq!(nothing.json()["message"], "member is a voter already");
}

#[tokio::test]
async fn a_refused_change_says_why_and_that_nothing_was_changed() {
    let node = Node::leader().await;
    let expect = |error| node.script.lock().unwrap().changes.push_back(Err(error));
    expect(MemberError::Unknown);
    let problem = node.call("DELETE", "/cluster/members/app9", "").await;
    let problem = problem.assert_problem(404, "unknown_member");
    assert_eq!(problem["message"], "no member is named \"app9\"");
    assert_eq!(problem["applied"], "no");
    expect(MemberError::WouldLoseQuorum("app2 is silent".to_owned()));
    let problem = node.call("DELETE", "/cluster/members/app3", "").await;
    let problem = problem.assert_problem(409, "would_lose_quorum");
    let message = "without app3 as a voter there is no quorum: app2 is silent";
    assert_eq!(problem["message"], message);
    expect(MemberError::NotCaughtUp { lag: 5000, answers: true });
    let problem = node.post("/cluster/members/app3/promote", "").await;
    let problem = problem.assert_problem(409, "not_caught_up");
    assert_eq!(problem["message"], "app3 still lacks 5000 entries");
    expect(MemberError::OutcomeUnknown);
    let problem = node.call("DELETE", "/cluster/members/app3", "").await;
    assert_eq!(problem.assert_problem(504, "outcome_unknown")["applied"], "unknown");

    node.script.lock().unwrap().changes.extend(vec![Err(MemberError::Busy); 50]);
    let problem = node.call("DELETE", "/cluster/members/app3?timeout=30ms", "").await;
    problem.assert_problem(503, "membership_busy");
    node.script.lock().unwrap().changes.clear();

    let asked = node.script.lock().unwrap().changed.len();
    let problem = node.call("DELETE", "/cluster/members/app3?force=true", "").await;
    let problem = problem.assert_problem(400, "invalid_parameter");
    assert!(problem["hint"].as_str().unwrap().starts_with("force would drop"));
    let fenced = [("kvorum-fence", "lock=1")];
    let problem = node.call_with("DELETE", "/cluster/members/app3", &fenced, "").await;
    problem.assert_problem(400, "invalid_fence");
    node.get("/cluster/members/app3").await.assert_problem(405, "method_not_allowed");
    node.post("/cluster/members/app3", "").await.assert_problem(405, "method_not_allowed");
    node.call("DELETE", "/cluster/members/%f", "")
        .await
        .assert_problem(400, "bad_percent_encoding");
    node.call("DELETE", "/cluster/members/%ff", "")
        .await
        .assert_problem(400, "bad_percent_encoding");
    assert_eq!(node.script.lock().unwrap().changed.len(), asked, "none of these was asked for");
}

#[tokio::test]
async fn a_leader_that_is_to_go_hands_over_and_the_next_one_decides() {
    let next = Node::start("app2", 2, Default::default(), Limits::default()).await;
    let node = Node::leader().await;
    node.script.lock().unwrap().changes.push_back(Err(MemberError::HandingOver));
    let remove = node.call("DELETE", "/cluster/members/app1", "");
    let hand_over = async {
        while node.script.lock().unwrap().changed.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        node.follow(Some(next.me()));
    };
    let (answer, ()) = tokio::join!(remove, hand_over);
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(answer.header("kvorum-served-by"), Some("app2"));
    assert_eq!(next.script.lock().unwrap().changed, [("app1".to_owned(), MemberChange::Remove)]);
}

#[tokio::test]
async fn the_cluster_shows_how_far_each_member_is_and_warns() {
    let node = leader_of(4).await;
    node.script.lock().unwrap().peers = vec![
        peer("app2", 2, 0, Some(7)),
        peer("app3", 3, 0, Some(5)),
        peer("app4", 4, 43, Some(1)),
    ];
    let cluster = node.get("/cluster").await.json();
    let members = cluster["members"].as_array().unwrap();
    let lags: Vec<_> = members.iter().map(|member| member["lag"].as_u64()).collect();
    assert_eq!(lags, [Some(0), Some(0), Some(2), Some(6)]);
    assert_eq!((&members[0]["leader"], &members[1]["leader"]), (&json!(true), &json!(false)));
    assert_eq!(members[3]["role"], "voter");
    assert_eq!(members[3]["last_contact"], json!(43.0));
    assert_eq!(
        cluster["warnings"],
        json!([
            "app4 has not been heard for 43 s; start it again, or remove it with DELETE \
             /cluster/members/app4",
            "4 voters tolerate 1 failure, no more than 3 would; an odd number is better",
        ])
    );
}

#[tokio::test]
async fn a_follower_shows_what_the_leader_knows() {
    let leader = leader_of(2).await;
    leader.script.lock().unwrap().peers = vec![peer("app2", 2, 0, Some(4))];
    let node = Node::start("app2", 2, Default::default(), Limits::default()).await;
    node.change(|view| view.members.push(MemberView { member: leader.me(), voter: true }));
    node.follow(Some(leader.me()));
    let cluster = node.get("/cluster").await.json();
    assert_eq!(cluster["members"][0]["node_id"], "app2");
    assert_eq!(cluster["members"][0]["lag"], 3);
    assert_eq!(cluster["members"][1]["lag"], 0);
    // Alone, it knows no lag, and says so.
    let alone = node.call_with("GET", "/cluster", &[("kvorum-forward", "no")], "").await.json();
    assert_eq!(alone["members"][1]["lag"], json!(null));
}

#[tokio::test]
async fn a_lost_quorum_names_who_is_missing_and_what_to_do() {
    let node = leader_of(3).await;
    node.follow(None);
    node.script.lock().unwrap().peers = vec![peer("app2", 2, 43, None), peer("app3", 3, 40, None)];
    let cluster = node.get("/cluster").await.json();
    let warning = cluster["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with(
            "quorum lost: need 2 voters, have 1 (app1); app2 silent for 43 s, app3 silent for 40 s; \
             start the missing nodes again"
        ),
        "{warning}"
    );
    node.script.lock().unwrap().peers = vec![peer("app2", 2, 1, None), peer("app3", 3, 40, None)];
    let cluster = node.get("/cluster").await.json();
    assert_eq!(cluster["warnings"][0], "no leader: an election is under way");
    node.change(|view| view.phase = Phase::Joining);
    let cluster = node.get("/cluster").await.json();
    assert!(cluster["warnings"][0].as_str().unwrap().starts_with("this node is not a member"));
}

#[tokio::test]
async fn settings_are_read_and_changed_in_part() {
    let node = Node::leader().await;
    let defaults = json!({"quota": 0, "history": {"keep": 600, "revisions": 10_000}});
    let read = node.get("/settings").await;
    assert_eq!((read.status, read.json()), (200, defaults));
    assert_eq!(read.header("kvorum-consistency"), Some("linearizable"));
    for (change, is) in [
        (
            r#"{"quota":"2GiB"}"#,
            json!({"quota": 2_147_483_648_u64, "history": {"keep": 600, "revisions": 10_000}}),
        ),
        (
            r#"{"history":{"keep":"500ms"}}"#,
            json!({"quota": 2_147_483_648_u64, "history": {"keep": 0.5, "revisions": 10_000}}),
        ),
        (
            r#"{"history":{"keep":"forever","revisions":5}}"#,
            json!({"quota": 2_147_483_648_u64, "history": {"keep": "forever", "revisions": 5}}),
        ),
        (
            r#"{"quota":0,"history":{"keep":20}}"#,
            json!({"quota": 0, "history": {"keep": 20, "revisions": 5}}),
        ),
    ] {
        let changed = node.call("PATCH", "/settings", change).await;
        assert_eq!((changed.status, changed.json()), (200, is.clone()), "{change}");
        assert!(changed.header("kvorum-revision").is_some());
        assert_eq!(node.get("/settings").await.json(), is);
    }
    for (body, code) in [
        ("", "empty_body"),
        ("[]", "invalid_json"),
        ("{}", "no_data"),
        (r#"{"history":{}}"#, "no_data"),
        (r#"{"quota":1,"quota":2}"#, "duplicate_key"),
        (r#"{"quote":1}"#, "invalid_value"),
        (r#"{"quota":-1}"#, "invalid_value"),
        (r#"{"quota":1.5}"#, "invalid_value"),
        (r#"{"quota":"2GB"}"#, "invalid_value"),
        (r#"{"quota":9007199254740992}"#, "invalid_value"),
        (r#"{"history":{"keep":"ever"}}"#, "invalid_value"),
        (r#"{"history":{"revisions":"all"}}"#, "invalid_value"),
        (r#"{"history":{"keeps":1}}"#, "invalid_value"),
        (r#"{"history":1}"#, "invalid_json"),
    ] {
        let problem = node.call("PATCH", "/settings", body).await.assert_problem(400, code);
        assert_eq!(problem["applied"], "no", "{body}");
    }
    assert_eq!(node.get("/settings").await.json()["quota"], 0);
    node.next_write(Turn::Fail(ExecuteError::Unknown));
    let problem = node.call("PATCH", "/settings", r#"{"quota":1}"#).await;
    problem.assert_problem(504, "outcome_unknown");
}

#[tokio::test]
async fn over_the_quota_a_write_is_refused_and_deletes_make_room() {
    let node = Node::leader().await;
    node.call("PUT", "/key/a", "x".repeat(2000)).await;
    node.call("PATCH", "/settings", r#"{"quota":"3KiB","history":{"keep":0,"revisions":0}}"#).await;
    let problem = node.call("PUT", "/key/b", "y".repeat(2000)).await;
    let problem = problem.assert_problem(507, "quota_exceeded");
    assert_eq!((&problem["applied"], &problem["limit"]), (&json!("no"), &json!(3072)));
    node.get("/key/b").await.assert_problem(404, "key_not_found");
    let status = node.get("/status").await.json();
    assert_eq!((&status["quota"], &status["keys"]), (&json!(3072), &json!(1)));
    let bytes = status["bytes"].as_u64().unwrap();
    assert!(bytes > 2000 && status["live_bytes"].as_u64().unwrap() <= bytes);
    assert_eq!(node.call("DELETE", "/key/a", "").await.status, 200);
    let revision = node.get("/status").await.json()["revision"].as_u64().unwrap();
    let compact = format!("{{\"revision\":{revision}}}");
    assert_eq!(node.post("/compact", compact).await.status, 200);
    assert_eq!(node.call("PUT", "/key/b", "y".repeat(2000)).await.status, 201);
}

#[tokio::test]
async fn history_is_compacted_up_to_a_revision() {
    let node = Node::leader().await;
    for value in ["1", "2", "3"] {
        node.call("PUT", "/key/a", value).await;
    }
    let answer = node.post("/compact", r#"{"revision":3}"#).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"compacted": 3, "revision": 4})));
    let problem = node.get("/key/a?at=2").await.assert_problem(410, "compacted");
    assert_eq!(problem["oldest"], 3);
    assert_eq!(node.get("/key/a?at=3").await.status, 200);
    assert_eq!(node.get("/status").await.json()["compacted"], 3);
    node.post("/compact", r#"{"revision":3}"#).await.assert_problem(410, "compacted");
    node.post("/compact", r#"{"revision":9}"#).await.assert_problem(400, "future_revision");
    node.post("/compact", "{}").await.assert_problem(400, "no_data");
    node.post("/compact", r#"{"revision":"3"}"#).await.assert_problem(400, "invalid_value");
    node.post("/compact", r#"{"revisions":3}"#).await.assert_problem(400, "invalid_value");
}

#[tokio::test]
async fn watches_are_listed_with_their_lag() {
    let node = Node::leader().await;
    node.call("PUT", "/key/a", "1").await;
    let (one, _) = node.hub.watch(kvorum_core::kv::KeyRange::One("a".into()), 9).unwrap();
    let prefix = kvorum_core::kv::KeyRange::prefix("b/".into());
    let (two, _) = node.hub.watch(prefix, 9).unwrap();
    let odd = kvorum_core::kv::KeyRange::One(bytes::Bytes::from_static(b"\xff"));
    let _three = node.hub.watch(odd, 9).unwrap();
    node.call("PUT", "/key/a", "2").await;
    node.call("PUT", "/key/a", "3").await;
    let watches = node.get("/watches").await.json();
    assert_eq!((&watches["revision"], &watches["count"]), (&json!(4), &json!(3)));
    let first = &watches["watches"][0];
    assert_eq!((&first["key"], &first["told"], &first["lag"]), (&json!("a"), &json!(2), &json!(2)));
    assert_eq!(first["queued"], 2);
    let second = &watches["watches"][1];
    assert_eq!((&second["start"], &second["end"]), (&json!("b/"), &json!("b0")));
    assert_eq!(second["lag"], 0);
    assert_eq!(watches["watches"][2]["key_base64"], "/w==");
    assert_eq!(node.get("/watches?limit=1").await.json()["watches"].as_array().unwrap().len(), 1);
    node.get("/watches?limit=0").await.assert_problem(400, "invalid_parameter");
    assert_eq!(node.get("/status").await.json()["watches"], 3);
    drop((one, two));
    assert_eq!(node.get("/watches").await.json()["count"], 1);
}

#[tokio::test]
async fn a_failing_check_says_what_to_do() {
    let node = Node::leader().await;
    let ready = node.get("/readyz?verbose&sync").await;
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["checks"]["sync"], "ok");
    node.script.lock().unwrap().reads.extend(vec![Err(QueryError::Overloaded); 2]);
    let unready = node.get("/readyz?sync&verbose").await;
    assert_eq!(unready.status, 503);
    let said = unready.json()["checks"]["sync"].as_str().unwrap().to_owned();
    assert_eq!(
        said,
        "a linearizable read was not confirmed in time: see GET /cluster for who does not answer"
    );
    assert_eq!(node.get("/readyz?sync&exclude=sync").await.status, 200);
    node.follow(None);
    let unready = node.get("/readyz?verbose").await;
    assert_eq!(unready.status, 503);
    assert_eq!(unready.json()["reason"], "no leader");
    let said = unready.json()["checks"]["leader"].as_str().unwrap().to_owned();
    assert!(said.starts_with("no leader: wait for the election"), "{said}");
    assert_eq!(node.get("/readyz?exclude=leader").await.status, 200);
    node.get("/readyz?exclude=nothing").await.assert_problem(400, "invalid_parameter");
    node.change(|view| view.role = RoleName::Follower);
}
