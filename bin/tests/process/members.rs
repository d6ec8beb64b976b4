//! Members come and go by request: removed, promoted, demoted, the leader too; what would lose the
//! quorum is refused, and a lost quorum says who is missing.

use crate::{
    bed::{Bed, eventually, leader, settled},
    node::Node,
};
use rustix::process::Signal;

/// Who votes and who does not, as `node` sees it.
fn parts(node: &Node) -> (Vec<String>, Vec<String>) {
    let members = node.members().unwrap_or_default();
    let (mut voters, mut learners) = (Vec::new(), Vec::new());
    for member in members {
        if member.voter { voters.push(member.name) } else { learners.push(member.name) }
    }
    voters.sort();
    learners.sort();
    (voters, learners)
}

fn delete(node: &Node, name: &str) -> (u16, serde_json::Value) {
    let answer = node.delete(&format!("/cluster/members/{name}?timeout=20s"));
    (answer.status, answer.json())
}

fn post(node: &Node, name: &str, what: &str) -> (u16, serde_json::Value) {
    let answer = node.post(&format!("/cluster/members/{name}/{what}?timeout=20s"), "");
    (answer.status, answer.json())
}

#[test]
fn a_member_is_removed_and_then_the_leader() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(4, Bed::durable);
    nodes[0].put("k", "before");
    let at = leader(&nodes);
    let (follower, other) = ((at + 1) % 4, (at + 2) % 4);
    // Asked of a node that does not lead.
    let name = nodes[follower].name().to_owned();
    let (status, answer) = delete(&nodes[other], &name);
    assert_eq!((status, answer["message"].as_str()), (200, Some("member removed")), "{answer}");
    // It learns that it is out, and ends with a word about it.
    assert_eq!(nodes[follower].wait().code(), Some(69));
    assert!(nodes[follower].log().contains("no longer a member"), "{}", nodes[follower].log());
    let mut left: Vec<Node> = nodes.drain(..).filter(|node| node.is_running()).collect();
    settled(&left.iter().collect::<Vec<_>>());

    let at = leader(&left);
    let name = left[at].name().to_owned();
    let (status, answer) = delete(&left[at], &name);
    assert_eq!((status, answer["name"].as_str()), (200, Some(name.as_str())), "{answer}");
    assert_eq!(left[at].wait().code(), Some(69));
    left.remove(at);
    settled(&left.iter().collect::<Vec<_>>());
    assert_eq!(left[0].read("k").as_deref(), Some("before"));
    left[1].put("k", "after");

    let (status, answer) = delete(&left[0], "nobody");
    assert_eq!((status, answer["code"].as_str()), (404, Some("unknown_member")));
}

#[test]
fn a_voter_is_demoted_stays_a_learner_and_is_promoted_again() {
    let bed = Bed::new();
    let nodes = bed.cluster(3, Bed::memory);
    let at = leader(&nodes);
    let (follower, other) = ((at + 1) % 3, (at + 2) % 3);
    let name = nodes[follower].name().to_owned();
    let (status, answer) = post(&nodes[other], &name, "demote");
    assert_eq!((status, answer["message"].as_str()), (200, Some("member demoted")), "{answer}");
    eventually("everybody sees the learner", || {
        nodes.iter().all(|node| parts(node).1 == [name.clone()]).then_some(())
    });
    // Nobody promotes it by itself: a write later it is a learner still.
    nodes[other].put("k", "1");
    assert_eq!(nodes[follower].read("k").as_deref(), Some("1"));
    assert_eq!(parts(&nodes[at]).1.join(" "), name);
    let (_, again) = post(&nodes[other], &name, "demote");
    assert_eq!(again["message"], "member is a learner already");

    let (status, answer) = post(&nodes[other], &name, "promote");
    assert_eq!((status, answer["message"].as_str()), (200, Some("member promoted")), "{answer}");
    settled(&nodes.iter().collect::<Vec<_>>());
    let (_, again) = post(&nodes[other], &name, "promote");
    assert_eq!(again["message"], "member is a voter already");

    // The leader steps down by the same call.
    let at = leader(&nodes);
    let name = nodes[at].name().to_owned();
    let (status, answer) = post(&nodes[at], &name, "demote");
    assert_eq!((status, answer["message"].as_str()), (200, Some("member demoted")), "{answer}");
    let next = leader(&nodes);
    assert_ne!(nodes[next].name(), name);
}

#[test]
fn what_would_lose_the_quorum_is_refused_and_a_lost_one_names_who_is_missing() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::memory);
    let at = leader(&nodes);
    let (dead, left) = ((at + 1) % 3, (at + 2) % 3);
    let (dead_name, left_name) = (nodes[dead].name().to_owned(), nodes[left].name().to_owned());
    nodes[dead].signal(Signal::STOP);
    eventually("the leader misses the silent voter", || {
        let cluster = nodes[at].get("/cluster").json();
        let members = cluster["members"].as_array()?;
        let dead = members.iter().find(|member| member["node_id"] == dead_name.as_str())?;
        (dead["last_contact"].as_f64()? > 1.0).then_some(())
    });
    let (status, refused) = post(&nodes[at], &left_name, "demote");
    assert_eq!((status, refused["code"].as_str()), (409, Some("would_lose_quorum")), "{refused}");
    assert_eq!(refused["applied"], "no");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains(&format!("{dead_name} is silent")), "{message}");
    let answer = nodes[at].delete(&format!("/cluster/members/{left_name}?force=true"));
    assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("invalid_parameter")));

    // One more, and the quorum is gone: the call says who is missing, and so does the log, once.
    nodes[left].signal(Signal::STOP);
    let warning = eventually("the lost quorum is told", || {
        let cluster = nodes[at].get("/cluster").json();
        let warning = cluster["warnings"][0].as_str()?.to_owned();
        warning.starts_with("quorum lost: need 2 voters, have 1").then_some(warning)
    });
    for name in [&dead_name, &left_name] {
        assert!(warning.contains(&format!("{name} silent for")), "{warning}");
    }
    eventually("the log says it", || nodes[at].log().contains("quorum lost").then_some(()));
    nodes[left].signal(Signal::CONT);
    eventually("the log says that it is over", || {
        nodes[at].log().contains("quorum is back").then_some(())
    });
    assert_eq!(nodes[at].log().matches("quorum lost").count(), 1, "once, then only on change");

    // The dead one can go as long as the others answer.
    let mut answer = (0, serde_json::Value::Null);
    eventually("the silent voter is removed", || {
        answer = delete(&nodes[at], &dead_name);
        (answer.0 == 200).then_some(())
    });
    nodes[dead].signal(Signal::CONT);
    assert_eq!(nodes[dead].wait().code(), Some(69));
    assert_eq!(parts(&nodes[at]).0.len(), 2);
}
