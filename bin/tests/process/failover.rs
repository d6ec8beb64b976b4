//! The leader is killed under load, ten times in a row.
//!
//! Every write has a key of its own, so what became of it can be read afterwards: an acknowledged
//! one must be there, one whose error said `applied: no` must not.

use crate::{
    bed::{Bed, eventually, leader, settled},
    http::{self, Failed},
    node::Node,
};
use rustix::process::Signal;
use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const KILLS: usize = 10;
const WRITERS: usize = 6;

/// What a writer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Acknowledged,
    NotApplied,
    Unknown,
}

struct Write {
    key: String,
    told: Told,
    begun: Instant,
    ended: Instant,
}

/// Writes through all nodes in turn until told to stop.
fn writer(number: usize, nodes: &[SocketAddr], stop: &AtomicBool, done: &Mutex<Vec<Write>>) {
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let key = format!("w{number}-{n}");
        let body = format!("{{\"{key}\":\"{n}\"}}");
        let begun = Instant::now();
        let target = nodes[(number + n) % nodes.len()];
        let told = match http::request(target, "POST", "/key", Some(&body)) {
            Ok(answer) if answer.status == 200 => Told::Acknowledged,
            Ok(answer) => match answer.json()["applied"].as_str() {
                Some("no") => Told::NotApplied,
                Some("unknown") => Told::Unknown,
                other => panic!("{}: applied is {other:?}: {}", answer.status, answer.body),
            },
            // Nobody listened: the request never left this process.
            Err(Failed::Connect) => Told::NotApplied,
            Err(Failed::Broken) => Told::Unknown,
        };
        done.lock().unwrap().push(Write { key, told, begun, ended: Instant::now() });
    }
}

/// How long after `killed` the first write that began after it was acknowledged.
fn outage(writes: &[Write], killed: Instant) -> Option<Duration> {
    writes
        .iter()
        .filter(|write| write.told == Told::Acknowledged && write.begun >= killed)
        .map(|write| write.ended - killed)
        .min()
}

#[test]
fn the_leader_is_killed_ten_times_under_load_and_no_acknowledged_write_is_lost() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::durable);
    let addresses: Vec<SocketAddr> = nodes.iter().map(Node::http).collect();
    let stop = AtomicBool::new(false);
    let done = Mutex::new(Vec::new());
    let mut kills = Vec::new();
    thread::scope(|scope| {
        for number in 0..WRITERS {
            let (addresses, stop, done) = (&addresses, &stop, &done);
            scope.spawn(move || writer(number, addresses, stop, done));
        }
        // Whatever fails here must not leave the writers running.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..KILLS {
                let at = leader(&nodes);
                let before = done.lock().unwrap().len();
                let killed = Instant::now();
                nodes[at].kill();
                kills.push(killed);
                // Until the others have taken writes again, then the dead one comes back.
                eventually("writes resume", || {
                    let done = done.lock().unwrap();
                    (done.len() > before && outage(&done, killed).is_some()).then_some(())
                });
                nodes[at].start();
                settled(&nodes.iter().collect::<Vec<_>>());
            }
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    let writes = done.into_inner().unwrap();
    let outages: Vec<Duration> = kills
        .iter()
        .map(|killed| outage(&writes, *killed).expect("writes resumed after every kill"))
        .collect();
    report(&writes, &outages);
    check(&nodes, &writes);
    // Not a stopwatch: with an election timeout of half a second, a cluster that needs more than
    // three of them is not electing but waiting for something else.
    let quick = outages.iter().filter(|outage| **outage < Duration::from_millis(1500)).count();
    assert!(quick * 2 > KILLS, "writes resumed slowly after most kills: {outages:?}");
}

fn report(writes: &[Write], outages: &[Duration]) {
    let count = |told: Told| writes.iter().filter(|write| write.told == told).count();
    let mut sorted: Vec<u128> = outages.iter().map(Duration::as_millis).collect();
    sorted.sort_unstable();
    eprintln!(
        "{} writes: {} acknowledged, {} certainly not applied, {} unknown; leader killed → next \
         acknowledged write, ms: {sorted:?}",
        writes.len(),
        count(Told::Acknowledged),
        count(Told::NotApplied),
        count(Told::Unknown),
    );
}

/// Compares what the writers were told with what is there.
fn check(nodes: &[Node], writes: &[Write]) {
    let acknowledged = writes.iter().filter(|write| write.told == Told::Acknowledged).count();
    assert!(acknowledged > KILLS * WRITERS, "there was no load: {acknowledged} writes");
    // The first read is linearizable through this node; then its own state holds all of it.
    for node in nodes {
        assert_eq!(node.read("nobody-wrote-this"), None);
    }
    let mut wrong = Vec::new();
    for (at, write) in writes.iter().enumerate() {
        let there = nodes[at % nodes.len()].read(&write.key).is_some();
        match (write.told, there) {
            (Told::Acknowledged, false) => wrong.push(format!("{}: acknowledged, lost", write.key)),
            (Told::NotApplied, true) => wrong.push(format!("{}: 'no', but there", write.key)),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{} lies: {wrong:?}", wrong.len());
}

#[test]
fn a_frozen_leader_is_replaced_and_answers_nothing_old_when_it_thaws() {
    let bed = Bed::new();
    let nodes = bed.cluster(3, Bed::durable);
    nodes[0].put("k", "old");
    for round in 0..3 {
        let value = format!("new{round}");
        let frozen = leader(&nodes);
        let other = &nodes[(frozen + 1) % 3];
        nodes[frozen].signal(Signal::STOP);
        eventually("another leader", || {
            let known = other.status()?["leader"].as_str()?.to_owned();
            (known != nodes[frozen].name()).then_some(())
        });
        other.put("k", &value);
        nodes[frozen].signal(Signal::CONT);
        // Its first thought is that it still leads.
        assert_eq!(nodes[frozen].read("k"), Some(value), "round {round}");
        settled(&nodes.iter().collect::<Vec<_>>());
    }
}
