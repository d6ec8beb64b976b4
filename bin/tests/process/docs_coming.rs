//! The calls that docs/coming-from.md names work as they stand there.

use crate::{
    bed::{Bed, eventually},
    cli::Running,
    docs_cli::{run, shell},
    node::Node,
};
use std::time::Duration;

#[test]
fn every_call_of_the_page_for_those_who_come_from_elsewhere_works() {
    let bed = Bed::new();
    let nodes = bed.cluster(3, Bed::memory);
    let node = &nodes[0];
    let mut calls = 0;
    for row in include_str!("../../../docs/coming-from.md").lines() {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, curl, command] = cells[..] else { continue };
        for cell in [curl, command] {
            let Some(code) = cell.strip_prefix('`').and_then(|it| it.strip_suffix('`')) else {
                continue;
            };
            calls += 1;
            call(node, &code.replace("\\|", "|"));
        }
    }
    assert!(calls > 50, "the page has {calls} calls");
}

/// Runs one call of the page on a store that holds what the page says it does.
fn call(node: &Node, code: &str) {
    assert!(code.contains("kvorum ") || code.contains("curl "), "no call: {code}");
    assert_eq!(node.delete("/keys?all=true").status, 200);
    for (key, value) in [("a", "1"), ("jobs/1", "x"), ("jobs/2", "y")] {
        node.put(key, value);
    }
    let record = node.get("/key/a?meta").json();
    let revision = record["mod_revision"].as_u64().expect("a revision");
    let mut script = String::new();
    script.push_str(&format!("REV={revision}; OLD={}\n", revision - 1));
    // A call that names a lease or a lock of its own gets one.
    if code.contains("$LEASE") {
        script.push_str("LEASE=$(kvorum lease grant 60s)\n");
    }
    if code.contains("$TOKEN") {
        script.push_str(&format!(
            "TOKEN=$(curl -fsS -X POST {}/lock/job?ttl=10s | sed 's/.*\"token\":\\([0-9]*\\).*/\\1/')\n",
            node.http()
        ));
    }
    let asked =
        code.replace("localhost:8080", &node.http().to_string()).replace("curl ", "curl -fsS ");
    let waits = code.contains("watch") || code.contains("since=$REV");
    if waits {
        // So that there is one process to end.
        script.push_str("exec ");
    }
    script.push_str(&asked);
    if waits {
        // It waits for a change; there will be some.
        let running = Running::spawn(shell(node, &script));
        eventually(&format!("a line of {code}"), || {
            node.put("a", "changed");
            node.put("jobs/1", "changed");
            (!running.is_silent(Duration::from_millis(200))).then_some(())
        });
    } else {
        let ran = run(node, &script);
        assert_eq!(ran.code, 0, "{code}: {ran:?}");
    }
    if code.contains("$TOKEN") || code.contains("/lock/") {
        let held = node.get("/lock/job").json();
        let token = held["token"].as_u64().unwrap_or(0);
        node.delete(&format!("/lock/job?token={token}"));
    }
}
