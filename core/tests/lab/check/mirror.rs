//! What a node says about its log is what it has written, and no more.
//!
//! Rule: after a poll, `last`, `base` and `vote` of the status are those of all submitted writes,
//! and `written` is not beyond the disk. Must never: be lenient; every other checker builds on it.

use super::{Check, Seen, View, facts::Facts};

/// See the module.
pub struct Mirror;

impl Check for Mirror {
    fn rule(&self) -> &'static str {
        "status mirrors the writes"
    }

    fn see(&mut self, view: &View, _facts: &Facts, seen: &Seen) -> Result<(), String> {
        let glance = match seen {
            Seen::Polled(polled) => &polled.glance,
            Seen::Restored { glance, .. } => glance,
            _ => return Ok(()),
        };
        let (log, durable) = (&view.node.disk.shadow, &view.node.disk.durable);
        let name = &view.node.name;
        if glance.last != log.last() {
            return Err(format!("{name} says last={}, its writes say {}", glance.last, log.last()));
        }
        if glance.base != log.base.last {
            return Err(format!(
                "{name} says base={}, its writes say {}",
                glance.base, log.base.last
            ));
        }
        // A start may have a snapshot of a term that the disk has not seen otherwise.
        let raised = matches!(seen, Seen::Restored { .. }) && log.vote.term < log.base.last.term;
        if glance.vote != log.vote && !raised {
            return Err(format!("{name} says {:?}, its writes say {:?}", glance.vote, log.vote));
        }
        if glance.written > durable.last().index {
            return Err(format!(
                "{name} says written={}, its disk {}",
                glance.written,
                durable.last()
            ));
        }
        Ok(())
    }
}
