//! What scripts are written in: words, `key=value` options, nodes, entries, configurations.

use bytes::Bytes;
use kvorum_core::raft::*;
use std::collections::BTreeMap;

/// A command's words and `key=value` options.
pub struct Words<'a> {
    pub words: Vec<&'a str>,
    pub options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    pub fn of(text: &'a str) -> Words<'a> {
        let (options, words) = text.split_whitespace().partition::<Vec<_>, _>(|w| w.contains('='));
        let options = options.into_iter().map(|option| option.split_once('=').unwrap());
        Words { words, options: options.collect() }
    }

    pub fn node(&self, position: usize) -> NodeId {
        node_id(self.words.get(position).expect("a node is named"))
    }

    pub fn nodes(&self, from: usize) -> Vec<NodeId> {
        self.words[from.min(self.words.len())..].iter().map(|word| node_id(word)).collect()
    }

    pub fn option(&self, name: &str) -> Option<&'a str> {
        self.options.get(name).copied()
    }

    pub fn number(&self, option: &str) -> Option<u64> {
        self.option(option).map(number)
    }

    pub fn list(&self, option: &str) -> Vec<NodeId> {
        let text = self.option(option).unwrap_or("");
        text.split(',').filter(|id| !id.is_empty()).map(node_id).collect()
    }
}

/// `3@2=x` is a command, `3@2=:n1:n2` a configuration of these voters, `3@2` a no-op.
pub fn entry(parent: Chain, text: &str) -> Entry {
    let (id, command) = text.split_once('=').map_or((text, None), |(id, c)| (id, Some(c)));
    let payload = match command {
        Some(members) if members.starts_with(':') => Payload::Membership(voters(members)),
        Some(text) => Payload::Command(command_bytes(text)),
        None => Payload::Noop,
    };
    Entry::new(parent, entry_id(id), payload)
}

/// `a,b` entries after one whose chain is `parent`; nothing for an empty text.
pub fn entries(mut parent: Chain, text: &str) -> Vec<Entry> {
    let entries = text.split(',').filter(|text| !text.is_empty()).map(|text| {
        let entry = entry(parent, text);
        parent = entry.chain;
        entry
    });
    entries.collect()
}

/// `index@term`.
pub fn entry_id(text: &str) -> EntryId {
    let (index, term) = text.split_once('@').expect("index@term");
    EntryId { index: Index(number(index)), term: Term(number(term)) }
}

/// `x` is itself, `x*40` forty of it.
pub fn command_bytes(text: &str) -> Bytes {
    Bytes::from(match text.split_once('*') {
        Some((unit, count)) => unit.repeat(number(count) as usize),
        None => text.to_string(),
    })
}

/// A number; `max` is the largest.
pub fn number(text: &str) -> u64 {
    if text == "max" {
        return u64::MAX;
    }
    text.parse().unwrap_or_else(|_| panic!("`{text}` is not a number"))
}

/// `n1`, or `nmax` for the largest id.
pub fn node_id(text: &str) -> NodeId {
    NodeId(number(text.strip_prefix('n').expect("nodes are n1, n2, …")))
}

/// `n1->n2`.
pub fn link(text: &str) -> (NodeId, NodeId) {
    let (from, to) = text.split_once("->").expect("n1->n2");
    (node_id(from), node_id(to))
}

/// `:n1:n2` is a configuration of these voters.
pub fn voters(text: &str) -> Membership {
    let ids: Vec<NodeId> = text.split(':').filter(|id| !id.is_empty()).map(node_id).collect();
    membership(&ids, &[])
}

pub fn context(id: NodeId) -> Bytes {
    Bytes::from(format!("{id}:7000"))
}

pub fn membership(voters: &[NodeId], learners: &[NodeId]) -> Membership {
    Membership {
        voters: voters.iter().copied().collect(),
        learners: learners.iter().copied().collect(),
        contexts: voters.iter().chain(learners).map(|&id| (id, context(id))).collect(),
        ..Membership::default()
    }
}
