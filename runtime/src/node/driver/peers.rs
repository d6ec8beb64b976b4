//! What the driver hears of its peers, and whether enough of them are heard.
//!
//! Rule: one voice may be wrong or late; this node ends only on the word of a majority. Must never:
//! answer for the core.

use super::Driver;
use crate::{
    handle::Member,
    node::{
        fatal::{Fatal, FatalKind},
        quorum_watch::Edge,
        report,
    },
    report::quorum_lost,
    transport::PeerEvent,
    world::World,
};
use kvorum_core::raft::Event;

impl<W: World> Driver<W> {
    pub(super) fn peer(&mut self, event: PeerEvent) -> Result<(), Fatal> {
        let now = self.world.now();
        match event {
            PeerEvent::Received(envelope) => {
                if let Some(heard) = self.heard.get_mut(&envelope.from) {
                    *heard = now;
                }
                self.raft.handle(now, Event::Received(envelope));
            }
            PeerEvent::Unreachable(id) => self.raft.handle(now, Event::Unreachable(id)),
            PeerEvent::Connected(id) => tracing::debug!(peer = id.0, "connected"),
            // Called by its own cluster before it knew that it is one of its members.
            PeerEvent::Called { cluster, .. } if cluster == self.admission.cluster() => {}
            PeerEvent::Called { cluster, caller, .. } => tracing::error!(
                other_cluster = format_args!("{cluster:016x}"),
                caller = caller.name,
                "a node of another cluster calls this one; two clusters share an address or a \
                 NODE_ID: stop the one that is not wanted, empty its data and join it again"
            ),
            PeerEvent::NotMember { by } => return self.not_member(&by),
        }
        Ok(())
    }

    /// A peer says that this incarnation is not a member. One voice may only lag behind; a
    /// majority of the voters known here, with no leader that cares for this node, is the truth.
    fn not_member(&mut self, by: &Member) -> Result<(), Fatal> {
        let status = self.raft.status();
        if status.leader.is_some() || !status.membership.contains(status.id) {
            self.disowned_by.clear();
            return Ok(());
        }
        let voters = &status.membership.voters;
        if voters.contains(&by.id) {
            self.disowned_by.insert(by.id);
        }
        let others = voters.iter().filter(|id| **id != status.id).count();
        if self.disowned_by.len() <= others / 2 {
            return Ok(());
        }
        Err(Fatal::new(
            FatalKind::Refused,
            format!(
                "{} and others say that this node is no longer a member: it was removed, or a \
                 newer node took its NODE_ID; to join again, start it with an empty data \
                 directory and RAFT_JOIN_ADDR set",
                by.name
            ),
        ))
    }

    /// Says when the quorum is lost, and when it is back.
    pub(super) fn watch_quorum(&mut self) {
        let (now, status) = (self.world.now(), self.raft.status());
        let recent = report::recent(&self.raft);
        match self.quorum.look(now, &status, &self.heard, recent) {
            None => {}
            Some(Edge::Back) => tracing::info!(term = status.vote.term.0, "quorum is back"),
            Some(Edge::Lost { need, heard, silent }) => {
                let name = |id| self.publisher.name_of(id);
                let heard: Vec<String> = heard.into_iter().map(name).collect();
                let silent: Vec<_> =
                    silent.into_iter().map(|(id, time)| (name(id), time)).collect();
                tracing::warn!("{}", quorum_lost(need, &heard, &silent));
            }
        }
    }
}
