//! What a script's output says.

use crate::world::World;
use kvorum_core::raft::*;
use std::fmt::{Arguments, Write as _};

impl World {
    /// Said unless the command is a silent one.
    pub fn say(&mut self, text: Arguments) {
        if !self.quiet {
            writeln!(self.output, "{text}").unwrap();
        }
    }

    /// Said in any case.
    pub fn tell(&mut self, text: Arguments) {
        writeln!(self.output, "{text}").unwrap();
    }

    /// What a poll brought. Proofs, reads and new leaders are told even by silent commands.
    pub fn say_output(&mut self, id: NodeId, output: &Output) {
        if let Some(evidence) = &output.fatal {
            self.tell(format_args!("{id} stops: {evidence}"));
            self.node(id).stopped = true;
        }
        if let Some(changed) = output.changed {
            self.say_change(id, changed);
        }
        for envelope in &output.messages {
            self.say(format_args!("{envelope}"));
        }
        if let Some(write) = &output.write {
            self.say(format_args!("{id} {write}"));
        }
        for ReadReady { id: read, result } in &output.reads {
            match result {
                Ok(index) => self.tell(format_args!("{id} read {} at {index}", read.0)),
                Err(why) => self.tell(format_args!("{id} read {} failed: {why:?}", read.0)),
            }
        }
    }

    fn say_change(&mut self, id: NodeId, changed: Changed) {
        let Changed { role, leader, term, membership_index } = changed;
        let said = self.node(id).said.replace(changed);
        let new_role = said.is_none_or(|s| (s.role, s.leader, s.term) != (role, leader, term));
        if new_role {
            let follows = match leader.filter(|&leader| leader != id) {
                Some(leader) => format!(" of {leader}"),
                None => String::new(),
            };
            let name = format!("{role:?}").to_lowercase();
            let text = format_args!("{id} is {name}{follows} in term {term}").to_string();
            if role == RoleName::Leader {
                self.tell(format_args!("{text}"));
            } else {
                self.say(format_args!("{text}"));
            }
        }
        let had = said.map_or(Index::ZERO, |said| said.membership_index);
        if had != membership_index {
            let members = self.raft(id).status().membership.clone();
            self.say(format_args!("{id} has members {members}"));
        }
    }

    pub fn status(&mut self, ids: &[NodeId]) {
        for (id, node) in &self.nodes {
            if !ids.is_empty() && !ids.contains(id) {
                continue;
            }
            match &node.raft {
                Some(raft) => {
                    let state = brief(&node.disk.state);
                    let stopped = if node.stopped { " (stopped)" } else { "" };
                    writeln!(self.output, "{raft} state [{state}]{stopped}").unwrap();
                }
                None => writeln!(self.output, "{id} down").unwrap(),
            }
        }
    }

    /// What a node's disk holds.
    pub fn disk(&mut self, id: NodeId) {
        let disk = &self.nodes[&id].disk;
        let log: Vec<String> = disk.log.iter().map(Entry::to_string).collect();
        let (vote, base, log) = (disk.vote, disk.base.last, log.join(" "));
        let (applied, state) = (disk.applied.last.index, brief(&disk.state));
        writeln!(
            self.output,
            "{id} disk {vote} base {base} log [{log}] applied {applied} state [{state}]"
        )
        .unwrap();
    }

    /// Why the node has ignored messages, and how often, in this life.
    pub fn ignored(&mut self, id: NodeId) {
        let ignored = self.raft(id).status().ignored.clone();
        let counts: Vec<String> =
            ignored.iter().map(|(why, count)| format!("{why:?} {count}")).collect();
        let counts = if counts.is_empty() { "nothing".to_string() } else { counts.join(", ") };
        self.tell(format_args!("{id} ignored {counts}"));
    }

    pub fn refusals(&mut self, id: NodeId) {
        let refused = self.raft(id).status().refused.clone();
        let counts: Vec<String> =
            refused.iter().map(|(why, count)| format!("{why:?} {count}")).collect();
        let counts = if counts.is_empty() { "nothing".to_string() } else { counts.join(", ") };
        self.tell(format_args!("{id} refused {counts}"));
    }

    /// When the node wants to be woken, by its own clock.
    pub fn next_wake(&mut self, id: NodeId) {
        let (now, deadline) = (self.clock(id), self.raft(id).deadline());
        let micros = deadline.since(now).as_micros();
        let text = if deadline.0 == u64::MAX {
            "never".to_string()
        } else {
            format!("in {}.{:03}ms", micros / 1000, micros % 1000)
        };
        self.tell(format_args!("{id} wakes {text}"));
    }
}

/// Long commands as what the notation makes of them.
fn brief(state: &[String]) -> String {
    let brief = |text: &String| {
        if text.len() > 16 { format!("{}B", text.len()) } else { text.clone() }
    };
    state.iter().map(brief).collect::<Vec<_>>().join(" ")
}
