//! Every read is answered, one way or the other, soon.
//!
//! Rule: once nothing waits in front of the node, no read is older than three election timeouts of
//! its own clock. Must never: count time during which the node did not run.

use super::{Check, Seen, View, facts::Facts};

/// Election timeouts a read may take.
const PATIENCE: u64 = 3;

/// See the module.
pub struct Answers;

impl Check for Answers {
    fn rule(&self) -> &'static str {
        "every read is answered"
    }

    fn see(&mut self, view: &View, _facts: &Facts, seen: &Seen) -> Result<(), String> {
        let Seen::Polled(polled) = seen else { return Ok(()) };
        if polled.backlog > 0 || polled.deadline <= polled.now {
            return Ok(());
        }
        let limit = PATIENCE * view.plan.election();
        let open = |id| polled.reads.iter().all(|ready| ready.id != id);
        let late = view
            .node
            .reads
            .iter()
            .find(|(id, asked)| polled.now.0.saturating_sub(asked.0) > limit && open(**id));
        match late {
            Some((id, asked)) => Err(format!(
                "{} has left read {} without an answer since {asked}, it is {}",
                view.node.name, id.0, polled.now
            )),
            None => Ok(()),
        }
    }
}
