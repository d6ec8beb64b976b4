//! What is smaller than a schedule.
//!
//! Rule: the largest cuts first: halves of the steps, quarters, …, single steps; then fewer nodes,
//! roomy limits, plain ids and polls, and smaller numbers. Everything offered is strictly smaller, so
//! shrinking ends. Must never: offer the schedule itself.

use crate::schedule::{Limits, Schedule, Step};

/// Candidates, the boldest first.
pub fn smaller(schedule: Schedule) -> impl Iterator<Item = Schedule> {
    let (a, b, c) = (schedule.clone(), schedule.clone(), schedule);
    without_steps(a).chain(simpler_world(&b)).chain(simpler_steps(c))
}

fn without_steps(schedule: Schedule) -> impl Iterator<Item = Schedule> {
    let total = schedule.steps.len();
    let sizes = std::iter::successors(Some(total), |size| Some(size / 2)).take_while(|n| *n > 0);
    sizes.flat_map(move |size| {
        let schedule = schedule.clone();
        // From the end: what comes last matters least to what comes before it.
        (0..total.div_ceil(size)).rev().map(move |chunk| {
            let mut smaller = schedule.clone();
            let (from, to) = (chunk * size, total.min((chunk + 1) * size));
            smaller.steps.drain(from..to);
            smaller
        })
    })
}

fn simpler_world(schedule: &Schedule) -> std::vec::IntoIter<Schedule> {
    let mut found = Vec::new();
    let mut offer = |change: &dyn Fn(&mut Schedule)| {
        let mut smaller = schedule.clone();
        change(&mut smaller);
        if smaller != *schedule {
            found.push(smaller);
        }
    };
    if schedule.ids.len() > 1 {
        offer(&|s| {
            s.ids.pop();
            s.founders = s.founders.min(s.ids.len());
        });
    }
    offer(&|s| s.polls.clear());
    offer(&|s| s.limits = Limits::ROOMY);
    offer(&|s| s.ids = (1..=s.ids.len() as u64).collect());
    found.into_iter()
}

fn simpler_steps(schedule: Schedule) -> impl Iterator<Item = Schedule> {
    (0..schedule.steps.len()).flat_map(move |at| {
        let schedule = schedule.clone();
        simpler(&schedule.steps[at]).into_iter().map(move |step| {
            let mut smaller = schedule.clone();
            smaller.steps[at] = step;
            smaller
        })
    })
}

fn less(number: u8) -> Vec<u8> {
    let mut all = vec![0, number / 2, number.saturating_sub(1)];
    all.retain(|n| *n < number);
    all.dedup();
    all
}

fn simpler(step: &Step) -> Vec<Step> {
    let one = |make: fn(u8) -> Step, n: u8| less(n).into_iter().map(make).collect();
    let two = |make: fn(u8, u8) -> Step, node: u8, n: u8| {
        let nodes = less(node).into_iter().map(|node| make(node, n));
        nodes.chain(less(n).into_iter().map(|n| make(node, n))).collect()
    };
    match step {
        Step::Flow(n) => one(Step::Flow, *n),
        Step::Deliver(n) => one(Step::Deliver, *n),
        Step::Lose(n) => one(Step::Lose, *n),
        Step::Double(n) => one(Step::Double, *n),
        Step::Deadline(n) => one(Step::Deadline, *n),
        Step::Early(n) => one(Step::Early, *n),
        Step::Pass(n) => one(Step::Pass, *n),
        Step::Poll(n) => one(Step::Poll, *n),
        Step::Restart(n) => one(Step::Restart, *n),
        Step::Read(n) => one(Step::Read, *n),
        Step::Part(n) => one(Step::Part, *n),
        Step::Sync(node, n) => two(Step::Sync, *node, *n),
        Step::Work(node, n) => two(Step::Work, *node, *n),
        Step::Crash(node, n) => two(Step::Crash, *node, *n),
        Step::Cut(node, n) => two(Step::Cut, *node, *n),
        Step::Propose(node, n) => two(Step::Propose, *node, *n),
        Step::Unreachable(node, n) => two(Step::Unreachable, *node, *n),
        Step::Back(node, n) => two(Step::Back, *node, *n),
        Step::Ahead(node, n) => two(Step::Ahead, *node, *n),
        Step::Change(node, wish) => {
            less(*node).into_iter().map(|node| Step::Change(node, wish.clone())).collect()
        }
        Step::Transfer(node, to) => {
            let nodes = less(*node).into_iter().map(|node| Step::Transfer(node, *to));
            nodes.chain(to.map(|_| Step::Transfer(*node, None))).collect()
        }
        Step::Garble(envelope, flips) => {
            let mut all = vec![Step::Say(envelope.clone())];
            if flips.len() > 1 {
                all.push(Step::Garble(envelope.clone(), flips[..flips.len() / 2].to_vec()));
            }
            all
        }
        Step::Heal | Step::Say(_) => Vec::new(),
    }
}
