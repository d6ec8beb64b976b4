//! **Order**: writes complete in the order they were made, or the node stops with the rule's name.
//!
//! Observed: whenever two writes of a node are under way, a clone is given the receipt of the second
//! one first, and a clone that has its receipt is given it once more; both must panic with `order:`.
//! In order, the same receipts must pass. The ids of writes grow, and each write continues the log
//! where the one before has left it (the model disk refuses anything else).
//!
//! Would break it: a receipt that confirms whatever is next in line; the ABA of asynchronous appends
//! begins there.

use crate::cluster::{Run, Terms, Verdict, execute};
use crate::draw::{Mix, arbitrary};
use crate::law::{Law, panics};
use crate::planted::Planted;
use crate::schedule::{MAX_NODES, Schedule};
use crate::watch::{Birth, Taken, Watch};
use kvorum_core::raft::{Event, Instant, Raft, Write, WriteId};
use std::collections::VecDeque;

#[derive(Default)]
struct Receipts {
    planted: Option<Planted>,
    last: [Option<WriteId>; MAX_NODES],
    tormented: u64,
}

fn written(raft: &mut Raft, now: Instant, write: &Write) {
    raft.handle(now, Event::Written(write.clone().durable().written));
}

/// Whether a receipt at the wrong time is answered as it should.
fn refused(act: impl FnOnce()) -> Result<(), String> {
    match panics(act) {
        Ok(()) => Err("a receipt out of order is taken".to_owned()),
        Err(text) if text.contains("order: ") => Ok(()),
        Err(text) => Err(format!("a receipt out of order panics with {text}")),
    }
}

impl Receipts {
    fn torment(&self, raft: &Raft, now: Instant, writes: &VecDeque<Write>) -> Result<(), String> {
        let (first, second) = (&writes[0], &writes[1]);
        let sorted = self.planted == Some(Planted::SortedReceipts);
        let mut clone = raft.clone();
        refused(move || {
            written(&mut clone, now, if sorted { first } else { second });
        })?;
        let mut clone = raft.clone();
        refused(move || {
            written(&mut clone, now, first);
            written(&mut clone, now, first);
        })?;
        let mut clone = raft.clone();
        panics(move || writes.iter().for_each(|write| written(&mut clone, now, write)))
            .map_err(|text| format!("receipts in order panic with {text}"))
    }
}

impl Watch for Receipts {
    fn rule(&self) -> &'static str {
        "order"
    }

    fn born(&mut self, slot: usize, _: &Birth) {
        self.last[slot] = None;
    }

    fn polled(&mut self, taken: &Taken) -> Result<(), String> {
        let Some(write) = &taken.output.write else { return Ok(()) };
        if self.last[taken.slot].is_some_and(|last| last >= write.id()) {
            return Err(format!("write {} again", write.id().0));
        }
        self.last[taken.slot] = Some(write.id());
        if taken.disk.queue.len() < 2 {
            return Ok(());
        }
        self.tormented += 1;
        self.torment(taken.raft, taken.now, &taken.disk.queue)
    }
}

static LAW: Law = Law {
    name: "order",
    draw: |g| {
        let mix = Mix { flow: 5, deliver: 20, propose: 14, time: 8, steps: 60, ..Mix::EVEN };
        arbitrary(g, &mix)
    },
    holds,
    must_happen: &["receipts out of order", "log truncated", "entry committed"],
};

fn holds(schedule: &Schedule, planted: Option<Planted>, run: &mut Run) -> Verdict {
    let mut receipts = Receipts { planted, ..Receipts::default() };
    let terms = Terms { batched: true, planted, ..Terms::default() };
    execute(schedule, terms, &mut receipts, run)?;
    *run.cover.entry("receipts out of order").or_default() += receipts.tormented;
    Ok(())
}

#[test]
fn order() {
    LAW.holds();
}

#[test]
fn order_bites() {
    LAW.finds(Planted::SortedReceipts, &["order"], 4);
}
