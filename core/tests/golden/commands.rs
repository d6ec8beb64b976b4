//! The commands of a script; `README.md` beside this file says what each does.

use crate::{
    notation::{Words, command_bytes, context, node_id, number},
    world::World,
};
use kvorum_core::raft::*;
use std::time::Duration;

/// Every command there is; the README has a row for each.
pub const COMMANDS: &[&str] = &[
    "again",
    "backup",
    "blank",
    "bootstrap",
    "change",
    "clock",
    "cluster",
    "copy",
    "crash",
    "cut",
    "damage",
    "deadline",
    "delay",
    "deliver",
    "disk",
    "divergences",
    "drop",
    "durable",
    "elect",
    "fail",
    "heal",
    "hold",
    "ignored",
    "inject",
    "lose",
    "next",
    "options",
    "propose",
    "quiet",
    "read",
    "recover",
    "refusals",
    "release",
    "rollback",
    "run",
    "settle",
    "spoil",
    "start",
    "status",
    "sync",
    "timeout",
    "transfer",
    "unreachable",
    "wait",
];

impl World {
    /// Runs a line: one command, or several with `;` between, after which all nodes are polled.
    pub fn run(&mut self, line: &str) {
        let mut parts = line.split(';').map(str::trim).peekable();
        while let Some(part) = parts.next() {
            self.together = parts.peek().is_some();
            self.run_one(part);
        }
    }

    fn run_one(&mut self, command: &str) {
        let words = Words::of(command);
        assert!(COMMANDS.contains(&words.words[0]), "unknown command {command}");
        match words.words[0] {
            "quiet" => return self.run_quietly(command.split_once(' ').expect("a command").1),
            "options" => self.options(&words),
            "cluster" => self.cluster(&words.nodes(1), &words.list("learners")),
            "blank" => self.add(words.node(1), Membership::default()),
            "bootstrap" => self.cluster(&words.nodes(1), &[]),
            "disk" if words.options.is_empty() => self.disk(words.node(1)),
            "disk" => self.set_disk(&words),
            "lose" => {
                let from = Index(number(words.words[2]));
                self.node(words.node(1)).disk.log.retain(|entry| entry.index() < from);
            }
            "damage" => self.node(words.node(1)).disk.staged.push(b'?'),
            "spoil" => {
                let state = &mut self.node(words.node(1)).disk.state;
                state.push(words.words[2].to_string());
            }
            "backup" => {
                let disk = self.node(words.node(1)).disk.clone();
                self.backups.insert(words.words[2].to_string(), disk);
            }
            "rollback" => self.node(words.node(1)).disk = self.backups[words.words[2]].clone(),
            "recover" => self.recover(&words),
            "start" => words.nodes(1).into_iter().for_each(|id| self.start(id)),
            "crash" => {
                let written = words.number("written").unwrap_or(0) as usize;
                words.nodes(1).into_iter().for_each(|id| self.crash(id, written));
            }
            "timeout" => self.timeout(words.node(1)),
            "elect" => self.elect(words.node(1)),
            "wait" => self.wait(number(words.words[1])),
            "run" => self.go_on(number(words.words[1])),
            "settle" => {
                self.deliver_all();
                self.status(&[]);
            }
            "deadline" => self.handle(words.node(1), Event::Deadline),
            "clock" => self.set_clock(&words),
            "deliver" => self.take(&words).into_iter().for_each(|envelope| self.arrive(envelope)),
            "drop" => drop(self.take(&words)),
            "copy" => self.copy(&words, false),
            "delay" => self.copy(&words, true),
            "again" => {
                let copy = self.copies[words.words[1]].clone();
                self.arrive(copy);
            }
            "inject" => self.inject(&words),
            "cut" => words.words[1..].iter().for_each(|what| self.cut(what)),
            "heal" => self.cut.clear(),
            "sync" => {
                let count = words.words.get(2).map_or(usize::MAX, |n| number(n) as usize);
                self.sync(words.node(1), count);
            }
            "hold" => self.node(words.node(1)).jobs.hold(words.words[2], true),
            "release" => {
                let (id, what) = (words.node(1), words.words[2]);
                let count = words.words.get(3).map_or(usize::MAX, |count| number(count) as usize);
                self.node(id).jobs.hold(what, false);
                self.catch_up(id, count);
                self.node(id).jobs.hold(what, count != usize::MAX);
            }
            "status" => self.status(&words.nodes(1)),
            "divergences" => {
                let times = self.raft(words.node(1)).status().unproven_divergences;
                self.tell(format_args!("{} unproven divergences: {times}", words.node(1)));
            }
            "refusals" => self.refusals(words.node(1)),
            "ignored" => self.ignored(words.node(1)),
            "next" => self.next_wake(words.node(1)),
            "unreachable" => self.handle(words.node(1), Event::Unreachable(words.node(2))),
            "fail" => {
                let event = SnapshotEvent::Failed { peer: words.node(2) };
                self.handle(words.node(1), Event::Snapshot(event));
            }
            "durable" => {
                let meta = self.node(words.node(1)).disk.applied.clone();
                self.handle(words.node(1), Event::Snapshot(SnapshotEvent::Durable { meta }));
            }
            _ => self.ask(&words),
        }
        self.drain();
    }

    /// Only what no script may overlook is said.
    fn run_quietly(&mut self, command: &str) {
        let before = self.output.len();
        self.run_one(command);
        let said = self.output.split_off(before);
        let loud =
            said.lines().filter(|line| line.contains(" stops: ") || line.contains("refuses"));
        self.output.extend(loud.map(|line| format!("{line}\n")));
    }

    fn options(&mut self, words: &Words) {
        let millis = |text| Duration::from_millis(number(text));
        let config = &mut self.config;
        for (&option, &value) in &words.options {
            match option {
                "election" => config.election_timeout = millis(value),
                "heartbeat" => config.heartbeat_interval = millis(value),
                "entry" => config.max_entry_bytes = number(value),
                "append" => config.max_append_entries = number(value) as usize,
                "bytes" => config.max_append_bytes = number(value),
                "window" => config.max_inflight_appends = number(value) as usize,
                "inflight" => config.max_inflight_bytes = number(value),
                "uncommitted" => config.max_uncommitted_bytes = number(value),
                "entries" => config.max_uncommitted_entries = number(value),
                "lag" => config.max_apply_lag_entries = number(value),
                "terms" => config.max_term_runs = number(value) as usize,
                "apply" => config.max_apply_bytes = number(value),
                "reads" => config.max_pending_reads = number(value) as usize,
                "chunk" => config.snapshot_chunk_bytes = number(value),
                "compact" => config.compact_after_bytes = number(value),
                "keep" => config.keep_entries = number(value),
                "cache" => config.cache_bytes = number(value),
                "cached" => self.cached = Some(number(value) as usize),
                "digests" => self.digests = value == "yes",
                "promote" => config.promote_learners = value == "yes",
                _ => panic!("unknown option {option}"),
            }
        }
    }

    /// `+500`, `-500` milliseconds from where the clock stands.
    fn set_clock(&mut self, words: &Words) {
        let by = words.words[2];
        let milliseconds: i128 = by.parse().expect("+500 or -500");
        self.node(words.node(1)).ahead += milliseconds * 1_000_000;
    }

    fn ask(&mut self, words: &Words) {
        let id = words.node(1);
        let now = self.clock(id);
        let said = match words.words[0] {
            "propose" => {
                let commands = words.words[2..].iter().map(|text| command_bytes(text)).collect();
                let indexes = self.raft(id).propose(now, commands);
                indexes.map(|at| format!("{}..={}", at.start(), at.end()))
            }
            "read" => {
                let read = ReadId(number(words.words[2]));
                self.raft(id).read(now, read).map(|()| "waits".to_string())
            }
            "change" => {
                let current = self.raft(id).status().membership_index;
                let base = words.number("base").map_or(current, Index);
                let entry = self.raft(id).change_membership(now, base, change(words));
                entry.map(|entry| entry.to_string())
            }
            "transfer" => {
                let to = words.words.get(2).map(|to| node_id(to));
                self.raft(id).transfer_leadership(now, to).map(|to| format!("to {to}"))
            }
            unknown => unreachable!("{unknown} is in the list"),
        };
        match said {
            Ok(said) => self.tell(format_args!("{id} {}: {said}", words.words[0])),
            Err(refused) => self.tell(format_args!("{id} refuses: {refused:?}")),
        }
    }
}

fn change(words: &Words) -> Change {
    Change {
        add: words.list("add").into_iter().map(|id| (id, context(id))).collect(),
        promote: words.list("promote"),
        demote: words.list("demote"),
        remove: words.list("remove"),
    }
}
