//! Leases, locks and history from the command line, with a real cluster.

use crate::{
    bed::{Bed, eventually, settled},
    cli::{Running, command, endpoints, finish, run},
};
use std::{fs, path::Path, time::Duration};

#[test]
fn a_lease_is_granted_shown_kept_alive_and_revoked() {
    let bed = Bed::new();
    let node = bed.cluster(1, Bed::memory).remove(0);
    let at = endpoints(&[&node]);
    let lease = run(&at, &["lease", "grant", "60s"]).ok().to_owned();
    assert!(lease.parse::<u64>().is_ok(), "{lease}");
    run(&at, &["put", "a", "1", "--lease", &lease]).ok();
    let shown = run(&at, &["lease", "show", &lease, "-o", "json"]).json();
    assert_eq!((&shown["ttl"], &shown["keys"]), (&60.into(), &serde_json::json!(["a"])));
    assert!(run(&at, &["lease", "show", &lease]).ok().ends_with("\nkey        a"));
    assert_eq!(run(&at, &["lease", "keepalive", &lease]).ok(), "ttl 60");
    let listed = run(&at, &["lease", "ls"]);
    assert!(listed.ok().starts_with(&format!("{lease}\t60\t")), "{listed:?}");
    assert_eq!(run(&at, &["lease", "revoke", &lease]).ok(), "deleted 1");
    assert_eq!(run(&at, &["get", "a"]).code, 1);
    for action in ["show", "keepalive", "revoke"] {
        let ran = run(&at, &["lease", action, &lease]);
        assert!(ran.failed(1).contains("(lease_not_found)"), "{ran:?}");
    }
    let chosen = run(&at, &["lease", "grant", "60s", "--id", "77"]);
    assert_eq!(chosen.ok(), "77");
    let taken = run(&at, &["lease", "grant", "60s", "--id", "77"]);
    assert!(taken.failed(1).contains("(lease_exists)"), "{taken:?}");
}

#[test]
fn a_key_with_a_time_to_live_goes_by_itself() {
    let bed = Bed::new();
    let node = bed.cluster(1, Bed::memory).remove(0);
    let at = endpoints(&[&node]);
    let told = run(&at, &["put", "a", "1", "--ttl", "2s"]);
    let (revision, lease) = told.ok().split_once('\n').expect("a lease");
    assert!(revision.starts_with("revision ") && lease.starts_with("lease "), "{told:?}");
    let told = run(&at, &["put", "b", "1", "--ttl", "2s", "--prev", "-o", "json"]).json();
    assert_eq!(told["key"], "b", "{told}");
    for key in ["a", "b"] {
        eventually("the key is gone", || (run(&at, &["get", key]).code == 1).then_some(()));
    }
}

#[test]
fn the_history_of_a_key_is_told_newest_first() {
    let bed = Bed::new();
    let node = bed.cluster(1, Bed::memory).remove(0);
    let at = endpoints(&[&node]);
    for value in ["one", "two\n"] {
        run(&at, &["put", "a", value]).ok();
    }
    run(&at, &["del", "a"]).ok();
    let ran = run(&at, &["history", "a"]);
    let lines: Vec<Vec<&str>> = ran.ok().lines().map(|it| it.split('\t').collect()).collect();
    let told: Vec<[&str; 3]> = lines.iter().map(|it| [it[0], it[2], it[3]]).collect();
    assert_eq!(told, [["4", "delete", ""], ["3", "put", "two\\n"], ["2", "put", "one"]]);
    let ran = run(&at, &["history", "a", "--limit", "1", "-o", "json"]);
    let line = ran.text().lines().next().expect("a line");
    let newest: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!((&newest["revision"], &newest["deleted"]), (&4.into(), &true.into()));
    assert!(ran.err.contains("there are more versions"), "{ran:?}");
    assert!(run(&at, &["history", "never"]).failed(1).contains("not found"));
}

#[test]
fn two_contenders_run_one_after_the_other() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::durable);
    let at = endpoints(&nodes.iter().collect::<Vec<_>>());
    let hold = "echo $KVORUM_FENCE; while [ ! -e \"$0\" ]; do sleep 0.05; done; \
                kvorum put job/state done >&2 && echo put";
    let go = bed.path().join("go");
    let binary = Path::new(env!("CARGO_BIN_EXE_kvorum")).parent().expect("a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let go_text = go.to_str().expect("text");
    let mut first =
        command(&at, &["lock", "job", "--note", "the first", "--", "sh", "-c", hold, go_text]);
    first.env("PATH", format!("{}:{path}", binary.display()));
    let mut first = Running::spawn(first);
    let fence = first.line();
    // Who does not wait is told who has it.
    let ran = run(&at, &["lock", "job", "--", "true"]);
    assert!(ran.failed(1).contains("(lock_held)"), "{ran:?}");
    let second = ["lock", "job", "--wait", "60s", "--", "sh", "-c", "echo $KVORUM_FENCE"];
    let mut second = Running::start(&at, &second);
    assert!(second.is_silent(Duration::from_millis(300)), "two at a time");
    // The lock outlives the death of a node, whichever leads.
    let leads = crate::bed::leader(&nodes);
    nodes[leads].kill();
    nodes[leads].start();
    settled(&nodes.iter().collect::<Vec<_>>());
    assert!(second.is_silent(Duration::from_millis(300)), "two at a time");
    fs::write(&go, "").expect("a file");
    assert_eq!(first.line(), "put", "under its own fence, without being told");
    assert_eq!(first.wait().code(), Some(0));
    let later = second.line();
    assert_eq!(second.wait().code(), Some(0));
    assert_ne!(fence, later, "every holder has a token of its own");
    // What the first sends now is refused, and changes nothing.
    let mut late = command(&at, &["put", "job/state", "late"]);
    late.env("KVORUM_FENCE", &fence);
    assert!(finish(late, b"").failed(1).contains("(fenced)"));
    assert_eq!(run(&at, &["get", "job/state"]).ok(), "done");
}

#[test]
fn a_revoked_lease_takes_the_lock_away() {
    let bed = Bed::new();
    let node = bed.cluster(1, Bed::memory).remove(0);
    let at = endpoints(&[&node]);
    let args = ["lock", "job", "--ttl", "3s", "--", "sh", "-c", "echo runs; sleep 600"];
    let mut lock = Running::start(&at, &args);
    assert_eq!(lock.line(), "runs");
    let lease = node.get("/lock/job").json()["lease"].as_str().expect("a lease").to_owned();
    assert_eq!(run(&at, &["lease", "revoke", &lease]).ok(), "deleted 1");
    assert_eq!(lock.wait().code(), Some(4));
    // Nobody has it any more.
    assert_eq!(run(&at, &["lock", "job", "--", "true"]).code, 0);
}
