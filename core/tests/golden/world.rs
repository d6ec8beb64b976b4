//! Nodes, their disks and the network between them, moved by commands.

use crate::disk::{self, Disk, context, entry, entry_id, membership, node_id, number};
use bytes::Bytes;
use kvorum_core::raft::*;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
    time::Duration,
};

/// One node: alive or not, with its disk and the writes on their way there.
struct Node {
    raft: Option<Raft>,
    disk: Disk,
    writes: VecDeque<Write>,
    lives: u64,
}

/// Everything a script moves.
#[derive(Default)]
pub struct World {
    now: Instant,
    config: Config,
    cached: Option<usize>,
    nodes: BTreeMap<NodeId, Node>,
    network: VecDeque<Envelope>,
    copies: BTreeMap<String, Envelope>,
    cut: BTreeSet<NodeId>,
    quiet: bool,
    /// What happened since the last `---`.
    pub output: String,
}

/// A command's words and `key=value` options.
struct Words<'a> {
    words: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Words<'a> {
        let (options, words) = text.split_whitespace().partition::<Vec<_>, _>(|w| w.contains('='));
        let options = options.into_iter().map(|option| option.split_once('=').unwrap());
        Words { words, options: options.collect() }
    }

    fn node(&self, position: usize) -> NodeId {
        node_id(self.words.get(position).expect("a node is named"))
    }

    fn nodes(&self, from: usize) -> Vec<NodeId> {
        self.words[from.min(self.words.len())..].iter().map(|word| node_id(word)).collect()
    }

    fn list(&self, option: &str) -> Vec<NodeId> {
        let text = self.options.get(option).copied().unwrap_or("");
        text.split(',').filter(|id| !id.is_empty()).map(node_id).collect()
    }
}

impl World {
    /// Runs one command:
    ///
    /// | command | does |
    /// |---|---|
    /// | `options election=500 heartbeat=50 append=9 window=9 chunk=8 compact=1 keep=0 cache=0 cached=0 promote=no` | limits of the nodes started later |
    /// | `cluster n1 n2 learners=n3` | gives nodes a disk with this configuration |
    /// | `blank n4`, `bootstrap n1` | gives a node an empty disk; the disk of a new cluster |
    /// | `disk n1 term=2 vote=n2 log=1@1,2@2=x applied=1` | sets what a disk holds |
    /// | `start n1 n2`, `crash n1` | starts nodes from their disks; stops them, losing what is not written |
    /// | `timeout n1` | the clock goes on to n1's election |
    /// | `wait 50` | the clock goes on by milliseconds; all deadlines fire |
    /// | `deliver n1->n2 2`, `drop n1->` | the first two messages there arrive; all from n1 are lost |
    /// | `copy n1->n2 x`, `again x` | keeps a copy of the first message; it arrives once more |
    /// | `inject n1->n2 term=3 append=4@2 entries=5@3,6@3 commit=4` | a message from nowhere |
    /// | `cut n1`, `heal` | messages from and to nodes are lost; no longer |
    /// | `sync n1 1` | the oldest write of n1 becomes durable (or all) |
    /// | `run 50` | the clock goes on, and disks and network work at once, in silence |
    /// | `settle` | everything is delivered and written until nothing happens; prints the nodes |
    /// | `propose n1 a b`, `read n1 7`, `transfer n1 n2`, `unreachable n1 n2`, `durable n1` | asks or tells a node |
    /// | `change n1 add=n4 promote=n3 remove=n2 base=1` | changes the members |
    /// | `status n1` | prints nodes |
    pub fn run(&mut self, command: &str) {
        let words = Words::of(command);
        match words.words[0] {
            "options" => self.options(&words),
            "cluster" => {
                let members = membership(&words.nodes(1), &words.list("learners"));
                for id in members.contexts.keys() {
                    self.add(*id, members.clone());
                }
            }
            "blank" => self.add(words.node(1), Membership::default()),
            "bootstrap" => self.add(words.node(1), membership(&words.nodes(1), &[])),
            "disk" => self.set_disk(&words),
            "start" => words.nodes(1).into_iter().for_each(|id| self.start(id)),
            "crash" => words.nodes(1).into_iter().for_each(|id| self.crash(id)),
            "timeout" => self.timeout(words.node(1)),
            "wait" => self.wait(number(words.words[1])),
            "deliver" => self.take(&words).into_iter().for_each(|envelope| self.arrive(envelope)),
            "drop" => drop(self.take(&words)),
            "copy" => {
                let wanted = words.words[1];
                let found = self.network.iter().find(|envelope| goes(envelope, wanted));
                let copy = found.expect("a message to copy").clone();
                self.copies.insert(words.words[2].to_string(), copy);
            }
            "again" => {
                let copy = self.copies[words.words[1]].clone();
                self.arrive(copy);
            }
            "inject" => self.inject(&words),
            "cut" => self.cut.extend(words.nodes(1)),
            "heal" => self.cut.clear(),
            "sync" => {
                let count = words.words.get(2).map_or(usize::MAX, |n| number(n) as usize);
                self.sync(words.node(1), count);
            }
            "settle" => {
                self.deliver_all();
                self.status(&[]);
            }
            "run" => self.go_on(number(words.words[1])),
            "status" => self.status(&words.nodes(1)),
            _ => self.ask(&words),
        }
        self.drain();
    }

    fn options(&mut self, words: &Words) {
        let millis = |text| Duration::from_millis(number(text));
        for (&option, &value) in &words.options {
            match option {
                "election" => self.config.election_timeout = millis(value),
                "heartbeat" => self.config.heartbeat_interval = millis(value),
                "append" => self.config.max_append_entries = number(value) as usize,
                "window" => self.config.max_inflight_appends = number(value) as usize,
                "chunk" => self.config.snapshot_chunk_bytes = number(value),
                "compact" => self.config.compact_after_bytes = number(value),
                "keep" => self.config.keep_entries = number(value),
                "cache" => self.config.cache_bytes = number(value),
                "cached" => self.cached = Some(number(value) as usize),
                "promote" => self.config.promote_learners = value == "yes",
                _ => panic!("unknown option {option}"),
            }
        }
    }

    fn add(&mut self, id: NodeId, members: Membership) {
        let base = SnapshotMeta { membership: members, ..SnapshotMeta::default() };
        let disk = Disk { applied: base.clone(), base, ..Disk::default() };
        self.nodes.insert(id, Node { raft: None, disk, writes: VecDeque::new(), lives: 0 });
    }

    fn set_disk(&mut self, words: &Words) {
        let disk = &mut self.nodes.get_mut(&words.node(1)).unwrap().disk;
        for (&option, &value) in &words.options {
            match option {
                "term" => disk.vote.term = Term(number(value)),
                "vote" => disk.vote.voted_for = Some(node_id(value)),
                "log" => disk.log = value.split(',').map(entry).collect(),
                "applied" => {}
                _ => panic!("unknown option {option}"),
            }
        }
        let applied = words.options.get("applied").map_or(0, |applied| number(applied) as usize);
        for entry in disk.log.clone().iter().take(applied) {
            disk.apply(entry);
        }
    }

    fn start(&mut self, id: NodeId) {
        let cached = self.cached.unwrap_or(usize::MAX);
        let node = self.nodes.get_mut(&id).expect("the node has a disk");
        node.lives += 1;
        let seed = id.0 * 1000 + node.lives;
        let restored = node.disk.restored(cached);
        match Raft::restore(id, self.config.clone(), restored, seed, self.now) {
            Ok(raft) => node.raft = Some(raft),
            Err(corrupt) => writeln!(self.output, "{id} does not start: {}", corrupt.0).unwrap(),
        }
    }

    fn crash(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.raft = None;
        node.writes.clear();
        node.disk.staged.clear();
    }

    fn handle(&mut self, id: NodeId, event: Event) {
        if let Some(raft) = self.nodes.get_mut(&id).and_then(|node| node.raft.as_mut()) {
            raft.handle(self.now, event);
        }
    }

    fn raft(&mut self, id: NodeId) -> &mut Raft {
        self.nodes.get_mut(&id).and_then(|node| node.raft.as_mut()).expect("the node runs")
    }

    /// The node's next deadlines pass, up to the one that makes it act on its own behalf.
    fn timeout(&mut self, id: NodeId) {
        let before = self.raft(id).status().role;
        for _ in 0..1000 {
            self.now = self.now.max(self.raft(id).deadline());
            self.handle(id, Event::Deadline);
            let acted = self.raft(id).status().role != before || before == RoleName::PreCandidate;
            self.drain();
            if acted {
                return;
            }
        }
        panic!("{id} never acts");
    }

    fn wait(&mut self, milliseconds: u64) {
        let end = self.now.after(Duration::from_millis(milliseconds));
        while let Some((at, id)) = self.next_deadline().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.handle(id, Event::Deadline);
            self.drain();
        }
        self.now = end;
    }

    /// Removes messages from the network: those of `n1->n2`, at most so many.
    fn take(&mut self, words: &Words) -> Vec<Envelope> {
        let wanted = words.words.get(1).copied().unwrap_or("->");
        let count = words.words.get(2).map_or(usize::MAX, |n| number(n) as usize);
        let mut taken = Vec::new();
        let mut left = VecDeque::new();
        for envelope in self.network.drain(..) {
            if taken.len() < count && goes(&envelope, wanted) {
                taken.push(envelope);
            } else {
                left.push_back(envelope);
            }
        }
        self.network = left;
        taken
    }

    fn arrive(&mut self, envelope: Envelope) {
        if !self.cut.contains(&envelope.from) && !self.cut.contains(&envelope.to) {
            self.handle(envelope.to, Event::Received(envelope));
            self.drain();
        }
    }

    fn inject(&mut self, words: &Words) {
        let (from, to) = words.words[1].split_once("->").unwrap();
        let option = |name: &str| words.options.get(name).copied();
        let commit = Index(option("commit").map_or(0, number));
        let message = if let Some(prev) = option("append") {
            let entries = option("entries").unwrap_or("").split(',');
            let entries = entries.filter(|text| !text.is_empty()).map(entry).collect();
            Message::Append { prev: entry_id(prev), entries, commit, sequence: 0 }
        } else if let Some(last) = option("vote") {
            Message::RequestVote { last: entry_id(last), transfer: false }
        } else if let Some(sequence) = option("heard") {
            Message::HeartbeatReply { sequence: number(sequence) }
        } else {
            Message::Heartbeat { commit, sequence: 0 }
        };
        let term = Term(number(option("term").expect("a term")));
        self.arrive(Envelope { from: node_id(from), to: node_id(to), term, message });
    }

    fn sync(&mut self, id: NodeId, count: usize) {
        for _ in 0..count {
            let node = self.nodes.get_mut(&id).unwrap();
            let Some(write) = node.writes.pop_front() else { break };
            node.disk.write(&write);
            let durable = write.durable();
            self.network.extend(durable.messages);
            self.handle(id, Event::Written(durable.written));
            self.drain();
        }
    }

    /// Time passes while disks and network work at once.
    fn go_on(&mut self, milliseconds: u64) {
        let end = self.now.after(Duration::from_millis(milliseconds));
        self.deliver_all();
        while let Some((at, id)) = self.next_deadline().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            let loud = std::mem::replace(&mut self.quiet, true);
            self.handle(id, Event::Deadline);
            self.deliver_all();
            self.quiet = loud;
        }
        self.now = end;
    }

    fn next_deadline(&self) -> Option<(Instant, NodeId)> {
        let running = |(id, node): (&NodeId, &Node)| Some((node.raft.as_ref()?.deadline(), *id));
        self.nodes.iter().filter_map(running).min()
    }

    fn deliver_all(&mut self) {
        let loud = std::mem::replace(&mut self.quiet, true);
        for round in 0.. {
            assert!(round < 1000, "never settles");
            self.drain();
            let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            let idle =
                self.network.is_empty() && self.nodes.values().all(|node| node.writes.is_empty());
            if idle {
                break;
            }
            ids.into_iter().for_each(|id| self.sync(id, usize::MAX));
            let arriving = std::mem::take(&mut self.network);
            arriving.into_iter().for_each(|envelope| self.arrive(envelope));
        }
        self.quiet = loud;
    }

    fn status(&mut self, ids: &[NodeId]) {
        for (id, node) in &self.nodes {
            if !ids.is_empty() && !ids.contains(id) {
                continue;
            }
            match &node.raft {
                Some(raft) => {
                    let state = node.disk.state.join(" ");
                    writeln!(self.output, "{raft} state [{state}]").unwrap();
                }
                None => writeln!(self.output, "{id} down").unwrap(),
            }
        }
    }

    fn ask(&mut self, words: &Words) {
        let (now, id) = (self.now, words.node(1));
        let said = match words.words[0] {
            "propose" => {
                let commands =
                    words.words[2..].iter().map(|c| Bytes::copy_from_slice(c.as_bytes()));
                let commands = commands.collect();
                self.raft(id)
                    .propose(now, commands)
                    .map(|at| format!("{}..={}", at.start(), at.end()))
            }
            "read" => {
                let read = ReadId(number(words.words[2]));
                self.raft(id).read(now, read).map(|()| "waits".to_string())
            }
            "change" => {
                let add = words.list("add").into_iter().map(|id| (id, context(id))).collect();
                let (promote, remove) = (words.list("promote"), words.list("remove"));
                let current = self.raft(id).status().membership_index;
                let base = words.options.get("base").map_or(current, |base| Index(number(base)));
                let change = Change { add, promote, remove };
                self.raft(id).change_membership(now, base, change).map(|entry| entry.to_string())
            }
            "transfer" => {
                let to = words.words.get(2).map(|to| node_id(to));
                self.raft(id).transfer_leadership(now, to).map(|to| format!("to {to}"))
            }
            "unreachable" => {
                self.handle(id, Event::Unreachable(words.node(2)));
                return;
            }
            "durable" => {
                let meta = self.nodes[&id].disk.applied.clone();
                self.handle(id, Event::Snapshot(SnapshotEvent::Durable { meta }));
                return;
            }
            unknown => panic!("unknown command {unknown}"),
        };
        match said {
            Ok(said) => writeln!(self.output, "{id} {}: {said}", words.words[0]).unwrap(),
            Err(refused) => writeln!(self.output, "{id} refuses: {refused:?}").unwrap(),
        }
    }

    /// Polls all nodes until none has anything to do; the state machine works at once, the disk and
    /// the network do not.
    fn drain(&mut self) {
        loop {
            let mut idle = true;
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                let now = self.now;
                let Some(raft) = self.nodes.get_mut(&id).and_then(|node| node.raft.as_mut()) else {
                    continue;
                };
                let output = raft.poll(now);
                idle &= output.is_empty();
                self.carry_out(id, output);
            }
            if idle {
                return;
            }
        }
    }

    fn say(&mut self, text: std::fmt::Arguments) {
        if !self.quiet {
            writeln!(self.output, "{text}").unwrap();
        }
    }

    fn carry_out(&mut self, id: NodeId, output: Output) {
        let Output { write, messages, committed, reads, log_reads, snapshots, changed, fatal } =
            output;
        if let Some(evidence) = fatal {
            self.say(format_args!("{id} stops: {evidence}"));
        }
        if let Some(Changed { role, leader, term, .. }) = changed {
            let follows = match leader.filter(|&leader| leader != id) {
                Some(leader) => format!(" of {leader}"),
                None => String::new(),
            };
            let role = format!("{role:?}").to_lowercase();
            self.say(format_args!("{id} is {role}{follows} in term {term}"));
        }
        for envelope in messages {
            self.say(format_args!("{envelope}"));
            self.network.push_back(envelope);
        }
        if let Some(write) = write {
            self.say(format_args!("{id} {write}"));
            self.nodes.get_mut(&id).unwrap().writes.push_back(write);
        }
        for ReadReady { id: read, result } in reads {
            match result {
                Ok(index) => self.say(format_args!("{id} read {} at {index}", read.0)),
                Err(why) => self.say(format_args!("{id} read {} failed: {why:?}", read.0)),
            }
        }
        for entry in &committed {
            self.say(format_args!("{id} applies {entry}"));
            self.nodes.get_mut(&id).unwrap().disk.apply(entry);
        }
        if let Some(last) = committed.last() {
            self.handle(id, Event::Applied(last.index()));
        }
        for request in log_reads {
            let entries = self.nodes[&id].disk.read(&request);
            let (from, to) = (request.range.start, request.range.end);
            self.say(format_args!("{id} reads {from}..{to} from its disk"));
            self.handle(id, Event::LogRead { request, entries });
        }
        for request in snapshots {
            self.snapshot(id, request);
        }
    }

    fn snapshot(&mut self, id: NodeId, request: SnapshotRequest) {
        let disk: &mut disk::Disk = &mut self.nodes.get_mut(&id).unwrap().disk;
        let event = match request {
            SnapshotRequest::Read { peer, offset, max_bytes } => {
                let bytes = disk.snapshot();
                let end = (offset + max_bytes).min(bytes.len() as u64);
                let last = end == bytes.len() as u64;
                let data = Bytes::copy_from_slice(&bytes[offset as usize..end as usize]);
                let meta = disk.applied.clone();
                SnapshotEvent::ChunkRead { peer, meta, offset, data, last }
            }
            SnapshotRequest::Close { peer } => {
                return self.say(format_args!("{id} closes its snapshot for {peer}"));
            }
            SnapshotRequest::Store { meta, offset, data, .. } => {
                disk.staged.truncate(offset as usize);
                disk.staged.extend_from_slice(&data);
                SnapshotEvent::ChunkStored { last: meta.last, end: disk.staged.len() as u64 }
            }
            SnapshotRequest::Install { meta, .. } => {
                disk.install(meta.clone());
                self.say(format_args!("{id} installs the snapshot at {}", meta.last));
                SnapshotEvent::Installed { meta }
            }
        };
        self.handle(id, Event::Snapshot(event));
    }
}

fn goes(envelope: &Envelope, wanted: &str) -> bool {
    let (from, to) = wanted.split_once("->").expect("n1->n2");
    let fits = |name: &str, id| name.is_empty() || node_id(name) == id;
    fits(from, envelope.from) && fits(to, envelope.to)
}
