//! How the node stands inside, put together when somebody asks.
//!
//! Rule: a look at what is there; nothing is kept for it. Must never: change anything.

use crate::{
    handle::MemberView,
    report::{PeerReport, QueueReport, Report},
    transport::Transport,
    world::World,
};
use kvorum_core::raft::{Instant, NodeId, PeerStatus, Raft};
use std::collections::BTreeMap;

/// Where a report comes from.
pub struct Sources<'d, W: World> {
    /// The time.
    pub now: Instant,
    /// The core.
    pub raft: &'d Raft,
    /// Everybody.
    pub members: &'d [MemberView],
    /// When each was last heard.
    pub heard: &'d BTreeMap<NodeId, Instant>,
    /// The way to the peers.
    pub transport: &'d Transport<W>,
    /// The driver's own queues.
    pub queues: Vec<QueueReport>,
}

/// Who was heard within this time is there, while nobody leads.
pub fn recent(raft: &Raft) -> std::time::Duration {
    raft.config().election_timeout * 3
}

/// Puts it together.
pub fn make<W: World>(sources: &Sources<'_, W>) -> Report {
    let status = sources.raft.status();
    let progress: BTreeMap<NodeId, PeerStatus> =
        sources.raft.peers().map(|peer| (peer.id, peer)).collect();
    let others = sources.members.iter().filter(|one| one.member.id != status.id);
    let peers = others
        .map(|one| {
            let id = one.member.id;
            let heard = sources.heard.get(&id).copied().unwrap_or(Instant(0));
            PeerReport {
                member: one.member.clone(),
                voter: one.voter,
                silent: sources.now.since(heard),
                progress: progress.get(&id).copied(),
                link: sources.transport.link(id),
            }
        })
        .collect();
    let mut queues = sources.queues.clone();
    let (depth, limit) = sources.transport.events_waiting();
    queues.push(QueueReport { name: "peer_events", depth, limit });
    Report {
        term: status.vote.term,
        role: status.role,
        leader: status.leader,
        base: status.base.index,
        last: status.last.index,
        written: status.written,
        commit: status.commit,
        applied: status.applied,
        divergences: status.unproven_divergences,
        ignored: status.ignored.iter().map(|(&reason, &count)| (reason, count)).collect(),
        refused: status.refused.iter().map(|(&reason, &count)| (reason, count)).collect(),
        peers,
        queues,
        transport: sources.transport.stats(),
        recent: recent(sources.raft),
    }
}
