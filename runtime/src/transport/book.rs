//! The address book: who is a member, and where everybody can be reached.
//!
//! Rule: members and their addresses come from the log; the address that a node gives when it
//! calls is kept beside them (a bounded number, the longest silent is forgotten) and tried first,
//! since it is newer. Must never: hold a resolved address.

use crate::handle::Member;
use kvorum_core::raft::NodeId;
use std::collections::BTreeMap;

/// Callers remembered.
pub const MAX_CALLERS: usize = 128;

/// Members, and callers with the addresses they gave.
#[derive(Debug, Default)]
pub struct Book {
    members: BTreeMap<NodeId, Member>,
    callers: BTreeMap<NodeId, Caller>,
    calls: u64,
}

#[derive(Debug)]
struct Caller {
    address: String,
    /// When it last called, in calls.
    at: u64,
}

impl Book {
    /// Replaces the members.
    pub fn set_members(&mut self, members: &[Member]) {
        self.members = members.iter().map(|member| (member.id, member.clone())).collect();
    }

    /// The members as they are.
    #[must_use]
    pub fn members(&self) -> BTreeMap<NodeId, Member> {
        self.members.clone()
    }

    /// Notes that `caller` called. Returns whom the book forgot for it.
    pub fn called(&mut self, caller: &Member) -> Option<NodeId> {
        self.calls += 1;
        let entry = Caller { address: caller.raft_address.clone(), at: self.calls };
        self.callers.insert(caller.id, entry);
        if self.callers.len() <= MAX_CALLERS {
            return None;
        }
        let oldest = self.callers.iter().min_by_key(|(_, caller)| caller.at).map(|(id, _)| *id)?;
        self.callers.remove(&oldest);
        Some(oldest)
    }

    /// Whether `id` is a member; `None` while no members are known.
    #[must_use]
    pub fn is_member(&self, id: NodeId) -> Option<bool> {
        (!self.members.is_empty()).then(|| self.members.contains_key(&id))
    }

    /// The address for the `attempt`-th dial in a row: what the node itself said last and what the
    /// log says, in turns. `None` when nobody knows one.
    #[must_use]
    pub fn address(&self, id: NodeId, attempt: usize) -> Option<&str> {
        let said = self.callers.get(&id).map(|caller| caller.address.as_str());
        let logged = self.members.get(&id).map(|member| member.raft_address.as_str());
        if attempt.is_multiple_of(2) { said.or(logged) } else { logged.or(said) }
    }

    /// A member's name, else its id: for logs.
    #[must_use]
    pub fn name(&self, id: NodeId) -> String {
        self.members.get(&id).map_or_else(|| id.to_string(), |member| member.name.clone())
    }
}
