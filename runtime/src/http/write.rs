//! `POST /key`, `PUT` and `DELETE /key/{key}`: every write becomes one guarded transaction.
//!
//! Rule: a request is checked completely before it is proposed or forwarded, so that a mistake is
//! told at once and on every node alike; what a failed condition found comes back with the 412, so
//! that a compare-and-swap loop needs no extra read. Must never: write part of a request.

use super::{
    Api, Reply,
    body::Payload,
    condition::Conditions,
    json::{self, Fault},
    key::{self, key, shown},
    negotiate::{is_json, wants_minimal},
    params::Params,
    problem::{
        DUPLICATE_KEY, EMPTY_BODY, INTERNAL, INVALID_JSON, INVALID_VALUE, JSON_TOO_DEEP,
        KEY_EXISTS, NO_DATA, OUTCOME_UNKNOWN, OVERLOADED, OVERWRITTEN, PRECONDITION_FAILED,
        Problem, STOPPING, TOO_MANY_KEYS, VALUE_TOO_LARGE,
    },
    read::{etag, json as ok_json, not_found, promises_kept, refused, stamps},
    record,
    seek::{Attempt, Call, no_leader},
};
use crate::{
    config::Limits,
    handle::{ExecuteError, Executed},
    world::World,
};
use bytes::Bytes;
use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use kvorum_core::kv::{
    Body, Command, Compare, Delete, Guard, KeyRange, KeyValue, Kind, Op, OpReply, Put, Query,
    Target, Txn, TxnReply, check::MAX_TXN_OPS,
};

/// What `POST /key` takes.
pub(super) const POST_PARAMETERS: [&str; 2] = ["create", "timeout"];
/// What `PUT` and `DELETE /key/{key}` take.
pub(super) const ONE_KEY_PARAMETERS: [&str; 2] = ["timeout", "b64"];

/// Headers whose promise to a write this version cannot keep.
const PROMISES: [HeaderName; 2] =
    [HeaderName::from_static("idempotency-key"), HeaderName::from_static("kvorum-fence")];

/// Says that `Prefer` was heeded (RFC 7240 §3).
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A checked write and how its outcome is told.
struct Write {
    txn: Txn,
    keys: Vec<Bytes>,
    shape: Shape,
    minimal: bool,
}

enum Shape {
    /// The body again, compact.
    Echo { text: Bytes, create: bool },
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
        let write = Write { txn, keys, shape, minimal: wants_minimal(&head.headers) };
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
        let write = Write { txn, keys, shape: Shape::Put, minimal: wants_minimal(&head.headers) };
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
        let minimal = wants_minimal(&head.headers);
        let write = Write { txn, keys, shape: Shape::Deleted, minimal };
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
        let command = Command {
            time_ms: self.world.wall_ms(),
            idempotency: None,
            principal: Bytes::new(),
            body: Body::Txn(write.txn.clone()),
        };
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
    /// Tells the outcome.
    fn tell(&self, executed: Executed) -> Result<Reply, Problem> {
        let headers = stamps(executed.index, executed.reply.revision);
        let outcome = match executed.reply.result {
            Ok(outcome) => outcome,
            Err(error) => return Err(refused(error).headers(headers)),
        };
        if !outcome.succeeded {
            return Err(self.failed(&outcome, headers));
        }
        match (&self.shape, outcome.results.first()) {
            (Shape::Echo { text, .. }, _) => {
                Ok(self.success(executed.reply.revision, StatusCode::OK, text.clone(), headers))
            }
            (Shape::Put, Some(OpReply::Put { version, .. })) => {
                let revision = executed.reply.revision;
                let mut text = String::from("{");
                record::push_key(&mut text, &self.keys[0]);
                text.push_str(&format!(",\"mod_revision\":{revision},\"version\":{version}}}"));
                let created = *version == 1;
                let status = if created { StatusCode::CREATED } else { StatusCode::OK };
                Ok(self.success(revision, status, text.into(), headers))
            }
            (Shape::Deleted, Some(OpReply::Delete { deleted: 0, .. })) => {
                Err(not_found(&self.keys[0]).headers(headers))
            }
            (Shape::Deleted, Some(OpReply::Delete { .. })) => {
                let text = Bytes::from_static(b"{\"message\":\"key deleted successfully\"}");
                let mut reply = self.success(0, StatusCode::OK, text, headers);
                reply.headers_mut().remove(header::ETAG);
                Ok(reply)
            }
            _ => Err(Problem::new(INTERNAL, "the outcome does not fit the write")),
        }
    }

    fn success(
        &self,
        revision: u64,
        status: StatusCode,
        text: Bytes,
        mut headers: HeaderMap,
    ) -> Reply {
        headers.insert(header::ETAG, etag(revision));
        let mut reply = ok_json(text, headers);
        *reply.status_mut() = status;
        if self.minimal {
            *reply.status_mut() = StatusCode::NO_CONTENT;
            *reply.body_mut() = Default::default();
            reply.headers_mut().remove(header::CONTENT_TYPE);
            let applied = HeaderValue::from_static("return=minimal");
            reply.headers_mut().insert(PREFERENCE_APPLIED, applied);
        }
        reply
    }

    /// 412, or 409 for `?create`, with what the keys are instead.
    fn failed(&self, outcome: &TxnReply, mut headers: HeaderMap) -> Problem {
        let found: Vec<Option<&KeyValue>> = outcome
            .results
            .iter()
            .map(|result| match result {
                OpReply::Range(reply) => reply.items.first(),
                _ => None,
            })
            .collect();
        if let [Some(item)] = found[..] {
            headers.insert(header::ETAG, etag(item.mod_revision));
        }
        let problem = match &self.shape {
            Shape::Echo { create: true, .. } => {
                let taken = found.iter().flatten().next();
                let key = taken.map_or(String::new(), |item| shown(&item.key));
                Problem::new(KEY_EXISTS, format!("key {key} already exists"))
            }
            _ => {
                let keys: Vec<String> = self.keys.iter().take(4).map(|key| shown(key)).collect();
                let message = format!("the condition does not hold for key {}", keys.join(", "));
                Problem::new(PRECONDITION_FAILED, message)
            }
        };
        problem.member("current", self.current(&found)).headers(headers)
    }

    /// One key: its record or null. Several: a list of records without values.
    fn current(&self, found: &[Option<&KeyValue>]) -> String {
        if let [only] = found {
            return only.map_or("null".to_owned(), |item| record::record(item, true));
        }
        let mut text = String::from("[");
        for (key, item) in self.keys.iter().zip(found) {
            if text.len() > 1 {
                text.push(',');
            }
            match item {
                Some(item) => text.push_str(&record::record(item, false)),
                None => {
                    text.push('{');
                    record::push_key(&mut text, key);
                    text.push_str(",\"exists\":false}");
                }
            }
        }
        text.push(']');
        text
    }
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
    Op::Range(Query {
        range: KeyRange::One(key.clone()),
        revision: 0,
        limit: 1,
        descending: false,
        keys_only,
        count_only: false,
    })
}

/// The keys and values of a `POST /key` body.
fn keys_in(body: &Bytes, limits: &Limits) -> Result<Vec<Put>, Problem> {
    let text = text_of(body)?;
    let members = json::members(text, limits.keys_per_request).map_err(|f| fault(f, limits))?;
    if members.is_empty() {
        return Err(Problem::new(NO_DATA, "no data provided"));
    }
    let mut puts = Vec::with_capacity(members.len());
    for (name, value) in members {
        let key = Bytes::from(name);
        key::check(&key, limits.key_bytes)?;
        let (value, kind) = match value.get().as_bytes().first() {
            Some(b'"') => {
                let text: String = serde_json::from_str(value.get())
                    .map_err(|error| fault(Fault::Invalid(error.to_string()), limits))?;
                (Bytes::from(text), Kind::Text)
            }
            Some(b'n') => {
                let message = format!("the value of key '{}' is null", shown(&key));
                return Err(Problem::new(INVALID_VALUE, message));
            }
            _ => {
                // The body's object is the first level.
                let text = json::compact(value, limits.json_depth.saturating_sub(1));
                (Bytes::from(text.map_err(|f| fault(f, limits))?), Kind::Json)
            }
        };
        check_value(&key, &value, limits)?;
        puts.push(Put { key, value, kind, lease: 0, previous: false });
    }
    Ok(puts)
}

/// The body of a `PUT` that says it is JSON, compact.
fn json_value(body: &Bytes, limits: &Limits) -> Result<Bytes, Problem> {
    let value = json::check(text_of(body)?).map_err(|f| fault(f, limits))?;
    if value.get() == "null" {
        return Err(Problem::new(INVALID_VALUE, "the value is null"));
    }
    let text = json::compact(value, limits.json_depth).map_err(|f| fault(f, limits))?;
    Ok(Bytes::from(text))
}

fn text_of(body: &Bytes) -> Result<&str, Problem> {
    if body.is_empty() {
        return Err(Problem::new(EMPTY_BODY, "request is not a valid json")
            .hint("the body is empty; send one JSON object, e.g. {\"key1\":\"value1\"}"));
    }
    std::str::from_utf8(body).map_err(|error| {
        Problem::new(INVALID_JSON, "request is not a valid json")
            .hint(format!("the body is not UTF-8 from byte {}", error.valid_up_to()))
    })
}

fn fault(fault: Fault, limits: &Limits) -> Problem {
    match fault {
        Fault::Invalid(why) => Problem::new(INVALID_JSON, "request is not a valid json").hint(why),
        Fault::Duplicate(name) => {
            let message = format!("member \"{}\" is given twice", shown(name.as_bytes()));
            Problem::new(DUPLICATE_KEY, message)
        }
        Fault::TooMany => {
            let message = format!("more than {} keys in one request", limits.keys_per_request);
            Problem::new(TOO_MANY_KEYS, message)
        }
        Fault::TooDeep => {
            let message = format!("the JSON is nested more than {} deep", limits.json_depth);
            Problem::new(JSON_TOO_DEEP, message)
        }
    }
}

fn check_value(key: &[u8], value: &[u8], limits: &Limits) -> Result<(), Problem> {
    if value.len() > limits.value_bytes {
        let message = format!(
            "the value of key '{}' has {} bytes, the limit is {}",
            shown(key),
            value.len(),
            limits.value_bytes
        );
        return Err(Problem::new(VALUE_TOO_LARGE, message));
    }
    Ok(())
}

/// The body again, compact and in the client's order.
fn echo(puts: &[Put]) -> Bytes {
    let size = puts.iter().map(|put| put.key.len() + put.value.len() + 6).sum::<usize>();
    let mut text = String::with_capacity(size + 2);
    for put in puts {
        text.push(if text.is_empty() { '{' } else { ',' });
        // Both came out of JSON text, so both are UTF-8.
        json::push_string(&mut text, &String::from_utf8_lossy(&put.key));
        text.push(':');
        let value = String::from_utf8_lossy(&put.value);
        match put.kind {
            Kind::Json => text.push_str(&value),
            Kind::Text | Kind::Bytes => json::push_string(&mut text, &value),
        }
    }
    text.push('}');
    Bytes::from(text)
}
