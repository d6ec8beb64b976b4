//! A transaction under way.

use super::{
    Leases, Listed, Model, State,
    answer::answer,
    shape::{branch, within},
};
use bytes::Bytes;
use kvorum_core::kv::{Command, KeyValue, Op, OpReply, Txn, TxnReply, lease};

/// A transaction under way on a copy of the store.
pub struct Run<'a> {
    pub model: &'a Model,
    pub state: State,
    pub changes: Vec<Listed>,
    pub leases: Leases,
    /// Ids that the grants on the path get, in order, and how many are given.
    pub granted: (Vec<u64>, usize),
    pub command: &'a Command,
}

impl Run<'_> {
    pub fn txn(&mut self, txn: &Txn) -> TxnReply {
        let succeeded = self.model.holds(txn);
        let results = branch(txn, succeeded).iter().map(|op| self.op(op)).collect();
        TxnReply { succeeded, results }
    }

    fn op(&mut self, op: &Op) -> OpReply {
        let revision = self.model.revision + 1;
        match op {
            Op::Put(put) => {
                let old = self.state.get(&put.key).cloned();
                let kept = old.as_ref().filter(|_| put.keep_value);
                let new = KeyValue {
                    key: put.key.clone(),
                    value: kept.map_or(&put.value, |old| &old.value).clone(),
                    kind: kept.map_or(put.kind, |old| old.kind),
                    create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
                    mod_revision: revision,
                    version: old.as_ref().map_or(1, |old| old.version + 1),
                    lease: match &old {
                        Some(old) if put.keep_lease => old.lease,
                        _ if put.lease == lease::GRANTED => self.granted.0[self.granted.1 - 1],
                        _ => put.lease,
                    },
                    wall_ms: self.command.wall_ms,
                };
                self.state.insert(put.key.clone(), new.clone());
                self.change(put.key.clone(), Some(new.clone()), old.clone());
                OpReply::Put {
                    version: new.version,
                    create_revision: new.create_revision,
                    previous: old.filter(|_| put.previous),
                }
            }
            Op::Delete(delete) => {
                let gone = self.remove(|item| within(&delete.range, &item.key));
                OpReply::Delete {
                    deleted: gone.len() as u64,
                    previous: if delete.previous { gone } else { vec![] },
                }
            }
            Op::Range(query) => {
                let current = if self.changes.is_empty() { revision - 1 } else { revision };
                let past = self.model.states.get(&query.revision);
                let state = past.filter(|_| query.revision != 0).unwrap_or(&self.state);
                OpReply::Range(answer(state, query, current))
            }
            Op::Txn(txn) => OpReply::Txn(self.txn(txn)),
            Op::Grant { ttl_ms, .. } => {
                let id = self.granted.0[self.granted.1];
                self.granted.1 += 1;
                let ttl_ms = (*ttl_ms).max(2000);
                self.leases.insert(id, (ttl_ms, self.model.clock + ttl_ms));
                OpReply::Lease { id, ttl_ms }
            }
            Op::KeepAlive { id } => {
                let ttl_ms = self.leases[id].0;
                self.leases.insert(*id, (ttl_ms, self.model.clock + ttl_ms));
                OpReply::Lease { id: *id, ttl_ms }
            }
            Op::Revoke { id } => self.revoke(*id),
        }
    }

    pub fn revoke(&mut self, id: u64) -> OpReply {
        self.leases.remove(&id);
        let deleted = self.remove(|item| item.lease == id).len() as u64;
        OpReply::Revoked { id, deleted }
    }

    fn remove(&mut self, which: impl Fn(&KeyValue) -> bool) -> Vec<KeyValue> {
        let gone: Vec<_> = self.state.values().filter(|item| which(item)).cloned().collect();
        for item in &gone {
            self.state.remove(&item.key);
            self.change(item.key.clone(), None, Some(item.clone()));
        }
        gone
    }

    fn change(&mut self, key: Bytes, now: Option<KeyValue>, before: Option<KeyValue>) {
        let sub = self.changes.len() as u32;
        let revision = self.model.revision + 1;
        self.changes.push((revision, sub, key, now, before, self.command.principal.clone()));
    }
}
