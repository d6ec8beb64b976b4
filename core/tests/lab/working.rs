//! How a state machine works: one job after another, each takes its time and may be cut short.
//!
//! Rule: jobs are done in the order they were given. Must never: answer twice.

use crate::check::{Seen, View, Violation};
use crate::lab::{Happening, Lab, broken, look};
use crate::machine::{Job, State};
use crate::nemesis::Moment;
use crate::node::Input;
use crate::planted::Planted;
use kvorum_core::raft::{Entry, Event, NodeId, SnapshotEvent, SnapshotMeta, SnapshotRequest};
use std::collections::VecDeque;

impl Lab {
    /// Gives a state machine a job.
    pub fn employ(&mut self, slot: usize, job: Job) {
        self.nodes[slot].machine.queue.push_back(job);
        self.keep_working(slot);
    }

    fn keep_working(&mut self, slot: usize) {
        let node = &mut self.nodes[slot];
        if node.machine_busy || node.machine.queue.is_empty() {
            return;
        }
        node.machine_busy = true;
        let delay = self.plan.takes(self.net.calm, &mut node.rng, self.plan.apply_us);
        let life = node.life;
        self.after(delay, Happening::Work { slot, life });
    }

    /// One job is done.
    pub fn work(&mut self, slot: usize) -> Result<(), Violation> {
        self.nodes[slot].machine_busy = false;
        match self.nodes[slot].machine.queue.pop_front() {
            Some(Job::Apply(entries)) => self.apply(slot, entries)?,
            Some(Job::Snapshot(request)) => self.snapshot(slot, request)?,
            Some(Job::Checkpoint) => {
                let machine = &mut self.nodes[slot].machine;
                if !self.plan.plants(Planted::EarlyCheckpoint) {
                    machine.checkpoint();
                }
                let meta = machine.state.meta.clone();
                self.tell(slot, SnapshotEvent::Durable { meta });
            }
            None => {}
        }
        self.keep_working(slot);
        Ok(())
    }

    fn apply(&mut self, slot: usize, mut entries: VecDeque<Entry>) -> Result<(), Violation> {
        let node = &mut self.nodes[slot];
        let count = node.rng.between(1, entries.len() as u64);
        let mut digests = Vec::new();
        for _ in 0..count {
            let Some(entry) = entries.pop_front() else { break };
            for _ in 0..self.plan.planted.map_or(1, |planted| planted.applications(slot, &entry)) {
                self.nodes[slot].machine.state.apply(&entry);
            }
            self.nodes[slot].machine.state.meta.last = entry.id;
            digests.push(self.nodes[slot].machine.state.chain);
            look!(self, slot, Seen::Applied)?;
        }
        let machine = &mut self.nodes[slot].machine;
        machine.commit();
        machine.since_checkpoint += count;
        let applied = machine.state.meta.last.index;
        if !entries.is_empty() {
            machine.queue.push_front(Job::Apply(entries));
        }
        if machine.since_checkpoint >= self.plan.checkpoint_every {
            machine.since_checkpoint = 0;
            machine.queue.push_back(Job::Checkpoint);
        }
        self.give(slot, Input::Event(Event::Applied { index: applied, digests }));
        Ok(())
    }

    fn fails(&mut self, slot: usize) -> bool {
        !self.net.calm && self.nodes[slot].rng.chance(self.plan.snapshot_failures)
    }

    fn snapshot(&mut self, slot: usize, request: SnapshotRequest) -> Result<(), Violation> {
        match request {
            SnapshotRequest::Read { peer, mut offset, max_bytes, resume } => {
                let salt = if self.plan.streams_vary { self.nodes[slot].rng.next() } else { 0 };
                let failed = self.fails(slot);
                if let Some(staged) = resume {
                    let resumed = self.nodes[slot].machine.resume(peer, &staged, salt);
                    offset = if resumed { staged.end } else { 0 };
                    self.cover(if resumed { "snapshot resumed" } else { "snapshot not resumed" });
                }
                let chunk = self.nodes[slot].machine.read(peer, offset, max_bytes, salt);
                match chunk.filter(|_| !failed) {
                    Some((meta, data, last)) => {
                        if data.len() as u64 > self.plan.config.snapshot_chunk_bytes {
                            return Err(broken(
                                "bounds",
                                format!("asks for a chunk of {max_bytes} bytes"),
                            ));
                        }
                        self.tell(
                            slot,
                            SnapshotEvent::ChunkRead { peer, meta, offset, data, last },
                        );
                    }
                    None => self.tell(slot, SnapshotEvent::Failed { peer }),
                }
            }
            SnapshotRequest::Close { peer } => {
                self.nodes[slot].machine.open.remove(&peer);
            }
            SnapshotRequest::Store { from, meta, offset, data } => {
                let staged = self.nodes[slot].machine.staging.as_ref();
                if offset > 0 && staged.is_some_and(|staged| staged.meta != meta) {
                    let what = format!(
                        "{} mixes chunks of {} into another one",
                        self.nodes[slot].name, meta.last
                    );
                    return Err(broken("snapshot", what));
                }
                let failed = self.fails(slot);
                let end = self.nodes[slot].machine.store(&meta, offset, &data).filter(|_| !failed);
                match end {
                    Some(end) => {
                        self.tell(slot, SnapshotEvent::ChunkStored { last: meta.last, end })
                    }
                    None => self.tell(slot, SnapshotEvent::Failed { peer: from }),
                }
            }
            SnapshotRequest::Install { from, meta } => self.install(slot, from, &meta)?,
        }
        Ok(())
    }

    fn install(&mut self, slot: usize, from: NodeId, meta: &SnapshotMeta) -> Result<(), Violation> {
        let failed = self.fails(slot);
        let machine = &mut self.nodes[slot].machine;
        let staging = machine.staging.take().filter(|staging| staging.meta == *meta && !failed);
        let state = staging.and_then(|staging| State::from_stream(meta, &staging.bytes));
        let Some(mut state) = state else {
            self.cover("snapshot that did not verify");
            look!(self, slot, Seen::InstallFailed)?;
            self.tell(slot, SnapshotEvent::Failed { peer: from });
            return Ok(());
        };
        if self.plan.plants(Planted::SnapshotWithoutRows) {
            state.chain ^= 1;
        }
        machine.state = state;
        machine.checkpoint();
        self.trace
            .note(self.now, || format!("{} ⇐ installed {}", self.nodes[slot].name, meta.last));
        look!(self, slot, Seen::Installed { meta })?;
        self.cover("snapshot installed");
        self.moment(slot, Moment::Installed);
        self.tell(slot, SnapshotEvent::Installed { meta: meta.clone() });
        Ok(())
    }
}
