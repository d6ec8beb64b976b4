//! A life begins: a node from what its disk holds.
//!
//! Rule: what does not fit together is refused by name, before anything is done with it; what fits
//! is where the node stands. Must never: touch anything but what it was given.

use super::{
    agreement::Digests,
    apply::Apply,
    log::Log,
    raft::NUMBER_LIMIT,
    read::Forwarded,
    rng::Rng,
    role::{Follower, Role},
    snapshot::Incoming,
    timer::{Timer, Timers},
    *,
};
use alloc::{collections::BTreeMap, format, string::ToString, vec::Vec};

impl Raft {
    /// Rebuilds a node from what its disk holds. Touches nothing else.
    ///
    /// `seed` must differ between two lives of a node (it marks writes and names read batches).
    ///
    /// # Errors
    /// `Corrupt` names what in `restored` does not fit together.
    pub fn restore(
        id: NodeId,
        config: Config,
        restored: Restored,
        seed: u64,
        now: Instant,
    ) -> Result<Raft, Corrupt> {
        let (durable_vote, applied) = (restored.vote, restored.applied);
        let (staged, commit_hint) = (restored.staged.clone(), restored.commit_hint);
        let log = Log::restore(&config, restored)?;
        let (base, last) = (log.base(), log.last());
        let mut vote = durable_vote;
        if base == last && vote.term < base.term {
            // A snapshot was installed just before a crash took the write of its term: nothing was
            // promised in terms between, and a vote in that term would be on the disk.
            vote = Vote { term: base.term, voted_for: None };
        }
        if vote.term < last.term {
            let term = vote.term;
            return Err(Corrupt(format!("the term is {term} but the log ends at {last}")));
        }
        if applied < base.index {
            return Err(Corrupt(format!(
                "the state stands at {applied} but the log begins after {base}"
            )));
        }
        if applied > last.index {
            return Err(Corrupt(format!(
                "the state stands at {applied} but the log ends at {last}"
            )));
        }
        if vote.term.0 >= NUMBER_LIMIT || last.index.0 >= NUMBER_LIMIT {
            return Err(Corrupt("a number is out of range".to_string()));
        }
        let mut rng = Rng::new(seed);
        let life = rng.next();
        let mut raft = Raft {
            id,
            life,
            now,
            rng,
            timers: Timers::default(),
            vote,
            durable_vote,
            submitted_vote: durable_vote,
            submitted_commit: commit_hint.min(last.index),
            commit: applied.max(commit_hint.min(last.index)),
            role: Role::Follower(Follower::default()),
            known_leader: None,
            sequence_seen: 0,
            hurry_until: None,
            stands_in_until: None,
            apply: Apply::new(applied),
            forwarded: Forwarded::new(life),
            incoming: staged
                .filter(|StagedSnapshot { meta, .. }| {
                    let wanted = meta.last.index > applied && !log.contains(meta.last);
                    wanted && meta.membership.is_consistent()
                })
                .map(Incoming::restored),
            durable_state: None,
            digests: Digests::new(applied),
            unproven_divergences: 0,
            outbox: Vec::new(),
            gated: Vec::new(),
            reads: Vec::new(),
            log_reads: Vec::new(),
            snapshots: Vec::new(),
            announced: Changed {
                role: RoleName::Follower,
                leader: None,
                term: durable_vote.term,
                membership_index: log.membership_index(),
            },
            ignored: BTreeMap::new(),
            refused: BTreeMap::new(),
            evidence: None,
            halted: false,
            log,
            config,
        };
        if raft.is_sole_voter() {
            raft.timers.set(Timer::Election, now);
        } else {
            raft.arm_election();
        }
        raft.check_after_event();
        Ok(raft)
    }
}
