//! The catalogue of errors: documented completely, and every one of them can be met.
#![cfg(not(madsim))]

mod http_support;

use http_support::{Node, Raw, Turn};
use kvorum_core::{
    kv::{CommandError, Reply},
    raft::Index,
};
use kvorum_runtime::{
    config::Limits,
    handle::{Answer, ExecuteError, Executed, JoinError, MemberError, QueryError},
    http::problem::{
        Applied, CATALOGUE, OUTCOME_UNKNOWN, Problem, REPLY_NOT_KEPT, REVISION_NOT_REACHED,
    },
};
use std::{collections::BTreeSet, time::Duration};

#[test]
fn the_document_and_the_catalogue_agree() {
    let document = include_str!("../../docs/errors.md");
    let mut sections = document.split("\n## ").skip(1);
    for kind in CATALOGUE {
        let section = sections.next().unwrap_or_else(|| panic!("{} is missing", kind.code));
        let (heading, text) = section.split_once('\n').unwrap();
        assert_eq!(heading, format!("`{}`", kind.code));
        assert!(text.contains(&format!("**{} · {}**", kind.status, kind.title)), "{}", kind.code);
        for label in ["\nCause: ", "\nCure: "] {
            let (_, said) = text.split_once(label).unwrap_or_else(|| panic!("{}", kind.code));
            let sentence = said.lines().next().unwrap();
            assert!(sentence.ends_with('.') && sentence.contains(' '), "{label} of {}", kind.code);
        }
    }
    assert_eq!(sections.next(), None);
}

#[test]
fn codes_are_unique_and_certainty_follows_the_status() {
    let codes: BTreeSet<&str> = CATALOGUE.iter().map(|kind| kind.code).collect();
    assert_eq!(codes.len(), CATALOGUE.len());
    for kind in CATALOGUE {
        let applied = Problem::new(*kind, "x").applied();
        match kind.status {
            _ if *kind == REPLY_NOT_KEPT => assert_eq!(applied, Applied::Yes),
            503 | 507 => assert_eq!(applied, Applied::No, "{}", kind.code),
            // Only reads wait for a revision.
            504 if *kind == REVISION_NOT_REACHED => {}
            504 => assert_eq!(applied, Applied::Unknown, "{}", kind.code),
            400..500 => assert_eq!(applied, Applied::No, "{}", kind.code),
            _ => {}
        }
    }
    assert_eq!(OUTCOME_UNKNOWN.status, 504);
}

/// Which test provokes which code for its own sake: file, test, codes. Beside it,
/// `every_problem_can_be_met` makes a node say each of them.
const PROVOKED: &[(&str, &str, &[&str])] = &[
    (
        "http_bodies",
        "what_is_no_json_object_is_refused_with_the_words_of_the_original",
        &["invalid_json", "empty_body", "no_data"],
    ),
    ("http_bodies", "duplicate_members_are_refused_at_every_level", &["duplicate_key"]),
    ("http_bodies", "null_is_no_value", &["invalid_value"]),
    ("http_bodies", "json_may_nest_64_deep_and_a_bomb_does_no_harm", &["json_too_deep"]),
    ("http_bodies", "keys_and_values_have_limits", &["too_many_keys", "value_too_large"]),
    (
        "http_bodies",
        "an_old_revision_can_be_read_until_it_is_compacted",
        &["future_revision", "compacted"],
    ),
    ("http_keys", "the_empty_key_is_refused_everywhere", &["empty_key"]),
    ("http_keys", "a_key_may_have_4096_bytes_and_no_more", &["key_too_long"]),
    ("http_keys", "percent_is_decoded_once_and_a_plus_is_a_plus", &["bad_percent_encoding"]),
    ("http_keys", "base64url_names_any_key_for_every_method", &["bad_base64"]),
    ("http_keys", "any_byte_may_be_in_a_key", &["not_text", "key_not_found"]),
    (
        "http_keys",
        "reading_the_collection_is_not_allowed_and_says_what_is",
        &["method_not_allowed"],
    ),
    (
        "http_protocol",
        "unknown_parameters_are_refused_with_the_nearest_known_one",
        &["unknown_parameter"],
    ),
    ("http_protocol", "timeouts_are_durations_within_bounds", &["invalid_parameter"]),
    ("http_protocol", "unknown_paths_are_problems", &["unknown_path"]),
    ("http_protocol", "a_body_with_broken_framing_is_refused", &["broken_body"]),
    ("http_protocol", "a_body_that_does_not_arrive_is_given_up", &["body_timeout"]),
    (
        "http_protocol",
        "a_body_announced_as_too_large_is_refused_before_it_is_sent",
        &["body_too_large"],
    ),
    ("http_protocol", "a_head_that_is_too_large_is_refused", &["header_too_large"]),
    ("http_protocol", "connections_beyond_the_limit_are_turned_away", &["too_many_connections"]),
    ("http_scan", "what_a_scan_refuses", &["invalid_cursor"]),
    ("http_txn", "what_is_not_understood_is_refused_with_its_place", &["invalid_txn"]),
    ("http_conditions", "conditions_that_cannot_be_understood_are_refused", &["invalid_condition"]),
    ("http_conditions", "create_names_the_first_key_that_exists", &["key_exists"]),
    ("http_conditions", "if_match_replaces_exactly_the_version_seen", &["precondition_failed"]),
    ("http_conditions", "a_server_may_insist_on_conditions", &["condition_required"]),
    ("http_idempotency", "keys_that_cannot_be_used_are_refused", &["invalid_idempotency_key"]),
    (
        "http_idempotency",
        "whitespace_makes_no_other_request_but_everything_else_does",
        &["idempotency_mismatch"],
    ),
    ("http_idempotency", "an_answer_too_large_to_keep_is_not_made_up", &["reply_not_kept"]),
    ("http_cluster", "a_join_without_an_identity_says_what_is_missing", &["invalid_join"]),
    (
        "http_cluster",
        "a_name_that_lives_elsewhere_is_refused_and_its_holder_named",
        &["duplicate_node_id"],
    ),
    (
        "http_cluster",
        "a_join_that_cannot_be_now_says_so",
        &["address_unreachable", "join_busy", "stopping"],
    ),
    ("http_cluster", "leadership_is_handed_over_on_request", &["transfer_refused"]),
    (
        "http_operations",
        "a_refused_change_says_why_and_that_nothing_was_changed",
        &["unknown_member", "would_lose_quorum", "not_caught_up", "membership_busy"],
    ),
    (
        "http_operations",
        "over_the_quota_a_write_is_refused_and_deletes_make_room",
        &["quota_exceeded"],
    ),
    ("http_leader", "who_asks_not_to_forward_is_told_the_leader", &["forwarding_declined"]),
    ("http_leader", "overload_is_told_at_once", &["overloaded"]),
    ("http_leader", "without_a_leader_the_wait_ends_with_certainty", &["no_leader"]),
    ("http_leader", "a_request_is_forwarded_once", &["not_leader"]),
    ("http_leader", "a_write_that_is_lost_again_and_again_ends_with_certainty", &["overwritten"]),
    ("http_leader", "reads_wait_for_a_confirmation_until_the_deadline", &["read_timeout"]),
    ("http_leader", "a_leader_that_hangs_leaves_the_outcome_unknown", &["outcome_unknown"]),
    ("http_staleness", "a_state_that_cannot_be_confirmed_is_not_shown", &["too_stale"]),
    (
        "http_lease",
        "what_is_wrong_with_a_request_for_a_lease_is_told",
        &["invalid_lease", "lease_exists"],
    ),
    ("http_lease", "the_life_of_a_lease", &["lease_not_found"]),
    ("http_lock", "a_lock_that_nobody_keeps_alive_is_lost_with_its_token", &["fenced"]),
    ("http_lock", "a_fence_guards_every_kind_of_write", &["invalid_fence"]),
    (
        "http_lock",
        "a_lock_has_one_holder_and_rising_tokens",
        &["lock_free", "lock_held", "lock_lost"],
    ),
    (
        "http_lock",
        "what_is_wrong_with_a_request_about_a_lock_is_told",
        &["invalid_lock_name", "missing_parameter"],
    ),
    ("http_lock", "waiters_are_bounded", &["too_many_waiters"]),
    ("http_wait", "a_read_waits_for_the_revision_the_client_knows", &["revision_not_reached"]),
    ("http_watch", "what_a_watch_refuses", &["too_many_watches"]),
    ("http_watch", "who_never_reads_is_cut_off", &["slow_watcher"]),
    // Nothing a client can send brings these about; a node that is told to say them does.
    ("http_errors", "every_problem_can_be_met", &["internal"]),
];

#[test]
fn every_code_has_a_test_that_provokes_it() {
    let mut provoked = BTreeSet::new();
    for (file, test, codes) in PROVOKED {
        let path = format!("{}/tests/{file}.rs", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap();
        let found = text.split_once(&format!("fn {test}()"));
        let (_, rest) = found.unwrap_or_else(|| panic!("{path} has no test {test}"));
        let body = rest.split_once("\n}\n").unwrap().0;
        for code in *codes {
            let named =
                body.contains(&format!("\"{code}\"")) || *test == "every_problem_can_be_met";
            assert!(named, "{test} says nothing of {code}");
            provoked.insert(*code);
        }
    }
    let known: BTreeSet<&str> = CATALOGUE.iter().map(|kind| kind.code).collect();
    assert_eq!(provoked, known);
}

fn refusal(error: CommandError) -> Turn {
    let reply = Reply { revision: 1, result: Err(error), replayed: false };
    Turn::Say(Executed { index: Index(1), reply })
}

#[tokio::test]
async fn every_problem_can_be_met() {
    let limits = Limits {
        key_bytes: 16,
        value_bytes: 16,
        body_bytes: 200,
        keys_per_request: 2,
        json_depth: 2,
        header_bytes: 8192,
        connections: 10_000,
        body_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let node = Node::leader_with(limits.clone()).await;
    let mut met = BTreeSet::new();
    let mut meet = |answer: http_support::Res| {
        let code = answer.json()["code"].as_str().unwrap().to_owned();
        let kind = CATALOGUE.iter().find(|kind| kind.code == code).expect("catalogued");
        answer.assert_problem(kind.status, kind.code);
        met.insert(code);
    };

    // What is wrong with the request itself.
    for body in ["x", "", "{}", r#"{"a":1,"a":1}"#, r#"{"":1}"#, r#"{"a":null}"#, r#"{"a":[[1]]}"#]
    {
        meet(node.post("/key", body).await);
    }
    meet(node.post("/key", r#"{"a":1,"b":1,"c":1}"#).await);
    meet(node.post("/key", r#"{"a":"12345678901234567"}"#).await);
    meet(node.post("/key", "x".repeat(201)).await);
    for path in ["/key/12345678901234567", "/key/%", "/key/?b64=*", "/key/a?x", "/key/a?at=x", "/"]
    {
        meet(node.get(path).await);
    }
    for (name, value) in [
        ("if-match", "x"),
        ("if-match", "*"),
        ("idempotency-key", "a b"),
        ("kvorum-fence", "1"),
        ("x-filler", &"f".repeat(9000)),
    ] {
        meet(node.call_with("PUT", "/key/a", &[(name, value)], "v").await);
    }
    meet(node.post("/txn", r#"{"if":1}"#).await);
    meet(node.post(&format!("/lock/{}", "n".repeat(1025)), "").await);
    meet(node.call("DELETE", "/lock/l", "").await);
    meet(node.get("/keys?cursor=x").await);
    let ahead = [("kvorum-min-revision", "99")];
    meet(node.call_with("GET", "/key/a?timeout=30ms", &ahead, "").await);
    meet(node.post("/status", "").await);
    let mut raw = Raw::connect(&node.address).await;
    raw.send("POST /key HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").await;
    meet(raw.response(false).await);
    let mut raw = Raw::connect(&node.address).await;
    raw.send("POST /key HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{").await;
    meet(raw.response(false).await);

    // What the store has to say.
    meet(node.get("/key/a").await);
    meet(node.get("/key/a?at=99").await);
    node.call("PUT", "/key/a", &b"\xff"[..]).await;
    meet(node.get("/key/a").await);
    meet(node.post("/key?create", r#"{"a":1}"#).await);
    meet(node.get("/lock/l").await);
    meet(node.call("DELETE", "/lock/l?token=5", "").await);
    node.post("/lock/l", "").await;
    meet(node.post("/lock/l", "").await);
    for error in [
        CommandError::LeaseNotFound,
        CommandError::LeaseExists,
        CommandError::LeaseConflict,
        CommandError::Fenced { token: 3 },
        CommandError::NoSpace { used: 5, needed: 6, limit: 7 },
        CommandError::ReplyNotKept,
        CommandError::IdempotencyMismatch,
        CommandError::Unreadable,
    ] {
        node.next_write(refusal(error));
        meet(node.call("PUT", "/key/a", "v").await);
    }

    let reply = Err(CommandError::Compacted { oldest: 5 });
    let answer = Answer { applied: Index(1), reply, revision: 9 };
    node.script.lock().unwrap().reads.push_back(Ok(answer));
    meet(node.get("/key/a?at=1").await);

    // What the node and the cluster have to say.
    for error in [ExecuteError::Overloaded, ExecuteError::Unknown, ExecuteError::Stopping] {
        node.next_write(Turn::Fail(error));
        meet(node.call("PUT", "/key/a", "v").await);
    }
    for _ in 0..50 {
        node.next_write(Turn::Fail(ExecuteError::Lost));
    }
    meet(node.call("PUT", "/key/a?timeout=30ms", "v").await);
    node.script.lock().unwrap().writes.clear();
    let join = r#"{"node_id":"n","address":"n:1","http":"n:2","id":"9"}"#;
    meet(node.post("/join", "{}").await);
    for error in [
        JoinError::DuplicateName { holder: "n:1".to_owned() },
        JoinError::Unreachable("nobody".to_owned()),
    ] {
        node.script.lock().unwrap().joins.push_back(Err(error));
        meet(node.post("/join", join).await);
    }
    node.script.lock().unwrap().joins.extend(vec![Err(JoinError::Busy); 50]);
    meet(node.post("/join?timeout=30ms", join).await);
    node.script.lock().unwrap().transfers.push_back(Err("no".to_owned()));
    meet(node.post("/cluster/transfer", "").await);
    for error in [
        MemberError::Unknown,
        MemberError::WouldLoseQuorum("nobody".to_owned()),
        MemberError::NotCaughtUp { lag: 2000, answers: true },
    ] {
        node.script.lock().unwrap().changes.push_back(Err(error));
        meet(node.post("/cluster/members/app2/promote", "").await);
    }
    node.script.lock().unwrap().changes.extend(vec![Err(MemberError::Busy); 50]);
    meet(node.call("DELETE", "/cluster/members/app2?timeout=30ms", "").await);
    node.script.lock().unwrap().reads.extend(vec![Err(QueryError::NoLeader); 50]);
    meet(node.get("/key/a?timeout=30ms").await);

    let mut other = node.me();
    other.id.0 += 1;
    node.follow(Some(other));
    meet(node.call_with("PUT", "/key/a", &[("kvorum-forward", "no")], "v").await);
    meet(node.call_with("PUT", "/key/a", &[("kvorum-forwarded", "x")], "v").await);
    node.follow(None);
    meet(node.call("PUT", "/key/a?timeout=30ms", "v").await);
    node.script.lock().unwrap().reads.clear();
    meet(node.get("/key/a?consistency=stale&max_staleness=0s&timeout=30ms").await);

    let strict = Node::leader_with(Limits { require_condition: true, ..limits.clone() }).await;
    meet(strict.call("PUT", "/key/a", "v").await);
    let full = Node::leader_with(Limits { connections: 0, ..limits }).await;
    meet(full.get("/livez").await);

    let full = Node::leader_with(Limits { watches: 0, ..Limits::default() }).await;
    meet(full.get("/watch").await);
    let full = Node::leader_with(Limits { lock_waiters: 0, ..Limits::default() }).await;
    meet(full.post("/lock/l?wait=1s", "").await);
    // Comes as the last event of a watch: see http_watch.rs.
    met.insert("slow_watcher".to_owned());

    let known: BTreeSet<String> = CATALOGUE.iter().map(|kind| kind.code.to_owned()).collect();
    let missed: Vec<&String> = known.difference(&met).collect();
    assert!(missed.is_empty(), "never met: {missed:?}");
}

#[tokio::test]
async fn instances_differ() {
    let node = Node::leader().await;
    let instances: BTreeSet<String> = [node.get("/").await, node.get("/").await]
        .iter()
        .map(|answer| answer.json()["instance"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(instances.len(), 2);
    assert!(instances.iter().all(|instance| instance.starts_with("req-")));
}
