//! `DELETE /keys`: a range of keys, at one revision.
//!
//! Rule: without bounds, only `?all=true` deletes everything. Must never: delete in parts.

use super::{
    Api, Reply,
    condition::no_conditions,
    envelope::Envelope,
    outcome::{accepted, misfit},
    params::Params,
    problem::Problem,
    read::json,
    scan::bounded_range,
    seek::Call,
};
use crate::{handle::Executed, world::World};
use bytes::Bytes;
use hyper::http::request::Parts;
use kvorum_core::kv::{Body, Delete, Op, OpReply, Txn};

/// What `DELETE /keys` takes.
pub(super) const PARAMETERS: [&str; 5] = ["prefix", "start", "end", "all", "timeout"];

impl<W: World> Api<W> {
    /// Answers `DELETE /keys`.
    pub(super) async fn delete_keys(&self, head: &Parts) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &PARAMETERS)?;
        let range = bounded_range(&params)?;
        no_conditions(&head.headers)?;
        let then = vec![Op::Delete(Delete { range, previous: false })];
        let body = Body::Txn(Txn { then, ..Txn::default() });
        let envelope = Envelope::new(body, &head.headers, 3)?;
        let deadline = self.deadline(self.timeout(&params)?);
        let call = Call { head, body: Bytes::new(), deadline };
        self.decide(&call, || self.submit(&envelope, tell)).await
    }
}

fn tell(executed: Executed) -> Result<Reply, Problem> {
    let revision = executed.reply.revision;
    let (outcome, headers) = accepted(executed)?;
    match outcome.results.first() {
        Some(OpReply::Delete { deleted, .. }) => {
            Ok(json(format!("{{\"deleted\":{deleted},\"revision\":{revision}}}"), headers))
        }
        _ => Err(misfit(headers)),
    }
}
