//! The chain of the log: one number per entry that stands for it and for everything before it.
//!
//! Rule: an entry's chain is the hash of its parent's chain, its term, its index, its kind and the
//! hash of its payload. Two logs with the same `EntryId` hold the same entries up to it (log
//! matching, §5.3); the chain lets every receiver and every reader of a disk *check* that instead
//! of inferring it, in constant time per entry: the payload is hashed once, without a copy, and
//! then a block of fixed size. Must never: be taken for a defence against forgery (xxh3 is no
//! cryptographic hash), or depend on how the entry is encoded.

use super::types::{Entry, EntryId, Membership, Payload};
use core::fmt;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// What stands for an entry and everything before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain(pub u64);

/// Kinds of payload, as hashed. Not the numbers of the wire's format.
mod kind {
    pub const NOOP: u64 = 1;
    pub const COMMAND: u64 = 2;
    pub const MEMBERSHIP: u64 = 3;
}

impl Chain {
    /// What stands before the first entry.
    pub const START: Chain = Chain(0);

    /// The chain of an entry that comes after `self`.
    #[must_use]
    pub fn then(self, id: EntryId, payload: &Payload) -> Chain {
        let (kind, content) = match payload {
            Payload::Noop => (kind::NOOP, 0),
            Payload::Command(bytes) => (kind::COMMAND, xxh3_64(bytes)),
            Payload::Membership(membership) => (kind::MEMBERSHIP, of_membership(membership)),
        };
        Chain(of_numbers(&[self.0, id.term.0, id.index.0, kind, content]))
    }
}

impl Entry {
    /// The entry with such a payload after one whose chain is `parent`.
    #[must_use]
    pub fn new(parent: Chain, id: EntryId, payload: Payload) -> Entry {
        let chain = parent.then(id, &payload);
        Entry { id, payload, chain }
    }

    /// Whether this is what it was when it was made, after the very log that `parent` stands for.
    #[must_use]
    pub fn follows(&self, parent: Chain) -> bool {
        parent.then(self.id, &self.payload) == self.chain
    }
}

/// A membership without its encoding: epoch and counts, then each set in order, then each context.
fn of_membership(membership: &Membership) -> u64 {
    let Membership { epoch, voters, outgoing, learners, demoted, contexts } = membership;
    let counts = [voters.len(), outgoing.len(), learners.len(), demoted.len(), contexts.len()];
    let [a, b, c, d, e] = counts.map(|count| count as u64);
    let mut hash = of_numbers(&[*epoch, a, b, c, d, e]);
    for member in voters.iter().chain(outgoing).chain(learners).chain(demoted) {
        hash = xxh3_64_with_seed(&member.0.to_le_bytes(), hash);
    }
    for (member, context) in contexts {
        hash = xxh3_64_with_seed(context, xxh3_64_with_seed(&member.0.to_le_bytes(), hash));
    }
    hash
}

fn of_numbers<const N: usize>(numbers: &[u64; N]) -> u64 {
    let mut block = [[0; 8]; N];
    for (bytes, number) in block.iter_mut().zip(numbers) {
        *bytes = number.to_le_bytes();
    }
    xxh3_64(block.as_flattened())
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::raft::types::{Index, NodeId, Term};
    use bytes::Bytes;
    use std::{collections::BTreeSet, vec};

    fn id(index: u64, term: u64) -> EntryId {
        EntryId { index: Index(index), term: Term(term) }
    }

    #[test]
    fn an_entry_follows_only_what_it_was_made_after() {
        let first = Entry::new(Chain::START, id(1, 1), Payload::Noop);
        let second = Entry::new(first.chain, id(2, 1), Payload::Noop);
        assert!(first.follows(Chain::START) && second.follows(first.chain));
        assert!(!second.follows(Chain::START) && !second.follows(second.chain));
    }

    #[test]
    fn everything_an_entry_says_is_in_its_chain() {
        let command = |text: &'static str| Payload::Command(Bytes::from_static(text.as_bytes()));
        let sole = |n, context: &'static str| {
            Membership::sole(NodeId(n), Bytes::from_static(context.as_bytes()))
        };
        let (mut learner, mut leaving) = (sole(1, "a"), sole(1, "a"));
        core::mem::swap(&mut learner.voters, &mut learner.learners);
        core::mem::swap(&mut leaving.voters, &mut leaving.outgoing);
        let later = Membership { epoch: 2, ..sole(1, "a") };
        let memberships = [sole(1, "a"), sole(2, "a"), sole(1, "b"), learner, leaving, later];
        let mut payloads = vec![Payload::Noop, command(""), command("a"), command("b")];
        payloads.extend(memberships.into_iter().map(Payload::Membership));
        let mut seen = BTreeSet::new();
        for payload in &payloads {
            for id in [id(1, 1), id(1, 2), id(2, 1), id(2, 2)] {
                for parent in [Chain(0), Chain(1), Chain(u64::MAX)] {
                    assert!(seen.insert(parent.then(id, payload)), "{payload:?} as {id}");
                }
            }
        }
    }
}
