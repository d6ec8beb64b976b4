//! Nothing comes of nothing: a second poll is empty, and time does not spin.
//!
//! Rule: `poll` right after `poll` says nothing; after a deadline was handled, the next one lies
//! ahead. Must never: let a busy loop pass for activity.

use super::{Check, Seen, View, facts::Facts};

/// See the module.
pub struct Quiet;

impl Check for Quiet {
    fn rule(&self) -> &'static str {
        "quiet"
    }

    fn see(&mut self, view: &View, _facts: &Facts, seen: &Seen) -> Result<(), String> {
        let Seen::Polled(polled) = seen else { return Ok(()) };
        if !polled.again.is_empty() {
            return Err(format!("{}: a second poll says {:?}", view.node.name, polled.again));
        }
        if polled.was_due && polled.deadline <= polled.now {
            return Err(format!(
                "{} handled its deadline at {} and is due again at {}",
                view.node.name, polled.now, polled.deadline
            ));
        }
        Ok(())
    }
}
