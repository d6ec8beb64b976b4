//! How a node runs: handle what waits, poll once, carry the output out.
//!
//! Rule: this is the loop that a runtime has, with every step open to delay, loss and crash. Must
//! never: let a gated message out before its write is durable (unless a planted bug says so).

use crate::check::{Glance, Polled, Seen, View, Violation};
use crate::lab::{Accepted, Happening, Lab, broken, look};
use crate::machine::Job;
use crate::nemesis::Moment;
use crate::node::{Input, Wish};
use crate::planted::Planted;
use crate::trace;
use bytes::Bytes;
use kvorum_core::raft::{
    Entry, Envelope, Event, Index, Instant, LogRead, Message, NodeId, Output, Payload, Raft,
    ReadId, ReadReady, Refused, SnapshotEvent, Term, Write,
};
use std::collections::BTreeMap;

/// What one wake-up has done so far.
#[derive(Default)]
struct Round {
    handled: usize,
    was_due: bool,
}

impl Lab {
    fn raft(&mut self, slot: usize) -> &mut Raft {
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
            Input::Event(Event::Applied(index)) => Some(*index),
            _ => None,
        };
        let deadline = self.raft(slot).deadline();
        match input {
            Input::Event(event) => {
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

    fn propose(
        &mut self,
        slot: usize,
        now: Instant,
        commands: Vec<Bytes>,
    ) -> Result<(), Violation> {
        let (before, late) = (self.nodes[slot].glance, self.healed_at.is_some());
        let result = self.raft(slot).propose(now, commands.clone());
        let name = &self.nodes[slot].name;
        match result {
            Ok(range) => {
                let first = before.last.index.next();
                let last = Index(before.last.index.0 + commands.len() as u64);
                if !before.leads() || *range.start() != first || *range.end() != last {
                    return Err(broken(
                        "requests",
                        format!("{name} takes a proposal at {range:?} after {}", before.last),
                    ));
                }
                for (i, command) in commands.iter().enumerate() {
                    let digest = crate::machine::payload_digest(&Payload::Command(command.clone()));
                    let index = Index(first.0 + i as u64);
                    self.accepted.push(Accepted { index, term: before.term(), digest, late });
                }
                self.cover("proposal accepted");
                self.moment(slot, Moment::Proposed);
                Ok(())
            }
            Err(Refused::NotLeader { .. }) if before.leads() => {
                Err(broken("requests", format!("{name} leads and refuses as if it did not")))
            }
            Err(Refused::NotLeader { .. } | Refused::Overloaded | Refused::Transferring) => {
                self.cover("proposal refused");
                Ok(())
            }
            Err(other) => Err(broken("requests", format!("{name} refuses a proposal: {other:?}"))),
        }
    }

    fn ask(&mut self, slot: usize, now: Instant, id: ReadId) -> Result<(), Violation> {
        if self.plan.plants(Planted::StaleRead) {
            let index = self.nodes[slot].glance.commit;
            look!(self, slot, Seen::ReadAsked { id })?;
            return look!(
                self,
                slot,
                Seen::ReadAnswered { ready: &ReadReady { id, result: Ok(index) } }
            );
        }
        match self.raft(slot).read(now, id) {
            Ok(()) => {
                self.nodes[slot].reads.insert(id, now);
                look!(self, slot, Seen::ReadAsked { id })
            }
            Err(Refused::NotLeader { leader: None } | Refused::Overloaded) => {
                self.cover("read refused");
                Ok(())
            }
            Err(other) => Err(broken(
                "requests",
                format!("{} refuses a read: {other:?}", self.nodes[slot].name),
            )),
        }
    }

    fn change(&mut self, slot: usize, now: Instant, wish: &Wish) -> Result<(), Violation> {
        let glance = self.nodes[slot].glance;
        // After the heal, who is left out is decided: no more changes of quorums.
        if self.healed_at.is_some() || !self.is_wise(slot, &wish.change) {
            return Ok(());
        }
        let base =
            if wish.stale { glance.membership_index.next() } else { glance.membership_index };
        match self.raft(slot).change_membership(now, base, wish.change.clone()) {
            Ok(entry) => {
                if wish.stale || !glance.leads() || entry.index <= glance.last.index {
                    let what =
                        format!("{} takes a change as {entry}: {wish:?}", self.nodes[slot].name);
                    return Err(broken("requests", what));
                }
                self.cover("membership change accepted");
                self.moment(slot, Moment::Reconfigured);
            }
            Err(_) => self.cover("membership change refused"),
        }
        Ok(())
    }

    fn settle(&mut self, slot: usize, now: Instant, round: &Round) -> Result<(), Violation> {
        let mut output = self.raft(slot).poll(now);
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
            if self.plan.plants(Planted::VoteNotWritten) {
                write.vote = None;
            }
            let name = &node.name;
            self.trace.note(self.now, || format!("{name} ⇒ disk{}", trace::write(write)));
            node.disk
                .submit(write.clone())
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

    fn write(&mut self, slot: usize, write: Write) -> Result<(), Violation> {
        if write.truncate_from.is_some() {
            self.cover("log truncated");
            self.moment(slot, Moment::Truncated);
        }
        if write
            .append
            .iter()
            .any(|entry| matches!(&entry.payload, Payload::Membership(m) if m.is_joint()))
        {
            self.cover("joint configuration");
        }
        if write.append.iter().any(|entry| self.promotes(slot, entry)) {
            self.cover("learner promoted");
        }
        if write.base.is_some() {
            self.cover("log compacted");
        }
        if self.plan.plants(Planted::SentBeforeDurable) {
            for envelope in write.clone().durable().messages {
                self.leave(slot, envelope)?;
            }
        }
        if self.plan.plants(Planted::LyingDisk) {
            let durable = write.clone().durable();
            for envelope in durable.messages {
                self.leave(slot, envelope)?;
            }
            self.give(slot, Input::Event(Event::Written(durable.written)));
        }
        self.sync(slot);
        Ok(())
    }

    /// Begins a sync of what is submitted, or of its first write alone.
    fn sync(&mut self, slot: usize) {
        let (now, calm) = (self.now, self.net.calm);
        let node = &mut self.nodes[slot];
        if node.syncing > 0 || node.disk.queue.is_empty() || node.disk_stalled {
            return;
        }
        let all = calm || node.rng.chance(700);
        node.syncing = if all { node.disk.queue.len() } else { 1 };
        let mut took = self.plan.takes(calm, &mut node.rng, self.plan.sync_us);
        if !calm {
            took += node.disk_busy_until.saturating_sub(now);
            took += if node.rng.chance(self.plan.stalls) { self.plan.stall } else { 0 };
        }
        let life = node.life;
        self.after(took, Happening::Synced { slot, life });
    }

    /// Whether `entry` makes a voter of somebody who was a learner in the configuration before.
    fn promotes(&self, slot: usize, entry: &Entry) -> bool {
        let Payload::Membership(next) = &entry.payload else { return false };
        let log = &self.nodes[slot].disk.shadow;
        let before = log.memberships().take_while(|(index, _)| *index < entry.id.index).last();
        before.is_some_and(|(_, now)| now.learners.iter().any(|id| next.voters.contains(id)))
    }

    /// A sync is over: what waited for its writes may leave.
    pub fn synced(&mut self, slot: usize) -> Result<(), Violation> {
        if self.nodes[slot].disk_stalled {
            return Ok(());
        }
        for _ in 0..std::mem::take(&mut self.nodes[slot].syncing) {
            self.confirm(slot)?;
        }
        self.sync(slot);
        Ok(())
    }

    fn confirm(&mut self, slot: usize) -> Result<(), Violation> {
        let Some(write) = self.nodes[slot].disk.complete() else { return Ok(()) };
        look!(self, slot, Seen::Durable)?;
        if self.plan.plants(Planted::LyingDisk) {
            return Ok(());
        }
        let durable = write.durable();
        if !self.plan.plants(Planted::SentBeforeDurable) {
            for envelope in durable.messages {
                self.leave(slot, envelope)?;
            }
        }
        let (now, calm) = (self.now, self.net.calm);
        let node = &mut self.nodes[slot];
        let delay = self.plan.takes(calm, &mut node.rng, self.plan.receipt_us);
        node.receipt_at = node.receipt_at.max(now + delay);
        let (life, at) = (node.life, node.receipt_at);
        self.at(at, Happening::Tell { slot, life, event: Event::Written(durable.written) });
        Ok(())
    }

    fn leave(&mut self, slot: usize, envelope: Envelope) -> Result<(), Violation> {
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

    fn read_log(&mut self, slot: usize, request: LogRead) -> Result<(), Violation> {
        if request.range.start >= request.range.end {
            return Err(broken(
                "requests",
                format!("{} reads an empty range", self.nodes[slot].name),
            ));
        }
        self.cover("cold log read");
        let (short, calm) = (self.plan.short_reads, self.net.calm);
        let node = &mut self.nodes[slot];
        // The answer may be as old as the question, or as new as the reply.
        let at_once = node.rng.chance(500);
        let entries = at_once.then(|| {
            node.disk.read(request.range.start, request.range.end, request.max_bytes, short)
        });
        let (life, delay) = (node.life, self.plan.takes(calm, &mut node.rng, self.plan.sync_us));
        self.after(delay, Happening::LogRead { slot, life, request, entries });
        Ok(())
    }

    /// A cold read is answered.
    pub fn log_read(&mut self, slot: usize, request: LogRead, entries: Option<Vec<Entry>>) {
        let short = self.plan.short_reads;
        let disk = &self.nodes[slot].disk;
        let entries = entries.unwrap_or_else(|| {
            disk.read(request.range.start, request.range.end, request.max_bytes, short)
        });
        self.give(slot, Input::Event(Event::LogRead { request, entries }));
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
