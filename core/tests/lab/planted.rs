//! Bugs planted at the boundary, one per kind of promise, to prove that the checkers bite.
//!
//! Rule: the product stays as it is; the lab's own adapters break their word. Each bug must be caught
//! within a fixed number of seeds, by a checker named beforehand. Must never: be on in a real run.

use crate::disk::Image;
use crate::lab::Lab;
use crate::machine::payload_digest;
use crate::plan::{Heal, Plan};
use crate::rng::mix;
use bytes::Bytes;
use kvorum_core::raft::{
    AppendOutcome, Entry, Envelope, Event, Evidence, Index, Message, Payload, Vote, Write,
};

/// Where the odd machine is.
pub const ODD: usize = 0;

/// A bug in an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Gated messages leave when the write is submitted.
    SentBeforeDurable,
    /// The disk confirms before it has synced.
    LyingDisk,
    /// A crash forgets whom the vote went to.
    VoteLost,
    /// A crash forgets term and vote.
    TermLost,
    /// A crash forgets the last synced entries.
    TailLost,
    /// A node comes back with an empty disk under its old id.
    Amnesia,
    /// A restart overlooks the last configuration in the log.
    MembershipForgotten,
    /// Term and vote are left out of every write.
    VoteNotWritten,
    /// The state machine skips an entry here and there.
    SkippedEntry,
    /// The state machine applies an entry twice here and there.
    TwiceApplied,
    /// One state machine, always the same, applies an entry twice here and there.
    OneOddMachine,
    /// A snapshot lacks something.
    SnapshotWithoutRows,
    /// A checkpoint is reported and never made.
    EarlyCheckpoint,
    /// Reads are answered at once with whatever is committed here.
    StaleRead,
    /// Answers to reads vanish.
    LostAnswer,
    /// Answers to reads come twice.
    DoubleAnswer,
    /// The network changes what an entry says, and its chain with it.
    CorruptEntry,
    /// The network changes what an entry says and leaves its chain as it was.
    AlteredEntry,
    /// The same, now and then, until the faults end.
    AlteredNowAndThen,
    /// The network turns refused votes into granted ones.
    ForgedVote,
    /// Whoever asks for a vote is treated as if the leader had handed over.
    ProtectionOff,
    /// Of a joint configuration, the half that leaves is not written down.
    OutgoingForgotten,
    /// The network makes followers believe that everything is committed.
    ForgedCommit,
    /// The network makes leaders believe that everything is acknowledged.
    ForgedMatch,
    /// Something is handled between two polls that should follow each other.
    HandlesBetween,
    /// Every message is sent over and over.
    Chatter,
    /// Deadlines never pass.
    Timeless,
}

impl Planted {
    /// Turns on what the bug needs to show.
    pub fn prepare(self, plan: &mut Plan) {
        let election = plan.election();
        match self {
            Planted::VoteLost
            | Planted::TermLost
            | Planted::TailLost
            | Planted::MembershipForgotten => {
                plan.crash = 2 * election;
                plan.traps = 40;
            }
            Planted::Amnesia => {
                plan.wipe = 4 * election;
                plan.power_cut = 8 * election;
            }
            Planted::StaleRead | Planted::LostAnswer | Planted::DoubleAnswer => {
                plan.reads = 500;
                plan.partition = 3 * election;
            }
            Planted::SnapshotWithoutRows | Planted::EarlyCheckpoint => {
                plan.config.compact_after_bytes = 1;
                plan.config.keep_entries = 0;
                plan.checkpoint_every = 3;
                plan.crash = 3 * election;
                plan.partition = 3 * election;
            }
            Planted::ForgedVote | Planted::ProtectionOff => plan.partition = 3 * election,
            Planted::OneOddMachine => {
                // A wrong state that travels is everybody's: no snapshots, no changes of who counts.
                plan.voters = plan.voters.max(3);
                (plan.spares, plan.grow) = (0, false);
                (plan.churn, plan.wipe) = (0, 0);
                plan.config.compact_after_bytes = 1 << 40;
                plan.heal = Heal::MinorityCut;
            }
            Planted::OutgoingForgotten => {
                plan.churn = 2 * election;
                plan.spares = plan.spares.max(2);
            }
            _ => {}
        }
    }

    /// What becomes of an event between the checkers and the node.
    pub fn on_the_way_in(self, event: &mut Event) {
        if self == Planted::ProtectionOff
            && let Event::Received(envelope) = event
            && let Message::RequestVote { transfer, .. } = &mut envelope.message
        {
            *transfer = true;
        }
    }

    /// What becomes of a write between the node and its disk.
    pub fn on_the_way_out(self, log: &Image, write: &mut Write) {
        match self {
            Planted::VoteNotWritten => write.vote = None,
            Planted::OutgoingForgotten if write.truncate_from.is_none() => {
                let mut parent = log.chain();
                for entry in &mut write.append {
                    if let Payload::Membership(membership) = &mut entry.payload {
                        membership.outgoing.clear();
                    }
                    *entry = Entry::new(parent, entry.id, entry.payload.clone());
                    parent = entry.chain;
                }
            }
            _ => {}
        }
    }

    /// Whether the core is right to halt the node in `slot` with `evidence`.
    pub fn expects(self, slot: usize, evidence: &Evidence) -> bool {
        let diverged = matches!(evidence, Evidence::StateDiverged { .. });
        self == Planted::OneOddMachine && slot == ODD && diverged
    }

    /// How often an entry is applied.
    pub fn applications(self, slot: usize, entry: &Entry) -> usize {
        // Not the same entry everywhere: machines that are wrong together agree.
        let odd_one = mix(slot as u64, payload_digest(&entry.payload)).is_multiple_of(20);
        match self {
            Planted::SkippedEntry if odd_one => 0,
            Planted::TwiceApplied if odd_one => 2,
            Planted::OneOddMachine if odd_one && slot == ODD => 2,
            _ => 1,
        }
    }

    /// What a start finds.
    pub fn at_start(lab: &mut Lab, slot: usize) {
        let disk = &mut lab.nodes[slot].disk;
        match lab.plan.planted {
            Some(Planted::VoteLost) => disk.durable.vote.voted_for = None,
            Some(Planted::TermLost) => disk.durable.vote = Vote::default(),
            Some(Planted::TailLost) => {
                let left = disk.durable.entries.len().saturating_sub(2);
                disk.durable.entries.truncate(left);
            }
            _ => {}
        }
    }

    /// What the network does to a message.
    pub fn on_the_wire(lab: &mut Lab, from: usize, to: usize, envelope: &mut Envelope) {
        let Some(planted) = lab.plan.planted else { return };
        let sender_last = lab.nodes[from].disk.shadow.last().index;
        let leader_last = lab.nodes[to].disk.shadow.last().index;
        let now_and_then = !lab.net.calm && mix(lab.now, from as u64).is_multiple_of(2);
        match (planted, &mut envelope.message) {
            (
                Planted::AlteredEntry | Planted::AlteredNowAndThen,
                Message::Append { entries, .. },
            ) if planted == Planted::AlteredEntry || now_and_then => {
                for entry in entries.iter_mut().filter(|entry| spoiled(entry)) {
                    entry.payload = Payload::Command(Bytes::from_static(&[9; 16]));
                }
            }
            (Planted::CorruptEntry, Message::Append { prev_chain, entries, .. }) => {
                // With a chain that fits: anything else is noticed and dropped.
                let mut parent = *prev_chain;
                for entry in entries {
                    if spoiled(entry) {
                        entry.payload = Payload::Command(Bytes::from_static(&[9; 16]));
                    }
                    *entry = Entry::new(parent, entry.id, entry.payload.clone());
                    parent = entry.chain;
                }
            }
            (
                Planted::ForgedVote,
                Message::VoteReply { granted } | Message::PreVoteReply { granted },
            ) => {
                *granted = true;
            }
            (Planted::ForgedCommit, Message::Append { prev, entries, commit, .. }) => {
                *commit = entries.last().map_or(prev.index, |entry| entry.id.index).max(*commit);
            }
            (Planted::ForgedCommit, Message::Heartbeat { commit, .. }) => *commit = sender_last,
            (Planted::ForgedMatch, Message::AppendReply { outcome, .. })
                if leader_last > Index::ZERO =>
            {
                *outcome = AppendOutcome::Matched { last: leader_last };
            }
            _ => {}
        }
    }
}

/// Whether the network changes what this entry says.
fn spoiled(entry: &Entry) -> bool {
    entry.id.index.0.is_multiple_of(5) && matches!(entry.payload, Payload::Command(_))
}
