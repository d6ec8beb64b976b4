//! What happened, in arrow notation: `n1 → n2 append 3@2 +2 commit=3`.
//!
//! Rule: written only when a failed seed runs again, so that good runs pay nothing. Must never:
//! influence a run.

use kvorum_core::raft::{
    AppendOutcome, Entry, Event, Membership, Message, NodeId, Payload, SnapshotEvent, Write,
};
use std::collections::{BTreeMap, VecDeque};

/// The last lines of a run.
#[derive(Default)]
pub struct Trace {
    pub on: bool,
    /// Keep everything.
    pub full: bool,
    pub lines: VecDeque<String>,
}

/// Lines a report shows.
pub const SHOWN: usize = 60;

impl Trace {
    /// Notes a line, if anybody will read it.
    pub fn note(&mut self, now: u64, line: impl FnOnce() -> String) {
        if !self.on {
            return;
        }
        if self.lines.len() == SHOWN && !self.full {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{:>12.3}ms  {}", now as f64 / 1e6, line()));
    }
}

/// A configuration in words.
pub fn members(names: &BTreeMap<NodeId, String>, membership: &Membership) -> String {
    let list = |set: &std::collections::BTreeSet<NodeId>| {
        let names: Vec<String> =
            set.iter().map(|id| names.get(id).cloned().unwrap_or_else(|| id.to_string())).collect();
        names.join(" ")
    };
    let mut out = format!("({})", list(&membership.voters));
    if membership.is_joint() {
        out += &format!(" from ({})", list(&membership.outgoing));
    }
    if !membership.learners.is_empty() {
        out += &format!(" learning ({})", list(&membership.learners));
    }
    out
}

fn entries(entries: &[Entry]) -> String {
    let mut out = String::new();
    for entry in entries.iter().take(4) {
        let kind = match &entry.payload {
            Payload::Noop => "noop",
            Payload::Command(_) => "",
            Payload::Membership(m) if m.is_joint() => "joint",
            Payload::Membership(_) => "members",
        };
        out += &format!(" {}{}{kind}", entry.id, if kind.is_empty() { "" } else { ":" });
    }
    if entries.len() > 4 {
        out += &format!(" …{} in all", entries.len());
    }
    format!("[{}]", out.trim_start())
}

/// A message in words.
pub fn message(message: &Message) -> String {
    match message {
        Message::PreVote { last } => format!("pre-vote? last={last}"),
        Message::PreVoteReply { granted } => format!("pre-vote granted={granted}"),
        Message::RequestVote { last, transfer } => format!("vote? last={last} transfer={transfer}"),
        Message::VoteReply { granted } => format!("vote granted={granted}"),
        Message::Append { prev, entries: list, commit, sequence, .. } => {
            format!("append prev={prev} {} commit={commit} seq={sequence}", entries(list))
        }
        Message::AppendReply { outcome: AppendOutcome::Matched { last }, sequence } => {
            format!("matched {last} seq={sequence}")
        }
        Message::AppendReply { outcome: AppendOutcome::Rejected { prev, hint, .. }, sequence } => {
            format!("rejected prev={prev} hint={hint} seq={sequence}")
        }
        Message::Heartbeat { commit, sequence, .. } => {
            format!("heartbeat commit={commit} seq={sequence}")
        }
        Message::HeartbeatReply { sequence, .. } => format!("heartbeat-reply seq={sequence}"),
        Message::InstallSnapshot { meta, offset, data, last, .. } => {
            format!("snapshot {} at {offset} +{} last={last}", meta.last, data.len())
        }
        Message::SnapshotReply { last, end, installed, .. } => {
            format!("snapshot-reply {last} end={end} installed={installed}")
        }
        Message::TimeoutNow => "timeout-now".to_owned(),
        Message::ReadIndex { id } => format!("read-index? #{}", id.0),
        Message::ReadIndexReply { id, index } => format!("read-index #{} {index:?}", id.0),
    }
}

/// An event in words.
pub fn event(event: &Event) -> String {
    match event {
        Event::Received(envelope) => format!("← t{} {}", envelope.term, message(&envelope.message)),
        Event::Deadline => "deadline".to_owned(),
        Event::Written(written) => format!("{written:?}"),
        Event::Applied { index, .. } => format!("applied {index}"),
        Event::LogRead { request, entries: list } => {
            format!(
                "log-read {:?} {}..{} {}",
                request.reader,
                request.range.start,
                request.range.end,
                entries(list)
            )
        }
        Event::Snapshot(SnapshotEvent::Durable { meta }) => format!("durable up to {}", meta.last),
        Event::Snapshot(SnapshotEvent::ChunkRead { meta, offset, data, last, .. }) => {
            format!("chunk of {} at {offset} +{} last={last}", meta.last, data.len())
        }
        Event::Snapshot(SnapshotEvent::ChunkStored { last, end }) => {
            format!("stored {last} end={end}")
        }
        Event::Snapshot(SnapshotEvent::Installed { meta }) => format!("installed {}", meta.last),
        Event::Snapshot(SnapshotEvent::Failed { .. }) => "snapshot failed".to_owned(),
        Event::Unreachable(_) => "unreachable".to_owned(),
    }
}

/// A write in words.
pub fn write(write: &Write) -> String {
    let mut out = String::new();
    if let Some(vote) = write.vote {
        out += &format!(" vote={}/{:?}", vote.term, vote.voted_for.map(|id| id.0));
    }
    if let Some(from) = write.truncate_from {
        out += &format!(" truncate={from}");
    }
    if !write.append.is_empty() {
        out += &format!(" append={}", entries(&write.append));
    }
    if let Some(base) = &write.base {
        out += &format!(" base={}", base.last);
    }
    out
}
