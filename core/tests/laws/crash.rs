//! **Crash**: dropping a node between any two calls and restoring it from its durable prefix is
//! safe.
//!
//! Observed: nodes crash between any two inputs, with any prefix of the writes under way on the
//! disk and any later commit of the state machine; the lab's checkers judge every step over all lives
//! of a node. Left in peace, the cluster must become whole again.
//!
//! Would break it: a promise that only memory keeps, an order of writes that recovery cannot read, a
//! number that restarts and is taken for its namesake of the life before.

use crate::cluster::{Run, Terms, Verdict, execute};
use crate::draw::{Mix, arbitrary};
use crate::law::Law;
use crate::planted::Planted;
use crate::schedule::Schedule;
use crate::watch::Nothing;

static LAW: Law = Law {
    name: "crash",
    draw: |g| {
        let mix = Mix { crash: 20, work: 16, flow: 14, time: 8, steps: 80, ..Mix::EVEN };
        arbitrary(g, &mix)
    },
    holds,
    must_happen: &[
        "crash",
        "crash that lost writes",
        "leader elected",
        "entry committed",
        "log truncated",
        "log compacted",
        "snapshot installed",
        "cold log read",
    ],
};

fn holds(schedule: &Schedule, planted: Option<Planted>, run: &mut Run) -> Verdict {
    let terms = Terms { batched: true, planted, ..Terms::default() };
    execute(schedule, terms, &mut Nothing, run)?.settle()
}

#[test]
fn crash() {
    LAW.holds();
}

#[test]
fn crash_bites_when_the_vote_is_lost() {
    LAW.finds(Planted::VoteLost, &["one vote per term"], 10);
}

#[test]
fn crash_bites_when_an_entry_is_lost() {
    let rules = ["committed is durable", "leader completeness", "restore"];
    LAW.finds(Planted::TailLost, &rules, 10);
}
