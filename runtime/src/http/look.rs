//! Looking at leases, locks and the past of keys.
//!
//! Rule: as fresh and as patient as the reads of keys. Must never: answer from a node that is not a
//! member.

use super::{
    Api,
    params::Params,
    problem::{OVERLOADED, Problem, STOPPING},
    read::{consistency_of, least_revision, not_reached, stamps, told},
    seek,
};
use crate::{
    handle::{Consistency, Look, Phase, QueryError, Seen},
    world::World,
};
use hyper::{HeaderMap, http::request::Parts};
use kvorum_core::raft::Instant;
use std::future::Future;

/// How a look is taken: what every call that only looks lets the client say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// How fresh.
    pub consistency: Consistency,
    /// The state must have reached this revision.
    pub least: u64,
    /// When to give up.
    pub deadline: Instant,
}

/// The parameters of `Manner`.
pub(super) const PARAMETERS: [&str; 2] = ["consistency", "timeout"];

impl Manner {
    /// What is said of an answer.
    pub(super) fn stamps(&self, seen: &Seen) -> HeaderMap {
        told(stamps(seen.applied, seen.revision), self.consistency)
    }
}

impl<W: World> Api<W> {
    /// What `params` and headers say.
    pub(super) fn manner(&self, params: &Params, head: &Parts) -> Result<Manner, Problem> {
        Ok(Manner {
            consistency: consistency_of(params)?,
            least: least_revision(&head.headers)?,
            deadline: self.deadline(self.timeout(params)?),
        })
    }

    /// Looks, waiting until the state has reached the revision that the client knows of.
    pub(super) async fn look(&self, look: &Look, manner: &Manner) -> Result<Seen, Problem> {
        let mut pause = self.first_pause();
        loop {
            let ask = || self.handle.look(look.clone(), manner.consistency);
            let seen = self.ask(manner.deadline, ask).await?;
            if seen.revision >= manner.least {
                return Ok(seen);
            }
            let view = self.handle.view().get();
            if !self.wait(&view, &mut pause, manner.deadline).await {
                return Err(not_reached(seen.revision, manner.least));
            }
        }
    }

    /// Asks the node, waiting through elections until `deadline`.
    pub(super) async fn ask<T, A>(
        &self,
        deadline: Instant,
        ask: impl Fn() -> A,
    ) -> Result<T, Problem>
    where
        A: Future<Output = Result<T, QueryError>>,
    {
        let mut pause = self.first_pause();
        loop {
            let view = self.handle.view().get();
            // A node outside a cluster has no state worth showing, however stale.
            if view.phase != Phase::Joining {
                match self.until(deadline, ask()).await {
                    None => return Err(seek::read_timeout(&view)),
                    Some(Ok(answer)) => return Ok(answer),
                    Some(Err(QueryError::NoLeader)) => {}
                    Some(Err(QueryError::Overloaded)) => {
                        return Err(Problem::new(OVERLOADED, "too many reads are under way"));
                    }
                    Some(Err(QueryError::Stopping)) => {
                        return Err(Problem::new(STOPPING, "the node is stopping"));
                    }
                }
            }
            if !self.wait(&view, &mut pause, deadline).await {
                return Err(seek::read_timeout(&self.handle.view().get()));
            }
        }
    }
}
