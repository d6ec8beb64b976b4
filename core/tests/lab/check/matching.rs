//! Log matching (Figure 3), leaders append only, and only leaders create entries.
//!
//! Rule: an entry of a given index and term always says the same and always follows the same entry,
//! on every node and for ever; by induction, logs that share an entry share everything before it.
//! Must never: compare whole logs (that is what the induction is for).

use super::{Check, Seen, View, facts::Facts};
use crate::machine::payload_digest;
use kvorum_core::raft::EntryId;
use std::collections::BTreeMap;

/// See the module.
#[derive(Default)]
pub struct LogMatching {
    entries: BTreeMap<EntryId, (EntryId, u64)>,
}

impl Check for LogMatching {
    fn rule(&self) -> &'static str {
        "log matching"
    }

    fn see(&mut self, view: &View, facts: &Facts, seen: &Seen) -> Result<(), String> {
        let Seen::Polled(polled) = seen else { return Ok(()) };
        let Some(write) = polled.write else { return Ok(()) };
        let name = &view.node.name;
        if polled.led_throughout
            && let Some(from) = write.truncate_from
        {
            return Err(format!("{name} leads and truncates its log from {from}"));
        }
        for entry in &write.append {
            let before = entry.id.index.prev().ok_or("an entry at index 0")?;
            let Some(before) = view.node.disk.shadow.id_at(before) else { continue };
            let says = (before, payload_digest(&entry.payload));
            match self.entries.get(&entry.id) {
                Some(known) if *known != says => {
                    return Err(format!(
                        "{name} has {} after {}, elsewhere it follows {} (digests {:x} and {:x})",
                        entry.id, says.0, known.0, says.1, known.1
                    ));
                }
                Some(_) => {}
                None if facts.leaders.get(&entry.id.term) != Some(&view.node.id) => {
                    return Err(format!(
                        "{name} has {}, which its term's leader never created",
                        entry.id
                    ));
                }
                None => {
                    self.entries.insert(entry.id, says);
                }
            }
        }
        Ok(())
    }
}
