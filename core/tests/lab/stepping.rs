//! How a node runs: handle what waits, poll once, carry the output out.
//!
//! Rule: this is the loop that a runtime has, with every step open to delay, loss and crash. Must
//! never: let a gated message out before its write is durable (unless a planted bug says so).

use crate::check::{Glance, Polled, Seen, View, Violation};
use crate::lab::{Happening, Lab, broken, look};
use crate::machine::Job;
use crate::nemesis::Moment;
use crate::node::Input;
use crate::planted::Planted;
use crate::trace;
use kvorum_core::raft::{
    Envelope, Event, Instant, Message, NodeId, Output, Raft, ReadReady, SnapshotEvent, Term,
};
use std::collections::BTreeMap;

/// What one wake-up has done so far.
#[derive(Default)]
struct Round {
    handled: usize,
    was_due: bool,
}

impl Lab {
    pub fn raft(&mut self, slot: usize) -> &mut Raft {
        self.nodes[slot].raft.as_mut().expect("only a node that is up runs")
    }

    /// The node runs: at most `batch` inputs, then one poll.
    pub fn wake(&mut self, slot: usize) -> Result<(), Violation> {
        let (now, batch, steps) = (self.now, self.plan.batch, self.plan.clock_steps);
        let node = &mut self.nodes[slot];
        if node.paused_until > now {
            let (until, life) = (node.paused_until, node.life);
            self.at(until, Happening::Wake { slot, life });
            return Ok(());
        }
        node.awake = false;
        let mut local = node.local(now);
        if steps && node.rng.chance(50) {
            local = Instant(local.0.saturating_sub(node.rng.between(0, 2_000_000)));
        }
        let mut round = Round::default();
        while round.handled < batch
            && let Some(input) = self.nodes[slot].inbox.pop_front()
        {
            self.feed(slot, local, input, &mut round)?;
        }
        self.settle(slot, local, &round)?;
        if !self.nodes[slot].inbox.is_empty() {
            self.rouse(slot);
        }
        Ok(())
    }

    fn feed(
        &mut self,
        slot: usize,
        now: Instant,
        input: Input,
        round: &mut Round,
    ) -> Result<(), Violation> {
        let before = self.nodes[slot].glance;
        self.trace.note(self.now, || match &input {
            Input::Event(event) => {
                format!("{} {}", self.nodes[slot].name, event_text(&self.names, event))
            }
            other => format!("{} asked {other:?}", self.nodes[slot].name),
        });
        let early = matches!(input, Input::EarlyDeadline);
        let told = match &input {
            Input::Event(Event::Applied { index, .. }) => Some(*index),
            _ => None,
        };
        let deadline = self.raft(slot).deadline();
        match input {
            Input::Event(mut event) => {
                look!(self, slot, Seen::Given { event: &event, now })?;
                self.plan.planted.iter().for_each(|planted| planted.on_the_way_in(&mut event));
                round.was_due |= event == Event::Deadline && deadline <= now;
                self.raft(slot).handle(now, event);
            }
            Input::EarlyDeadline if deadline > now => self.raft(slot).handle(now, Event::Deadline),
            Input::EarlyDeadline => return Ok(()),
            Input::Propose { commands } => self.propose(slot, now, commands)?,
            Input::Read { id } => self.ask(slot, now, id)?,
            Input::Change(wish) => self.change(slot, now, &wish)?,
            Input::Transfer(to) => {
                if self.raft(slot).transfer_leadership(now, to).is_ok() {
                    self.cover("transfer begun");
                    self.moment(slot, Moment::Transfer);
                }
            }
        }
        let after = Glance::of(self.raft(slot));
        self.nodes[slot].glance = after;
        if early && (after != before || self.raft(slot).deadline() != deadline) {
            return Err(broken(
                "an early deadline is a no-op",
                format!("{before:?} became {after:?}"),
            ));
        }
        round.handled += usize::from(!early);
        let node = &mut self.nodes[slot];
        node.led_throughout &= before.leads() && after.leads() && before.term() == after.term();
        look!(self, slot, Seen::Stepped { before, after })?;
        if let Some(index) = told {
            look!(self, slot, Seen::AppliedTold { index })?;
        }
        if after.leads() && before.term() != after.term() || after.leads() && !before.leads() {
            self.cover("leader elected");
            self.moment(slot, Moment::Elected);
        }
        if after.commit > before.commit && after.leads() {
            self.cover("entry committed");
            self.moment(slot, Moment::Committed);
        }
        Ok(())
    }

    fn settle(&mut self, slot: usize, now: Instant, round: &Round) -> Result<(), Violation> {
        let mut output = self.raft(slot).poll(now);
        if let (Some(planted), Some(evidence)) = (self.plan.planted, &output.fatal)
            && planted.expects(slot, evidence)
        {
            // What it had in mind and not written yet is nobody's any more.
            self.cover("diverged node halted");
            let pause = 2 * self.plan.election();
            self.after(pause, Happening::Start { slot });
            return self.take_down(slot, 0, 0);
        }
        let glance = Glance::of(self.raft(slot));
        if self.plan.plants(Planted::HandlesBetween)
            && let Some(Input::Event(event)) = self.nodes[slot].inbox.pop_front()
        {
            self.raft(slot).handle(now, event);
        }
        let again = self.raft(slot).poll(now);
        let deadline = self.raft(slot).deadline();
        let membership = self.raft(slot).status().membership.clone();
        let node = &mut self.nodes[slot];
        node.glance = glance;
        if let Some(write) = &mut output.write {
            self.plan
                .planted
                .iter()
                .for_each(|planted| planted.on_the_way_out(&node.disk.shadow, write));
            let name = &node.name;
            self.trace.note(self.now, || format!("{name} ⇒ disk{}", trace::write(write)));
            let write = node.copy(write);
            node.disk
                .submit(write)
                .map_err(|what| broken("write contract", format!("{name} {what}")))?;
        }
        let node = &self.nodes[slot];
        let seen = Seen::Polled(Polled {
            glance,
            membership: &membership,
            write: output.write.as_ref(),
            messages: &output.messages,
            committed: &output.committed,
            snapshots: &output.snapshots,
            reads: &output.reads,
            again: &again,
            deadline,
            now,
            handled: round.handled,
            was_due: round.was_due,
            led_throughout: node.led_throughout,
            backlog: node.inbox.len(),
        });
        look!(self, slot, seen)?;
        self.nodes[slot].led_throughout = glance.leads();
        self.carry_out(slot, output)?;
        self.arm(slot, deadline);
        Ok(())
    }

    fn arm(&mut self, slot: usize, deadline: Instant) {
        let node = &self.nodes[slot];
        if node.armed.is_some_and(|armed| armed.0 == deadline)
            || self.plan.plants(Planted::Timeless)
        {
            return;
        }
        let Some(moment) = node.clock.global(deadline) else { return };
        let (life, moment) = (node.life, moment.max(self.now + 1_000));
        self.nodes[slot].armed = Some((deadline, moment));
        self.at(moment, Happening::Deadline { slot, life });
    }

    fn carry_out(&mut self, slot: usize, output: Output) -> Result<(), Violation> {
        if let Some(evidence) = output.fatal {
            return Err(broken("evidence", format!("{}: {evidence:?}", self.nodes[slot].name)));
        }
        if let Some(write) = output.write {
            self.write(slot, write)?;
        }
        let copies = if self.plan.plants(Planted::Chatter) { 50 } else { 1 };
        for envelope in &output.messages {
            for _ in 0..copies {
                self.leave(slot, envelope.clone())?;
            }
        }
        if !output.committed.is_empty() {
            self.employ(slot, Job::Apply(output.committed.into()));
        }
        for request in output.snapshots {
            self.employ(slot, Job::Snapshot(request));
        }
        for ready in output.reads {
            self.answered(slot, &ready)?;
        }
        for request in output.log_reads {
            self.read_log(slot, request)?;
        }
        Ok(())
    }

    fn answered(&mut self, slot: usize, ready: &ReadReady) -> Result<(), Violation> {
        if self.plan.plants(Planted::LostAnswer) {
            return Ok(());
        }
        self.nodes[slot].reads.remove(&ready.id);
        look!(self, slot, Seen::ReadAnswered { ready })?;
        if self.plan.plants(Planted::DoubleAnswer) {
            look!(self, slot, Seen::ReadAnswered { ready })?;
        }
        if ready.result.is_ok() {
            let (id, leads) = (self.nodes[slot].id, self.nodes[slot].glance.leads());
            self.cover(if leads {
                "read confirmed by a leader"
            } else {
                "read confirmed by a follower"
            });
            if self.healed_at.is_some() {
                self.late_reads.insert(id);
            }
        } else {
            self.cover("read failed");
        }
        Ok(())
    }

    pub fn leave(&mut self, slot: usize, envelope: Envelope) -> Result<(), Violation> {
        look!(self, slot, Seen::Leaves { envelope: &envelope })?;
        let to = self.directory.get(&envelope.to).copied();
        self.trace.note(self.now, || {
            let to = self.names.get(&envelope.to).cloned().unwrap_or_default();
            format!(
                "{} → {to} t{} {}",
                self.nodes[slot].name,
                envelope.term,
                trace::message(&envelope.message)
            )
        });
        if envelope.to == self.nodes[slot].id || envelope.from != self.nodes[slot].id {
            return Err(broken(
                "requests",
                format!("{} sends {envelope:?}", self.nodes[slot].name),
            ));
        }
        match &envelope.message {
            Message::VoteReply { granted: true } => self.moment(slot, Moment::Voted),
            Message::AppendReply { .. } => self.moment(slot, Moment::Acked),
            _ => {}
        }
        let Some(to) = to else { return Ok(()) };
        if self.net.hints(&self.plan, slot, to) {
            let life = self.nodes[slot].life;
            self.after(
                1_000_000,
                Happening::Tell { slot, life, event: Event::Unreachable(envelope.to) },
            );
        }
        for delay in self.net.fate(&self.plan, slot, to) {
            let mut envelope = envelope.clone();
            Planted::on_the_wire(self, slot, to, &mut envelope);
            self.after(delay, Happening::Land { from: slot, slot: to, envelope });
        }
        Ok(())
    }

    /// A message arrives, if the link still holds and somebody is there.
    pub fn land(&mut self, from: usize, slot: usize, envelope: Envelope) {
        if self.net.cut[from][slot] {
            return;
        }
        // A successor gets its predecessor's mail now and then, and must not open it.
        if self.nodes[slot].id != envelope.to && !envelope.term.0.is_multiple_of(8) {
            return;
        }
        self.give(slot, Input::Event(Event::Received(envelope)));
    }

    /// The state machine tells its node something.
    pub fn tell(&mut self, slot: usize, event: SnapshotEvent) {
        self.give(slot, Input::Event(Event::Snapshot(event)));
    }

    /// The highest term anybody is in.
    pub fn term(&self) -> Term {
        self.nodes.iter().map(|node| node.glance.term()).max().unwrap_or_default()
    }
}

fn event_text(names: &BTreeMap<NodeId, String>, event: &Event) -> String {
    match event {
        Event::Received(envelope) => {
            let from = names.get(&envelope.from).cloned().unwrap_or_default();
            format!("← {from} t{} {}", envelope.term, trace::message(&envelope.message))
        }
        other => trace::event(other),
    }
}
