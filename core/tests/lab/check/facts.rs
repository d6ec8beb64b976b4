//! What the run has established so far: who led which term, and what is committed.
//!
//! Rule: an entry is committed from the moment the first node says so, and for ever; only a leader
//! can be the first, and only for the entries in its own log. Must never: forget.

use super::{Seen, View};
use crate::machine::payload_digest;
use kvorum_core::raft::{EntryId, Index, Membership, NodeId, Payload, Term};
use std::collections::BTreeMap;

/// The name of what is judged here.
pub const RULE: &str = "committed is immutable";

/// One committed entry.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    pub id: EntryId,
    pub digest: u64,
    /// The term of the leader that committed it: leaders of later terms must have it.
    pub by: Term,
}

/// What is known for certain.
#[derive(Default)]
pub struct Facts {
    /// Entry `i + 1` of the one true log.
    pub committed: Vec<Committed>,
    pub leaders: BTreeMap<Term, NodeId>,
    /// Whether what is seen now has committed something new.
    pub fresh: bool,
    /// The last committed configuration.
    pub membership: Membership,
    commits: BTreeMap<NodeId, Index>,
    /// Nodes whose commit index has moved while they led, with the term, since their last poll.
    committing: BTreeMap<NodeId, Term>,
}

impl Facts {
    /// The last committed index.
    pub fn last(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// The committed entry at `index`.
    pub fn at(&self, index: Index) -> Option<&Committed> {
        self.committed.get(usize::try_from(index.0.checked_sub(1)?).ok()?)
    }

    /// Takes notice.
    ///
    /// # Errors
    /// When what is seen contradicts what is known.
    pub fn note(&mut self, view: &View, seen: &Seen) -> Result<(), String> {
        self.fresh = false;
        match seen {
            Seen::Restored { glance, .. } => {
                self.commits.insert(view.node.id, glance.commit);
                self.committing.remove(&view.node.id);
                self.learn(view, glance.commit)
            }
            Seen::Stepped { before, after } => {
                if after.leads() {
                    self.leaders.entry(after.term()).or_insert(view.node.id);
                    if after.commit > before.commit {
                        self.committing.insert(view.node.id, after.term());
                    }
                }
                Ok(())
            }
            Seen::Polled(polled) => {
                let glance = &polled.glance;
                let known = self.commits.insert(view.node.id, glance.commit).unwrap_or_default();
                if glance.commit == known {
                    return Ok(());
                }
                if glance.leads() {
                    self.committing.insert(view.node.id, glance.term());
                }
                self.learn(view, glance.commit)
            }
            _ => Ok(()),
        }
    }

    /// `view.node` holds everything up to `commit` for committed.
    fn learn(&mut self, view: &View, commit: Index) -> Result<(), String> {
        let log = &view.node.disk.shadow;
        let by = self.committing.remove(&view.node.id);
        let mut index = log.base.last.index.next();
        let below = log.base.last;
        if let Some(known) = self.at(below.index)
            && known.id != below
        {
            return Err(format!(
                "the log begins after {below}, but {} is committed there",
                known.id
            ));
        }
        while index <= commit {
            let Some(entry) = log.entry(index) else {
                return Err(format!("commit is {commit}, but the log ends at {}", log.last()));
            };
            let digest = payload_digest(&entry.payload);
            match self.at(index) {
                Some(known) if known.id != entry.id || known.digest != digest => {
                    return Err(format!(
                        "{} is committed, and {} takes {} for committed",
                        known.id, view.node.name, entry.id
                    ));
                }
                Some(_) => {}
                None if index.0 != self.committed.len() as u64 + 1 => {
                    return Err(format!("{index} is committed before {}", self.last().next()));
                }
                None => match by {
                    Some(by) => {
                        self.fresh = true;
                        self.committed.push(Committed { id: entry.id, digest, by });
                        if let Payload::Membership(membership) = &entry.payload {
                            self.membership = membership.clone();
                        }
                    }
                    None => {
                        return Err(format!(
                            "{} takes {} for committed before any leader does",
                            view.node.name, entry.id
                        ));
                    }
                },
            }
            index = index.next();
        }
        if commit > self.last() {
            return Err(format!("commit is {commit}, beyond everything committed"));
        }
        Ok(())
    }
}
