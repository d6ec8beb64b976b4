//! Linearizable reads: an answer covers everything committed before the question (§6.4).
//!
//! Rule: the index of a confirmed read is at least every commit any node knew of when the read was
//! asked, stale leaders included, and is itself committed; each read is answered exactly once.
//! Must never: use time; the order of steps is enough.

use super::{Check, Seen, View, facts::Facts};
use kvorum_core::raft::{Index, NodeId, ReadId};
use std::collections::BTreeMap;

/// See the module.
#[derive(Default)]
pub struct LinearizableReads {
    asked: BTreeMap<(NodeId, ReadId), Index>,
}

impl Check for LinearizableReads {
    fn rule(&self) -> &'static str {
        "linearizable reads"
    }

    fn see(&mut self, view: &View, facts: &Facts, seen: &Seen) -> Result<(), String> {
        let (id, name) = (view.node.id, &view.node.name);
        match seen {
            Seen::ReadAsked { id: read, .. } => {
                self.asked.insert((id, *read), facts.last());
            }
            Seen::ReadAnswered { ready } => {
                let Some(floor) = self.asked.remove(&(id, ready.id)) else {
                    return Err(format!(
                        "{name} answers read {} that nobody waits for",
                        ready.id.0
                    ));
                };
                if let Ok(index) = ready.result
                    && (index < floor || index > facts.last())
                {
                    return Err(format!(
                        "{name} confirms read {} at {index}; committed when asked {floor}, now {}",
                        ready.id.0,
                        facts.last()
                    ));
                }
            }
            Seen::Down => self.asked.retain(|(node, _), _| *node != id),
            _ => {}
        }
        Ok(())
    }
}
