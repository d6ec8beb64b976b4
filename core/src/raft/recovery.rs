//! Recovery from a lost quorum, offline: a pure function of what the survivors' disks hold.
//!
//! Rule: the cluster goes on from the survivor whose log is the most up to date (§5.4.1), as one
//! voter with a new identity, in a new epoch, at a term above every survivor's. That log holds every
//! entry that was committed on a quorum with a survivor in it: the argument is that of leader
//! completeness (§5.4.3), with the survivors in the place of the voters. What was committed on dead
//! members alone may be lost (even where a survivor holds a copy, when another's log is more up to
//! date), and the report says whether that can be. Everybody else is wiped and joins again; the
//! epoch keeps those who do not from being heard. Must never: choose between two histories, or touch
//! a disk.

use super::{
    chain::Chain,
    quorum,
    restored::Restored,
    types::{Entry, EntryId, Index, Membership, NodeId, Payload, Term, Vote},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::fmt;

/// What the disk of one node holds, as far as it decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Survivor {
    /// Whose disk it is.
    pub id: NodeId,
    /// Which cluster it belongs to.
    pub cluster: u64,
    /// Term and vote.
    pub vote: Vote,
    /// The last entry, or the base of an empty log.
    pub last: EntryId,
    /// Its chain.
    pub chain: Chain,
    /// The configuration in force at `applied`, and every later one; the last is in force.
    pub memberships: Vec<Membership>,
    /// What the state machine has durably applied: certainly committed.
    pub applied: Index,
}

/// What is to be done, and what it means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recovery {
    /// The survivor whose disk goes on.
    pub from: NodeId,
    /// Who it is from now on.
    pub id: NodeId,
    /// To be written to its log: term and vote.
    pub vote: Vote,
    /// To be appended to its log: the configuration of the new epoch.
    pub entry: Entry,
    /// What is known about the past.
    pub report: Report,
}

/// What is certain, what may be lost, and who must come back blank.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Report {
    /// The epoch that begins.
    pub epoch: u64,
    /// The log is kept up to here.
    pub kept: EntryId,
    /// Up to here, everything kept was certainly committed before.
    pub committed: Index,
    /// Members whose disks are not there.
    pub dead: BTreeSet<NodeId>,
    /// The dead alone were a quorum: what they acknowledged without a survivor may be lost.
    pub may_be_lost: bool,
    /// The survivors still are a quorum: started as they are, they would elect a leader.
    pub quorum_alive: bool,
    /// Must be wiped, and may then join again.
    pub to_wipe: BTreeSet<NodeId>,
}

/// Why there is no recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unrecoverable {
    /// No disk of a member is there.
    NoSurvivors,
    /// The disks are of different clusters.
    OtherCluster {
        /// One of them.
        one: NodeId,
        /// Another.
        other: NodeId,
    },
    /// The disks are of different epochs: a recovery has taken place already.
    OtherEpoch {
        /// The later one.
        later: NodeId,
        /// The one left behind.
        earlier: NodeId,
    },
    /// Two disks hold the same last entry after different histories.
    Diverged {
        /// The entry.
        at: EntryId,
        /// One of them.
        one: NodeId,
        /// Another.
        other: NodeId,
    },
    /// The new identity belongs to somebody already.
    IdTaken(NodeId),
}

impl Survivor {
    /// What a node's disk holds.
    #[must_use]
    pub fn of(id: NodeId, cluster: u64, restored: &Restored) -> Survivor {
        let later = restored.memberships.partition_point(|(index, _)| *index <= restored.applied);
        let first = match later.checked_sub(1) {
            Some(at) => &restored.memberships[at].1,
            None => &restored.base.membership,
        };
        let later = restored.memberships[later..].iter().map(|(_, membership)| membership);
        Survivor {
            id,
            cluster,
            vote: restored.vote,
            last: restored.last,
            chain: restored.chain,
            memberships: core::iter::once(first).chain(later).cloned().collect(),
            applied: restored.applied,
        }
    }

    /// The configuration in force at the end of its log.
    fn membership(&self) -> Option<&Membership> {
        self.memberships.last().filter(|membership| !membership.voters.is_empty())
    }

    fn epoch(&self) -> u64 {
        self.membership().map_or(0, |membership| membership.epoch)
    }
}

/// Decides how a cluster whose quorum is lost goes on. `id` is the new identity: never used before.
///
/// # Errors
/// `Unrecoverable`; nothing may be changed then.
pub fn recover(survivors: &[Survivor], id: NodeId) -> Result<Recovery, Unrecoverable> {
    let members: Vec<&Survivor> =
        survivors.iter().filter(|survivor| survivor.membership().is_some()).collect();
    let best = members.iter().max_by_key(|survivor| (survivor.last, survivor.id));
    let best = *best.ok_or(Unrecoverable::NoSurvivors)?;
    let last = best.membership().ok_or(Unrecoverable::NoSurvivors)?;
    agree(&members, best)?;
    let known: BTreeSet<NodeId> =
        members.iter().flat_map(|m| &m.memberships).flat_map(Membership::members).collect();
    if known.contains(&id) || survivors.iter().any(|survivor| survivor.id == id) {
        return Err(Unrecoverable::IdTaken(id));
    }
    let highest = members.iter().map(|survivor| survivor.vote.term.max(survivor.last.term)).max();
    let term = highest.unwrap_or(Term(0)).next();
    let context = last.contexts.get(&best.id).cloned().unwrap_or_default();
    let membership = Membership {
        epoch: last.epoch + 1,
        voters: BTreeSet::from([id]),
        contexts: BTreeMap::from([(id, context)]),
        ..Membership::default()
    };
    let next = EntryId { term, index: best.last.index.next() };
    Ok(Recovery {
        from: best.id,
        id,
        vote: Vote { term, voted_for: Some(id) },
        report: report(&members, best, last, known),
        entry: Entry::new(best.chain, next, Payload::Membership(membership)),
    })
}

/// Whether all disks are of one cluster, one epoch and one history.
fn agree(members: &[&Survivor], best: &Survivor) -> Result<(), Unrecoverable> {
    for survivor in members {
        let (one, other) = (best.id, survivor.id);
        if survivor.cluster != best.cluster {
            return Err(Unrecoverable::OtherCluster { one, other });
        }
        let (ours, theirs) = (best.epoch(), survivor.epoch());
        if ours != theirs {
            let (later, earlier) = if ours > theirs { (one, other) } else { (other, one) };
            return Err(Unrecoverable::OtherEpoch { later, earlier });
        }
    }
    for (at, survivor) in members.iter().enumerate() {
        let same = |other: &&&Survivor| other.last == survivor.last;
        if let Some(other) = members[..at].iter().find(same)
            && other.chain != survivor.chain
        {
            let (one, other) = (other.id, survivor.id);
            return Err(Unrecoverable::Diverged { at: survivor.last, one, other });
        }
    }
    Ok(())
}

fn report(
    members: &[&Survivor],
    best: &Survivor,
    last: &Membership,
    mut known: BTreeSet<NodeId>,
) -> Report {
    let alive: BTreeSet<NodeId> = members.iter().map(|survivor| survivor.id).collect();
    // A mark of 1 for each that counts: the quorum has it when they are one.
    let all_dead = |of: &Membership| quorum::reached(of, |id| u64::from(!alive.contains(&id))) == 1;
    let dead = known.iter().filter(|id| !alive.contains(id)).copied().collect();
    // Under whichever configuration something may have been committed.
    let may_be_lost = members.iter().flat_map(|survivor| &survivor.memberships).any(all_dead);
    known.extend(&alive);
    known.remove(&best.id);
    Report {
        epoch: last.epoch + 1,
        kept: best.last,
        committed: members.iter().map(|survivor| survivor.applied).max().unwrap_or_default(),
        dead,
        may_be_lost,
        quorum_alive: quorum::reached(last, |id| u64::from(alive.contains(&id))) == 1,
        to_wipe: known,
    }
}

impl Recovery {
    /// What the disk of `from` holds once the records are written: what the new node starts from.
    #[must_use]
    pub fn carried_out(&self, mut disk: Restored) -> Restored {
        disk.vote = self.vote;
        disk.runs.push(self.entry.id);
        disk.last = self.entry.id;
        disk.chain = self.entry.chain;
        if let Payload::Membership(membership) = &self.entry.payload {
            disk.memberships.push((self.entry.index(), membership.clone()));
        }
        disk.tail.push(self.entry.clone());
        disk
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the log is kept up to entry {}", self.kept)?;
        writeln!(f, "everything up to index {} was certainly committed", self.committed)?;
        if self.quorum_alive {
            writeln!(f, "these nodes still are a quorum: start them instead")?;
        }
        if self.may_be_lost {
            writeln!(f, "what was acknowledged by the dead alone may be lost")?;
        } else {
            writeln!(f, "nothing that was acknowledged is lost")?;
        }
        for id in &self.to_wipe {
            let state = if self.dead.contains(id) { "dead" } else { "here" };
            writeln!(f, "{id} ({state}) must be wiped before it joins again")?;
        }
        write!(f, "epoch {} begins", self.epoch)
    }
}
