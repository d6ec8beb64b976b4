//! Why something was not done: refused requests, ignored messages, proofs of corruption.
//!
//! Rule: every "no" has a type. Must never: be a string where a caller has to decide on it.

use super::chain::Chain;
use super::types::{EntryId, Index, NodeId, Term};

/// A request that was certainly not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// This node does not lead; ask `leader`.
    NotLeader {
        /// Whom this node follows, if anyone.
        leader: Option<NodeId>,
    },
    /// A bounded queue or window is full; try later.
    Overloaded(Full),
    /// Leadership is being handed over.
    Transferring,
    /// Another membership change is not yet committed (one at a time, §4.1).
    ChangePending,
    /// The caller's view of the membership is old: it is now set by the entry at `current`.
    StaleBase {
        /// Index of the entry that set the configuration in force.
        current: Index,
    },
    /// The new leader has not committed an entry of its own term yet (Ongaro 2015).
    NotReady,
    /// The node named is not a member, or not one this can be done to.
    NotMember,
    /// The change would leave the cluster without voters.
    NoVoters,
    /// A command is larger than `Config::max_entry_bytes`, or a change would lead to a configuration
    /// of more than 1 MiB (some ten thousand members).
    TooLarge,
}

/// What is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Full {
    /// `Config::max_uncommitted_bytes`: the followers, or the own disk, do not keep up.
    UncommittedBytes,
    /// `Config::max_uncommitted_entries`: likewise.
    UncommittedEntries,
    /// `Config::max_apply_lag_bytes`, or `max_apply_lag_entries`: the own state machine does not
    /// keep up.
    Apply,
    /// `Config::max_pending_reads`.
    Reads,
}

/// `Refused` without what it says beside the reason: what refusals are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// `Refused::NotLeader`.
    NotLeader,
    /// `Refused::Overloaded`.
    Overloaded(Full),
    /// `Refused::Transferring`.
    Transferring,
    /// `Refused::ChangePending`.
    ChangePending,
    /// `Refused::StaleBase`.
    StaleBase,
    /// `Refused::NotReady`.
    NotReady,
    /// `Refused::NotMember`.
    NotMember,
    /// `Refused::NoVoters`.
    NoVoters,
    /// `Refused::TooLarge`.
    TooLarge,
}

impl Refused {
    /// What it is counted by.
    #[must_use]
    pub fn reason(self) -> Refusal {
        match self {
            Refused::NotLeader { .. } => Refusal::NotLeader,
            Refused::Overloaded(full) => Refusal::Overloaded(full),
            Refused::Transferring => Refusal::Transferring,
            Refused::ChangePending => Refusal::ChangePending,
            Refused::StaleBase { .. } => Refusal::StaleBase,
            Refused::NotReady => Refusal::NotReady,
            Refused::NotMember => Refusal::NotMember,
            Refused::NoVoters => Refusal::NoVoters,
            Refused::TooLarge => Refusal::TooLarge,
        }
    }
}

/// Why a read was not confirmed. The caller may ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadFailure {
    /// Leadership was lost, or the leader asked is not one (any more).
    LeadershipLost,
    /// No answer within an election timeout.
    TimedOut,
    /// Too many reads wait already.
    Overloaded,
}

/// Why a message was ignored. Counted in `Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ignored {
    /// Addressed to another node (or to an earlier incarnation).
    WrongAddressee,
    /// From a term that is over.
    StaleTerm,
    /// An answer to something not asked, or asked in an earlier session.
    Unsolicited,
    /// A vote request while a live leader is heard (§4.2.3).
    LeaderAlive,
    /// A kind of message this role never expects.
    WrongRole,
    /// Says something that cannot be true (an index beyond the log, an empty range).
    Nonsense,
    /// A duplicate of something done already.
    Duplicate,
    /// Log entries or a chunk that cannot be taken in now.
    Busy,
    /// Entries that do not follow from each other: not what their leader made.
    Corrupt,
    /// A chunk of another stream than the one staged.
    OtherStream,
    /// Of a life of the cluster before or after an offline recovery.
    OtherEpoch,
}

/// Proof that the protocol was violated somewhere: stop, and keep this.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// Two leaders in one term (election safety, Figure 3).
    TwoLeaders {
        /// The term.
        term: Term,
        /// The one followed so far.
        known: NodeId,
        /// The one that claims it now.
        claims: NodeId,
    },
    /// A leader asks to overwrite a committed entry (state-machine safety, Figure 3).
    CommittedConflict {
        /// What is committed here.
        ours: EntryId,
        /// What the leader has there.
        theirs: EntryId,
        /// Who.
        leader: NodeId,
    },
    /// A majority of the voters has another state after this entry (state-machine safety,
    /// Figure 3): this node's own state machine or store went wrong.
    StateDiverged {
        /// The entry.
        index: Index,
        /// Digest of this node's state after it.
        ours: u64,
        /// What a majority has.
        proven: u64,
    },
    /// Two logs hold the same entry after different histories, or with different payloads (log
    /// matching, Figure 3).
    ChainBroken {
        /// The entry that both hold.
        at: EntryId,
        /// The chain here.
        ours: Chain,
        /// The chain there.
        theirs: Chain,
        /// Who holds it.
        leader: NodeId,
    },
    /// This node's own disk holds something else than what was written there.
    DiskChanged {
        /// The entry that does not follow from the one before it, or is not the one that was
        /// written.
        at: EntryId,
        /// The chain that it should have.
        expected: Chain,
        /// The chain that was read.
        found: Chain,
    },
}
