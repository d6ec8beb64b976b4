//! The cluster from the command line.

use crate::{
    bed::{Bed, eventually, leader},
    cli::{endpoints, run},
};

#[test]
fn the_members_are_a_table_and_leadership_moves() {
    let bed = Bed::new();
    let nodes = bed.cluster(3, Bed::memory);
    let at = endpoints(&nodes.iter().collect::<Vec<_>>());
    let leads = leader(&nodes);
    let told = run(&at, &["members"]);
    let lines: Vec<&str> = told.text().lines().collect();
    assert_eq!((told.code, lines.len()), (0, 4), "{told:?}");
    assert!(lines[0].starts_with("NAME  ROLE"), "{told:?}");
    for (n, node) in nodes.iter().enumerate() {
        let line = lines.iter().find(|line| line.starts_with(node.name())).expect("a member");
        let role = if n == leads { "leader" } else { "voter" };
        assert!(line.contains(role) && line.contains(&node.http().to_string()), "{line}");
    }
    let other = nodes[(leads + 1) % 3].name();
    let told = run(&at, &["transfer", other]);
    assert_eq!(told.ok(), format!("leadership handed over, leader {other}"));
    let led = run(&at, &["members", "-o", "json"]).json();
    assert_eq!(led["members"].as_array().map(Vec::len), Some(3));
    let status = run(&at, &["status", "-o", "json"]).json();
    assert_eq!(status["node_id"], nodes[0].name(), "the first that answers");
    assert!(run(&at, &["status"]).ok().contains("durability"));
}

#[test]
fn members_are_demoted_promoted_and_removed() {
    let bed = Bed::new();
    let nodes = bed.cluster(3, Bed::memory);
    let at = endpoints(&nodes.iter().collect::<Vec<_>>());
    let role = |name: &str| {
        let told = run(&at, &["members"]);
        let line = told.text().lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.map(|line| line.split_whitespace().nth(1).expect("a role").to_owned())
    };
    // What is refused for a moment (another change is under way) is tried again by a person.
    let done = |args: &[&str]| {
        eventually(&format!("{args:?}"), || (run(&at, args).code == 0).then_some(()));
    };
    done(&["demote", "app3"]);
    eventually("app3 is a learner", || (role("app3").as_deref() == Some("learner")).then_some(()));
    done(&["promote", "app3"]);
    eventually("app3 votes", || (role("app3").as_deref() != Some("learner")).then_some(()));
    done(&["remove", "app3"]);
    eventually("app3 is gone", || role("app3").is_none().then_some(()));
    let unknown = run(&at, &["remove", "nobody"]);
    assert!(unknown.failed(1).contains("(unknown_member)"), "{unknown:?}");
}

#[test]
fn settings_are_shown_and_changed_and_history_is_dropped() {
    let bed = Bed::new();
    let node = bed.cluster(1, Bed::memory).remove(0);
    let at = endpoints(&[&node]);
    let shown = run(&at, &["settings"]);
    assert_eq!(shown.ok(), "quota      0\nkeep       600\nrevisions  10000");
    let told = run(&at, &["settings", "--quota", "2GiB", "--revisions", "100", "-o", "json"]);
    let expected = r#"{"quota":2147483648,"history":{"keep":600,"revisions":100}}"#;
    assert_eq!(told.ok(), expected);
    run(&at, &["settings", "--keep", "5m", "--quota", "0"]).ok();
    assert_eq!(run(&at, &["settings"]).ok(), "quota      0\nkeep       300\nrevisions  100");
    let wrong = run(&at, &["settings", "--quota", "much"]);
    assert!(wrong.failed(3).contains("(invalid_value)"), "{wrong:?}");
    for _ in 0..5 {
        node.put("a", "1");
    }
    let revision = run(&at, &["get", "a", "-o", "json"]).json()["mod_revision"].to_string();
    assert_eq!(run(&at, &["compact", &revision]).ok(), format!("compacted {revision}"));
    assert!(run(&at, &["get", "a", "--at", "2"]).failed(3).contains("(compacted)"));
    assert!(run(&at, &["compact", &revision]).failed(3).contains("(compacted)"));
    assert!(run(&at, &["compact", "999"]).failed(3).contains("(future_revision)"));
    assert!(run(&at, &["watch", "--since", "1"]).failed(3).contains("(compacted)"));
}
