//! A leader that is heard is protected (§4.2.3): whoever has heard it within one election timeout
//! neither promises a vote to a rival nor adopts the rival's term.
//!
//! Rule: judged from what arrives and what is answered. A leader that hands over (`transfer`) and a
//! connection that is reported broken lift the protection. Must never: judge an answer that was given
//! before the leader was heard; so a pre-vote is judged only where one input was handled alone.

use super::{Check, Glance, Polled, Seen, View, facts::Facts};
use kvorum_core::raft::{Event, Instant, Message, NodeId, RoleName, Term};
use std::collections::BTreeMap;

/// What a node has last heard of its leader.
#[derive(Clone, Copy)]
struct Contact {
    leader: NodeId,
    term: Term,
    at: Instant,
}

/// See the module.
#[derive(Default)]
pub struct Stickiness {
    contacts: BTreeMap<NodeId, Contact>,
    /// A word of a leader that is being handled: it counts if the node then follows that leader.
    word: Option<Contact>,
    /// A rival whose vote request is being handled, and when.
    rival: Option<(NodeId, Instant)>,
    /// The latest moment each node knows.
    clocks: BTreeMap<NodeId, Instant>,
}

impl Stickiness {
    fn clock(&mut self, id: NodeId, now: Instant) -> Instant {
        let clock = self.clocks.entry(id).or_default();
        *clock = (*clock).max(now);
        *clock
    }

    /// Whom `id` hears at `now`, if not `rival`.
    fn heard(&self, view: &View, id: NodeId, rival: NodeId, now: Instant) -> Option<Contact> {
        let contact = self.contacts.get(&id)?;
        let fresh = now.since(contact.at) < view.plan.config.election_timeout;
        (fresh && contact.leader != rival).then_some(*contact)
    }

    fn given(&mut self, id: NodeId, event: &Event, now: Instant) {
        self.word = None;
        self.rival = None;
        match event {
            Event::Received(envelope) if envelope.to == id => match envelope.message {
                Message::Append { .. }
                | Message::Heartbeat { .. }
                | Message::InstallSnapshot { .. } => {
                    let (leader, term) = (envelope.from, envelope.term);
                    self.word = Some(Contact { leader, term, at: now });
                }
                Message::RequestVote { transfer: false, .. } => {
                    self.rival = Some((envelope.from, now));
                }
                _ => {}
            },
            Event::Unreachable(peer)
                if self.contacts.get(&id).is_some_and(|contact| contact.leader == *peer) =>
            {
                self.contacts.remove(&id);
            }
            _ => {}
        }
    }

    fn stepped(&mut self, view: &View, before: &Glance, after: &Glance) -> Result<(), String> {
        let id = view.node.id;
        if let Some((rival, now)) = self.rival.take()
            && after.term() > before.term()
            && let Some(contact) = self.heard(view, id, rival, now)
        {
            return Err(format!(
                "{} goes to term {} for {}, having heard {} at {}, it is {now}",
                view.node.name,
                after.term(),
                view.name(rival),
                view.name(contact.leader),
                contact.at
            ));
        }
        let follows = |contact: &Contact| {
            after.role == RoleName::Follower
                && after.leader == Some(contact.leader)
                && after.term() == contact.term
        };
        if let Some(word) = self.word.take().filter(follows) {
            self.contacts.insert(id, word);
        }
        if !self.contacts.get(&id).is_some_and(follows) {
            self.contacts.remove(&id);
        }
        Ok(())
    }

    fn polled(&mut self, view: &View, polled: &Polled) -> Result<(), String> {
        let (id, name) = (view.node.id, &view.node.name);
        let now = self.clock(id, polled.now);
        for envelope in polled.messages {
            let Message::PreVoteReply { granted: true } = envelope.message else { continue };
            let rival = view.name(envelope.to);
            if polled.led_throughout && polled.glance.leads() {
                return Err(format!("{name} leads and would vote for {rival}"));
            }
            if polled.handled == 1
                && let Some(contact) = self.heard(view, id, envelope.to, now)
            {
                return Err(format!(
                    "{name} would vote for {rival}, having heard {} at {}, it is {now}",
                    view.name(contact.leader),
                    contact.at
                ));
            }
        }
        Ok(())
    }
}

impl Check for Stickiness {
    fn rule(&self) -> &'static str {
        "a leader that is heard is protected"
    }

    fn see(&mut self, view: &View, _facts: &Facts, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Given { event, now } => {
                let now = self.clock(view.node.id, *now);
                self.given(view.node.id, event, now);
                Ok(())
            }
            Seen::Stepped { before, after } => self.stepped(view, before, after),
            Seen::Polled(polled) => self.polled(view, polled),
            Seen::Down => {
                self.contacts.remove(&view.node.id);
                self.clocks.remove(&view.node.id);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
