//! What the leader has to propose although nobody asked: the pure part of its timer.
//!
//! Rule: one look at the tables and the clock names the most urgent command, or none; the state
//! machine judges it again when it is applied, so a chore proposed twice, late, or by a leader that
//! has just been replaced does no harm. Each is bounded; ask again once it is applied. Must never:
//! name a chore that would change nothing for ever.

use super::{
    command::Body,
    compact,
    head::{Head, Settings},
    lease, marks, repeats,
    tables::{TableFailure, Tables},
};

/// How many leases one command ends at most.
pub const EXPIRE_LEASES: usize = 64;
/// While there are leases, the replicated clock is not further behind than this: so much at most
/// does a lease gain when all nodes that kept time are lost at once.
pub const TICK_MS: u64 = 5_000;

/// What the leader should propose now. `now_ms` is its reading of the cluster clock.
///
/// # Errors
/// `TableFailure` when the tables cannot be read.
pub fn next_chore(tables: &dyn Tables, now_ms: u64) -> Result<Option<Body>, TableFailure> {
    let head = Head::load(tables)?;
    let now_ms = now_ms.max(head.clock_ms);
    let leases = lease::expired(tables, now_ms, EXPIRE_LEASES)?;
    if !leases.is_empty() {
        return Ok(Some(Body::Expire { leases }));
    }
    if compact::pending(&head) || repeats::evictable(tables, &head, now_ms)? {
        return Ok(Some(Body::Tick));
    }
    if let Some(revision) = compactable(tables, &head, now_ms)? {
        return Ok(Some(Body::Compact { revision }));
    }
    let behind = now_ms - head.clock_ms >= TICK_MS;
    if behind && lease::next_expiry(tables)?.is_some() {
        return Ok(Some(Body::Tick));
    }
    Ok(None)
}

/// The revision up to which history is neither young nor among the last revisions, if going there
/// is worth a command.
fn compactable(tables: &dyn Tables, head: &Head, now_ms: u64) -> Result<Option<u64>, TableFailure> {
    let Settings { keep_ms, keep_revisions, .. } = head.settings;
    if keep_ms == u64::MAX {
        return Ok(None);
    }
    let worth = head.compacted.saturating_add((keep_revisions / 16).max(1));
    let surplus = head.revision.saturating_sub(keep_revisions);
    if surplus < worth {
        return Ok(None);
    }
    let old = marks::old_enough(tables, &head.settings, now_ms)?;
    Ok(old.map(|revision| revision.min(surplus)).filter(|revision| *revision >= worth))
}
