//! Committed means durable on a quorum of the configuration in force, and stays where it is.
//!
//! Rule: reads the model disks, not the nodes' memory: when a leader's commit index moves, and again
//! whenever a log is cut or read back after a crash. Must never: count a write under way.

use super::{Check, Seen, View, facts::Facts, is_quorum};
use crate::disk::Image;
use kvorum_core::raft::{EntryId, Index, Membership, NodeId};
use std::collections::BTreeMap;

/// See the module.
#[derive(Default)]
pub struct CommittedIsDurable {
    /// What each node held of the committed log: as submitted, and as durable.
    held: BTreeMap<NodeId, (Index, Index)>,
    /// Base and end of each disk's log.
    ends: BTreeMap<NodeId, (EntryId, EntryId)>,
    /// The configuration as of the poll before.
    leaders: BTreeMap<NodeId, Membership>,
}

fn holds(log: &Image, facts: &Facts, index: Index) -> bool {
    facts.at(index).is_none_or(|committed| log.covers(committed.id))
}

fn ends(log: &Image) -> (EntryId, EntryId) {
    (log.base.last, log.last())
}

fn advance(log: &Image, facts: &Facts, mut held: Index) -> Index {
    while held < facts.last() && holds(log, facts, held.next()) {
        held = held.next();
    }
    held
}

impl CommittedIsDurable {
    fn quorum(&mut self, view: &View, facts: &Facts, now: &Membership) -> Result<(), String> {
        let old = self.leaders.insert(view.node.id, now.clone()).unwrap_or_else(|| now.clone());
        let Some(committed) = facts.committed.last().filter(|_| facts.fresh) else { return Ok(()) };
        let durable = |id: NodeId| {
            view.graves.get(&id).is_some_and(|grave| grave.covers(committed.id))
                || view.nodes.iter().any(|node| {
                    node.id == id
                        && node
                            .disk
                            .durable
                            .recovered(&node.machine.durable.meta)
                            .covers(committed.id)
                })
        };
        if is_quorum(now, durable) || is_quorum(&old, durable) {
            return Ok(());
        }
        let on: Vec<String> =
            now.members().filter(|id| durable(*id)).map(|id| view.name(id)).collect();
        Err(format!(
            "{} commits {}, durable only on {on:?}; members {}, before {}",
            view.node.name,
            committed.id,
            view.members(now),
            view.members(&old)
        ))
    }
}

impl Check for CommittedIsDurable {
    fn rule(&self) -> &'static str {
        "committed is durable"
    }

    fn see(&mut self, view: &View, facts: &Facts, seen: &Seen) -> Result<(), String> {
        let (node, name) = (view.node, &view.node.name);
        let held = self.held.entry(node.id).or_default();
        match seen {
            Seen::Polled(polled) => {
                if !holds(&node.disk.shadow, facts, held.0) {
                    return Err(format!("{name} has dropped {}, which is committed", held.0));
                }
                held.0 = advance(&node.disk.shadow, facts, held.0);
                if polled.glance.leads() || facts.fresh {
                    self.quorum(view, facts, polled.membership)?;
                }
            }
            // A write that nobody was told of may have reached the disk all the same.
            Seen::Down => {
                self.ends.insert(node.id, ends(&node.disk.durable));
            }
            Seen::Durable => {
                self.ends.insert(node.id, ends(&node.disk.durable));
                if !holds(&node.disk.durable, facts, held.1) {
                    return Err(format!(
                        "the disk of {name} has dropped {}, which is committed",
                        held.1
                    ));
                }
                held.1 = advance(&node.disk.durable, facts, held.1);
            }
            Seen::Restored { .. } => {
                // Unless a snapshot that was installed just before has replaced the log.
                if let Some((base, end)) = self.ends.get(&node.id)
                    && *base == node.disk.shadow.base.last
                    && !node.disk.shadow.covers(*end)
                {
                    return Err(format!("{name} came back without {end}, which was durable"));
                }
                if !holds(&node.disk.shadow, facts, held.1) {
                    return Err(format!("{name} came back without {}, which was durable", held.1));
                }
                held.0 = advance(&node.disk.shadow, facts, held.1);
                held.1 = held.0;
            }
            _ => {}
        }
        Ok(())
    }
}
