//! What a node's runtime does for it: applying entries, reading its log, moving snapshots. At once,
//! unless the script holds it back.

use crate::world::World;
use bytes::Bytes;
use kvorum_core::raft::*;
use std::collections::{BTreeMap, VecDeque};

/// What waits to be done, in order.
#[derive(Default)]
pub struct Jobs {
    queue: VecDeque<Job>,
    machine_held: bool,
    reads_held: bool,
    writes_held: bool,
    /// Snapshots being sent: as of one moment each.
    open: BTreeMap<NodeId, (SnapshotMeta, Vec<u8>)>,
}

enum Job {
    Apply(Vec<Entry>),
    /// What the disk held when it was asked.
    Read(LogRead, Vec<Entry>),
    Snapshot(SnapshotRequest),
}

impl Jobs {
    pub fn holds_writes(&self) -> bool {
        self.writes_held
    }

    pub fn hold(&mut self, what: &str, held: bool) {
        match what {
            "machine" => self.machine_held = held,
            "reads" => self.reads_held = held,
            "writes" => self.writes_held = held,
            _ => panic!("only machine, reads and writes can be held, not {what}"),
        }
    }

    fn is_held(&self, job: &Job) -> bool {
        match job {
            Job::Apply(_) | Job::Snapshot(_) => self.machine_held,
            Job::Read(..) => self.reads_held,
        }
    }
}

impl World {
    /// Takes on what an output asks for and does what is not held back.
    pub fn work(
        &mut self,
        id: NodeId,
        committed: Vec<Entry>,
        log_reads: Vec<LogRead>,
        snapshots: Vec<SnapshotRequest>,
    ) {
        if !committed.is_empty() {
            self.node(id).jobs.queue.push_back(Job::Apply(committed));
        }
        for request in log_reads {
            let node = self.node(id);
            let entries = node.disk.read(&request);
            let (from, to) = (request.range.start, request.range.end);
            node.jobs.queue.push_back(Job::Read(request, entries));
            self.say(format_args!("{id} reads {from}..{to} from its disk"));
        }
        let jobs = &mut self.node(id).jobs;
        jobs.queue.extend(snapshots.into_iter().map(Job::Snapshot));
        self.catch_up(id, usize::MAX);
    }

    /// Does what is not held back, at most so many jobs.
    pub fn catch_up(&mut self, id: NodeId, count: usize) {
        for _ in 0..count {
            let jobs = &mut self.node(id).jobs;
            let next = jobs.queue.iter().position(|job| !jobs.is_held(job));
            let Some(job) = next.and_then(|position| jobs.queue.remove(position)) else { return };
            self.do_job(id, job);
        }
    }

    fn do_job(&mut self, id: NodeId, job: Job) {
        match job {
            Job::Apply(entries) => {
                let mut digests = Vec::new();
                for entry in &entries {
                    self.say(format_args!("{id} applies {entry}"));
                    self.node(id).disk.apply(entry);
                    let digest = self.digests.then(|| self.node(id).disk.digest());
                    digests.extend(digest);
                }
                if let Some(last) = entries.last() {
                    self.handle(id, Event::Applied { index: last.index(), digests });
                }
            }
            Job::Read(request, entries) => self.handle(id, Event::LogRead { request, entries }),
            Job::Snapshot(request) => self.snapshot(id, request),
        }
    }

    fn snapshot(&mut self, id: NodeId, request: SnapshotRequest) {
        let node = self.node(id);
        let event = match request {
            SnapshotRequest::Read { peer, offset, max_bytes, resume } => {
                let open = node.jobs.open.remove(&peer);
                let fresh = (node.disk.applied.clone(), node.disk.snapshot());
                let continues = |stream: &(SnapshotMeta, Vec<u8>)| match resume {
                    Some(Staged { end, digest, .. }) => {
                        let beginning = stream.1.get(..end as usize);
                        let digested = beginning.map(|b| StreamDigest::default().then(0, b));
                        digested == Some(digest)
                    }
                    None => offset > 0,
                };
                let found = open.filter(&continues).or(Some(fresh.clone()).filter(&continues));
                let offset = if found.is_some() { offset } else { 0 };
                node.jobs.open.insert(peer, found.unwrap_or(fresh));
                let (meta, bytes) = node.jobs.open.get(&peer).expect("a snapshot is open").clone();
                let end = (offset + max_bytes).min(bytes.len() as u64);
                let last = end == bytes.len() as u64;
                let data = Bytes::copy_from_slice(&bytes[offset as usize..end as usize]);
                SnapshotEvent::ChunkRead { peer, meta, offset, data, last }
            }
            SnapshotRequest::Close { peer } => {
                node.jobs.open.remove(&peer);
                return self.tell(format_args!("{id} closes its snapshot for {peer}"));
            }
            SnapshotRequest::Store { meta, offset, data, .. } => {
                let last = meta.last;
                node.disk.staged.truncate(offset as usize);
                node.disk.staged.extend_from_slice(&data);
                node.disk.staged_meta = Some(meta);
                let end = node.disk.staged.len() as u64;
                SnapshotEvent::ChunkStored { last, end }
            }
            SnapshotRequest::Install { from, meta } => {
                if !node.disk.install(meta.clone()) {
                    self.tell(format_args!("{id} finds the snapshot at {} damaged", meta.last));
                    self.handle(id, Event::Snapshot(SnapshotEvent::Failed { peer: from }));
                    return;
                }
                self.tell(format_args!("{id} installs the snapshot at {}", meta.last));
                SnapshotEvent::Installed { meta }
            }
        };
        self.handle(id, Event::Snapshot(event));
    }
}
