//! What a node may be asked that is not a range of keys.
//!
//! Rule: one look is answered from one state, at one reading of the cluster clock. Must never:
//! return a list without a bound.

use bytes::Bytes;
use kvorum_core::{
    kv::{
        self, CommandError, History, KeyRange, KeyValue, LeaseView, Query, Settings, TableFailure,
        Tables,
    },
    raft::Index,
};

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// A lease, with at most `limit` of its keys from `from` on.
    Lease {
        /// Its id.
        id: u64,
        /// The first key.
        from: Bytes,
        /// At most so many.
        limit: usize,
    },
    /// Leases without their keys.
    Leases {
        /// Those after this id; 0: from the first.
        after: u64,
        /// At most so many.
        limit: usize,
    },
    /// The past of a key, newest first.
    History {
        /// Which.
        key: Bytes,
        /// What was before this revision; 0: all.
        before: u64,
        /// At most so many.
        limit: usize,
        /// At most so many bytes of values beyond the first; 0: no bound.
        max_bytes: u64,
    },
    /// A key and the lease it has: a lock and its holder.
    Held(Bytes),
    /// What all replicas have agreed to.
    Settings,
}

/// What was seen, as `Look` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A lease.
    Lease(LeaseView),
    /// Leases.
    Leases(Vec<LeaseView>),
    /// The past of a key.
    History(History),
    /// A key, if it exists, and its lease, if it has one.
    Held(Option<(KeyValue, Option<LeaseView>)>),
    /// What all replicas have agreed to.
    Settings(Settings),
}

/// The answer to a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The log index the state stood at.
    pub applied: Index,
    /// What the state machine answered.
    pub found: Result<Found, CommandError>,
    /// The store's revision at that point.
    pub revision: u64,
}

impl Look {
    /// What there is to see in `tables`, at `now_ms` on the cluster clock.
    ///
    /// # Errors
    /// `TableFailure` when the tables cannot be read. Within: what the state machine says.
    pub fn at(
        &self,
        tables: &dyn Tables,
        now_ms: u64,
    ) -> Result<Result<Found, CommandError>, TableFailure> {
        Ok(match self {
            Look::Lease { id, from, limit } => {
                kv::lease(tables, *id, now_ms, from, *limit)?.map(Found::Lease)
            }
            Look::Leases { after, limit } => {
                Ok(Found::Leases(kv::leases(tables, *after, now_ms, *limit)?))
            }
            Look::History { key, before, limit, max_bytes } => {
                kv::history(tables, key, *before, *limit, *max_bytes)?.map(Found::History)
            }
            Look::Settings => Ok(Found::Settings(kv::status(tables)?.settings)),
            Look::Held(key) => {
                let one = kv::query(tables, &Query::of(KeyRange::One(key.clone())))?;
                match one.map(|reply| reply.items.into_iter().next()) {
                    Ok(None) => Ok(Found::Held(None)),
                    Ok(Some(item)) => {
                        let lease = kv::lease(tables, item.lease, now_ms, &[], 0)?;
                        Ok(Found::Held(Some((item, lease.ok()))))
                    }
                    Err(error) => Err(error),
                }
            }
        })
    }
}
