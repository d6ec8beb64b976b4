//! The cluster from the command line.

use crate::{
    bed::{Bed, leader},
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
