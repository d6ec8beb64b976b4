//! What a search must have come across, or it proves nothing.
//!
//! Rule: each is something the world can be seen in right after a step. Must never: influence the
//! search.

use crate::{
    rules::{Case, Memory, is_change, is_quorum},
    tables::Look,
};
use kvorum_core::raft::{NodeId, Payload};

/// The situations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sight {
    Leader,
    CommittedCommand,
    TwoLeaders,
    Truncation,
    CommittedChange,
    Joint,
    LeftJoint,
    Promotion,
    RemovedLeader,
    CommitAfterCrash,
    LostWrites,
    Figure8,
    Snapshot,
    HandOver,
}

impl Sight {
    /// All of them.
    pub const ALL: [Sight; 14] = [
        Sight::Leader,
        Sight::CommittedCommand,
        Sight::TwoLeaders,
        Sight::Truncation,
        Sight::CommittedChange,
        Sight::Joint,
        Sight::LeftJoint,
        Sight::Promotion,
        Sight::RemovedLeader,
        Sight::CommitAfterCrash,
        Sight::LostWrites,
        Sight::Figure8,
        Sight::Snapshot,
        Sight::HandOver,
    ];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Sight::Leader => "a leader",
            Sight::CommittedCommand => "a committed command",
            Sight::TwoLeaders => "two leaders of different terms at once",
            Sight::Truncation => "a truncated log",
            Sight::CommittedChange => "a committed change of the members",
            Sight::Joint => "a joint configuration",
            Sight::LeftJoint => "a joint configuration that was left",
            Sight::Promotion => "a learner that became a voter",
            Sight::RemovedLeader => "a leader that was removed",
            Sight::CommitAfterCrash => "an entry committed after the crash of its leader",
            Sight::LostWrites => "writes lost in a crash",
            Sight::Figure8 => "Figure 8",
            Sight::Snapshot => "an installed snapshot",
            Sight::HandOver => "a campaign on the leader's word",
        }
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Whether `seen` contains this.
    pub fn is_in(self, seen: u32) -> bool {
        seen & self.bit() != 0
    }
}

/// What can be seen after a step; `known` entries were committed before it.
pub fn look_around(case: &Case, memory: &Memory, known: usize) -> u32 {
    let looks: Vec<&Look> = case.nodes.iter().map(|&node| &**case.tables.look(node)).collect();
    let (before, after, effects) = (&case.before, &case.after, &case.step.effects);
    let fresh = &memory.committed[known.min(memory.committed.len())..];
    let leads = looks.iter().filter(|look| look.leads).count();
    let all = &memory.committed;
    let voted = |id: &NodeId| after.membership.voters.contains(id);
    let is = |sight: Sight| match sight {
        Sight::Leader => after.leads,
        Sight::CommittedCommand => {
            fresh.iter().any(|entry| matches!(entry.payload, Payload::Command(_)))
        }
        Sight::TwoLeaders => leads > 1,
        Sight::Truncation => effects.truncated,
        Sight::CommittedChange => fresh.iter().any(is_change),
        Sight::Joint => after.membership.is_joint(),
        Sight::LeftJoint => {
            let joint = |entry: &&_| matches!(payload(entry), Some(m) if m.is_joint());
            let last = all.iter().filter_map(payload).next_back();
            !fresh.is_empty()
                && all.iter().any(|e| joint(&e))
                && last.is_some_and(|m| !m.is_joint())
        }
        Sight::Promotion => {
            before.membership.learners.iter().any(voted) && fresh.iter().any(is_change)
                || all
                    .iter()
                    .filter(|entry| is_change(entry))
                    .filter_map(payload)
                    .any(|m| m.voters.iter().any(|id| before.membership.learners.contains(id)))
        }
        Sight::RemovedLeader => {
            before.leads && !after.leads && !after.membership.is_voter(after.id)
        }
        Sight::CommitAfterCrash => fresh.iter().any(|entry| {
            let leader = memory.leaders.get(&entry.id.term);
            leader.is_some_and(|&(id, life)| {
                looks.iter().any(|look| look.id == id && look.life != life)
            })
        }),
        Sight::LostWrites => effects.lost_writes,
        Sight::Figure8 => before.durable != after.durable && figure_8(case, memory, &looks),
        Sight::Snapshot => effects.installed,
        Sight::HandOver => effects.handed_over,
    };
    Sight::ALL.into_iter().filter(|&sight| is(sight)).map(Sight::bit).sum()
}

fn payload(entry: &kvorum_core::raft::Entry) -> Option<&kvorum_core::raft::Membership> {
    match &entry.payload {
        Payload::Membership(membership) => Some(membership),
        Payload::Command(_) | Payload::Noop => None,
    }
}

/// Figure 8 (c) of the paper: an entry of an older term is on the disks of a quorum, a later leader
/// has it, nobody may count it as committed, and somebody else could still be elected without it.
fn figure_8(case: &Case, memory: &Memory, looks: &[&Look]) -> bool {
    let logs = &case.tables.logs;
    looks.iter().filter(|leader| leader.leads).any(|leader| {
        let log = logs.get(leader.log);
        let old = log.entries.iter().skip(memory.committed.len());
        old.take_while(|entry| entry.id.term < leader.term).any(|entry| {
            let holds = |id: NodeId| {
                let look = looks.iter().find(|look| look.id == id);
                look.is_some_and(|look| logs.get(look.durable).covers(entry.id))
            };
            let rival = |look: &&&Look| {
                let rival = logs.get(look.log);
                !rival.covers(entry.id) && rival.last().term > entry.id.term
            };
            is_quorum(&leader.membership, &holds) && looks.iter().any(|look| rival(&look))
        })
    })
}
