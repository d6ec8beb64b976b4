//! **Batching**: splitting or merging polls never changes safety, nor the final state after
//! quiescence.
//!
//! Observed: each schedule runs twice, polled after every input and polled as the schedule says
//! (some inputs wait for the next poll). Both runs must be safe and, left in peace, converge. Where
//! both have taken the same proposals under one leader that stays, the state machines must end the
//! same.
//!
//! Would break it: an output that replaces an earlier one, a limit that counts polls, an answer that
//! is only given to the last question.

use crate::cluster::{Run, Terms, Verdict, broken, execute};
use crate::draw::{Mix, arbitrary};
use crate::law::Law;
use crate::planted::Planted;
use crate::schedule::{Limits, Schedule, Step};
use crate::watch::Nothing;
use kvorum_core::raft::NodeId;

static LAW: Law = Law {
    name: "batching",
    draw: |g| {
        let calm = Mix {
            time: 0,
            cut: 0,
            crash: 1,
            transfer: 0,
            propose: 20,
            poll: 3,
            steps: 30,
            ..Mix::EVEN
        };
        let mut schedule = arbitrary(g, &calm);
        if schedule.polls.is_empty() {
            schedule.polls = vec![0, 2, 5];
        }
        // What is refused for want of room depends on the polls, and is no difference in state.
        schedule.limits.uncommitted_bytes = Limits::ROOMY.uncommitted_bytes;
        schedule
    },
    holds,
    must_happen: &["runs to compare", "inputs gathered before a poll", "snapshot installed"],
};

/// What is left in the end.
#[derive(Debug, PartialEq)]
struct End {
    elections: u64,
    taken: Vec<(NodeId, u64)>,
    registers: [u64; crate::machine::REGISTERS],
}

fn end(schedule: &Schedule, terms: Terms, run: &mut Run) -> Result<End, crate::check::Violation> {
    let mut watch = Nothing;
    let mut cluster = execute(schedule, terms, &mut watch, run)?;
    cluster.settle()?;
    let leader = cluster.nodes.iter().find(|node| node.leads()).expect("settled");
    let registers = leader.machine.state.registers;
    Ok(End { elections: cluster.elections, taken: cluster.taken, registers })
}

fn holds(schedule: &Schedule, planted: Option<Planted>, run: &mut Run) -> Verdict {
    let apart = end(schedule, Terms { planted, ..Terms::default() }, run)?;
    let merged = end(schedule, Terms { planted, batched: true, ..Terms::default() }, run)?;
    let one_leader = apart.elections == 1 && merged.elections == 1;
    if !one_leader || (planted.is_none() && apart.taken != merged.taken) {
        return Ok(());
    }
    *run.cover.entry("runs to compare").or_default() += 1;
    if apart != merged {
        return Err(broken("batching", format!("{apart:?}, but {merged:?}")));
    }
    Ok(())
}

#[test]
fn batching() {
    LAW.holds();
}

#[test]
fn batching_bites() {
    let found = LAW.finds(Planted::ForgottenInTheBatch, &["batching"], 6);
    assert!(found.steps.iter().any(|step| matches!(step, Step::Propose(..))));
}
