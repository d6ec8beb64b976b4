//! **Silent**: poll after poll, with nothing between, is empty and changes nothing.
//!
//! Observed: every poll of every node is followed by another one, and after that a clone is polled
//! once more: nothing comes of it, and the clone is still equal to the node.
//!
//! Would break it: work that a poll leaves for the next one, a counter of polls, a message that is
//! derived from state which sending it does not change.

use crate::cluster::{Run, Terms, Verdict, execute};
use crate::draw::{Mix, arbitrary};
use crate::law::Law;
use crate::planted::Planted;
use crate::schedule::Schedule;
use crate::watch::{Taken, Watch};

/// A third poll.
struct Third;

impl Watch for Third {
    fn rule(&self) -> &'static str {
        "silent"
    }

    fn polled(&mut self, taken: &Taken) -> Result<(), String> {
        let mut clone = taken.raft.clone();
        let output = clone.poll(taken.now);
        if !output.is_empty() {
            return Err(format!("a third poll says {output:?}"));
        }
        if clone != *taken.raft {
            return Err(format!("a third poll makes {clone} of {}", taken.raft));
        }
        Ok(())
    }
}

static LAW: Law = Law {
    name: "silent",
    draw: |g| arbitrary(g, &Mix { poll: 6, ..Mix::EVEN }),
    holds,
    must_happen: &["leader elected", "entry committed", "snapshot installed", "read confirmed"],
};

fn holds(schedule: &Schedule, planted: Option<Planted>, run: &mut Run) -> Verdict {
    let terms = Terms { batched: true, planted, ..Terms::default() };
    execute(schedule, terms, &mut Third, run).map(|_| ())
}

#[test]
fn silent() {
    LAW.holds();
}

#[test]
fn silent_bites() {
    LAW.finds(Planted::HandlesBetween, &["quiet"], 2);
}
