//! How a node stands inside, as its driver sees it: for operators, metrics and `/cluster`.
//!
//! Rule: made when asked for, so that it costs nothing otherwise. Must never: be decided upon by the
//! driver.

use crate::{
    handle::{Member, View},
    transport::{LinkStats, Stats},
};
use kvorum_core::raft::{Ignored, Index, NodeId, PeerStatus, Refusal, RoleName, Term};
use std::time::Duration;

/// A node from the inside.
#[derive(Debug, Clone)]
pub struct Report {
    /// The term.
    pub term: Term,
    /// The role.
    pub role: RoleName,
    /// The leader, if known.
    pub leader: Option<NodeId>,
    /// The log begins after this.
    pub base: Index,
    /// Its last entry.
    pub last: Index,
    /// The last entry on this node's disk.
    pub written: Index,
    /// The last entry known to be committed.
    pub commit: Index,
    /// The last entry applied.
    pub applied: Index,
    /// How often the voters' states were seen to differ without a majority for any.
    pub divergences: u64,
    /// Messages ignored, by reason.
    pub ignored: Vec<(Ignored, u64)>,
    /// Requests refused by the core, by reason.
    pub refused: Vec<(Refusal, u64)>,
    /// Every other member.
    pub peers: Vec<PeerReport>,
    /// The bounded queues of the driver.
    pub queues: Vec<QueueReport>,
    /// What the transport has counted.
    pub transport: Stats,
    /// A peer heard within this time counts as there while nobody leads.
    pub recent: Duration,
}

/// Another member.
#[derive(Debug, Clone)]
pub struct PeerReport {
    /// Who.
    pub member: Member,
    /// Whether its vote counts.
    pub voter: bool,
    /// For how long this node has heard nothing of it.
    pub silent: Duration,
    /// As the leader: how it is being replicated to.
    pub progress: Option<PeerStatus>,
    /// The connection to it.
    pub link: LinkStats,
}

/// A bounded queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueReport {
    /// Its name.
    pub name: &'static str,
    /// How much is in it.
    pub depth: usize,
    /// Its bound.
    pub limit: usize,
}

impl Report {
    /// Voters that answered the leader within an election time-out, the leader among them.
    #[must_use]
    pub fn voters_active(&self, self_votes: bool) -> usize {
        let active = |peer: &&PeerReport| {
            peer.voter && peer.progress.is_some_and(|progress| progress.active)
        };
        usize::from(self_votes) + self.peers.iter().filter(active).count()
    }

    /// That the quorum is lost, in a sentence, while nobody leads and too few voters are heard.
    #[must_use]
    pub fn quorum_lost(&self, view: &View) -> Option<String> {
        let self_votes = view.members.iter().any(|one| one.voter && one.member.id == view.me.id);
        let voters = self.peers.iter().filter(|peer| peer.voter);
        let (there, gone): (Vec<&PeerReport>, Vec<&PeerReport>) =
            voters.partition(|peer| peer.silent < self.recent);
        let need = (there.len() + gone.len() + usize::from(self_votes)) / 2 + 1;
        let mut heard: Vec<String> = there.iter().map(|peer| peer.member.name.clone()).collect();
        if self_votes {
            heard.insert(0, view.me.name.clone());
        }
        if heard.len() >= need {
            return None;
        }
        let silent: Vec<(String, Duration)> =
            gone.iter().map(|peer| (peer.member.name.clone(), peer.silent)).collect();
        Some(quorum_lost(need, &heard, &silent))
    }
}

/// The sentence for it: what is needed, who is missing, and what to do.
#[must_use]
pub fn quorum_lost(need: usize, heard: &[String], silent: &[(String, Duration)]) -> String {
    let missing: Vec<String> = silent
        .iter()
        .map(|(name, time)| format!("{name} silent for {} s", time.as_secs()))
        .collect();
    let there = match heard {
        [] => "none".to_owned(),
        heard => format!("{} ({})", heard.len(), heard.join(", ")),
    };
    format!(
        "quorum lost: need {need} voters, have {there}; {}; start the missing nodes again or mend \
         the network between them: until then writes and linearizable reads fail, and \
         ?consistency=stale still reads",
        missing.join(", ")
    )
}
