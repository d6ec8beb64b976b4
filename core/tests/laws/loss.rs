//! **Loss**: any drop, duplicate or reorder of messages is safe, on any link, at any time.
//!
//! Observed: schedules made of single messages that arrive in any order, twice, or never, between
//! nodes that also crash; the lab's checkers judge every step. Left in peace, the cluster must
//! become whole again.
//!
//! Would break it: a vote or an acknowledgement counted per message instead of per peer, a late
//! append that truncates, a late answer that lets a leader believe what is no longer so.

use crate::cluster::{Run, Terms, Verdict, execute};
use crate::draw::{Mix, arbitrary};
use crate::law::Law;
use crate::planted::Planted;
use crate::schedule::Schedule;
use crate::watch::Nothing;

static LAW: Law = Law {
    name: "loss",
    draw: |g| {
        let mix = Mix {
            flow: 6,
            deliver: 30,
            lose: 6,
            double: 8,
            time: 8,
            cut: 4,
            crash: 1,
            steps: 80,
            ..Mix::EVEN
        };
        arbitrary(g, &mix)
    },
    holds,
    must_happen: &[
        "message lost",
        "message doubled",
        "leader elected",
        "entry committed",
        "log truncated",
        "snapshot installed",
        "joint configuration",
        "read confirmed",
    ],
};

fn holds(schedule: &Schedule, planted: Option<Planted>, run: &mut Run) -> Verdict {
    let terms = Terms { batched: true, planted, ..Terms::default() };
    execute(schedule, terms, &mut Nothing, run)?.settle()
}

#[test]
fn loss() {
    LAW.holds();
}

#[test]
fn loss_bites() {
    let rules = ["one vote per term", "committed is durable", "election safety"];
    LAW.finds(Planted::DoubledAsSomebodyElse, &rules, 16);
}
