//! The leader's side of removing, promoting and demoting a member.
//!
//! Rule: a change is refused when the voters that would be left could not commit anything: fewer
//! than a majority of them answer. A leader that is to go hands over first, so that nobody waits for
//! an election. Must never: change a member that the leader's own membership does not have, or count
//! on a voter that does not answer.

use crate::handle::{MemberChange, MemberError};
use kvorum_core::raft::{Change, NodeId, PeerStatus, Raft, RoleName};
use std::collections::{BTreeMap, BTreeSet};

/// Entries that a learner may lack to be promoted by request.
pub const PROMOTION_LAG: u64 = 1_000;

/// What is to be done for a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It is so already.
    Nothing,
    /// This change of the membership.
    Change(Change),
    /// The leader itself is meant: another one must lead first.
    HandOver,
}

/// What follows from the request, given how the members stand. `name` gives their names.
///
/// # Errors
/// Why it cannot be; all are certain.
pub fn judge(
    raft: &Raft,
    target: NodeId,
    change: MemberChange,
    name: impl Fn(NodeId) -> String,
) -> Result<Step, MemberError> {
    let status = raft.status();
    if status.role != RoleName::Leader {
        return Err(MemberError::NotLeader);
    }
    if status.membership.is_joint() {
        return Err(MemberError::Busy);
    }
    let peers: BTreeMap<NodeId, PeerStatus> = raft.peers().map(|peer| (peer.id, peer)).collect();
    let answers = |id: &NodeId| *id == status.id || peers.get(id).is_some_and(|peer| peer.active);
    let votes = status.membership.voters.contains(&target);
    let mut voters = status.membership.voters.clone();
    let change = match change {
        MemberChange::Promote if votes => return Ok(Step::Nothing),
        MemberChange::Demote if !votes => return Ok(Step::Nothing),
        MemberChange::Promote => {
            let Some(peer) = peers.get(&target) else { return Err(MemberError::Busy) };
            let lag = status.last.index.distance(peer.matched);
            if !peer.active || peer.state != "replicate" || lag > PROMOTION_LAG {
                return Err(MemberError::NotCaughtUp { lag, answers: peer.active });
            }
            voters.insert(target);
            Change { promote: vec![target], ..Change::default() }
        }
        MemberChange::Demote => {
            voters.remove(&target);
            Change { demote: vec![target], ..Change::default() }
        }
        MemberChange::Remove => {
            voters.remove(&target);
            Change { remove: vec![target], ..Change::default() }
        }
    };
    if voters != status.membership.voters {
        quorum_is_left(&voters, answers, name)?;
    }
    Ok(if target == status.id { Step::HandOver } else { Step::Change(change) })
}

/// Whether a majority of `voters` answers.
fn quorum_is_left(
    voters: &BTreeSet<NodeId>,
    answers: impl Fn(&NodeId) -> bool,
    name: impl Fn(NodeId) -> String,
) -> Result<(), MemberError> {
    if voters.is_empty() {
        return Err(MemberError::WouldLoseQuorum("it is the only voter".to_owned()));
    }
    let (answering, silent): (Vec<NodeId>, Vec<NodeId>) = voters.iter().partition(|id| answers(id));
    let need = voters.len() / 2 + 1;
    if answering.len() >= need {
        return Ok(());
    }
    let silent: Vec<String> = silent.into_iter().map(name).collect();
    Err(MemberError::WouldLoseQuorum(format!(
        "of the {} voters then, {need} must answer, and {} does: {} is silent",
        voters.len(),
        answering.len(),
        silent.join(", ")
    )))
}
