//! One vote per node and term, over all lives of the node; and no leader without a quorum of them.
//!
//! Rule: a vote is cast when the reply leaves; a leader's own vote counts once it is on its disk.
//! Must never: forget a vote when the node that gave it crashes.

use super::{Check, Seen, View, facts::Facts, is_quorum};
use kvorum_core::raft::{Message, NodeId, Term};
use std::collections::BTreeMap;

/// See the module.
#[derive(Default)]
pub struct OneVote {
    votes: BTreeMap<(NodeId, Term), NodeId>,
}

impl OneVote {
    fn cast(&mut self, view: &View, from: NodeId, term: Term, to: NodeId) -> Result<(), String> {
        let first = *self.votes.entry((from, term)).or_insert(to);
        if first == to {
            return Ok(());
        }
        Err(format!(
            "{} votes in term {term} for {} and for {}",
            view.name(from),
            view.name(first),
            view.name(to)
        ))
    }
}

impl Check for OneVote {
    fn rule(&self) -> &'static str {
        "one vote per term"
    }

    fn see(&mut self, view: &View, _facts: &Facts, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Restored { glance, .. } => {
                let cast = self.votes.get(&(view.node.id, glance.term()));
                if cast.is_some() && glance.vote.voted_for != cast.copied() {
                    let name = &view.node.name;
                    return Err(format!("{name} has forgotten its vote in term {}", glance.term()));
                }
                Ok(())
            }
            Seen::Leaves { envelope } => match envelope.message {
                Message::VoteReply { granted: true } => {
                    self.cast(view, envelope.from, envelope.term, envelope.to)
                }
                _ => Ok(()),
            },
            Seen::Stepped { before, after }
                if after.leads() && (!before.leads() || before.term() != after.term()) =>
            {
                let (id, term) = (view.node.id, after.term());
                let own = view.node.disk.durable.vote;
                if own.term == term && own.voted_for == Some(id) {
                    self.cast(view, id, term, id)?;
                }
                let (_, membership) = view.node.disk.shadow.membership();
                if is_quorum(membership, |voter| self.votes.get(&(voter, term)) == Some(&id)) {
                    return Ok(());
                }
                Err(format!(
                    "{} leads term {term} without a durable quorum of votes",
                    view.node.name
                ))
            }
            _ => Ok(()),
        }
    }
}
