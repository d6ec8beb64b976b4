//! Exactly once, end to end: changes under idempotency keys while the leader is killed again and
//! again, nodes come back from disk, and logs are compacted so that snapshots carry the answers.
//!
//! Each writer counts in a key of its own: its n-th change must make version n, or one was lost or
//! took effect twice.

use crate::{
    bed::{Bed, eventually, leader, settled},
    cli,
    http::{self, Answer, Failed},
    node::Node,
};
use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

const KILLS: usize = 8;
const WRITERS: usize = 4;
/// Bytes of each value; with the limits below, a node that was down for a few hundred changes
/// cannot be helped with entries any more.
const VALUE: usize = 1024;

/// What the writers were told, in numbers.
#[derive(Default)]
struct Told {
    changes: AtomicUsize,
    /// Answers that said they were repeats, after an attempt without one.
    replayed: AtomicUsize,
    unanswered: AtomicUsize,
    refused: AtomicUsize,
    lies: Mutex<Vec<String>>,
}

/// One attempt at a change.
fn attempt(node: SocketAddr, key: &str, change: usize) -> Result<Answer, Failed> {
    let value = format!("{change:0>VALUE$}");
    let idempotency = format!("{key}-{change}");
    let headers = [("Idempotency-Key", idempotency.as_str())];
    http::request_with(node, ("PUT", &format!("/key/{key}")), &headers, &value)
}

fn done(answer: &Answer) -> bool {
    matches!(answer.status, 200 | 201)
}

fn replayed(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

/// Counts until told to stop; each change is sent, under one key, until it is answered.
fn writer(number: usize, nodes: &[SocketAddr], stop: &AtomicBool, told: &Told) -> u64 {
    let key = format!("counter{number}");
    let mut target = number;
    let lie = |text: String| told.lies.lock().unwrap().push(text);
    for change in 1.. {
        if stop.load(Ordering::Relaxed) {
            return change as u64 - 1;
        }
        let mut open = false;
        let answer = loop {
            let node = nodes[target % nodes.len()];
            match attempt(node, &key, change) {
                Ok(answer) if done(&answer) => break answer,
                Ok(answer) => match answer.json()["applied"].as_str() {
                    Some("no") => drop(told.refused.fetch_add(1, Ordering::Relaxed)),
                    Some("unknown") => open = true,
                    other => lie(format!("{key} {change}: applied is {other:?}: {}", answer.body)),
                },
                Err(Failed::Connect) => {}
                Err(Failed::Broken) => open = true,
            }
            target += 1;
            thread::sleep(Duration::from_millis(20));
        };
        let version = answer.json()["version"].as_u64();
        if version != Some(change as u64) {
            lie(format!("{key}: change {change} made version {version:?}: {}", answer.body));
        }
        if replayed(&answer) && !open {
            lie(format!("{key} {change}: every earlier attempt said no, and yet it was applied"));
        }
        told.replayed.fetch_add(usize::from(replayed(&answer)), Ordering::Relaxed);
        told.unanswered.fetch_add(usize::from(open), Ordering::Relaxed);
        told.changes.fetch_add(1, Ordering::Relaxed);
        // Sent again after its answer, somewhere else: the same answer, marked as a repeat.
        if change % 10 == 0
            && let Ok(again) = attempt(nodes[(target + 1) % nodes.len()], &key, change)
            && done(&again)
            && (again.body != answer.body || !replayed(&again))
        {
            lie(format!("{key} {change}: repeated: {} then {}", answer.body, again.body));
        }
    }
    unreachable!("the changes are numbered without end")
}

/// The same through the command line, which draws its keys itself.
fn command_line_writer(at: &str, stop: &AtomicBool, told: &Told) -> u64 {
    for change in 1.. {
        if stop.load(Ordering::Relaxed) {
            return change - 1;
        }
        let value = change.to_string();
        let args = ["put", "counter-cli", &value, "-o", "json", "--timeout", "50s"];
        let ran = cli::run(at, &args);
        if ran.code != 0 || ran.json()["version"] != change {
            told.lies.lock().unwrap().push(format!("command line, change {change}: {ran:?}"));
            return change;
        }
    }
    unreachable!("the changes are numbered without end")
}

fn small_logs(bed: &Bed, name: &str) -> Node {
    let mut node = bed.durable(name);
    node.set("KVORUM_COMPACT_AFTER_BYTES", "64KiB");
    node.set("KVORUM_CHECKPOINT_BYTES", "64KiB");
    node.set("KVORUM_KEEP_ENTRIES", "10");
    node
}

fn snapshots_installed(nodes: &[Node]) -> usize {
    nodes.iter().map(|node| node.log().matches("snapshot installed").count()).sum()
}

#[test]
fn every_change_takes_effect_once_while_leaders_die_and_snapshots_are_installed() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, small_logs);
    let addresses: Vec<SocketAddr> = nodes.iter().map(Node::http).collect();
    let at = cli::endpoints(&nodes.iter().collect::<Vec<_>>());
    let (stop, told) = (AtomicBool::new(false), Told::default());
    let counted: Vec<(String, u64)> = thread::scope(|scope| {
        let (addresses, stop, told, at) = (&addresses, &stop, &told, &at);
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                scope.spawn(move || {
                    let count = writer(number, addresses, stop, told);
                    (format!("counter{number}"), count)
                })
            })
            .collect();
        let command_line =
            scope.spawn(move || ("counter-cli".to_owned(), command_line_writer(at, stop, told)));
        // Whatever fails here must not leave the writers running.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for kill in 0..KILLS {
                let leads = leader(&nodes);
                nodes[leads].kill();
                // Until the others have gone so far that the dead one needs a snapshot.
                let before = told.changes.load(Ordering::Relaxed);
                eventually("changes go on without it", || {
                    let now = told.changes.load(Ordering::Relaxed);
                    (now > before + 300).then_some(())
                });
                let installed = snapshots_installed(&nodes);
                nodes[leads].start();
                settled(&nodes.iter().collect::<Vec<_>>());
                if kill + 1 == KILLS {
                    eventually("snapshots are installed", || {
                        (installed.max(snapshots_installed(&nodes)) > 0).then_some(())
                    });
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let counted = writers.into_iter().chain([command_line]);
        let counted = counted.map(|writer| writer.join().expect("a writer ends")).collect();
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
        counted
    });
    eprintln!(
        "{} changes, {} with an attempt left open, {} answered as repeats, {} refusals that were \
         certain, {} snapshots installed",
        told.changes.load(Ordering::Relaxed),
        told.unanswered.load(Ordering::Relaxed),
        told.replayed.load(Ordering::Relaxed),
        told.refused.load(Ordering::Relaxed),
        snapshots_installed(&nodes),
    );
    let lies = told.lies.lock().unwrap();
    assert!(lies.is_empty(), "{} lies: {lies:#?}", lies.len());
    assert!(told.unanswered.load(Ordering::Relaxed) > 0, "no attempt was ever left open");
    // All at once, and from disk again: the counters and the answers are still there.
    for node in &mut nodes {
        node.kill();
    }
    for node in &mut nodes {
        node.start();
    }
    settled(&nodes.iter().collect::<Vec<_>>());
    for (key, count) in &counted {
        for node in &nodes {
            let record = node.get(&format!("/key/{key}?meta")).json();
            assert_eq!(record["version"], *count, "{} {key}", node.name());
        }
        if key == "counter-cli" {
            continue;
        }
        let change = usize::try_from(*count).expect("a count");
        let again = attempt(nodes[0].http(), key, change).expect("an answer");
        assert!(replayed(&again) && again.json()["version"] == *count, "{key}: {again:?}");
    }
}
