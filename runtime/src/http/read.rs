//! `GET /key/{key}`: one key, as JSON, as bytes, or as the whole record.
//!
//! Rule: linearizable unless the client says otherwise, on whichever node is asked. Must never:
//! answer from a node that is not a member, or render bytes as text.

use super::{
    Api, Content, Reply,
    condition::{Conditions, Judgement},
    history,
    key::{key, shown},
    negotiate::wants_raw,
    params::{Params, invalid, whole},
    problem::{
        COMPACTED, DUPLICATE_KEY, EMPTY_KEY, FENCED, FUTURE_REVISION, IDEMPOTENCY_MISMATCH,
        INTERNAL, INVALID_CONDITION, INVALID_LEASE, INVALID_VALUE, KEY_NOT_FOUND, LEASE_EXISTS,
        LEASE_NOT_FOUND, NOT_TEXT, PRECONDITION_FAILED, Problem, QUOTA_EXCEEDED, REPLY_NOT_KEPT,
        REVISION_NOT_REACHED,
    },
    record,
    staleness::staleness_of,
};
use crate::{
    handle::{Answer, Consistency},
    world::World,
};
use bytes::Bytes;
use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use kvorum_core::{
    kv::{CommandError, KeyRange, KeyValue, Kind, Query},
    raft::{Index, Instant},
};
use std::time::Duration;

/// What `GET /key/{key}` takes.
pub(super) const PARAMETERS: [&str; 12] = [
    "raw",
    "meta",
    "consistency",
    "max_staleness",
    "timeout",
    "b64",
    "at",
    "wait",
    "since",
    "history",
    "limit",
    "before",
];

/// The store's revision at an answer.
const REVISION: HeaderName = HeaderName::from_static("kvorum-revision");
/// The log index of an answer.
const INDEX: HeaderName = HeaderName::from_static("kvorum-index");
/// How fresh an answer is.
const CONSISTENCY: HeaderName = HeaderName::from_static("kvorum-consistency");

/// The lowest revision that an answer may be of.
const MIN_REVISION: HeaderName = HeaderName::from_static("kvorum-min-revision");

/// What to read, and how.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub query: Query,
    pub consistency: Consistency,
    /// Of a stale read: the oldest that will do.
    pub staleness: Option<Duration>,
    /// The state must have reached this revision.
    pub least: u64,
    pub timeout: Duration,
}

impl<W: World> Api<W> {
    /// Answers `GET` and `HEAD` of the key in `path`.
    pub(super) async fn get_key(&self, head: &Parts, path: &str) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &PARAMETERS)?;
        let key = key(path, &params, self.limits.key_bytes)?;
        if params.flag("history")? {
            return self.get_history(head, &params, key).await;
        }
        history::refuse_bounds(&params)?;
        let raw = params.flag("raw")?;
        let meta = params.flag("meta")?;
        let consistency = consistency_of(&params)?;
        let conditions = Conditions::parse(&head.headers, false)?;
        let revision = params.number("at")?.unwrap_or(0);
        let query = Query { revision, ..Query::of(KeyRange::One(key.clone())) };
        let least = least_revision(&head.headers)?;
        let wait = self.patience_for_news(&params, &head.headers, &conditions)?;
        let timeout = self.timeout(&params)?;
        let staleness = staleness_of(&params, consistency)?;
        let read = Read { query, consistency, staleness, least, timeout };
        let (answer, news) = match &wait {
            None => (self.read(&read).await?, true),
            Some(wait) => self.read_when_changed(&read, wait, &conditions).await?,
        };
        let mut headers = told(stamps(answer.applied, answer.revision), consistency);
        let found = match answer.reply {
            Ok(reply) => reply.items.into_iter().next(),
            Err(error) => return Err(refused(error).headers(headers)),
        };
        if let Some(item) = &found {
            headers.insert(header::ETAG, etag(item.mod_revision));
        }
        match conditions.judge(found.as_ref().map(|item| item.mod_revision)) {
            Judgement::Go if news => {}
            Judgement::Go | Judgement::NotModified => {
                let mut reply = Reply::default();
                *reply.status_mut() = StatusCode::NOT_MODIFIED;
                *reply.headers_mut() = headers;
                return Ok(reply);
            }
            Judgement::Failed => {
                let current = found.as_ref().map_or("null".to_owned(), |i| record::record(i, true));
                return Err(Problem::new(PRECONDITION_FAILED, "If-Match does not hold")
                    .member("current", current)
                    .headers(headers));
            }
        }
        let Some(item) = found else { return Err(not_found(&key).headers(headers)) };
        if meta {
            return Ok(json(record::record(&item, true), headers));
        }
        if raw || wants_raw(&head.headers) {
            return Ok(bytes(item, headers));
        }
        match text_view(&item) {
            Some(text) => Ok(json(text, headers)),
            None => {
                let message = format!("key '{}' or its value is not text", shown(&key));
                Err(Problem::new(NOT_TEXT, message).headers(headers))
            }
        }
    }

    /// Reads, waiting until the state has reached the revision that the client knows of.
    pub(super) async fn read(&self, read: &Read) -> Result<Answer, Problem> {
        let deadline = self.deadline(read.timeout);
        let mut pause = self.first_pause();
        loop {
            let answer = match read.staleness {
                None => self.query(read.query.clone(), read.consistency, deadline).await?,
                Some(bound) => self.query_within(&read.query, bound, deadline).await?,
            };
            if answer.revision >= read.least {
                return Ok(answer);
            }
            let view = self.handle.view().get();
            if !self.wait(&view, &mut pause, deadline).await {
                return Err(not_reached(answer.revision, read.least));
            }
        }
    }

    /// Asks the node, waiting through elections until `deadline`.
    pub(super) async fn query(
        &self,
        query: Query,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<Answer, Problem> {
        self.ask(deadline, || async {
            let asked = self.world.now();
            let answer = self.handle.query(query.clone(), consistency).await;
            if answer.is_ok() && consistency == Consistency::Linearizable {
                self.fresh.note(asked);
            }
            answer
        })
        .await
    }

    /// How long a request with these parameters may take once its body is there.
    pub(super) fn timeout(&self, params: &Params) -> Result<Duration, Problem> {
        params.timeout(self.limits.request_timeout, self.limits.max_request_timeout)
    }

    /// When a request that may take `timeout` from now gives up.
    pub(super) fn deadline(&self, timeout: Duration) -> Instant {
        self.world.now().after(timeout)
    }
}

/// The state came not as far in time as the client knows of.
pub(super) fn not_reached(revision: u64, least: u64) -> Problem {
    let message = format!("the store stands at revision {revision}, not yet at {least}");
    Problem::new(REVISION_NOT_REACHED, message)
}

/// `Kvorum-Min-Revision`, or 0.
pub(super) fn least_revision(headers: &HeaderMap) -> Result<u64, Problem> {
    let mut given = headers.get_all(MIN_REVISION).iter();
    let Some(value) = given.next() else { return Ok(0) };
    let number = value.to_str().ok().and_then(whole);
    number.filter(|_| given.next().is_none()).ok_or_else(|| {
        let message = "Kvorum-Min-Revision is not one revision";
        Problem::new(INVALID_CONDITION, message).hint("send the Kvorum-Revision of an answer")
    })
}

/// Adds how fresh an answer is.
pub(super) fn told(mut headers: HeaderMap, consistency: Consistency) -> HeaderMap {
    headers.insert(
        CONSISTENCY,
        HeaderValue::from_static(match consistency {
            Consistency::Linearizable => "linearizable",
            Consistency::Stale => "stale",
        }),
    );
    headers
}

/// `?consistency=`.
pub(super) fn consistency_of(params: &Params) -> Result<Consistency, Problem> {
    match params.get("consistency") {
        None | Some("linearizable") => Ok(Consistency::Linearizable),
        Some("stale") => Ok(Consistency::Stale),
        Some(other) => Err(invalid("consistency", other, "linearizable or stale")),
    }
}

/// `{"key":value}`; `None` when either is not text.
fn text_view(item: &KeyValue) -> Option<String> {
    let key = std::str::from_utf8(&item.key).ok()?;
    let value = record::value_text(item)?;
    let mut out = String::with_capacity(key.len() + value.len() + 8);
    out.push('{');
    super::json::push_string(&mut out, key);
    out.push(':');
    out.push_str(&value);
    out.push('}');
    Some(out)
}

fn bytes(item: KeyValue, mut headers: HeaderMap) -> Reply {
    let content_type = match item.kind {
        Kind::Json => "application/json",
        Kind::Text | Kind::Bytes => "application/octet-stream",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let mut reply = Reply::new(item.value.into());
    *reply.headers_mut() = headers;
    reply
}

/// 200 with JSON.
pub(super) fn json(text: impl Into<Bytes>, mut headers: HeaderMap) -> Reply {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut reply = Reply::new(Content::from(text.into()));
    *reply.headers_mut() = headers;
    reply
}

/// Where in the log and in the store's history an answer stands.
pub(super) fn stamps(index: Index, revision: u64) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(INDEX, HeaderValue::from(index.0));
    headers.insert(REVISION, HeaderValue::from(revision));
    headers
}

/// The ETag of a key last changed at `revision`.
pub(super) fn etag(revision: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{revision}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// 404 with the words that clients of the original know.
pub(super) fn not_found(key: &[u8]) -> Problem {
    Problem::new(KEY_NOT_FOUND, format!("key '{}' not found", shown(key)))
}

/// What the state machine refused.
pub(super) fn refused(error: CommandError) -> Problem {
    match error {
        CommandError::EmptyKey => Problem::new(EMPTY_KEY, "the key is empty"),
        CommandError::DuplicateKey => Problem::new(DUPLICATE_KEY, "a key is given twice"),
        CommandError::Compacted { oldest } => Problem::new(
            COMPACTED,
            format!("the revision has been compacted; the oldest is {oldest}"),
        )
        .member("oldest", oldest.to_string()),
        CommandError::FutureRevision => {
            Problem::new(FUTURE_REVISION, "the store has not reached this revision")
        }
        CommandError::LeaseNotFound => Problem::new(LEASE_NOT_FOUND, "requested lease not found"),
        CommandError::IdempotencyMismatch => {
            Problem::new(IDEMPOTENCY_MISMATCH, "this Idempotency-Key was used with another request")
        }
        CommandError::KeyNotFound => Problem::new(KEY_NOT_FOUND, "the key does not exist"),
        CommandError::LeaseExists => Problem::new(LEASE_EXISTS, "the lease exists already"),
        CommandError::LeaseTtlTooLarge => Problem::new(INVALID_VALUE, "the TTL is too large"),
        CommandError::LeaseIdTooLarge => Problem::new(INVALID_LEASE, "the lease id is too large"),
        CommandError::LeaseConflict => Problem::new(
            INVALID_LEASE,
            "a lease is named twice, or something is written beside a revocation",
        ),
        CommandError::Fenced { token } => {
            Problem::new(FENCED, "the lock is not held under the token of Kvorum-Fence")
                .member("token", token.to_string())
        }
        CommandError::NoSpace { used, needed, limit } => Problem::new(
            QUOTA_EXCEEDED,
            format!("{used} bytes are stored, {needed} more may be needed, {limit} are allowed"),
        )
        .member("used", used.to_string())
        .member("needed", needed.to_string())
        .member("limit", limit.to_string()),
        CommandError::ReplyNotKept => Problem::new(
            REPLY_NOT_KEPT,
            "the request took effect earlier, and its answer was too large to be kept",
        ),
        CommandError::Unreadable => {
            Problem::new(INTERNAL, "the state machine could not read the command")
        }
    }
}
