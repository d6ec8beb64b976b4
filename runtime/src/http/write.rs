//! `POST /key`, `PUT` and `DELETE /key/{key}`: every write becomes one guarded transaction.
//!
//! Rule: a request is checked completely before it is proposed or forwarded, so that a mistake is
//! told at once and on every node alike. Must never: write part of a request.

use super::{
    Api, Reply,
    body::Payload,
    condition::Conditions,
    envelope::Envelope,
    key::key,
    negotiate::{is_json, wants_minimal},
    params::Params,
    problem::{CONDITION_REQUIRED, Problem, TOO_MANY_KEYS},
    seek::Call,
    ttl::{self, Attach},
    values::{check_value, echo, json_value, keys_in},
};
use crate::world::World;
use bytes::Bytes;
use hyper::{HeaderMap, http::request::Parts};
use kvorum_core::kv::{
    Body, Compare, Delete, Guard, KeyRange, Kind, Op, Put, Query, Target, Txn, check::MAX_TXN_OPS,
};

/// What `POST /key` takes.
pub(super) const POST_PARAMETERS: [&str; 4] =
    ["create", "timeout", ttl::PARAMETERS[0], ttl::PARAMETERS[1]];
/// What `PUT /key/{key}` takes.
pub(super) const PUT_PARAMETERS: [&str; 4] =
    ["timeout", "b64", ttl::PARAMETERS[0], ttl::PARAMETERS[1]];
/// What `DELETE /key/{key}` takes.
pub(super) const DELETE_PARAMETERS: [&str; 2] = ["timeout", "b64"];

/// A checked write and how its outcome is told.
pub(super) struct Write {
    envelope: Envelope,
    /// How many conditions it has.
    guards: usize,
    /// The keys it writes, in the order of its operations.
    pub keys: Vec<Bytes>,
    /// What is told of it.
    pub shape: Shape,
    /// Whether the client wants no body.
    pub minimal: bool,
}

/// What is told of a write.
pub(super) enum Shape {
    /// The body again, compact.
    Echo {
        /// The body.
        text: Bytes,
        /// Whether the one condition is that no key exists.
        create: bool,
    },
    /// What the key is now.
    Put,
    /// That it is gone.
    Deleted,
}

impl<W: World> Api<W> {
    /// Answers `POST /key`.
    pub(super) async fn post_keys(
        &self,
        head: &Parts,
        payload: &mut Payload,
    ) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &POST_PARAMETERS)?;
        let create = params.flag("create")?;
        let attach = Attach::of(&params)?;
        let conditions = self.conditions(&head.headers, create)?;
        let timeout = self.timeout(&params)?;
        let body = payload.read(&self.world, &self.limits).await?;
        let puts = keys_in(&body, &self.limits)?;
        let text = echo(&puts);
        let keys: Vec<Bytes> = puts.iter().map(|put| put.key.clone()).collect();
        let mut txn = guarded(&keys, &conditions);
        if create {
            let range = |key: &Bytes| KeyRange::One(key.clone());
            txn.guards.extend(keys.iter().map(|key| Guard {
                range: range(key),
                compare: Compare::Equal,
                target: Target::Version(0),
            }));
            txn.otherwise = keys.iter().map(|key| look(key, keys.len() > 1)).collect();
        }
        txn.then = attached(puts, attach);
        let shape = Shape::Echo { text, create: create && conditions.is_empty() };
        let write = Write::new(txn, keys, shape, &head.headers)?;
        self.write(Call { head, body, deadline: self.deadline(timeout) }, write).await
    }

    /// Answers `PUT /key/{key}`.
    pub(super) async fn put_key(
        &self,
        head: &Parts,
        path: &str,
        payload: &mut Payload,
    ) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &PUT_PARAMETERS)?;
        let key = key(path, &params, self.limits.key_bytes)?;
        let attach = Attach::of(&params)?;
        let conditions = self.conditions(&head.headers, false)?;
        let timeout = self.timeout(&params)?;
        let body = payload.read(&self.world, &self.limits).await?;
        let (value, kind) = if is_json(&head.headers) {
            (json_value(&body, &self.limits)?, Kind::Json)
        } else {
            (body.clone(), Kind::Bytes)
        };
        check_value(&key, &value, &self.limits)?;
        let keys = vec![key.clone()];
        let mut txn = guarded(&keys, &conditions);
        txn.then = attached(vec![Put { kind, ..Put::new(key, value) }], attach);
        let write = Write::new(txn, keys, Shape::Put, &head.headers)?;
        self.write(Call { head, body, deadline: self.deadline(timeout) }, write).await
    }

    /// Answers `DELETE /key/{key}`.
    pub(super) async fn delete_key(&self, head: &Parts, path: &str) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &DELETE_PARAMETERS)?;
        let key = key(path, &params, self.limits.key_bytes)?;
        let conditions = self.conditions(&head.headers, false)?;
        let deadline = self.deadline(self.timeout(&params)?);
        let keys = vec![key.clone()];
        let mut txn = guarded(&keys, &conditions);
        txn.then.push(Op::Delete(Delete { range: KeyRange::One(key), previous: false }));
        let write = Write::new(txn, keys, Shape::Deleted, &head.headers)?;
        self.write(Call { head, body: Bytes::new(), deadline }, write).await
    }

    /// The conditions of a write of keys, without which this server may not take it.
    fn conditions(&self, headers: &HeaderMap, create: bool) -> Result<Conditions, Problem> {
        let conditions = Conditions::parse(headers, true)?;
        if self.limits.require_condition && conditions.is_empty() && !create {
            let message = "the write has no condition, and KVORUM_REQUIRE_CONDITION is on";
            return Err(Problem::new(CONDITION_REQUIRED, message));
        }
        Ok(conditions)
    }

    async fn write(&self, call: Call<'_>, write: Write) -> Result<Reply, Problem> {
        let most = self.limits.keys_per_request.max(MAX_TXN_OPS);
        if write.guards > most {
            let message = format!("the request has more than {most} conditions on its keys");
            return Err(Problem::new(TOO_MANY_KEYS, message));
        }
        self.decide(&call, || self.submit(&write.envelope, |executed| write.tell(executed))).await
    }
}

impl Write {
    fn new(
        txn: Txn,
        keys: Vec<Bytes>,
        shape: Shape,
        headers: &HeaderMap,
    ) -> Result<Write, Problem> {
        let guards = txn.guards.len();
        let envelope = Envelope::new(Body::Txn(txn), headers, shape.number())?;
        Ok(Write { envelope, guards, keys, shape, minimal: wants_minimal(headers) })
    }
}

impl Shape {
    /// Tells requests apart that mean the same to the store and not to the client.
    fn number(&self) -> u64 {
        match self {
            Shape::Echo { .. } => 0,
            Shape::Put => 1,
            Shape::Deleted => 2,
        }
    }
}

/// The puts with their lease, behind its grant if it is new.
fn attached(puts: Vec<Put>, attach: Attach) -> Vec<Op> {
    let lease = attach.lease();
    let puts = puts.into_iter().map(|put| Op::Put(Put { lease, ..put }));
    attach.grant().into_iter().chain(puts).collect()
}

/// A transaction with the conditions on every key and, if there are any, a look at what is there
/// instead.
fn guarded(keys: &[Bytes], conditions: &Conditions) -> Txn {
    let mut txn = Txn::default();
    if !conditions.is_empty() {
        keys.iter().for_each(|key| conditions.guard(key, &mut txn.guards));
        // Values of many keys could outgrow every limit; the value of one cannot.
        txn.otherwise = keys.iter().map(|key| look(key, keys.len() > 1)).collect();
    }
    txn
}

fn look(key: &Bytes, keys_only: bool) -> Op {
    Op::Range(Query { keys_only, ..Query::of(KeyRange::One(key.clone())) })
}
