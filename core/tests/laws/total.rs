//! **Total**: any message, in any role, at any time, leaves a node standing.
//!
//! Observed: members and strangers say anything the types allow, also through the wire with bits
//! flipped, to nodes that otherwise live as usual: they lead, follow, install, crash, restart. No
//! input panics, what is written stays a log that can be restored, and a poll always comes to an
//! end. What honest peers promise is not judged here; a node may halt with evidence.
//!
//! Would break it: arithmetic on a peer's number, an index into the log that a peer chose, an
//! `expect` about what "cannot" arrive, an allocation by a length that was announced.

use crate::cluster::{Run, Terms, Verdict, execute};
use crate::draw::{Mix, arbitrary};
use crate::law::Law;
use crate::planted::Planted;
use crate::schedule::Schedule;
use crate::watch::Nothing;

/// Peers that lie, and the usual.
pub const HOSTILE: Mix = Mix { say: 60, flow: 6, steps: 100, crash: 2, nodes: 3, ..Mix::EVEN };

static LAW: Law = Law {
    name: "total",
    draw: |g| arbitrary(g, &HOSTILE),
    holds,
    must_happen: &[
        "flipped bits that decode",
        "flipped bits that do not decode",
        "node that halts with evidence",
        "leader elected",
        "log truncated",
        "snapshot installed",
        "cold log read",
        "crash",
    ],
};

fn holds(schedule: &Schedule, planted: Option<Planted>, run: &mut Run) -> Verdict {
    let terms = Terms { hostile: true, batched: true, planted };
    execute(schedule, terms, &mut Nothing, run).map(|_| ())
}

#[test]
fn total() {
    LAW.holds();
}

#[test]
fn total_bites() {
    LAW.finds(Planted::TrustsTheCommit, &["panic"], 1);
}
