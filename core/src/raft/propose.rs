//! Proposals: commands become entries of the leader's log (§5.3).
//!
//! Rule: all or none, in order, and only as much as may wait for a quorum. Must never: take a command
//! whose place in the log the caller is not told.

use super::{
    raft::Raft,
    refused::{Full, Refused},
    role::Role,
    types::{Entry, EntryId, Index, Payload},
};
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::RangeInclusive;

impl Raft {
    /// See `Raft::propose`.
    pub(super) fn append_commands(
        &mut self,
        commands: Vec<Bytes>,
    ) -> Result<RangeInclusive<Index>, Refused> {
        let leader_id = self.leader();
        let Role::Leader(leader) = &self.role else {
            return Err(Refused::NotLeader { leader: leader_id });
        };
        if leader.transfer.is_some() {
            return Err(Refused::Transferring);
        }
        if commands.iter().any(|command| command.len() as u64 > self.config.max_entry_bytes) {
            return Err(Refused::TooLarge);
        }
        let first = self.log.last().index.next();
        let mut chain = self.log.last_chain();
        let entries: Vec<Entry> = (first.0..)
            .zip(commands)
            .map(|(index, command)| {
                let id = EntryId { index: Index(index), term: self.vote.term };
                let entry = Entry::new(chain, id, Payload::Command(command));
                chain = entry.chain;
                entry
            })
            .collect();
        let bytes: u64 = entries.iter().map(Entry::size).sum();
        if let Some(full) = self.is_full(entries.len() as u64, bytes) {
            return Err(Refused::Overloaded(full));
        }
        let Role::Leader(leader) = &mut self.role else { unreachable!("just seen") };
        let last = Index(first.0 - 1 + entries.len() as u64);
        if bytes > 0 {
            leader.proposed.push_back((last, bytes));
            leader.proposed_bytes += bytes;
        }
        for entry in entries {
            self.log.append(entry);
        }
        Ok(first..=last)
    }

    /// Which bound does not admit so many more proposals. One is always admitted when none waits.
    fn is_full(&self, entries: u64, bytes: u64) -> Option<Full> {
        let Role::Leader(leader) = &self.role else { return None };
        let (config, commit, applied) = (&self.config, self.commit, self.apply.applied);
        let held = leader.proposed_bytes;
        let uncommitted = self.log.last().index.distance(commit);
        if held > 0 && held + bytes > config.max_uncommitted_bytes {
            Some(Full::UncommittedBytes)
        } else if held > 0 && uncommitted + entries > config.max_uncommitted_entries {
            Some(Full::UncommittedEntries)
        } else if commit.distance(applied) > config.max_apply_lag_entries
            || self.log.bytes_between(applied, commit) > config.max_apply_lag_bytes
        {
            Some(Full::Apply)
        } else {
            None
        }
    }
}
