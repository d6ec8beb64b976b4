//! What is on its way: messages arrive, are lost, are there twice, in any order.
//!
//! Rule: a link is judged when a message arrives. Must never: change what a message says (unless a
//! planted violation or a hostile schedule says so).

use crate::cluster::{Cluster, Flight, Verdict};
use crate::hostile;
use crate::node::Input;
use crate::planted::Planted;
use crate::schedule::{MAX_NODES, Step};
use bytes::BytesMut;
use kvorum_core::raft::{Envelope, Event, Message};

impl Cluster<'_> {
    fn pick(&mut self, at: u8) -> Option<usize> {
        let count = self.flight.len();
        (count > 0).then(|| usize::from(at) % count)
    }

    /// A message arrives.
    pub fn deliver(&mut self, at: u8) -> Verdict {
        let Some(at) = self.pick(at) else { return Ok(()) };
        let flight = self.flight.remove(at);
        self.land(flight)
    }

    /// A message is lost.
    pub fn lose(&mut self, at: u8) {
        let Some(at) = self.pick(at) else { return };
        let lost = self.flight.remove(at);
        self.note(|_| format!("         ✗ {}", lost.envelope));
        self.cover("message lost");
    }

    /// A message is on its way twice.
    pub fn double(&mut self, at: u8) {
        let Some(at) = self.pick(at) else { return };
        let Flight { from, to, ref envelope } = self.flight[at];
        let mut envelope = envelope.clone();
        let counts = matches!(
            envelope.message,
            Message::VoteReply { .. } | Message::AppendReply { .. } | Message::PreVoteReply { .. }
        );
        if counts && self.terms.planted == Some(Planted::DoubledAsSomebodyElse) {
            let other = (from + 1) % self.nodes.len();
            if other != to {
                envelope.from = self.nodes[other].id;
            }
        }
        self.fly(Flight { from, to, envelope });
        self.cover("message doubled");
    }

    /// A message arrives, if the link holds and somebody is there.
    pub fn land(&mut self, flight: Flight) -> Verdict {
        let Flight { from, to, envelope } = flight;
        if self.cut[from][to] || !self.nodes[to].up() {
            self.note(|_| format!("         ✗ {envelope}"));
            return Ok(());
        }
        self.note(|_| format!("         ↓ {envelope}"));
        self.give(to, &Input::Event(Event::Received(envelope)))
    }

    /// The links change.
    pub fn rewire(&mut self, step: &Step) {
        match step {
            Step::Cut(from, to) => {
                let count = self.nodes.len();
                self.cut[usize::from(*from) % count][usize::from(*to) % count] = true;
            }
            Step::Part(mask) => {
                for from in 0..MAX_NODES {
                    for to in 0..MAX_NODES {
                        self.cut[from][to] |= (mask >> from ^ mask >> to) & 1 == 1;
                    }
                }
            }
            _ => self.cut = [[false; MAX_NODES]; MAX_NODES],
        }
    }

    /// A peer says anything at all.
    pub fn say(&mut self, envelope: &Envelope) -> Verdict {
        let to = self.nodes.iter().position(|node| node.id == envelope.to).unwrap_or(0);
        if self.terms.planted == Some(Planted::TrustsTheCommit) {
            trust(envelope);
        }
        let mut envelope = envelope.clone();
        hostile::relink(&mut envelope.message, &self.nodes[to].disk.shadow);
        self.give(to, &Input::Event(Event::Received(envelope)))
    }

    /// The same through the wire, with bits flipped: what cannot be decoded is not heard.
    pub fn garble(&mut self, envelope: &Envelope, flips: &[u16]) -> Verdict {
        let mut envelope = envelope.clone();
        if let Some(to) = self.nodes.iter().position(|node| node.id == envelope.to) {
            hostile::relink(&mut envelope.message, &self.nodes[to].disk.shadow);
        }
        let mut bytes = BytesMut::new();
        envelope.encode(&mut bytes);
        for flip in flips {
            let at = usize::from(flip >> 3) % bytes.len();
            bytes[at] ^= 1 << (flip % 8);
        }
        match Envelope::decode(bytes.freeze()) {
            Ok(envelope) => {
                self.cover("flipped bits that decode");
                self.say(&envelope)
            }
            Err(_) => {
                self.cover("flipped bits that do not decode");
                Ok(())
            }
        }
    }
}

/// What an adapter must not do: compute with what a stranger says.
fn trust(envelope: &Envelope) {
    if let Message::Heartbeat { commit, .. } = envelope.message {
        commit.0.checked_add(1).expect("an adapter trusts a peer's number");
    }
}
