//! `kvorum watch`: no gap and no repetition, whatever happens to the connection.

use crate::{
    bed::{Bed, settled},
    cli::{Running, endpoints, run},
    fake::{Fake, answer, stream},
    node::Node,
};
use rustix::process::Signal;
use serde_json::Value;
use std::time::Duration;

#[test]
fn what_changes_is_printed_in_order() {
    let bed = Bed::new();
    let node = bed.cluster(1, Bed::memory).remove(0);
    let at = endpoints(&[&node]);
    let watch = Running::start(&at, &["watch", "--prefix", "a", "--prev", "-o", "json"]);
    assert_eq!(watch.line(), r#"{"revision":1,"type":"sync"}"#);
    node.put("a1", "x");
    node.put("b", "not watched");
    assert_eq!(node.delete("/key/a1").status, 200);
    let line: Value = serde_json::from_str(&watch.line()).expect("JSON");
    assert_eq!(
        (&line["revision"], &line["type"], &line["value"]),
        (&2.into(), &"put".into(), &"x".into())
    );
    let line: Value = serde_json::from_str(&watch.line()).expect("JSON");
    assert_eq!(
        (&line["revision"], &line["type"], &line["key"]),
        (&4.into(), &"delete".into(), &"a1".into())
    );
    assert_eq!(line["previous"]["value"], "x");
    // From the beginning, as text, and no more than asked for.
    let past = run(&at, &["watch", "--since", "1", "--count", "3"]);
    assert_eq!(past.ok(), "2\tput\ta1\tx\n3\tput\tb\tnot watched\n4\tdelete\ta1\t");
    assert_eq!(
        run(&at, &["watch", "b", "--since", "1", "--count", "1"]).ok(),
        "3\tput\tb\tnot watched"
    );
    let future = run(&at, &["watch", "--since", "99"]);
    assert!(future.failed(3).contains("(future_revision)"), "{future:?}");
}

#[test]
fn a_watch_goes_on_across_dead_and_silent_nodes() {
    const EACH: u64 = 40;
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::durable);
    let at = endpoints(&nodes.iter().collect::<Vec<_>>());
    // A node speaks at least every 15 s; here the watch is less patient than that.
    let args = ["watch", "--prefix", "k", "--since", "1", "--silence", "3s"];
    let watch = Running::start(&at, &args);
    let mut written = 0;
    let mut write = |nodes: &[&Node]| {
        let at = endpoints(nodes);
        for _ in 0..EACH {
            // Once, though it may meet an election.
            run(&at, &["put", &format!("k{written:04}"), "v", "--timeout", "60s"]).ok();
            written += 1;
        }
    };
    write(&[&nodes[1], &nodes[2]]);
    // It began at the first endpoint: that one dies, comes back, and the next one freezes.
    let mut lines: Vec<String> = (0..EACH).map(|_| watch.line()).collect();
    nodes[0].kill();
    write(&[&nodes[1], &nodes[2]]);
    lines.extend((0..EACH).map(|_| watch.line()));
    nodes[0].start();
    settled(&nodes.iter().collect::<Vec<_>>());
    nodes[1].signal(Signal::STOP);
    write(&[&nodes[2], &nodes[0]]);
    lines.extend((0..EACH).map(|_| watch.line()));
    nodes[1].signal(Signal::CONT);
    nodes[2].kill();
    write(&[&nodes[0], &nodes[1]]);
    lines.extend((0..EACH).map(|_| watch.line()));
    assert!(watch.is_silent(Duration::from_millis(300)), "a repetition");
    let expected: Vec<String> = (0..4 * EACH).map(|n| format!("k{n:04}")).collect();
    let keys: Vec<&str> =
        lines.iter().map(|line| line.split('\t').nth(2).expect("a key")).collect();
    assert_eq!(keys, expected, "every change once, in order");
    let revisions: Vec<u64> =
        lines.iter().map(|line| line.split('\t').next().unwrap().parse().unwrap()).collect();
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
}

#[test]
fn a_cut_within_a_revision_repeats_nothing_and_leaves_nothing_out() {
    let event = |n: u64| format!(r#"{{"type":"put","key":"k{n}","value":"v"}}"#);
    let change = |revision: u64, keys: std::ops::Range<u64>, more: bool| {
        let events: Vec<String> = keys.map(event).collect();
        let more = if more { r#""more":true,"# } else { "" };
        let events = events.join(",");
        format!(
            r#"{{"event":"change","data":{{"revision":{revision},{more}"events":[{events}]}}}}"#
        )
    };
    let error = |text: &str| format!(r#"{{"event":"error","data":{text}}}"#);
    let slow = r#"{"code":"slow_watcher","message":"slow","status":408}"#;
    let stopping = r#"{"code":"stopping","message":"stopping","status":503}"#;
    let gone = r#"{"code":"compacted","message":"gone","status":410}"#;
    let fake = Fake::saying(vec![
        // Two parts of revision 7, then the connection is cut, in the middle of a third.
        stream(
            &[&change(5, 0..1, false), &change(7, 1..3, true), &change(7, 3..5, true)],
            r#"{"event":"cha"#,
        ),
        // Elsewhere the parts are cut differently; again it ends too early.
        stream(&[&change(7, 1..2, true), &change(7, 2..6, true)], ""),
        stream(&[&change(7, 1..7, true), &change(7, 7..8, false), &change(8, 8..9, false)], ""),
        stream(&[&error(slow)], ""),
        stream(&[&change(9, 9..10, false), r#"{"event":"later","data":{}}"#], ""),
        answer("503 Service Unavailable", stopping),
        stream(&[&error(gone)], ""),
    ]);
    let ran = run(&fake.endpoint(), &["watch", "--since", "4"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.trim_end().lines().last().unwrap().contains("gone (compacted)"), "{ran:?}");
    let keys: Vec<&str> = ran.text().lines().map(|l| l.split('\t').nth(2).unwrap()).collect();
    assert_eq!(keys, ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9"]);
    assert_eq!(fake.served(), 7);
}
