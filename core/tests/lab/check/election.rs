//! Election safety: at most one leader per term (Figure 3).
//!
//! Rule: judged at every step at which a node says it leads. Must never: rely on the nodes' own
//! evidence.

use super::{Check, Seen, View, facts::Facts};

/// See the module.
pub struct ElectionSafety;

impl Check for ElectionSafety {
    fn rule(&self) -> &'static str {
        "election safety"
    }

    fn see(&mut self, view: &View, facts: &Facts, seen: &Seen) -> Result<(), String> {
        let Seen::Stepped { after, .. } = seen else { return Ok(()) };
        if !after.leads() {
            return Ok(());
        }
        match facts.leaders.get(&after.term()) {
            Some(leader) if *leader != view.node.id => Err(format!(
                "{} and {} both lead term {}",
                view.name(*leader),
                view.node.name,
                after.term()
            )),
            _ => Ok(()),
        }
    }
}
