//! How the outcome of a write is told.
//!
//! Rule: what a failed condition found comes back with the 412, so that a compare-and-swap loop
//! needs no extra read; a repeat under an idempotency key is answered like the first time. Must
//! never: call a write done that changed nothing, or the other way round.

use super::{
    Reply,
    key::shown,
    problem::{INTERNAL, KEY_EXISTS, PRECONDITION_FAILED, Problem},
    read::{etag, json as ok_json, not_found, refused, stamps},
    record,
    write::{Shape, Write},
};
use crate::handle::Executed;
use bytes::Bytes;
use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use kvorum_core::kv::{KeyValue, OpReply, TxnReply};

/// Says that `Prefer` was heeded (RFC 7240 §3).
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// Says that the write had taken effect before, under the same idempotency key.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The lease that a write with a TTL has granted to its keys.
const LEASE: HeaderName = HeaderName::from_static("kvorum-lease");

/// Where an outcome stands, and whether it was there before.
pub(super) fn stamps_of(executed: &Executed) -> HeaderMap {
    let mut headers = stamps(executed.index, executed.reply.revision);
    if executed.reply.replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    headers
}

/// What took effect and the headers that go with it, or what the state machine refused.
pub(super) fn accepted(executed: Executed) -> Result<(TxnReply, HeaderMap), Problem> {
    let headers = stamps_of(&executed);
    match executed.reply.result {
        Ok(outcome) => Ok((outcome, headers)),
        Err(error) => Err(refused(error).headers(headers)),
    }
}

/// The answer to a write has not the shape that its request calls for.
pub(super) fn misfit(headers: HeaderMap) -> Problem {
    Problem::new(INTERNAL, "the outcome does not fit the write").headers(headers)
}

impl Write {
    /// Tells the outcome.
    pub(super) fn tell(&self, executed: Executed) -> Result<Reply, Problem> {
        let revision = executed.reply.revision;
        let (mut outcome, mut headers) = accepted(executed)?;
        if let Some(OpReply::Lease { id, .. }) = outcome.results.first() {
            headers.insert(LEASE, HeaderValue::from(*id));
            outcome.results.remove(0);
        }
        if !outcome.succeeded {
            return Err(self.failed(&outcome, headers));
        }
        match (&self.shape, outcome.results.first()) {
            (Shape::Echo { text, .. }, _) => {
                Ok(self.success(revision, StatusCode::OK, text.clone(), headers))
            }
            (Shape::Put, Some(OpReply::Put { version, .. })) => {
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
