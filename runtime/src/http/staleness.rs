//! `?consistency=stale&max_staleness=2s`: this node's state, if it is not older than that.
//!
//! Rule: a state is as fresh as the last confirmation by the leader was asked for, measured on this
//! node's own clock, so that neither the leader's clock nor the network's delay matters; a state
//! that is not known to be fresh enough is confirmed, or refused. Must never: take an answer's
//! arrival for the moment it was true.

use super::{
    Api, duration,
    params::{Params, invalid},
    problem::{INVALID_PARAMETER, NO_LEADER, Problem, READ_TIMEOUT, TOO_STALE},
};
use crate::{
    handle::{Answer, Consistency},
    world::World,
};
use kvorum_core::{kv::Query, raft::Instant};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The last moment of which the state is known to hold everything acknowledged before it.
#[derive(Debug, Default)]
pub(super) struct Fresh(AtomicU64);

impl Fresh {
    /// A linearizable read that was asked for at `asked` has been answered from this node's state.
    pub(super) fn note(&self, asked: Instant) {
        // 0 is for never.
        self.0.fetch_max(asked.0.max(1), Ordering::Relaxed);
    }

    /// Whether the state at `now` is at most so old.
    fn within(&self, now: Instant, bound: Duration) -> bool {
        let fresh = self.0.load(Ordering::Relaxed);
        fresh > 0 && now.since(Instant(fresh)) <= bound
    }
}

impl<W: World> Api<W> {
    /// Answers from this node's state if that is at most `bound` old, or has the leader confirm it.
    pub(super) async fn query_within(
        &self,
        query: &Query,
        bound: Duration,
        deadline: Instant,
    ) -> Result<Answer, Problem> {
        let answer = self.query(query.clone(), Consistency::Stale, deadline).await?;
        if self.fresh.within(self.world.now(), bound) {
            return Ok(answer);
        }
        let confirmed = self.query(query.clone(), Consistency::Linearizable, deadline).await;
        confirmed.map_err(|problem| match problem.kind() {
            NO_LEADER | READ_TIMEOUT => Problem::new(
                TOO_STALE,
                format!("the state may be older than {bound:?}: {}", problem.message()),
            ),
            _ => problem,
        })
    }
}

/// `?max_staleness=`, which only a stale read takes.
pub(super) fn staleness_of(
    params: &Params,
    consistency: Consistency,
) -> Result<Option<Duration>, Problem> {
    let Some(text) = params.get("max_staleness") else { return Ok(None) };
    if consistency != Consistency::Stale {
        let message = "a linearizable read is never stale; drop max_staleness";
        return Err(Problem::new(INVALID_PARAMETER, message).hint("send it with consistency=stale"));
    }
    match duration::parse(text) {
        Some(bound) => Ok(Some(bound)),
        None => Err(invalid("max_staleness", text, "a duration, e.g. 2s")),
    }
}
