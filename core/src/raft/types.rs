//! The words of the protocol: ids, terms, indexes, entries, votes, and time as data.
//!
//! Rule: every number that crosses the surface has a type of its own, and arithmetic on it is
//! checked. Must never: read a clock, hold a reference to the log, or give an id a special value
//! (node 0 and node `u64::MAX` are ordinary nodes; "nobody" is `Option::None`).

use super::chain::Chain;
use alloc::collections::{BTreeMap, BTreeSet};
use bytes::Bytes;
use core::{fmt, time::Duration};

/// One incarnation of a node: drawn at random when a data directory (or an in-memory node) is
/// born, and never used again. A wiped disk therefore comes back as a *different* member, which
/// cannot vote as its former self.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// A leader's reign (Raft §5.1). Starts at 0, "before any election".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// A position in the log. The first entry has index 1; 0 stands before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

/// Which entry: the index and the term of the leader that created it. Two logs that hold the same
/// `EntryId` are identical up to it (log matching, Raft §5.3). `Ord` is the up-to-date order of
/// §5.4.1: the term first, then the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Term of the leader that appended it.
    pub term: Term,
    /// Position in the log.
    pub index: Index,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Position and term.
    pub id: EntryId,
    /// What it says.
    pub payload: Payload,
    /// Stands for this entry and everything before it. Made by `Entry::new`; what was read is
    /// checked with `Entry::follows`.
    pub chain: Chain,
}

/// What an entry says. Only `Command` reaches the state machine's commands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// A new leader's first entry (§8): lets it learn what is committed.
    Noop,
    /// Bytes for the state machine; Raft never looks inside.
    Command(Bytes),
    /// A configuration; in force from the moment it is appended (§4.1).
    Membership(Membership),
}

/// Term and vote: what must be durable before any message that follows from it leaves (§5.2).
/// One value, so that a new term with an old vote cannot be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vote {
    /// The current term.
    pub term: Term,
    /// Who got this node's vote in that term.
    pub voted_for: Option<NodeId>,
}

/// A configuration of the cluster. `outgoing` is empty unless the change is joint (§4.3).
///
/// `contexts` carries, for each member, bytes that Raft never looks at (names and addresses), so
/// that there is one source of truth for membership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Which life of the cluster this is of: 1 at birth, one more after each recovery from a lost
    /// quorum. 0 is the configuration of a node that belongs to none.
    pub epoch: u64,
    /// Members whose votes and acknowledgements count (the incoming half of a joint change).
    pub voters: BTreeSet<NodeId>,
    /// The old half of a joint change; empty otherwise.
    pub outgoing: BTreeSet<NodeId>,
    /// Members that receive the log and never count.
    pub learners: BTreeSet<NodeId>,
    /// Members that were voters and shall not become voters again by themselves: learners, or on
    /// their way there in `outgoing`.
    pub demoted: BTreeSet<NodeId>,
    /// What the outside wants to know of each member. Exactly one per member.
    pub contexts: BTreeMap<NodeId, Bytes>,
}

/// What a snapshot of the state machine stands for: everything up to `last`, under `membership`.
/// Also the base of the log: entries up to `last` are gone from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    /// The last entry whose effect it contains.
    pub last: EntryId,
    /// The chain of that entry: the next one must follow from it.
    pub chain: Chain,
    /// The configuration in force at `last`.
    pub membership: Membership,
    /// Index of the entry that set `membership` (0: the one the cluster was born with).
    pub membership_index: Index,
}

/// A moment: nanoseconds since an arbitrary start. The core only compares and adds; where it comes
/// from (and how it drifts) is the runtime's and the simulator's business. Prints as `150ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

/// Names one `Raft::read` call. Chosen by the caller, echoed in `ReadReady`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// Names one `Write`. Strictly increasing within a life of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

impl Index {
    /// The index before the first entry.
    pub const ZERO: Index = Index(0);

    /// The index after this one.
    #[must_use]
    pub fn next(self) -> Index {
        Index(self.0.checked_add(1).expect("an index stays far below 2^64"))
    }

    /// The index before this one; `ZERO` has none.
    #[must_use]
    pub fn prev(self) -> Option<Index> {
        self.0.checked_sub(1).map(Index)
    }

    /// How many entries lie in `(earlier, self]`; 0 when `earlier` is not earlier.
    #[must_use]
    pub fn distance(self, earlier: Index) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Term {
    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Term {
        Term(self.0.checked_add(1).expect("a term stays far below 2^64"))
    }
}

impl Entry {
    /// Position in the log.
    #[must_use]
    pub fn index(&self) -> Index {
        self.id.index
    }

    /// Term of the leader that created it.
    #[must_use]
    pub fn term(&self) -> Term {
        self.id.term
    }

    /// Bytes it counts for in every window and cache: the payload plus a fixed overhead.
    #[must_use]
    pub fn size(&self) -> u64 {
        OVERHEAD + self.payload.size()
    }
}

/// What an entry counts for beside its payload, and a member beside its context.
const OVERHEAD: u64 = 32;

impl Payload {
    /// Bytes it counts for.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Payload::Noop => 0,
            Payload::Command(bytes) => bytes.len() as u64,
            Payload::Membership(membership) => {
                let contexts = membership.contexts.values();
                contexts.map(|context| context.len() as u64 + OVERHEAD).sum()
            }
        }
    }
}

impl Membership {
    /// A configuration of one voter, with which a cluster is born.
    #[must_use]
    pub fn sole(id: NodeId, context: Bytes) -> Membership {
        Membership {
            voters: BTreeSet::from([id]),
            contexts: BTreeMap::from([(id, context)]),
            ..Membership::default()
        }
    }

    /// Whether the change from `outgoing` to `voters` is still under way.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `id`'s vote counts in either half.
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Whether `id` receives the log without counting.
    #[must_use]
    pub fn is_learner(&self, id: NodeId) -> bool {
        self.learners.contains(&id)
    }

    /// Whether `id` belongs to the cluster at all.
    #[must_use]
    pub fn contains(&self, id: NodeId) -> bool {
        self.is_voter(id) || self.is_learner(id)
    }

    /// Every member once, in order of id.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.contexts.keys().copied()
    }
}

impl Instant {
    /// This moment and `duration` more; saturates.
    #[must_use]
    pub fn after(self, duration: Duration) -> Instant {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanos))
    }

    /// How long after `earlier` this is; zero when it is not.
    #[must_use]
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0 / 1_000;
        if micros.is_multiple_of(1_000) {
            write!(f, "{}ms", micros / 1_000)
        } else {
            write!(f, "{}.{:03}ms", micros / 1_000, micros % 1_000)
        }
    }
}
