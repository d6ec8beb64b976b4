//! Terms, commit and applied indexes only grow, and in order: applied ≤ commit ≤ last.
//!
//! Rule: within a life, every one of them; over lives, the term a node has acted in. Must never:
//! excuse a restart from keeping a promise that a message has carried.

use super::{Check, Seen, View, facts::Facts};
use kvorum_core::raft::{AppendOutcome, Message, NodeId, Term};
use std::collections::BTreeMap;

/// See the module.
#[derive(Default)]
pub struct Monotone {
    /// The highest term in which a node has promised something durable.
    acted: BTreeMap<NodeId, Term>,
}

impl Check for Monotone {
    fn rule(&self) -> &'static str {
        "monotone"
    }

    fn see(&mut self, view: &View, _facts: &Facts, seen: &Seen) -> Result<(), String> {
        let name = &view.node.name;
        match seen {
            Seen::Stepped { before, after } => {
                if after.term() < before.term() {
                    return Err(format!(
                        "{name} goes from term {} to {}",
                        before.term(),
                        after.term()
                    ));
                }
                if after.term() == before.term()
                    && before.vote.voted_for.is_some()
                    && after.vote.voted_for != before.vote.voted_for
                {
                    return Err(format!("{name} changes its vote in term {}", after.term()));
                }
                if after.commit < before.commit || after.applied < before.applied {
                    return Err(format!(
                        "{name} goes from commit={} applied={} to commit={} applied={}",
                        before.commit, before.applied, after.commit, after.applied
                    ));
                }
                if after.applied > after.commit
                    || after.commit > after.last.index
                    || after.written > after.last.index
                {
                    return Err(format!(
                        "{name} has applied={} commit={} written={} last={}",
                        after.applied, after.commit, after.written, after.last
                    ));
                }
            }
            Seen::Leaves { envelope } => {
                let promise = match &envelope.message {
                    Message::VoteReply { granted } => *granted,
                    Message::AppendReply { outcome, .. } => {
                        matches!(outcome, AppendOutcome::Matched { .. })
                    }
                    Message::SnapshotReply { installed, .. } => *installed,
                    _ => false,
                };
                if promise {
                    let acted = self.acted.entry(view.node.id).or_default();
                    *acted = envelope.term.max(*acted);
                }
            }
            Seen::Restored { glance, .. } => {
                let acted = self.acted.get(&view.node.id).copied().unwrap_or_default();
                if glance.term() < acted {
                    return Err(format!(
                        "{name} comes back in term {}, having acted in {acted}",
                        glance.term()
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
