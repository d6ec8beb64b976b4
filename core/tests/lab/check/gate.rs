//! The gate: no message claims to be durable what the disk does not hold.
//!
//! Rule: judged against the disk of the sender at the moment a message leaves. Must never: believe
//! the core's own idea of what is written.

use super::{Check, Seen, View, facts::Facts};
use kvorum_core::raft::{AppendOutcome, Index, Message};

/// See the module.
pub struct Gate;

impl Check for Gate {
    fn rule(&self) -> &'static str {
        "gate"
    }

    fn see(&mut self, view: &View, facts: &Facts, seen: &Seen) -> Result<(), String> {
        let Seen::Leaves { envelope } = seen else { return Ok(()) };
        let (name, term) = (&view.node.name, envelope.term);
        let disk = &view.node.disk.durable;
        let kept_term = || {
            if disk.vote.term >= term {
                return Ok(());
            }
            Err(format!("{name} promises in term {term}, its disk knows {}", disk.vote.term))
        };
        match &envelope.message {
            Message::RequestVote { .. } => {
                kept_term()?;
                if disk.vote.term == term && disk.vote.voted_for != Some(envelope.from) {
                    return Err(format!(
                        "{name} campaigns in {term}, its disk has {:?}",
                        disk.vote
                    ));
                }
            }
            // Whoever leads has had its own vote for that term on the disk.
            Message::Append { .. }
            | Message::Heartbeat { .. }
            | Message::InstallSnapshot { .. } => {
                kept_term()?;
            }
            Message::VoteReply { granted: true } => {
                kept_term()?;
                if disk.vote.term == term && disk.vote.voted_for != Some(envelope.to) {
                    return Err(format!("{name} grants term {term}, its disk has {:?}", disk.vote));
                }
            }
            Message::AppendReply { outcome: AppendOutcome::Matched { last }, .. } => {
                kept_term()?;
                holds(view, facts, *last, term.0)?;
            }
            Message::SnapshotReply { last, installed: true, .. } => {
                kept_term()?;
                let log = disk.recovered(&view.node.machine.durable.meta);
                if !log.covers(*last) {
                    return Err(format!(
                        "{name} claims to have installed {last}, its disk ends at {}",
                        log.last()
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn holds(view: &View, facts: &Facts, last: Index, term: u64) -> Result<(), String> {
    let name = &view.node.name;
    let log = view.node.disk.durable.recovered(&view.node.machine.durable.meta);
    if last > log.last().index {
        return Err(format!("{name} claims to hold {last}, its disk ends at {}", log.last()));
    }
    let leader = facts.leaders.iter().find(|(t, _)| t.0 == term).map(|(_, id)| *id);
    let leader = view.nodes.iter().find(|node| {
        Some(node.id) == leader
            && node.glance.leads()
            && node.glance.term().0 == term
            && node.raft.is_some()
    });
    if let Some(leader) = leader
        && let Some(theirs) = leader.disk.shadow.id_at(last)
        && !log.covers(theirs)
    {
        return Err(format!("{name} claims to match {theirs}, its disk has {:?}", log.id_at(last)));
    }
    Ok(())
}
