//! `POST /txn`: a guarded batch of operations in readable JSON, lowered one to one.
//!
//! Rule: whatever the JSON says is meant; an unknown or repeated member is refused. Must never:
//! guess what a member was meant to be.
//!
//! ```json
//! {"if":   [{"key":"a","mod_revision":17}, {"key":"b","exists":false}, {"prefix":"jobs/","version":{">":0}}],
//!  "then": [{"put":{"key":"a","value":"1"}}, {"delete":{"prefix":"b/"}}, {"get":{"key":"c"}}],
//!  "else": [{"get":{"key":"a"}}]}
//! ```

use super::{
    Api, Reply, body::Payload, condition::no_conditions, envelope::Envelope, params::Params,
    problem::Problem, seek::Call, txn_json, txn_reply,
};
use crate::world::World;
use hyper::http::request::Parts;
use kvorum_core::kv::{Body, TxnError, check::MAX_TXN_OPS};

/// What `POST /txn` takes.
pub(super) const PARAMETERS: [&str; 1] = ["timeout"];

impl<W: World> Api<W> {
    /// Answers `POST /txn`.
    pub(super) async fn post_txn(
        &self,
        head: &Parts,
        payload: &mut Payload,
    ) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &PARAMETERS)?;
        no_conditions(&head.headers)?;
        let timeout = self.timeout(&params)?;
        let body = payload.read(&self.world, &self.limits).await?;
        let txn = txn_json::parse(&body, &self.limits)?;
        let most = self.limits.keys_per_request.min(MAX_TXN_OPS);
        txn.check(most).map_err(|error| refuse(error, most))?;
        let plan = txn_reply::Plan::of(&txn);
        let envelope = Envelope::new(Body::Txn(txn), &head.headers, 4)?;
        let call = Call { head, body, deadline: self.deadline(timeout) };
        self.decide(&call, || self.submit(&envelope, |executed| plan.tell(executed))).await
    }
}

fn refuse(error: TxnError, most: usize) -> Problem {
    use super::problem::{DUPLICATE_KEY, EMPTY_KEY, INVALID_LEASE, JSON_TOO_DEEP, TOO_MANY_KEYS};
    match error {
        TxnError::EmptyKey => Problem::new(EMPTY_KEY, "the key is empty"),
        TxnError::DuplicateKey => {
            Problem::new(DUPLICATE_KEY, "a key is written twice, or written and deleted")
        }
        TxnError::TooManyOps => {
            Problem::new(TOO_MANY_KEYS, format!("the transaction has more than {most} operations"))
        }
        TxnError::TooDeep => {
            let message = "transactions are nested too deeply";
            Problem::new(JSON_TOO_DEEP, message).hint("at most 8 levels")
        }
        TxnError::LeaseIdTooLarge | TxnError::LeaseConflict => {
            Problem::new(INVALID_LEASE, error.to_string())
        }
    }
}
