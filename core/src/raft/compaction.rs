//! When the beginning of the log may go (§7).
//!
//! Rule: once enough log lies at or before what the state machine can restart from, the base moves
//! up to it, less a tail kept for followers that lag a little, and less what a live peer still
//! needs, within a bound. The base's meta is exact for its index. Must never: pass what is applied
//! durably, what is written, or (within the bound) what a peer is about to be sent.

use super::{
    raft::Raft,
    refused::Evidence,
    role::Role,
    types::{Index, SnapshotMeta},
};

/// A live peer holds back compaction by at most this many times `Config::compact_after_bytes`.
const MAX_HELD_BACK: u64 = 4;

impl Raft {
    /// The state machine can restart from `meta.last`.
    pub(super) fn state_durable(&mut self, meta: SnapshotMeta) {
        let known = self.durable_state.as_ref().map_or(Index::ZERO, |known| known.last.index);
        if meta.last.index > known {
            self.durable_state = Some(meta);
        }
    }

    /// Moves the base when it is time. Part of `poll`.
    pub(super) fn consider_compaction(&mut self) {
        let applied = self.apply.applied;
        let installing = self.is_installing();
        // The state machine's word may arrive before the word that it has applied so far.
        let arrived = |durable: &mut SnapshotMeta| durable.last.index <= applied && !installing;
        let Some(durable) = self.durable_state.take_if(arrived) else { return };
        let base = self.log.base().index;
        let to = durable.last.index;
        let threshold = self.config.compact_after_bytes;
        if to <= base {
            return;
        }
        assert!(self.log.contains(durable.last), "what is durably applied is what was committed");
        match self.log.chain_at(to) {
            Some(expected) if expected != durable.chain => {
                let (at, found) = (durable.last, durable.chain);
                return self.halt(Evidence::DiskChanged { at, expected, found });
            }
            Some(_) | None => self.log.learn_chain(to, durable.chain),
        }
        let many_terms = self.log.terms().count() >= self.config.max_term_runs / 4;
        if self.log.bytes_between(base, to) < threshold && !many_terms {
            return;
        }
        let kept = Index(to.0.saturating_sub(self.config.keep_entries));
        let target = kept.max(self.log.keep_bytes(to, threshold)).min(to).min(self.log.written());
        let target = self.needed_by_peers(to).map_or(target, |needed| target.min(needed));
        // The base's chain must be known; a cold entry's may not be.
        let target = self.log.known_up_to(target);
        if target > base {
            self.log.compact(target);
        }
    }

    /// The position after which live peers still need the log.
    fn needed_by_peers(&self, to: Index) -> Option<Index> {
        let Role::Leader(leader) = &self.role else { return None };
        let bound = self.config.compact_after_bytes.saturating_mul(MAX_HELD_BACK);
        let live = leader
            .peers
            .values()
            .filter(|peer| self.now.since(peer.heard) < self.config.election_timeout);
        live.filter_map(|peer| peer.needs_after())
            .filter(|&after| self.log.bytes_between(after, to) <= bound)
            .min()
    }
}
