//! Leader completeness (Figure 3): who leads has everything committed in earlier terms.
//!
//! Rule: what counts is the term of the leader that *committed* an entry. A stale candidate may win
//! an older term after a newer leader has committed, and need not have that entry.

use super::{Check, Seen, View, facts::Facts};

/// See the module.
pub struct LeaderCompleteness;

impl Check for LeaderCompleteness {
    fn rule(&self) -> &'static str {
        "leader completeness"
    }

    fn see(&mut self, view: &View, facts: &Facts, seen: &Seen) -> Result<(), String> {
        let Seen::Stepped { before, after } = seen else { return Ok(()) };
        if !after.leads() || before.leads() && before.term() == after.term() {
            return Ok(());
        }
        let log = &view.node.disk.shadow;
        for committed in &facts.committed {
            if committed.by < after.term() && !log.covers(committed.id) {
                return Err(format!(
                    "{} leads term {} without {}, committed in term {}",
                    view.node.name,
                    after.term(),
                    committed.id,
                    committed.by
                ));
            }
        }
        Ok(())
    }
}
