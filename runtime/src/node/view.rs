//! What the outside sees of the node.
//!
//! Rule: replaced as a whole when role, leader, term, members or phase change, and at most once per
//! `REFRESH` for mere progress. Must never: be decided upon by the driver.

use crate::{
    handle::{Member, MemberView, Phase, View},
    metrics::Metrics,
    sync::Watched,
};
use kvorum_core::raft::{Instant, NodeId, RoleName, Status};
use std::{sync::Arc, time::Duration};

/// How often mere progress (commit, applied) is shown.
const REFRESH: Duration = Duration::from_millis(50);

/// Keeps the view up to date.
#[derive(Debug)]
pub struct Publisher {
    shown: Arc<Watched<View>>,
    view: View,
    stale_since: Option<Instant>,
    /// Whether the log has said that this node is ready.
    announced: bool,
    metrics: Arc<Metrics>,
}

impl Publisher {
    /// Shows through `shown`, which holds `view` now.
    pub fn new(shown: Arc<Watched<View>>, metrics: Arc<Metrics>) -> Publisher {
        let view = (*shown.get()).clone();
        Publisher { shown, view, stale_since: None, announced: false, metrics }
    }

    /// Shows everything anew.
    pub fn changed(&mut self, status: &Status<'_>) {
        let members: Vec<MemberView> = status
            .membership
            .contexts
            .iter()
            .filter_map(|(id, context)| {
                let member = Member::decode(*id, context)?;
                Some(MemberView { member, voter: status.membership.is_voter(*id) })
            })
            .collect();
        let leader = status.leader.and_then(|id| {
            members.iter().find(|view| view.member.id == id).map(|view| view.member.clone())
        });
        self.count(status, leader.as_ref());
        self.log_edges(status, leader.as_ref(), &members);
        let view = &mut self.view;
        if view.phase == Phase::Joining && status.membership.contains(status.id) {
            view.phase = Phase::Serving;
        }
        view.role = status.role;
        view.term = status.vote.term;
        view.leader = leader;
        view.members = members;
        self.progress(status);
        self.show();
    }

    fn count(&self, status: &Status<'_>, leader: Option<&Member>) {
        let counted = &self.metrics.driver;
        let (old, term) = (&self.view, status.vote.term);
        let leads = status.role == RoleName::Leader;
        let led = old.role == RoleName::Leader && old.term == term;
        let stood = old.role == RoleName::Candidate && old.term == term;
        // An only voter wins in the same moment.
        if !stood && !led && (leads || status.role == RoleName::Candidate) {
            counted.elections.one();
        }
        if leads && !led {
            counted.elections_won.one();
        }
        if leader.is_some_and(|leader| old.leader.as_ref().is_none_or(|old| old.id != leader.id)) {
            counted.leader_changes.one();
        }
    }

    fn log_edges(&mut self, status: &Status<'_>, leader: Option<&Member>, members: &[MemberView]) {
        let old = &self.view;
        if old.leader.as_ref().map(|member| member.id) != leader.map(|member| member.id) {
            match leader {
                Some(leader) if leader.id == status.id => {
                    tracing::info!(term = status.vote.term.0, "leading");
                }
                Some(leader) => tracing::info!(
                    leader = leader.name,
                    term = status.vote.term.0,
                    "following a leader"
                ),
                None => tracing::warn!(term = status.vote.term.0, "no leader"),
            }
        }
        if old.role != status.role {
            tracing::debug!(role = ?status.role, term = status.vote.term.0, "role changed");
        }
        if old.members != members {
            let names = |voter: bool| {
                let mut names = String::new();
                for view in members.iter().filter(|view| view.voter == voter) {
                    if !names.is_empty() {
                        names.push(' ');
                    }
                    names.push_str(&view.member.name);
                }
                names
            };
            let voters = members.iter().filter(|view| view.voter).count();
            tracing::info!(
                voters = names(true),
                learners = names(false),
                "members changed; {} of {voters} voters may fail",
                voters.saturating_sub(1) / 2
            );
        }
        if !self.announced && leader.is_some() && status.membership.is_voter(status.id) {
            self.announced = true;
            tracing::info!(
                term = status.vote.term.0,
                "ready: http://{}",
                self.view.me.http_address
            );
        }
    }

    fn progress(&mut self, status: &Status<'_>) {
        self.view.commit = status.commit;
        self.view.applied = status.applied;
    }

    fn show(&mut self) {
        self.stale_since = None;
        self.shown.set(self.view.clone());
    }

    /// Notes progress; shows it when the last showing is old enough.
    pub fn tick(&mut self, now: Instant, status: &Status<'_>) {
        if (self.view.commit, self.view.applied) == (status.commit, status.applied) {
            return;
        }
        match self.stale_since {
            None => self.stale_since = Some(now),
            Some(since) if now >= since.after(REFRESH) => {
                self.progress(status);
                self.show();
            }
            Some(_) => {}
        }
    }

    /// When `tick` wants to be called again.
    pub fn due(&self) -> Instant {
        self.stale_since.map_or(Instant(u64::MAX), |since| since.after(REFRESH))
    }

    /// The node is on its way out.
    pub fn stopping(&mut self) {
        self.view.phase = Phase::Stopping;
        self.shown.set(self.view.clone());
    }

    /// Everybody.
    pub fn members(&self) -> &[MemberView] {
        &self.view.members
    }

    /// The member with this `NODE_ID`.
    pub fn member_named(&self, name: &str) -> Option<&Member> {
        self.view.members.iter().map(|view| &view.member).find(|member| member.name == name)
    }

    /// The `NODE_ID` of a member, or its number.
    pub fn name_of(&self, id: NodeId) -> String {
        self.view
            .members
            .iter()
            .find(|view| view.member.id == id)
            .map_or_else(|| id.to_string(), |view| view.member.name.clone())
    }
}
