//! How a state machine works: cold reads first, then one job after another.
//!
//! Rule: jobs are done in the order they were given. A hostile schedule's snapshots cannot be
//! verified, and are taken as they are. Must never: answer twice.

use crate::check::{Seen, View};
use crate::cluster::{Cluster, Verdict, look};
use crate::machine::{Job, State};
use crate::node::Input;
use kvorum_core::raft::{Entry, Event, NodeId, SnapshotEvent, SnapshotMeta, SnapshotRequest};
use std::collections::VecDeque;

impl Cluster<'_> {
    /// One job is done.
    pub fn work(&mut self, slot: usize) -> Verdict {
        if !self.nodes[slot].up() {
            return Ok(());
        }
        if let Some((request, entries)) = self.nodes[slot].log_reads.pop_front() {
            return self.give(slot, &Input::Event(Event::LogRead { request, entries }));
        }
        match self.nodes[slot].machine.queue.pop_front() {
            Some(Job::Apply(entries)) => self.apply(slot, entries),
            Some(Job::Snapshot(request)) => self.snapshot(slot, request),
            Some(Job::Checkpoint) => {
                let machine = &mut self.nodes[slot].machine;
                machine.checkpoint();
                let meta = machine.state.meta.clone();
                self.tell(slot, SnapshotEvent::Durable { meta })
            }
            None => Ok(()),
        }
    }

    fn tell(&mut self, slot: usize, event: SnapshotEvent) -> Verdict {
        self.give(slot, &Input::Event(Event::Snapshot(event)))
    }

    fn apply(&mut self, slot: usize, entries: VecDeque<Entry>) -> Verdict {
        let count = entries.len() as u64;
        let mut digests = Vec::new();
        for entry in entries {
            self.nodes[slot].machine.state.apply(&entry);
            look!(self, slot, Seen::Applied)?;
            digests.push(self.nodes[slot].machine.state.chain);
        }
        let every = self.checkpoint_every;
        let machine = &mut self.nodes[slot].machine;
        machine.commit();
        machine.since_checkpoint += count;
        let applied = machine.state.meta.last.index;
        if machine.since_checkpoint >= every {
            machine.since_checkpoint = 0;
            machine.queue.push_back(Job::Checkpoint);
        }
        self.give(slot, &Input::Event(Event::Applied { index: applied, digests }))
    }

    fn snapshot(&mut self, slot: usize, request: SnapshotRequest) -> Verdict {
        let machine = &mut self.nodes[slot].machine;
        let event = match request {
            SnapshotRequest::Close { peer } => {
                machine.open.remove(&peer);
                return Ok(());
            }
            SnapshotRequest::Read { peer, mut offset, max_bytes, resume } => {
                if let Some(staged) = resume {
                    offset = if machine.resume(peer, &staged, 0) { staged.end } else { 0 };
                }
                match machine.read(peer, offset, max_bytes, 0) {
                    Some((meta, data, last)) => {
                        SnapshotEvent::ChunkRead { peer, meta, offset, data, last }
                    }
                    None => SnapshotEvent::Failed { peer },
                }
            }
            SnapshotRequest::Store { from, meta, offset, data } => {
                match machine.store(&meta, offset, &data) {
                    Some(end) => SnapshotEvent::ChunkStored { last: meta.last, end },
                    None => SnapshotEvent::Failed { peer: from },
                }
            }
            SnapshotRequest::Install { from, meta } => return self.install(slot, from, &meta),
        };
        self.tell(slot, event)
    }

    fn install(&mut self, slot: usize, from: NodeId, meta: &SnapshotMeta) -> Verdict {
        let machine = &mut self.nodes[slot].machine;
        let staging = machine.staging.take().filter(|staging| staging.meta == *meta);
        let mut state = staging.and_then(|staging| State::from_stream(meta, &staging.bytes));
        if self.terms.hostile && meta.last.index > machine.state.meta.last.index {
            state = Some(State { meta: meta.clone(), ..State::default() });
        }
        let Some(state) = state else {
            look!(self, slot, Seen::InstallFailed)?;
            return self.tell(slot, SnapshotEvent::Failed { peer: from });
        };
        machine.state = state;
        machine.checkpoint();
        look!(self, slot, Seen::Installed { meta })?;
        self.cover("snapshot installed");
        self.tell(slot, SnapshotEvent::Installed { meta: meta.clone() })
    }
}
