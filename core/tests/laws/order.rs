//! **Order**: writes complete in the order they were made, or the node stops with the rule's name.
//!
//! Observed: whenever two writes of a node are under way, a clone is given the receipt of the second
//! one first, one gets a receipt twice, and one gets a receipt of the node's life before; all must
//! panic with `order:`. In order, the same receipts must pass. The ids of writes grow, and each write continues the log
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
use kvorum_core::raft::{Event, Instant, Raft, Write, WriteId, Written};

#[derive(Default)]
struct Receipts {
    planted: Option<Planted>,
    last: [Option<WriteId>; MAX_NODES],
    /// A receipt of this life of each node, and one of the life before.
    receipts: [Option<Written>; MAX_NODES],
    former: [Option<Written>; MAX_NODES],
    tormented: u64,
}

/// Gives receipts to a clone.
fn written<'a>(raft: &Raft, now: Instant, writes: impl IntoIterator<Item = &'a Write>) {
    let (mut raft, writes) = raft.fork(writes);
    for write in writes {
        raft.handle(now, Event::Written(write.durable().written));
    }
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
    fn torment(&self, slot: usize, taken: &Taken) -> Result<(), String> {
        let (raft, now, writes) = (taken.raft, taken.now, &taken.disk.queue);
        let sorted = self.planted == Some(Planted::SortedReceipts);
        refused(|| written(raft, now, [&writes[usize::from(!sorted)]]))?;
        refused(|| written(raft, now, [&writes[0], &writes[0]]))?;
        if let Some(former) = self.former[slot].clone() {
            refused(|| raft.clone().handle(now, Event::Written(former)))?;
        }
        panics(|| written(raft, now, writes))
            .map_err(|text| format!("receipts in order panic with {text}"))
    }
}

impl Watch for Receipts {
    fn rule(&self) -> &'static str {
        "order"
    }

    fn born(&mut self, slot: usize, _: &Birth) {
        self.last[slot] = None;
        self.former[slot] = self.receipts[slot].take();
    }

    fn polled(&mut self, taken: &Taken) -> Result<(), String> {
        let Some(write) = &taken.output.write else { return Ok(()) };
        if self.last[taken.slot].is_some_and(|last| last >= write.id()) {
            return Err(format!("write {} again", write.id().0));
        }
        self.last[taken.slot] = Some(write.id());
        let copy = taken.raft.fork([write]).1.pop().expect("a copy of the write");
        self.receipts[taken.slot] = Some(copy.durable().written);
        if taken.disk.queue.len() < 2 {
            return Ok(());
        }
        self.tormented += 1;
        self.torment(taken.slot, taken)
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
