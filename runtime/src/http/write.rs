//! `POST /key`, `PUT` and `DELETE /key/{key}`: every write becomes one guarded transaction.
//!
//! Rule: a request is checked completely before it is proposed or forwarded, so that a mistake is
//! told at once and on every node alike. Must never: write part of a request.

use super::{
    Api, Reply,
    body::Payload,
    condition::Conditions,
    key::key,
    negotiate::{is_json, wants_minimal},
    params::Params,
    problem::{
        INVALID_IDEMPOTENCY_KEY, OUTCOME_UNKNOWN, OVERLOADED, OVERWRITTEN, Problem, STOPPING,
        TOO_MANY_KEYS, VALUE_TOO_LARGE,
    },
    read::promises_kept,
    seek::{Attempt, Call, no_leader},
    values::{check_value, echo, json_value, keys_in},
};
use crate::{handle::ExecuteError, world::World};
use bytes::{Bytes, BytesMut};
use hyper::{HeaderMap, header::HeaderName, http::request::Parts};
use kvorum_core::kv::{
    Body, Command, Compare, Delete, Guard, Idempotency, KeyRange, Kind, Op, Put, Query, Target,
    Txn, check::MAX_TXN_OPS,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What `POST /key` takes.
pub(super) const POST_PARAMETERS: [&str; 2] = ["create", "timeout"];
/// What `PUT` and `DELETE /key/{key}` take.
pub(super) const ONE_KEY_PARAMETERS: [&str; 2] = ["timeout", "b64"];

/// Headers whose promise to a write this version cannot keep.
const PROMISES: [HeaderName; 1] = [HeaderName::from_static("kvorum-fence")];

/// Makes repeats of a request take effect once.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Bytes of an idempotency key.
const MAX_IDEMPOTENCY_KEY: usize = 128;

/// A checked write and how its outcome is told.
pub(super) struct Write {
    txn: Txn,
    idempotency: Option<Idempotency>,
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
        let conditions = conditions(head)?;
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
            txn.otherwise = keys.iter().map(|key| look(key, true)).collect();
        }
        txn.then = puts.into_iter().map(Op::Put).collect();
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
        let params = Params::parse(head.uri.query(), &ONE_KEY_PARAMETERS)?;
        let key = key(path, &params, self.limits.key_bytes)?;
        let conditions = conditions(head)?;
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
        txn.then.push(Op::Put(Put { key, value, kind, lease: 0, previous: false }));
        let write = Write::new(txn, keys, Shape::Put, &head.headers)?;
        self.write(Call { head, body, deadline: self.deadline(timeout) }, write).await
    }

    /// Answers `DELETE /key/{key}`.
    pub(super) async fn delete_key(&self, head: &Parts, path: &str) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &ONE_KEY_PARAMETERS)?;
        let key = key(path, &params, self.limits.key_bytes)?;
        let conditions = conditions(head)?;
        let deadline = self.deadline(self.timeout(&params)?);
        let keys = vec![key.clone()];
        let mut txn = guarded(&keys, &conditions);
        txn.then.push(Op::Delete(Delete { range: KeyRange::One(key), previous: false }));
        let write = Write::new(txn, keys, Shape::Deleted, &head.headers)?;
        self.write(Call { head, body: Bytes::new(), deadline }, write).await
    }

    async fn write(&self, call: Call<'_>, write: Write) -> Result<Reply, Problem> {
        let most = self.limits.keys_per_request.max(MAX_TXN_OPS);
        if write.txn.guards.len() > most {
            let message = format!("the request has more than {most} conditions on its keys");
            return Err(Problem::new(TOO_MANY_KEYS, message));
        }
        self.decide(&call, || self.propose(&write)).await
    }

    async fn propose(&self, write: &Write) -> Result<Attempt, Problem> {
        let command = write.command(self.world.wall_ms());
        match self.handle.execute(command).await {
            Ok(executed) => write.tell(executed).map(Attempt::Done),
            Err(ExecuteError::NotLeader) => {
                Ok(Attempt::Again(no_leader(&self.handle.view().get())))
            }
            Err(ExecuteError::Stopping) => {
                Ok(Attempt::Again(Problem::new(STOPPING, "the node is stopping")))
            }
            Err(ExecuteError::Lost) => Ok(Attempt::Again(Problem::new(
                OVERWRITTEN,
                "another leader's entry took the write's place",
            ))),
            Err(ExecuteError::Overloaded) => {
                Err(Problem::new(OVERLOADED, "too many writes are under way"))
            }
            Err(ExecuteError::TooLarge) => {
                Err(Problem::new(VALUE_TOO_LARGE, "the write is too large for one log entry"))
            }
            Err(ExecuteError::Unknown) => Err(Problem::new(
                OUTCOME_UNKNOWN,
                "the write was proposed, but its outcome cannot be learnt here any more",
            )),
        }
    }
}

impl Write {
    fn new(
        txn: Txn,
        keys: Vec<Bytes>,
        shape: Shape,
        headers: &HeaderMap,
    ) -> Result<Write, Problem> {
        let minimal = wants_minimal(headers);
        let mut write = Write { txn, idempotency: None, keys, shape, minimal };
        if let Some(key) = idempotency_key(headers)? {
            // Without key and time, the command's encoding is the request's meaning.
            let mut meaning = BytesMut::new();
            write.command(0).encode(&mut meaning);
            let fingerprint = xxh3_64_with_seed(&meaning, write.shape.number());
            write.idempotency = Some(Idempotency { key, fingerprint });
        }
        Ok(write)
    }

    fn command(&self, time_ms: u64) -> Command {
        Command {
            time_ms,
            idempotency: self.idempotency.clone(),
            principal: Bytes::new(),
            body: Body::Txn(self.txn.clone()),
        }
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

fn idempotency_key(headers: &HeaderMap) -> Result<Option<Bytes>, Problem> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let key = value.as_bytes();
    let visible = key.iter().all(u8::is_ascii_graphic);
    if !visible || key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY || given.next().is_some() {
        let message = "Idempotency-Key is not one string of 1 to 128 visible ASCII characters";
        return Err(Problem::new(INVALID_IDEMPOTENCY_KEY, message));
    }
    Ok(Some(Bytes::copy_from_slice(key)))
}

fn conditions(head: &Parts) -> Result<Conditions, Problem> {
    promises_kept(&head.headers, &PROMISES)?;
    Conditions::parse(&head.headers, true)
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
