//! How a disk works: syncs take their time, receipts theirs, and cold reads are answered late.
//!
//! Rule: what waits for a write leaves when the model disk holds it. Must never: complete writes out
//! of order (unless a planted bug says so).

use crate::check::{Seen, View, Violation};
use crate::lab::{Happening, Lab, broken, look};
use crate::nemesis::Moment;
use crate::node::Input;
use crate::planted::Planted;
use kvorum_core::raft::{Entry, Event, LogRead, Payload, Write};

impl Lab {
    pub fn write(&mut self, slot: usize, write: Write) -> Result<(), Violation> {
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
            for envelope in self.nodes[slot].copy(&write).durable().messages {
                self.leave(slot, envelope)?;
            }
        }
        if self.plan.plants(Planted::LyingDisk) {
            let durable = self.nodes[slot].copy(&write).durable();
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

    pub fn read_log(&mut self, slot: usize, request: LogRead) -> Result<(), Violation> {
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
}
