//! Messages on their way.

use crate::{
    notation::{Words, link, node_id, number},
    world::World,
};
use kvorum_core::raft::*;
use std::collections::VecDeque;

impl World {
    /// Removes messages from the network: those of `n1->n2`, at most so many.
    pub fn take(&mut self, words: &Words) -> Vec<Envelope> {
        let wanted = words.words.get(1).copied().unwrap_or("->");
        let count = words.words.get(2).map_or(usize::MAX, |n| number(n) as usize);
        let mut taken = Vec::new();
        let mut left = VecDeque::new();
        for envelope in self.network.drain(..) {
            if taken.len() < count && goes(&envelope, wanted) {
                taken.push(envelope);
            } else {
                left.push_back(envelope);
            }
        }
        self.network = left;
        taken
    }

    /// Keeps a copy of the first message of a link; `remove`s it when it is to be late.
    pub fn copy(&mut self, words: &Words, remove: bool) {
        let (wanted, name) = (words.words[1], words.words[2].to_string());
        let found = self.network.iter().position(|envelope| goes(envelope, wanted));
        let position = found.expect("a message to copy");
        let copy = self.network[position].clone();
        if remove {
            self.network.remove(position);
        }
        self.copies.insert(name, copy);
    }

    pub fn arrive(&mut self, envelope: Envelope) {
        if !self.cut.contains(&(envelope.from, envelope.to)) {
            self.handle(envelope.to, Event::Received(envelope));
            self.drain();
        }
    }

    /// `n1` all its links, `n1-n2` both directions, `n1->n2` one.
    pub fn cut(&mut self, what: &str) {
        if what.contains("->") {
            self.cut.insert(link(what));
        } else if let Some((a, b)) = what.split_once('-') {
            let (a, b) = (node_id(a), node_id(b));
            self.cut.extend([(a, b), (b, a)]);
        } else {
            let id = node_id(what);
            let others = self.nodes.keys().copied().filter(|&other| other != id);
            self.cut.extend(others.flat_map(|other| [(id, other), (other, id)]));
        }
    }
}

fn goes(envelope: &Envelope, wanted: &str) -> bool {
    let (from, to) = wanted.split_once("->").expect("n1->n2");
    let fits = |name: &str, id| name.is_empty() || node_id(name) == id;
    fits(from, envelope.from) && fits(to, envelope.to)
}
