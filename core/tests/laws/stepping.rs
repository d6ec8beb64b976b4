//! How a node runs: an input, a poll, and what comes of it.
//!
//! Rule: the loop that a runtime has, open to every schedule. Must never: let a gated message out
//! before its write is durable (unless a planted violation says so).

use crate::check::{Glance, Polled, Seen, View};
use crate::cluster::{Cluster, Flight, Verdict, broken, look};
use crate::machine::{Job, command_value};
use crate::node::Input;
use crate::planted::Planted;
use crate::watch::Taken;
use kvorum_core::raft::{Envelope, Event, Instant, Output, Payload, ReadReady, Write};

impl Cluster<'_> {
    /// Gives an input to a node, and polls it unless the schedule gathers inputs.
    pub fn give(&mut self, slot: usize, input: &Input) -> Verdict {
        if !self.nodes[slot].up() {
            return Ok(());
        }
        let now = self.clock(slot);
        let merged = self.nodes[slot].handled > 0 && matches!(input, Input::Propose(_));
        if !(merged && self.terms.planted == Some(Planted::ForgottenInTheBatch)) {
            self.feed(slot, now, input)?;
        }
        self.nodes[slot].handled += 1;
        if self.nodes[slot].waits > 0 {
            self.nodes[slot].waits -= 1;
            self.cover("inputs gathered before a poll");
            return Ok(());
        }
        self.poll(slot)
    }

    fn feed(&mut self, slot: usize, now: Instant, input: &Input) -> Verdict {
        if let Input::Event(event) = input {
            look!(self, slot, Seen::Given { event, now })?;
        }
        let rule = self.watch.rule();
        let node = &mut self.nodes[slot];
        let before = node.glance;
        let raft = node.raft.as_mut().expect("only a node that is up runs");
        self.watch.before(slot, raft, now, input).map_err(|what| broken(rule, what))?;
        let due = *input == Input::Event(Event::Deadline) && raft.deadline() <= now;
        let accepted = input.feed(raft, now);
        let handled = node.handled + 1;
        self.watch.after(slot, raft, handled).map_err(|what| broken(rule, what))?;
        let after = Glance::of(raft);
        node.glance = after;
        node.was_due = if due { Some(now) } else { node.was_due };
        node.led_throughout &= before.leads() && after.leads() && before.term() == after.term();
        look!(self, slot, Seen::Stepped { before, after })?;
        match input {
            Input::Event(Event::Applied { index, .. }) => {
                look!(self, slot, Seen::AppliedTold { index: *index })?;
            }
            Input::Read(id) if accepted => {
                self.nodes[slot].reads.insert(*id, now);
                look!(self, slot, Seen::ReadAsked { id: *id })?;
            }
            Input::Propose(commands) if accepted => {
                let id = self.nodes[slot].id;
                self.taken.extend(commands.iter().map(|command| (id, command_value(command))));
                self.cover("proposal accepted");
            }
            Input::Change(..) if accepted => self.cover("membership change accepted"),
            _ => {}
        }
        if after.leads() && !before.leads() {
            self.elections += 1;
            self.cover("leader elected");
        }
        if after.leads() && after.commit > before.commit {
            self.cover("entry committed");
        }
        Ok(())
    }

    /// Polls a node and does what it asks for.
    pub fn poll(&mut self, slot: usize) -> Verdict {
        if !self.nodes[slot].up() {
            return Ok(());
        }
        let now = self.clock(slot);
        let between = self.handled_between(slot);
        let (wait, rule) = (self.next_wait(), self.watch.rule());
        let node = &mut self.nodes[slot];
        node.waits = wait;
        let raft = node.raft.as_mut().expect("just seen");
        let output = raft.poll(now);
        let glance = Glance::of(raft);
        if let Some(event) = between {
            raft.handle(now, event);
        }
        let again = raft.poll(now);
        if let Some(write) = &output.write {
            let write = raft.fork([write]).1.pop().expect("a copy of the write");
            node.disk
                .submit(write)
                .map_err(|what| broken("write contract", format!("{} {what}", node.name)))?;
        }
        node.glance = glance;
        let taken = Taken { slot, raft, now, output: &output, disk: &node.disk };
        self.watch.polled(&taken).map_err(|what| broken(rule, what))?;
        let (deadline, membership) = (raft.deadline(), raft.status().membership.clone());
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
            handled: node.handled,
            was_due: node.was_due == Some(now),
            led_throughout: node.led_throughout,
            backlog: 0,
        });
        look!(self, slot, seen)?;
        let node = &mut self.nodes[slot];
        node.led_throughout = glance.leads();
        node.handled = 0;
        self.carry_out(slot, output)
    }

    /// What a planted violation handles between two polls: the next message for this node.
    fn handled_between(&mut self, slot: usize) -> Option<Event> {
        if self.terms.planted != Some(Planted::HandlesBetween) {
            return None;
        }
        let at = self.flight.iter().position(|flight| flight.to == slot)?;
        Some(Event::Received(self.flight.remove(at).envelope))
    }

    fn carry_out(&mut self, slot: usize, output: Output) -> Verdict {
        if let Some(evidence) = output.fatal {
            if self.terms.hostile {
                self.cover("node that halts with evidence");
                return self.take_down(slot, 0);
            }
            return Err(broken("evidence", format!("{}: {evidence}", self.nodes[slot].name)));
        }
        if let Some(write) = output.write {
            self.note(|cluster| format!("         ⇒ {} {write}", cluster.nodes[slot].name));
            self.written_down(slot, &write)?;
        }
        output.messages.into_iter().try_for_each(|envelope| self.leave(slot, envelope))?;
        if !output.committed.is_empty() {
            self.nodes[slot].machine.queue.push_back(Job::Apply(output.committed.into()));
        }
        for request in output.snapshots {
            self.nodes[slot].machine.queue.push_back(Job::Snapshot(request));
        }
        for ready in output.reads {
            self.answered(slot, &ready)?;
        }
        for request in output.log_reads {
            self.cover("cold log read");
            let range = &request.range;
            let disk = &self.nodes[slot].disk;
            let found = disk.read(range.start, range.end, request.max_bytes, self.short_reads);
            self.nodes[slot].log_reads.push_back((request, found));
        }
        Ok(())
    }

    fn written_down(&mut self, slot: usize, write: &Write) -> Verdict {
        if write.truncate_from.is_some() {
            self.cover("log truncated");
        }
        if write.base.is_some() {
            self.cover("log compacted");
        }
        let joint = |payload: &Payload| matches!(payload, Payload::Membership(m) if m.is_joint());
        if write.append.iter().any(|entry| joint(&entry.payload)) {
            self.cover("joint configuration");
        }
        if self.terms.planted == Some(Planted::SentBeforeDurable) {
            let raft = self.nodes[slot].raft.as_ref().expect("it was polled just now");
            let early = raft.fork([write]).1.pop().expect("a copy of the write");
            for envelope in early.durable().messages {
                self.leave(slot, envelope)?;
            }
        }
        Ok(())
    }

    fn answered(&mut self, slot: usize, ready: &ReadReady) -> Verdict {
        self.nodes[slot].reads.remove(&ready.id);
        self.cover(if ready.result.is_ok() { "read confirmed" } else { "read failed" });
        look!(self, slot, Seen::ReadAnswered { ready })
    }

    /// The oldest write of a node is on its disk: what waited for it may leave.
    pub fn sync(&mut self, slot: usize) -> Verdict {
        if !self.nodes[slot].up() {
            return Ok(());
        }
        let Some(write) = self.nodes[slot].disk.complete() else { return Ok(()) };
        look!(self, slot, Seen::Durable)?;
        let durable = write.durable();
        if self.terms.planted != Some(Planted::SentBeforeDurable) {
            durable.messages.into_iter().try_for_each(|envelope| self.leave(slot, envelope))?;
        }
        self.give(slot, &Input::Event(Event::Written(durable.written)))
    }

    fn leave(&mut self, slot: usize, envelope: Envelope) -> Verdict {
        look!(self, slot, Seen::Leaves { envelope: &envelope })?;
        self.note(|_| format!("         {envelope}"));
        if envelope.to == self.nodes[slot].id || envelope.from != self.nodes[slot].id {
            return Err(broken("requests", format!("{} sends {envelope}", self.nodes[slot].name)));
        }
        if let Some(to) = self.nodes.iter().position(|node| node.id == envelope.to) {
            self.fly(Flight { from: slot, to, envelope });
        }
        Ok(())
    }
}
