//! Bugs planted in the model's own adapters, to prove that the search bites.
//!
//! Rule: the product stays as it is; the disk, the wire or the runtime breaks its word. Must never:
//! be on in a real search.

use crate::node::{Node, disk::Disk};
use kvorum_core::raft::{AppendOutcome, Envelope, Index, Message, Vote};

/// A bug in an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Gated messages leave when the write is submitted.
    SentBeforeDurable,
    /// A start forgets whom the vote went to.
    VoteLost,
    /// A start forgets term and vote.
    TermLost,
    /// A start forgets the last entry.
    TailLost,
    /// Acknowledgements claim all that the leader has.
    ForgedMatch,
    /// Refused votes arrive as granted.
    ForgedVote,
    /// Followers are told that everything they hold is committed.
    ForgedCommit,
}

impl Planted {
    /// What a start finds.
    pub fn at_start(planted: Option<Planted>, disk: &mut Disk) {
        match planted {
            Some(Planted::VoteLost) => disk.durable.vote.voted_for = None,
            Some(Planted::TermLost) => {
                let term = disk.durable.last().term;
                disk.durable.vote = Vote { term, voted_for: None };
            }
            Some(Planted::TailLost) => drop(disk.durable.entries.pop_back()),
            _ => {}
        }
    }

    /// What arrives at `receiver` instead of `envelope`.
    pub fn on_the_wire(
        planted: Option<Planted>,
        receiver: &Node,
        mut envelope: Envelope,
    ) -> Envelope {
        let last = receiver.log().last().index;
        match (planted, &mut envelope.message) {
            (Some(Planted::ForgedVote), Message::VoteReply { granted }) => *granted = true,
            (Some(Planted::ForgedMatch), Message::AppendReply { outcome, .. })
                if last > Index::ZERO =>
            {
                *outcome = AppendOutcome::Matched { last };
            }
            (Some(Planted::ForgedCommit), Message::Append { prev, entries, commit, .. }) => {
                *commit = Index(prev.index.0 + entries.len() as u64);
            }
            _ => {}
        }
        envelope
    }
}
