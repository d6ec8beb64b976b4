//! Liveness: after the faults, the part that can work does, and soon.
//!
//! Rule: within the plan's patience there is a leader that commits something new; when everything is
//! whole, every member has applied it, agrees on leader and state, serves a linearizable read, and
//! every learner that lives has become a voter. Must never: wait for a part that stays broken.

use crate::check::Violation;
use crate::lab::{Happening, Lab, broken};
use crate::plan::Heal;
use kvorum_core::raft::{Index, NodeId};

impl Lab {
    /// Looks whether the cluster has recovered, and again a little later.
    pub fn judge(&mut self) -> Result<(), Violation> {
        self.proposals_kept().map_err(|what| broken("proposals", what))?;
        let Some(missing) = self.missing() else {
            self.recovered = true;
            self.cover("recovered");
            return Ok(());
        };
        let since = self.now - self.healed_at.unwrap_or_default();
        if since > self.plan.patience {
            let timeouts = since / self.plan.election();
            let what =
                format!("{timeouts} election timeouts after {:?}: {missing}", self.plan.heal);
            return Err(broken("liveness", what));
        }
        self.after(self.plan.election() / 2, Happening::Judge);
        Ok(())
    }

    /// What is still missing.
    fn missing(&self) -> Option<String> {
        let Some(mark) = self.late_success() else {
            return Some(format!("nothing new is committed; {}", self.roles()));
        };
        if self.plan.heal != Heal::Full {
            return None;
        }
        self.converged(mark).err()
    }

    fn roles(&self) -> String {
        let roles: Vec<String> = self
            .nodes
            .iter()
            .map(|n| {
                let g = &n.glance;
                format!("{} {:?} t{} last={} commit={}", n.name, g.role, g.term(), g.last, g.commit)
            })
            .collect();
        roles.join("; ")
    }

    fn converged(&self, mark: Index) -> Result<(), String> {
        let membership = &self.checks.facts.membership;
        let leader =
            self.nodes.iter().find(|node| node.leads() && node.glance.term() == self.term());
        let leader = leader.ok_or_else(|| format!("nobody leads; {}", self.roles()))?;
        if membership.is_joint() {
            return Err("the configuration is still joint".to_owned());
        }
        let alive = |id: &NodeId| self.nodes.iter().find(|node| node.id == *id);
        if self.plan.config.promote_learners
            && let Some(learner) =
                membership.learners.difference(&membership.demoted).find_map(alive)
        {
            return Err(format!("{} still learns; {}", learner.name, self.roles()));
        }
        for node in membership.contexts.keys().filter_map(alive) {
            if node.machine.state.meta.last.index < mark {
                return Err(format!(
                    "{} has applied {}, not {mark}; {}",
                    node.name,
                    node.machine.state.meta.last,
                    self.roles()
                ));
            }
            if node.glance.leader != Some(leader.id) || node.glance.term() != leader.glance.term() {
                return Err(format!(
                    "{} does not follow {}; {}",
                    node.name,
                    leader.name,
                    self.roles()
                ));
            }
            if !self.late_reads.contains(&node.id) {
                return Err(format!("{} has served no read; {}", node.name, self.roles()));
            }
        }
        Ok(())
    }
}
