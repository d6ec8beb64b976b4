//! Problems and headers that go together.
//!
//! Rule: a group is what one piece of the code can answer, so that an operation that uses the piece
//! names the group. Must never: hold what only one operation can answer.

use crate::http::problem::{
    BAD_PERCENT_ENCODING, BODY_TIMEOUT, BODY_TOO_LARGE, BROKEN_BODY, COMPACTED, DUPLICATE_KEY,
    EMPTY_BODY, EMPTY_KEY, FENCED, FORWARDING_DECLINED, FUTURE_REVISION, HEADER_TOO_LARGE,
    IDEMPOTENCY_MISMATCH, INTERNAL, INVALID_CONDITION, INVALID_FENCE, INVALID_IDEMPOTENCY_KEY,
    INVALID_JSON, INVALID_LEASE, INVALID_PARAMETER, KEY_TOO_LONG, Kind, LEASE_EXISTS,
    LEASE_NOT_FOUND, NO_LEADER, NOT_LEADER, OUTCOME_UNKNOWN, OVERLOADED, OVERWRITTEN,
    PRECONDITION_FAILED, QUOTA_EXCEEDED, READ_TIMEOUT, REPLY_NOT_KEPT, REVISION_NOT_REACHED,
    STOPPING, TOO_MANY_CONNECTIONS, TOO_STALE, UNKNOWN_PARAMETER, VALUE_TOO_LARGE,
};

/// Of any request, even `OPTIONS`.
pub(super) const HEAD: &[Kind] = &[HEADER_TOO_LARGE, TOO_MANY_CONNECTIONS];
/// Of any query string.
pub(super) const QUERY: &[Kind] = &[BAD_PERCENT_ENCODING, UNKNOWN_PARAMETER, INVALID_PARAMETER];
/// Of a body on its way.
pub(super) const BODY: &[Kind] = &[BROKEN_BODY, BODY_TIMEOUT, BODY_TOO_LARGE];
/// Of a body that has to be a JSON object.
pub(super) const JSON: &[Kind] = &[EMPTY_BODY, INVALID_JSON, DUPLICATE_KEY];
/// Of a key in the request.
pub(super) const KEY: &[Kind] = &[EMPTY_KEY, KEY_TOO_LONG];
/// Of what the leader decides: waiting for one, forwarding, losing touch.
pub(super) const LEADER: &[Kind] =
    &[FORWARDING_DECLINED, NO_LEADER, NOT_LEADER, STOPPING, OUTCOME_UNKNOWN];
/// Of what goes through the log.
pub(super) const LOG: &[Kind] = &[
    INVALID_IDEMPOTENCY_KEY,
    REPLY_NOT_KEPT,
    IDEMPOTENCY_MISMATCH,
    VALUE_TOO_LARGE,
    OVERLOADED,
    OVERWRITTEN,
    INTERNAL,
    INVALID_FENCE,
    QUOTA_EXCEEDED,
];
/// Of what names a lease or a lock.
pub(super) const LEASE: &[Kind] = &[INVALID_LEASE, LEASE_NOT_FOUND, LEASE_EXISTS, FENCED];
/// Of `If-Match` and its like.
pub(super) const CONDITION: &[Kind] = &[INVALID_CONDITION, PRECONDITION_FAILED];
/// Of a read.
pub(super) const READ: &[Kind] = &[
    INVALID_CONDITION,
    NO_LEADER,
    READ_TIMEOUT,
    TOO_STALE,
    STOPPING,
    OVERLOADED,
    REVISION_NOT_REACHED,
];
/// Of a read of the past.
pub(super) const PAST: &[Kind] = &[FUTURE_REVISION, COMPACTED];

/// What every write takes.
pub(super) const WRITE_HEADERS: &[&str] =
    &["Idempotency-Key", "Kvorum-Fence", "Kvorum-Forward", "traceparent"];
/// What a write of single keys takes.
pub(super) const KEY_WRITE_HEADERS: &[&str] = &[
    "If-Match",
    "If-None-Match",
    "Prefer",
    "Idempotency-Key",
    "Kvorum-Fence",
    "Kvorum-Forward",
    "traceparent",
];
/// What every read of the store takes.
pub(super) const READ_HEADERS: &[&str] = &["Kvorum-Min-Revision", "traceparent"];

/// Where an answer stands.
pub(super) const STAMPS: &[&str] = &["Kvorum-Revision", "Kvorum-Index"];
/// Where an answer about one key stands.
pub(super) const KEY_STAMPS: &[&str] = &["ETag", "Kvorum-Revision", "Kvorum-Index"];
/// Where a read stands.
pub(super) const READ_STAMPS: &[&str] = &["Kvorum-Revision", "Kvorum-Index", "Kvorum-Consistency"];
/// The media type of most answers.
pub(super) const JSON_TYPE: &str = "application/json";
