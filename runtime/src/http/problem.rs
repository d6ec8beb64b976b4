//! Everything that can go wrong, with a stable code each, and how it is told (RFC 9457).
//!
//! Rule: one catalogue; a client may depend on `code`, `status` and `applied`, a human on
//! `message` and `hint`. Must never: say `applied: no` of a write that might take effect.

use super::{Reply, json::push_string};
use bytes::Bytes;
use hyper::{
    StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

/// Where the codes are explained.
const TYPE_BASE: &str = "https://kvorum.dev/e/";

/// What the content of an error is.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// One kind of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Stable name; part of `type` and the anchor in `docs/errors.md`.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// One for all problems of this kind.
    pub title: &'static str,
    /// What to do about it, unless the problem at hand knows better.
    pub hint: &'static str,
}

macro_rules! catalogue {
    ($($name:ident $code:literal $status:literal $title:literal $hint:literal)*) => {
        $(
            #[doc = $title]
            pub const $name: Kind =
                Kind { code: $code, status: $status, title: $title, hint: $hint };
        )*
        /// Every kind of problem there is.
        pub const CATALOGUE: &[Kind] = &[$($name),*];
    };
}

catalogue! {
    INVALID_JSON "invalid_json" 400 "The body is not valid JSON"
        "send one JSON object, e.g. {\"key1\":\"value1\"}"
    EMPTY_BODY "empty_body" 400 "The body is empty"
        "send one JSON object, e.g. {\"key1\":\"value1\"}"
    NO_DATA "no_data" 400 "The object has no members"
        "send at least one key, e.g. {\"key1\":\"value1\"}"
    DUPLICATE_KEY "duplicate_key" 400 "A member is given twice"
        "give every member once"
    EMPTY_KEY "empty_key" 400 "The key is empty"
        "a key has at least one byte"
    INVALID_VALUE "invalid_value" 400 "The value cannot be stored"
        "use DELETE to remove a key; null is not a value"
    KEY_TOO_LONG "key_too_long" 400 "The key is too long"
        "use a shorter key or raise KVORUM_MAX_KEY_BYTES"
    TOO_MANY_KEYS "too_many_keys" 400 "Too many keys in one request"
        "split the request or raise KVORUM_MAX_KEYS_PER_REQUEST"
    JSON_TOO_DEEP "json_too_deep" 400 "The JSON is nested too deeply"
        "flatten the value, store it as bytes with PUT, or raise KVORUM_MAX_JSON_DEPTH"
    BAD_PERCENT_ENCODING "bad_percent_encoding" 400 "A percent sign is not followed by two hex digits"
        "write a percent sign as %25"
    INVALID_LEASE "invalid_lease" 400 "The leases of the request cannot be used so"
        "name a lease once, and revoke without putting or deleting"
    BAD_BASE64 "bad_base64" 400 "The base64 cannot be read"
        "?b64= takes base64url (RFC 4648 section 5)"
    UNKNOWN_PARAMETER "unknown_parameter" 400 "Unknown query parameter"
        "remove it; parameters are never ignored silently"
    INVALID_PARAMETER "invalid_parameter" 400 "A query parameter has an unusable value"
        "correct the value"
    INVALID_CURSOR "invalid_cursor" 400 "The cursor cannot be used"
        "hand back \"next\" as it came, with the same bounds and direction"
    INVALID_TXN "invalid_txn" 400 "The transaction cannot be understood"
        "see docs/http.md for its form"
    INVALID_CONDITION "invalid_condition" 400 "A condition cannot be understood"
        "If-Match takes \"<revision>\" or *, If-None-Match takes \"<revision>\", ... or *"
    INVALID_IDEMPOTENCY_KEY "invalid_idempotency_key" 400 "The idempotency key cannot be used"
        "send one Idempotency-Key of 1 to 128 visible ASCII characters"
    INVALID_FENCE "invalid_fence" 400 "The fence cannot be used"
        "send Kvorum-Fence: <name of the lock, percent-encoded>=<token>"
    INVALID_LOCK_NAME "invalid_lock_name" 400 "The lock's name cannot be used"
        "a lock's name has 1 to 1024 bytes"
    MISSING_PARAMETER "missing_parameter" 400 "A query parameter is missing"
        "add the parameter"
    INVALID_JOIN "invalid_join" 400 "The join request is not complete"
        "a kvorum node joins by itself: start it with RAFT_JOIN_ADDR=<host>:<http port>"
    BROKEN_BODY "broken_body" 400 "The body broke off or its framing is wrong"
        "send the request again"
    FUTURE_REVISION "future_revision" 400 "The revision is not reached yet"
        "ask for a revision up to Kvorum-Revision"
    KEY_NOT_FOUND "key_not_found" 404 "Key not found"
        ""
    LEASE_NOT_FOUND "lease_not_found" 404 "Lease not found"
        "grant a new lease"
    LOCK_FREE "lock_free" 404 "Nobody holds the lock"
        "POST /lock/{name} acquires it"
    UNKNOWN_MEMBER "unknown_member" 404 "No such member"
        "GET /cluster lists the members"
    UNKNOWN_PATH "unknown_path" 404 "No such path"
        "keys live under /key/; GET /openapi.json lists the paths"
    METHOD_NOT_ALLOWED "method_not_allowed" 405 "The path does not take this method"
        "see the Allow header"
    NOT_TEXT "not_text" 406 "The value or key is not text"
        "ask for the bytes with ?raw or for the record with ?meta"
    BODY_TIMEOUT "body_timeout" 408 "The body did not arrive in time"
        "send the request again"
    KEY_EXISTS "key_exists" 409 "Key already exists"
        "leave ?create out to overwrite"
    LEASE_EXISTS "lease_exists" 409 "The lease exists already"
        "leave the id out, or choose another"
    LOCK_HELD "lock_held" 409 "Somebody else holds the lock"
        "wait for it with ?wait=30s, or try again after its remaining time"
    LOCK_LOST "lock_lost" 409 "The lock is not held under this token"
        "it expired or was released; there is nothing to release"
    REPLY_NOT_KEPT "reply_not_kept" 409 "The request took effect earlier"
        "read what the request was to change; its answer was too large to be kept"
    DUPLICATE_NODE_ID "duplicate_node_id" 409 "A live node has this NODE_ID"
        "choose another NODE_ID, or stop its holder first"
    TRANSFER_REFUSED "transfer_refused" 409 "Leadership was not handed over"
        "see GET /cluster for the voters"
    WOULD_LOSE_QUORUM "would_lose_quorum" 409 "The cluster would lose its quorum"
        "start the silent voters again first; GET /cluster shows who answers"
    NOT_CAUGHT_UP "not_caught_up" 409 "The learner has not caught up"
        "wait until GET /cluster shows a small lag for it, then ask again"
    COMPACTED "compacted" 410 "The revision is compacted"
        "ask for a newer revision"
    PRECONDITION_FAILED "precondition_failed" 412 "The condition does not hold"
        "decide again on the member `current`"
    FENCED "fenced" 412 "The lock is not held any more"
        "acquire the lock again; its new token fences the old holder"
    BODY_TOO_LARGE "body_too_large" 413 "The request body is too large"
        "split the request or raise KVORUM_MAX_BODY_BYTES"
    VALUE_TOO_LARGE "value_too_large" 413 "The value is too large"
        "store a smaller value or raise KVORUM_MAX_VALUE_BYTES"
    FORWARDING_DECLINED "forwarding_declined" 421 "This node does not lead and was asked not to forward"
        "ask the node named in Kvorum-Leader, or leave Kvorum-Forward out"
    ADDRESS_UNREACHABLE "address_unreachable" 422 "The joiner's address does not lead to it"
        "check RAFT_BIND_ADDR and KVORUM_RAFT_ADVERTISE of the joining node"
    IDEMPOTENCY_MISMATCH "idempotency_mismatch" 422 "The idempotency key was used with another request"
        "use a fresh key for every request"
    CONDITION_REQUIRED "condition_required" 428 "This server takes only conditional writes of keys"
        "send If-Match with the ETag you have, If-None-Match: *, or ?create"
    OVERLOADED "overloaded" 429 "Too much is under way"
        "try again after Retry-After"
    HEADER_TOO_LARGE "header_too_large" 431 "The request's head is too large"
        "send fewer or shorter headers or raise KVORUM_MAX_HEADER_BYTES"
    INTERNAL "internal" 500 "The node could not make sense of its own answer"
        "report this with the server's log"
    NO_LEADER "no_leader" 503 "No leader could be reached in time"
        "try again; GET /cluster shows who is there"
    NOT_LEADER "not_leader" 503 "The request was forwarded to a node that does not lead"
        "ask any node without Kvorum-Forwarded"
    OVERWRITTEN "overwritten" 503 "Another leader's entry took the write's place"
        "try again: the write was not applied"
    STOPPING "stopping" 503 "The node is stopping"
        "ask another node"
    JOIN_BUSY "join_busy" 503 "Another membership change is under way"
        "try again"
    MEMBERSHIP_BUSY "membership_busy" 503 "Another membership change is under way"
        "try again"
    READ_TIMEOUT "read_timeout" 503 "The read was not confirmed in time"
        "try again, or read with ?consistency=stale"
    TOO_STALE "too_stale" 503 "The node's state may be too old"
        "ask another node, or accept an older answer with a larger max_staleness"
    TOO_MANY_WATCHES "too_many_watches" 429 "Too many watches"
        "close some, ask another node, or raise KVORUM_MAX_WATCHES"
    TOO_MANY_WAITERS "too_many_waiters" 429 "Too many wait for locks"
        "try again, or raise KVORUM_MAX_LOCK_WAITERS"
    SLOW_WATCHER "slow_watcher" 408 "The watch was not read"
        "go on after the last id, and read faster"
    TOO_MANY_CONNECTIONS "too_many_connections" 503 "Too many connections"
        "try again, keep connections alive, or raise KVORUM_MAX_CONNECTIONS"
    REVISION_NOT_REACHED "revision_not_reached" 504 "The revision was not reached in time"
        "ask again, or ask another node"
    OUTCOME_UNKNOWN "outcome_unknown" 504 "The outcome could not be learnt"
        "repeat with the same Idempotency-Key; without one, read before writing again"
    QUOTA_EXCEEDED "quota_exceeded" 507 "The quota is used up"
        "delete keys, wait for history to be compacted, or raise the quota"
}

/// Whether a mutating request took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Certainly not, and it never will.
    No,
    /// It may have, or may still.
    Unknown,
    /// Certainly.
    Yes,
}

impl Applied {
    fn text(self) -> &'static str {
        match self {
            Applied::No => "no",
            Applied::Unknown => "unknown",
            Applied::Yes => "yes",
        }
    }
}

/// Something that went wrong with one request.
#[derive(Debug, Clone)]
pub struct Problem(Box<Details>);

#[derive(Debug, Clone)]
struct Details {
    kind: Kind,
    message: String,
    hint: Option<String>,
    /// Members of the kind's own: name and JSON text.
    members: Vec<(&'static str, String)>,
    headers: HeaderMap,
}

impl Problem {
    /// A problem of `kind`; `message` is one sentence on the case at hand.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Problem {
        let mut headers = HeaderMap::new();
        if matches!(kind.status, 429 | 503) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        let message = message.into();
        Problem(Box::new(Details { kind, message, hint: None, members: Vec::new(), headers }))
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// One sentence on the case at hand.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Says what to do in this very case.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds a member; `json` is its text.
    #[must_use]
    pub(super) fn member(mut self, name: &'static str, json: String) -> Problem {
        self.0.members.push((name, json));
        self
    }

    /// Adds a header. One that cannot be written as a header is left out.
    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Problem {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers.insert(name, value);
        }
        self
    }

    /// Adds headers.
    #[must_use]
    pub(super) fn headers(mut self, headers: HeaderMap) -> Problem {
        self.0.headers.extend(headers);
        self
    }

    /// The answer. `instance` names the request in the log; `mutating` adds `applied`.
    pub(super) fn respond(self, instance: &str, mutating: bool) -> Reply {
        let applied = self.applied();
        let Details { kind, message, hint, members, headers } = *self.0;
        let mut body = String::with_capacity(256);
        let mut text = |name: &str, value: &str| {
            body.push(if body.is_empty() { '{' } else { ',' });
            push_string(&mut body, name);
            body.push(':');
            push_string(&mut body, value);
        };
        text("type", &format!("{TYPE_BASE}{}", kind.code));
        text("title", kind.title);
        text("code", kind.code);
        text("message", &message);
        if mutating {
            text("applied", applied.text());
        }
        text("hint", hint.as_deref().unwrap_or(kind.hint));
        text("instance", instance);
        body.push_str(&format!(",\"status\":{}", kind.status));
        for (name, json) in &members {
            body.push(',');
            push_string(&mut body, name);
            body.push(':');
            body.push_str(json);
        }
        body.push('}');
        let mut response = Reply::new(Bytes::from(body).into());
        *response.status_mut() =
            StatusCode::from_u16(kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = headers;
        let content_type = HeaderValue::from_static(CONTENT_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response
    }

    /// Two kinds leave the outcome open, one tells of an earlier one; everything else is told before anything is proposed, or
    /// after it is known to have changed nothing.
    #[must_use]
    pub fn applied(&self) -> Applied {
        match self.0.kind {
            OUTCOME_UNKNOWN | INTERNAL => Applied::Unknown,
            REPLY_NOT_KEPT => Applied::Yes,
            _ => Applied::No,
        }
    }
}
