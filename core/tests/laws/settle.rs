//! Quiescence: everything is whole again and runs until nothing is left to do.
//!
//! Rule: all nodes up, all links whole, disks and state machines at once, time from deadline to
//! deadline. Must never: take longer than a fixed number of rounds.

use crate::cluster::{Cluster, Verdict, broken};
use crate::schedule::Step;

/// Rounds after which it will never end.
const ROUNDS: usize = 400;

impl Cluster<'_> {
    /// Runs until every member holds what the leader holds, has applied it, and agrees.
    ///
    /// # Errors
    /// Any rule broken on the way, or `liveness`.
    pub fn settle(&mut self) -> Verdict {
        self.note(|_| "         everything is whole again".to_owned());
        self.rewire(&Step::Heal);
        for slot in 0..self.nodes.len() {
            self.bring_up(slot)?;
        }
        for _ in 0..ROUNDS {
            if self.converged() {
                return Ok(());
            }
            let wait = if self.quiet() { self.next_deadline() } else { 0 };
            self.flow(wait)?;
        }
        self.standing();
        Err(broken("liveness", format!("not whole after {ROUNDS} rounds")))
    }

    /// Whether nothing happens before a deadline passes.
    fn quiet(&self) -> bool {
        self.flight.is_empty()
            && self.nodes.iter().all(|node| {
                node.disk.queue.is_empty()
                    && node.machine.queue.is_empty()
                    && node.log_reads.is_empty()
            })
    }

    fn next_deadline(&self) -> u64 {
        let now = self.now;
        let waits = self.nodes.iter().filter_map(|node| {
            let raft = node.raft.as_ref()?;
            Some(raft.deadline().0.saturating_sub(node.local(now).0))
        });
        waits.min().unwrap_or(0)
    }

    fn converged(&self) -> bool {
        let leader = self.nodes.iter().find(|node| {
            node.raft.as_ref().is_some_and(|raft| {
                let status = raft.status();
                node.glance.leads()
                    && status.own_term_committed
                    && status.commit == status.last.index
            })
        });
        let Some(leader) = leader else { return false };
        let members = leader.raft.as_ref().expect("it leads").status().membership;
        !members.is_joint()
            && self.nodes.iter().filter(|node| members.contains(node.id)).all(|node| {
                node.glance.commit == leader.glance.commit
                    && node.glance.leader == Some(leader.id)
                    && node.machine.state.meta.last == leader.machine.state.meta.last
                    && node.machine.state.chain == leader.machine.state.chain
                    && node.machine.state.meta.last.index == leader.glance.commit
            })
    }
}
