//! Says once that the quorum is lost, who is missing, and that it is back.
//!
//! Rule: a voter is missing when nothing was heard of it for three election time-outs while nobody
//! leads; one line when that leaves fewer than a majority, another only when others are missing, one
//! when it is over. Must never: cry while an ordinary election is under way.

use kvorum_core::raft::{Instant, NodeId, Status};
use std::{collections::BTreeMap, time::Duration};

/// What was last said.
#[derive(Debug, Default)]
pub struct QuorumWatch {
    told: Option<Vec<NodeId>>,
}

/// What there is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edge {
    /// Fewer voters than a majority are heard.
    Lost {
        /// How many are needed.
        need: usize,
        /// Who is heard, this node among them if it votes.
        heard: Vec<NodeId>,
        /// Who is not, and for how long.
        silent: Vec<(NodeId, Duration)>,
    },
    /// There is a leader again, or enough are heard for one.
    Back,
}

impl QuorumWatch {
    /// Looks at how things stand. `heard` holds when each member was last heard; `recent` is how long
    /// ago counts.
    pub fn look(
        &mut self,
        now: Instant,
        status: &Status<'_>,
        heard: &BTreeMap<NodeId, Instant>,
        recent: Duration,
    ) -> Option<Edge> {
        if status.leader.is_some() {
            return self.told.take().map(|_| Edge::Back);
        }
        let voters = &status.membership.voters;
        let silence = |id: &NodeId| match heard.get(id) {
            _ if *id == status.id => Duration::ZERO,
            Some(heard) => now.since(*heard),
            None => now.since(Instant(0)),
        };
        let need = voters.len() / 2 + 1;
        let (there, gone): (Vec<NodeId>, Vec<NodeId>) =
            voters.iter().partition(|id| silence(id) < recent);
        if voters.is_empty() || there.len() >= need {
            return self.told.take().map(|_| Edge::Back);
        }
        if self.told.as_ref() == Some(&gone) {
            return None;
        }
        self.told = Some(gone.clone());
        let silent = gone.into_iter().map(|id| (id, silence(&id))).collect();
        Some(Edge::Lost { need, heard: there, silent })
    }
}
