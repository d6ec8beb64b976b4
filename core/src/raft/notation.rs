//! How messages, entries, configurations and writes are written down: one notation for golden
//! scripts, logs and reports.
//!
//! Rule: short, complete, and the same everywhere. An entry is `index@term`; a message is
//! `n1 → n2 term 3: append after 4@2: 5@3 6@3, commit 4`. Must never: be parsed by the product.

use super::{
    message::{AppendOutcome, Envelope, Message, Staged, StateDigest, StateReport},
    output::Write,
    raft::Raft,
    refused::Evidence,
    role::Role,
    types::{Entry, Membership, NodeId, Payload, SnapshotMeta, Vote},
};
use core::fmt::{Display, Formatter, Result};

/// Writes items with a blank between, or `-` when there is none.
fn list<T: Display>(f: &mut Formatter<'_>, items: impl Iterator<Item = T>) -> Result {
    let mut empty = true;
    for item in items {
        write!(f, "{}{item}", if empty { "" } else { " " })?;
        empty = false;
    }
    if empty { f.write_str("-") } else { Ok(()) }
}

impl Display for Entry {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.payload {
            Payload::Noop => write!(f, "{}", self.id),
            Payload::Command(bytes) => match core::str::from_utf8(bytes) {
                Ok(text) if text.len() <= 16 && text.chars().all(char::is_alphanumeric) => {
                    write!(f, "{}={text}", self.id)
                }
                _ => write!(f, "{}={}B", self.id, bytes.len()),
            },
            Payload::Membership(membership) => write!(f, "{}={membership}", self.id),
        }
    }
}

impl Display for Membership {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let set = |f: &mut Formatter<'_>, ids: &mut dyn Iterator<Item = NodeId>| {
            for (position, id) in ids.enumerate() {
                write!(f, "{}{id}", if position == 0 { "" } else { "," })?;
            }
            Ok(())
        };
        f.write_str("{")?;
        set(f, &mut self.voters.iter().copied())?;
        if self.is_joint() {
            f.write_str(" leaving ")?;
            set(f, &mut self.outgoing.iter().copied())?;
        }
        if !self.learners.is_empty() {
            f.write_str(" learning ")?;
            set(f, &mut self.learners.iter().copied())?;
        }
        if !self.demoted.is_empty() {
            f.write_str(" demoted ")?;
            set(f, &mut self.demoted.iter().copied())?;
        }
        f.write_str("}")
    }
}

impl Display for SnapshotMeta {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} under {} of {}", self.last, self.membership, self.membership_index)
    }
}

impl Display for Vote {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.voted_for {
            Some(id) => write!(f, "term {} vote {id}", self.term),
            None => write!(f, "term {} no vote", self.term),
        }
    }
}

fn holds(f: &mut Formatter<'_>, staged: Option<Staged>) -> Result {
    match staged {
        Some(Staged { last, end, .. }) => write!(f, ", snapshot {last}: holds {end} bytes"),
        None => Ok(()),
    }
}

impl Display for Message {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let yes = |granted: bool| if granted { "granted" } else { "refused" };
        let reads = |f: &mut Formatter<'_>, sequence: u64| {
            if sequence > 0 { write!(f, ", reads {sequence}") } else { Ok(()) }
        };
        match self {
            Message::PreVote { last } => write!(f, "pre-vote for a log ending at {last}?"),
            Message::PreVoteReply { granted } => write!(f, "pre-vote {}", yes(*granted)),
            Message::RequestVote { last, transfer } => {
                let why = if *transfer { " (handed over)" } else { "" };
                write!(f, "vote for a log ending at {last}?{why}")
            }
            Message::VoteReply { granted } => write!(f, "vote {}", yes(*granted)),
            Message::Append { prev, entries, commit, sequence, .. } => {
                write!(f, "append after {prev}: ")?;
                list(f, entries.iter())?;
                write!(f, ", commit {commit}")?;
                reads(f, *sequence)
            }
            Message::AppendReply { outcome, sequence } => {
                match outcome {
                    AppendOutcome::Matched { last } => write!(f, "matched {last}")?,
                    AppendOutcome::Rejected { prev, hint, staged } => {
                        write!(f, "rejected {prev}, hint {hint}")?;
                        holds(f, *staged)?;
                    }
                }
                reads(f, *sequence)
            }
            Message::Heartbeat { commit, sequence, compare, proven } => {
                write!(f, "heartbeat, commit {commit}")?;
                reads(f, *sequence)?;
                if let Some(index) = compare {
                    write!(f, ", state at {index}?")?;
                }
                if let Some(StateDigest { index, digest }) = proven {
                    write!(f, ", state at {index} is {digest:x}")?;
                }
                Ok(())
            }
            Message::HeartbeatReply { sequence, state, staged } => {
                f.write_str("heard")?;
                reads(f, *sequence)?;
                match state {
                    Some(StateReport { index, digest: Some(digest) }) => {
                        write!(f, ", state at {index} is {digest:x}")?;
                    }
                    Some(StateReport { index, digest: None }) => {
                        write!(f, ", state at {index} unknown")?;
                    }
                    None => {}
                }
                holds(f, *staged)
            }
            Message::InstallSnapshot { meta, offset, data, last, sequence, .. } => {
                let end = offset.saturating_add(data.len() as u64);
                let more = if *last { ", the last" } else { "" };
                write!(f, "snapshot {meta}: bytes {offset}..{end}{more}")?;
                reads(f, *sequence)
            }
            Message::SnapshotReply { last, end, installed, sequence, .. } => {
                if *installed {
                    write!(f, "snapshot {last} installed")?;
                } else {
                    write!(f, "snapshot {last}: holds {end} bytes")?;
                }
                reads(f, *sequence)
            }
            Message::TimeoutNow => f.write_str("campaign now"),
            Message::ReadIndex { .. } => f.write_str("read index?"),
            Message::ReadIndexReply { index: Some(index), .. } => write!(f, "read index {index}"),
            Message::ReadIndexReply { index: None, .. } => f.write_str("read index unknown"),
        }
    }
}

impl Display for Envelope {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} → {} term {}: {}", self.from, self.to, self.term, self.message)
    }
}

impl Display for Write {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "write {}:", self.id.0)?;
        if let Some(vote) = &self.vote {
            write!(f, " {vote}")?;
        }
        if let Some(from) = self.truncate_from {
            write!(f, " truncate {from}..")?;
        }
        if !self.append.is_empty() {
            f.write_str(" append ")?;
            list(f, self.append.iter())?;
        }
        if let Some(base) = &self.base {
            write!(f, " base {base}")?;
        }
        if let Some(commit) = self.commit {
            write!(f, " commit {commit}")?;
        }
        for envelope in &self.gated {
            write!(f, "\n  then {envelope}")?;
        }
        Ok(())
    }
}

impl Display for Evidence {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Evidence::TwoLeaders { term, known, claims } => {
                write!(f, "two leaders in term {term}: {known} and {claims}")
            }
            Evidence::CommittedConflict { ours, theirs, leader } => {
                write!(f, "{leader} has {theirs} where {ours} is committed")
            }
            Evidence::StateDiverged { index, ours, proven } => {
                write!(f, "state after {index} is {ours:x} where a majority has {proven:x}")
            }
            Evidence::ChainBroken { at, ours, theirs, leader } => {
                write!(f, "{leader} has another {at}: chain {theirs} there, {ours} here")
            }
            Evidence::DiskChanged { at, expected, found } => {
                write!(f, "the own disk has another {at}: chain {found}, not {expected}")
            }
        }
    }
}

/// A node in one line: `n1 leader term 3 log 1@1..7@3 written 7 commit 6 members {n1,n2,n3}`.
impl Display for Raft {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let role = match &self.role {
            Role::Follower(_) => "follower",
            Role::PreCandidate(_) => "pre-candidate",
            Role::Candidate(_) => "candidate",
            Role::Leader(_) => "leader",
        };
        let (base, last) = (self.log.base(), self.log.last());
        write!(f, "{} {role}", self.id)?;
        if let Some(leader) = self.leader().filter(|&leader| leader != self.id) {
            write!(f, " of {leader}")?;
        }
        write!(f, " {} log {base}..{last}", self.vote)?;
        write!(f, " written {} commit {}", self.log.written(), self.commit)?;
        write!(f, " members {}", self.log.membership())?;
        for peer in self.peers() {
            write!(f, " {}:{}@{}", peer.id, peer.state, peer.matched)?;
        }
        Ok(())
    }
}
