//! Membership is a function of the log, and changes one safe step at a time (§4).
//!
//! Rule: the configuration in force is the latest in the log; a leader appends one only when the one
//! before is committed and after committing an entry of its own term (Ongaro 2015); quorums of
//! consecutive configurations meet. Must never: accept a configuration without voters.

use super::{Check, Polled, Seen, View, facts::Facts};
use kvorum_core::raft::{Entry, Index, Membership, Payload};

/// The configuration in force is the latest in the log.
pub struct MembershipRules;

impl Check for MembershipRules {
    fn rule(&self) -> &'static str {
        "membership"
    }

    fn see(&mut self, view: &View, _facts: &Facts, seen: &Seen) -> Result<(), String> {
        let Seen::Polled(polled) = seen else { return Ok(()) };
        let log = &view.node.disk.shadow;
        let (index, membership) = log.membership();
        if polled.glance.membership_index != index || polled.membership != membership {
            return Err(format!(
                "{} goes by the configuration of {}, its log says {index}: {}",
                view.node.name,
                polled.glance.membership_index,
                view.members(membership)
            ));
        }
        Ok(())
    }
}

/// One configuration after another: what a leader appends.
pub struct JointSteps;

impl Check for JointSteps {
    fn rule(&self) -> &'static str {
        "joint consensus"
    }

    fn see(&mut self, view: &View, facts: &Facts, seen: &Seen) -> Result<(), String> {
        let Seen::Polled(polled) = seen else { return Ok(()) };
        let Some(write) = polled.write else { return Ok(()) };
        for entry in &write.append {
            if let Payload::Membership(next) = &entry.payload {
                appended(view, facts, polled, entry, next)?;
            }
        }
        Ok(())
    }
}

fn appended(
    view: &View,
    facts: &Facts,
    polled: &Polled,
    entry: &Entry,
    next: &Membership,
) -> Result<(), String> {
    let (log, name) = (&view.node.disk.shadow, &view.node.name);
    well_formed(next).map_err(|what| format!("{name} appends {}: {what}", entry.id))?;
    let before = log.memberships().take_while(|(index, _)| *index < entry.id.index).last();
    let (at, now) = before.unwrap_or((log.base.membership_index, &log.base.membership));
    if log.id_at(at).is_none() && at > log.base.last.index {
        return Err(format!("{name} has a configuration at {at}, outside its log"));
    }
    let creates = polled.glance.leads() && polled.glance.term() == entry.id.term;
    if !creates {
        return Ok(());
    }
    if at > facts.last() {
        return Err(format!("{name} appends {} while {at} is not committed", entry.id));
    }
    if entry.id.index == Index(1) && next == now {
        // The configuration the cluster was born with, written down.
        return Ok(());
    }
    let own =
        facts.committed.iter().any(|c| c.id.term == entry.id.term && c.id.index < entry.id.index);
    if !own {
        return Err(format!("{name} appends {} before it has committed in its term", entry.id));
    }
    step(now, next).map_err(|what| {
        format!(
            "{name} appends {}: {what}: {} then {}",
            entry.id,
            view.members(now),
            view.members(next)
        )
    })
}

/// Exactly one context per member, voters that exist, and nobody both votes and learns.
pub fn well_formed(membership: &Membership) -> Result<(), &'static str> {
    if membership.voters.is_empty() {
        return Err("no voters");
    }
    if membership.learners.iter().any(|id| membership.is_voter(*id)) {
        return Err("a voter that learns");
    }
    let roles = [&membership.voters, &membership.outgoing, &membership.learners];
    if roles.iter().any(|set| set.iter().any(|id| !membership.contexts.contains_key(id))) {
        return Err("a member without a context");
    }
    if membership.contexts.keys().any(|id| !membership.contains(*id)) {
        return Err("a context without a member");
    }
    Ok(())
}

/// Whether quorums of `now` and `next` always meet.
pub fn step(now: &Membership, next: &Membership) -> Result<(), &'static str> {
    match (now.is_joint(), next.is_joint()) {
        (false, false) if now.voters.symmetric_difference(&next.voters).count() > 1 => {
            Err("several voters at once without a joint configuration")
        }
        (false, true) if next.outgoing != now.voters => {
            Err("the outgoing half is not the one in force")
        }
        (true, false) if next.voters != now.voters => {
            Err("leaves for other voters than it entered for")
        }
        (true, true) => Err("joint after joint"),
        _ => Ok(()),
    }
}
