//! What must hold in every state, judged after each step.
//!
//! Rule: a rule sees what a node shows and what the disks hold, and what the world remembers of
//! this run: who led each term, and what was committed. Must never: see the inside of the core.

use crate::{
    node::disk::Image,
    tables::{Look, Step, Tables},
};
use kvorum_core::raft::{Entry, Index, Membership, NodeId, Payload, Term};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    ElectionSafety,
    LeaderCompleteness,
    LogMatching,
    StateMachineSafety,
    CommittedIsDurable,
    OneDurableVote,
    CommitMonotone,
    QuorumsMeet,
    CommittedStays,
    ChangesInOrder,
    NoEvidence,
    Invariants,
}

/// What the world remembers of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    /// Who led a term, and in which of its lives.
    pub leaders: BTreeMap<Term, (NodeId, u8)>,
    /// The committed entries, from index 1 on.
    pub committed: Vec<Entry>,
    /// In which term each was first seen to be.
    pub in_term: Vec<Term>,
}

/// A rule and what broke it.
pub type Broken = (Rule, String);

/// What a judgement is about.
pub struct Case<'a> {
    pub tables: &'a mut Tables,
    /// All nodes, after the step.
    pub nodes: &'a [u32],
    pub before: Arc<Look>,
    pub after: Arc<Look>,
    pub step: &'a Step,
}

impl Case<'_> {
    /// Whether there is nothing to judge: no log, no disk, no commit index and no reign changed.
    pub fn is_quiet(&self) -> bool {
        let (before, after) = (&self.before, &self.after);
        before.log == after.log
            && before.durable == after.durable
            && before.commit == after.commit
            && before.leads == after.leads
            && (before.term == after.term || !after.leads)
            && self.step.plain
    }

    /// Judges, and remembers.
    pub fn judge(&mut self, memory: &mut Memory) -> Result<(), Broken> {
        if let Some(broken) = &self.step.effects.broken {
            return Err(broken.clone());
        }
        if let Some(evidence) = &self.step.effects.evidence {
            return Err((Rule::NoEvidence, evidence.to_string()));
        }
        let (before, after) = (&self.before, &self.after);
        let log_changed = before.log != after.log;
        let reborn = before.life != after.life;
        if log_changed {
            self.log_matching()?;
            quorums_meet(self.tables.logs.get(self.after.log))?;
        }
        if !reborn && (log_changed || self.after.commit != self.before.commit) {
            self.committed(memory)?;
        }
        if log_changed && self.after.leads {
            self.changes_in_order(memory)?;
        }
        if !self.step.effects.committed.is_empty() || self.step.effects.installed {
            self.history(memory)?;
        }
        if self.after.leads && !(self.before.leads && self.before.term == self.after.term) {
            self.elected(memory)?;
        }
        self.electable(memory)
    }

    /// A leader changes the members only when the last change is committed and so is an entry of its
    /// own term (Ongaro 2015). What that prevents takes five nodes to go wrong, so the rule itself
    /// is looked at.
    fn changes_in_order(&self, memory: &Memory) -> Result<(), Broken> {
        let log = self.tables.logs.get(self.after.log);
        let held = self.tables.logs.get(self.before.log).last().index;
        let fresh = |entry: &&Entry| entry.id.index > held && entry.id.term == self.after.term;
        let known = memory.committed.len() as u64;
        let own = memory.committed.iter().any(|entry| entry.id.term == self.after.term);
        for change in log.entries.iter().filter(fresh).filter(|entry| is_change(entry)) {
            let earlier = log.memberships().take_while(|(index, _)| *index < change.id.index);
            let settled = earlier.last().is_none_or(|(index, _)| index.0 <= known);
            if !(own && settled) {
                let what = format!("{} appends {change} too early", self.after.id);
                return Err((Rule::ChangesInOrder, what));
            }
        }
        Ok(())
    }

    /// Nobody who lacks what is committed could win an election from what the disks hold: leader
    /// completeness one election ahead, which saves the search that election.
    fn electable(&self, memory: &Memory) -> Result<(), Broken> {
        let logs = &self.tables.logs;
        let looks = || self.nodes.iter().map(|&node| self.tables.look(node));
        for look in looks() {
            let log = logs.get(look.durable);
            let lacks = |entry: &&Entry| !log.covers(entry.id);
            let Some(lost) = memory.committed.iter().find(lacks) else { continue };
            let votes = |id: NodeId| {
                let mut voter = looks().filter(|voter| voter.id == id);
                voter.any(|voter| log.last() >= logs.get(voter.durable).last())
            };
            let (_, membership) = log.membership();
            if membership.is_voter(look.id) && is_quorum(membership, &votes) {
                let what =
                    format!("{} could be elected without {lost}, which is committed", look.id);
                return Err((Rule::CommittedStays, what));
            }
        }
        Ok(())
    }

    fn elected(&self, memory: &mut Memory) -> Result<(), Broken> {
        let Look { id, term, life, .. } = *self.after;
        if let Some((other, _)) = memory.leaders.insert(term, (id, life)) {
            let what = format!("{other} and {id} were both elected in term {term}");
            return Err((Rule::ElectionSafety, what));
        }
        let log = self.tables.logs.get(self.after.log);
        let mut earlier = memory.committed.iter().zip(&memory.in_term);
        match earlier.find(|(entry, in_term)| **in_term < term && !log.covers(entry.id)) {
            Some((lost, _)) => {
                let what = format!("{id} leads term {term} without {lost}, which is committed");
                Err((Rule::LeaderCompleteness, what))
            }
            None => Ok(()),
        }
    }

    /// What this node takes for committed is what everybody does; what is new is on the disks of a
    /// quorum.
    fn committed(&self, memory: &mut Memory) -> Result<(), Broken> {
        let (id, commit) = (self.after.id, self.after.commit);
        let log = self.tables.logs.get(self.after.log);
        let base = log.base.last;
        let remembered = |index: Index| index.0.checked_sub(1).map(|at| at as usize);
        let of_base = remembered(base.index).map(|at| memory.committed.get(at).map(|e| e.id));
        if of_base.is_some_and(|held| held != Some(base)) {
            let what = format!("the log of {id} begins after {base}, which is not committed");
            return Err((Rule::StateMachineSafety, what));
        }
        let known = memory.committed.len();
        for entry in log.entries.iter().take_while(|entry| entry.id.index <= commit) {
            let at = remembered(entry.id.index).expect("entries begin at 1");
            match memory.committed.get(at) {
                Some(held) if held != entry => {
                    let what = format!("{held} was committed, and for {id} it is {entry}");
                    return Err((Rule::StateMachineSafety, what));
                }
                Some(_) => {}
                None => {
                    memory.committed.push(entry.clone());
                    memory.in_term.push(self.after.term);
                }
            }
        }
        if memory.committed.len() < commit.0 as usize {
            let what = format!("{id} commits up to {commit}, beyond its log");
            return Err((Rule::StateMachineSafety, what));
        }
        memory.committed[known..].iter().try_for_each(|entry| self.is_durable(entry))
    }

    /// On the disks of a quorum of the configuration in force at the entry, or of a later one in
    /// this log: a commit can bring the next one in the same step.
    fn is_durable(&self, entry: &Entry) -> Result<(), Broken> {
        let holds = |id: NodeId| {
            let mut looks = self.nodes.iter().map(|&node| self.tables.look(node));
            let look = looks.find(|look| look.id == id);
            look.is_some_and(|look| self.tables.logs.get(look.durable).covers(entry.id))
        };
        let log = self.tables.logs.get(self.after.log);
        let at = log.memberships().rfind(|(index, _)| *index <= entry.id.index);
        let at = at.map_or(&log.base.membership, |(_, membership)| membership);
        let mut later = log.memberships().filter(|(index, _)| *index > entry.id.index);
        if is_quorum(at, &holds) || later.any(|(_, membership)| is_quorum(membership, &holds)) {
            return Ok(());
        }
        let what = format!("{} commits {entry}, which no quorum holds durably", self.after.id);
        Err((Rule::CommittedIsDurable, what))
    }

    /// What was applied is what is committed, from the first entry on.
    fn history(&self, memory: &Memory) -> Result<(), Broken> {
        let machine = &self.tables.nodes.get(self.step.node).machine;
        let committed = memory.committed.iter().map(crate::node::applied_form);
        let applied = machine.history();
        let same = applied.iter().copied().eq(committed.take(applied.len()));
        let handed = self.step.effects.committed.iter().all(|entry| {
            entry.id.index.0.checked_sub(1).and_then(|at| memory.committed.get(at as usize))
                == Some(entry)
        });
        if same && handed {
            return Ok(());
        }
        let what = format!("{} has applied something else than what is committed", self.after.id);
        Err((Rule::StateMachineSafety, what))
    }

    fn log_matching(&mut self) -> Result<(), Broken> {
        let ours = self.after.log;
        for &node in self.nodes {
            let look = self.tables.look(node);
            let (theirs, them) = (look.log, look.id);
            let pair = (ours.min(theirs), ours.max(theirs));
            let known = self.tables.matching.get(&pair).copied();
            let fits = known.unwrap_or_else(|| {
                let logs = &self.tables.logs;
                let fits = match_up(logs.get(pair.0), logs.get(pair.1));
                self.tables.matching.insert(pair, fits);
                fits
            });
            if !fits {
                let what = format!("the logs of {} and {them} differ below a match", self.after.id);
                return Err((Rule::LogMatching, what));
            }
        }
        Ok(())
    }
}

/// Up to the last entry that both hold, two logs hold the same.
fn match_up(one: &Image, other: &Image) -> bool {
    let common = |entry: &&Entry| other.id_at(entry.id.index) == Some(entry.id);
    let Some(last) = one.entries.iter().rev().find(common).map(|entry| entry.id.index) else {
        return true;
    };
    let below = one.entries.iter().take_while(|entry| entry.id.index <= last);
    below.into_iter().all(|entry| {
        entry.id.index <= other.base.last.index || other.entry(entry.id.index) == Some(entry)
    })
}

/// Any quorum of a configuration meets any quorum of the one before it in the log.
fn quorums_meet(log: &Image) -> Result<(), Broken> {
    let mut previous = &log.base.membership;
    for (index, next) in log.memberships() {
        if !meet(previous, next) && !previous.voters.is_empty() {
            let what =
                format!("{previous} and then {next} at {index} have quorums that never meet");
            return Err((Rule::QuorumsMeet, what));
        }
        previous = next;
    }
    Ok(())
}

fn meet(one: &Membership, other: &Membership) -> bool {
    let all: BTreeSet<NodeId> = one.members().chain(other.members()).collect();
    let all: Vec<NodeId> = all.into_iter().collect();
    let subset = |bits: u32, id: NodeId| {
        all.iter().position(|&member| member == id).is_some_and(|at| bits >> at & 1 == 1)
    };
    // A quorum of one whose complement is a quorum of the other would never meet it.
    (0..1u32 << all.len()).all(|bits| {
        !(is_quorum(one, &|id| subset(bits, id)) && is_quorum(other, &|id| !subset(bits, id)))
    })
}

/// Whether those that `have` are a majority of each half.
pub fn is_quorum(membership: &Membership, have: &dyn Fn(NodeId) -> bool) -> bool {
    let majority = |half: &BTreeSet<NodeId>| {
        half.is_empty() || half.iter().filter(|&&id| have(id)).count() > half.len() / 2
    };
    !membership.voters.is_empty() && majority(&membership.voters) && majority(&membership.outgoing)
}

/// Whether an entry is a change of the members (the first entry of all is none).
pub fn is_change(entry: &Entry) -> bool {
    entry.id.index > Index(1) && matches!(entry.payload, Payload::Membership(_))
}
