//! **Gate**: no message that implies durability leaves before the disk holds what it implies.
//!
//! Observed: every message is judged by its meaning against the model disk of its sender when it
//! leaves: a granted vote and a candidate's request need term and vote, a matched append the term and
//! the entries, an installed snapshot the term and the log's base, a leader's word its term. The
//! only way to a gated message is `Write::durable`, which the bench calls when the disk has synced.
//!
//! Would break it: an answer that takes the short way although its write is still under way, or that
//! was computed before a truncation and leaves after it.

use crate::cluster::{Run, Terms, Verdict, execute};
use crate::draw::{Mix, arbitrary};
use crate::law::Law;
use crate::planted::Planted;
use crate::schedule::Schedule;
use crate::watch::Nothing;

static LAW: Law = Law {
    name: "gate",
    draw: |g| {
        // Slow disks: what flows is rare, single writes complete one by one.
        let mix = Mix { flow: 5, deliver: 25, work: 12, time: 8, poll: 3, steps: 80, ..Mix::EVEN };
        arbitrary(g, &mix)
    },
    holds,
    must_happen: &[
        "leader elected",
        "entry committed",
        "log truncated",
        "snapshot installed",
        "inputs gathered before a poll",
    ],
};

fn holds(schedule: &Schedule, planted: Option<Planted>, run: &mut Run) -> Verdict {
    let terms = Terms { batched: true, planted, ..Terms::default() };
    execute(schedule, terms, &mut Nothing, run).map(|_| ())
}

#[test]
fn gate() {
    LAW.holds();
}

#[test]
fn gate_bites() {
    LAW.finds(Planted::SentBeforeDurable, &["gate"], 3);
}
