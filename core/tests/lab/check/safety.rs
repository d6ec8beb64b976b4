//! State-machine safety (Figure 3): every machine applies the committed log, all of it, once.
//!
//! Rule: entry by entry against the one committed log, and state by state through the hash chain;
//! nothing is handed out before it is committed and on the own disk, nothing while a snapshot is
//! being installed. Must never: trust an index without the chain.

use super::{Check, Polled, Seen, View, facts::Facts};
use crate::machine::payload_digest;
use kvorum_core::raft::{Index, NodeId, SnapshotRequest};
use std::collections::BTreeMap;

/// See the module.
#[derive(Default)]
pub struct StateMachineSafety {
    /// The chain after each index.
    chains: BTreeMap<Index, u64>,
    /// The last index handed out, per node.
    handed: BTreeMap<NodeId, Index>,
    /// Installs asked for and not answered.
    installing: BTreeMap<NodeId, Index>,
}

impl StateMachineSafety {
    fn handed_out(&mut self, view: &View, facts: &Facts, polled: &Polled) -> Result<(), String> {
        let (id, name) = (view.node.id, &view.node.name);
        let handed = self.handed.entry(id).or_default();
        for entry in polled.committed {
            let index = entry.id.index;
            if index != handed.next() {
                return Err(format!("{name} is to apply {} after {handed}", entry.id));
            }
            if index > polled.glance.commit || index > view.node.disk.durable.last().index {
                return Err(format!(
                    "{name} is to apply {} with commit={} and {} on its disk",
                    entry.id,
                    polled.glance.commit,
                    view.node.disk.durable.last()
                ));
            }
            if facts.at(index).map(|c| (c.id, c.digest))
                != Some((entry.id, payload_digest(&entry.payload)))
            {
                return Err(format!(
                    "{name} is to apply {}, which is not what is committed",
                    entry.id
                ));
            }
            if let Some(target) = self.installing.get(&id) {
                return Err(format!("{name} is to apply {} while it installs {target}", entry.id));
            }
            *handed = index;
        }
        for request in polled.snapshots {
            if let SnapshotRequest::Install { meta, .. } = request {
                if meta.last.index <= polled.glance.commit {
                    return Err(format!(
                        "{name} installs {}, having committed {}",
                        meta.last, polled.glance.commit
                    ));
                }
                if facts.at(meta.last.index).map(|c| c.id) != Some(meta.last) {
                    return Err(format!("{name} installs {}, which is not committed", meta.last));
                }
                self.installing.insert(id, meta.last.index);
            }
        }
        Ok(())
    }

    fn chain(&mut self, view: &View) -> Result<(), String> {
        let state = &view.node.machine.state;
        let known = *self.chains.entry(state.meta.last.index).or_insert(state.chain);
        if known == state.chain {
            return Ok(());
        }
        Err(format!(
            "{}'s state at {} is {:x}, elsewhere {known:x}",
            view.node.name, state.meta.last, state.chain
        ))
    }
}

impl Check for StateMachineSafety {
    fn rule(&self) -> &'static str {
        "state-machine safety"
    }

    fn see(&mut self, view: &View, facts: &Facts, seen: &Seen) -> Result<(), String> {
        let id = view.node.id;
        match seen {
            Seen::Restored { restored, .. } => {
                self.installing.remove(&id);
                self.handed.insert(id, restored.applied.max(restored.base.last.index));
                self.chain(view)
            }
            Seen::Polled(polled) => self.handed_out(view, facts, polled),
            Seen::Applied => self.chain(view),
            Seen::InstallFailed => {
                self.installing.remove(&id);
                Ok(())
            }
            Seen::Installed { meta } => {
                self.installing.remove(&id);
                let handed = self.handed.entry(id).or_default();
                if meta.last.index < *handed {
                    return Err(format!(
                        "{} installs {} after applying {handed}",
                        view.node.name, meta.last
                    ));
                }
                *handed = meta.last.index;
                self.chain(view)
            }
            _ => Ok(()),
        }
    }
}
