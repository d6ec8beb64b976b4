//! What every parameter and header means, and the shape of its value.
//!
//! Rule: a name means the same wherever it stands. Must never: lack a name that a handler takes
//! (`compose` panics, and so does every test).

/// A parameter of the query, or a header of a request or an answer.
pub(super) struct Value {
    pub name: &'static str,
    pub says: &'static str,
    /// JSON Schema. It may accept more than the server does, never less.
    pub schema: &'static str,
}

const FLAG: &str = r#"{"type":"string","enum":["","true","1","false","0"]}"#;
const DURATION: &str = r#"{"type":"string","pattern":"^[0-9]+(ms|s|m)?$","examples":["500ms"]}"#;
/// Whole groups of four, and an end whose unused bits are zero.
const BASE64: &str = r#"{"type":"string","pattern":"^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-]{4}|[A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])={0,2}$","examples":["Li4veA"]}"#;
const NUMBER: &str = r#"{"type":"integer","format":"int64","minimum":0}"#;
const TEXT: &str = r#"{"type":"string"}"#;
const ETAG: &str = r#"{"type":"string","examples":["\"17\"","*"]}"#;

const fn v(name: &'static str, schema: &'static str, says: &'static str) -> Value {
    Value { name, says, schema }
}

/// The variable parts of paths.
pub(super) const PATH: &[Value] = &[
    v(
        "key",
        r#"{"type":"string","minLength":1,"maxLength":4096,"examples":["a"]}"#,
        "The key: everything after `/key/`, percent-decoded once. Slashes are part of it.",
    ),
    v(
        "id",
        r#"{"type":"string","pattern":"^[1-9][0-9]{0,18}$","examples":["7"]}"#,
        "The id of a lease.",
    ),
    v(
        "name",
        r#"{"type":"string","minLength":1,"maxLength":1024,"examples":["backup"]}"#,
        "The name of a lock: everything after `/lock/`, percent-decoded once.",
    ),
    v("member", r#"{"type":"string","minLength":1,"maxLength":128}"#, "A member's NODE_ID."),
];

/// The query.
pub(super) const QUERY: &[Value] = &[
    v("after", r#"{"type":"string","pattern":"^[1-9][0-9]{0,18}$"}"#, "`next` of the page before."),
    v("all", FLAG, "Delete every key."),
    v("at", NUMBER, "As of this revision; 0 is the present."),
    v("before", NUMBER, "What the key was before this revision."),
    v("b64", BASE64, "The key in base64url."),
    v("consistency", r#"{"type":"string","enum":["linearizable","stale"]}"#, "How fresh."),
    v("count_only", FLAG, "How many, and nothing else."),
    v("create", FLAG, "Only if none of the keys exists."),
    v("cursor", TEXT, "`next` of the page before."),
    v(
        "delimiter",
        r#"{"type":"string","minLength":1}"#,
        "Put keys that share a beginning up to this into one group.",
    ),
    v("end", TEXT, "The first key no longer in."),
    v("exclude", TEXT, "Checks to leave out, separated by commas."),
    v("force", FLAG, "Always refused: nothing bypasses the quorum."),
    v("format", r#"{"type":"string","enum":["items","map"]}"#, "How items are written."),
    v("from", TEXT, "`next` of the page before."),
    v("history", FLAG, "All versions that are kept, newest first."),
    v("key", TEXT, "One key."),
    v("lease", r#"{"type":"string","pattern":"^[1-9][0-9]{0,18}$"}"#, "The lease of the keys."),
    v("keys_only", FLAG, "Leave values out."),
    v("limit", r#"{"type":"integer","minimum":1,"maximum":1000}"#, "Most items."),
    v("max_staleness", DURATION, "Of a stale read: the oldest state that will do."),
    v("meta", FLAG, "The whole record."),
    v("prefix", TEXT, "Keys that begin so."),
    v("prev", FLAG, "Say what each key was before."),
    v("raw", FLAG, "The bytes of the value."),
    v("reverse", FLAG, "From the last key to the first."),
    v("since", NUMBER, "What the client knows: changes after this revision count."),
    v("start", TEXT, "The first key."),
    v("sync", FLAG, "Make a linearizable read as well."),
    v("token", NUMBER, "The token that the lock was acquired with."),
    v("ttl", DURATION, "How long the new lease lasts without a sign of life."),
    v("timeout", DURATION, "How long the request may take (default 5s, at most 60s)."),
    v("verbose", FLAG, "Name every check."),
    v("wait", DURATION, "Wait so long for a change, or for a lock (at most 60s)."),
];

/// Headers of requests.
pub(super) const REQUEST: &[Value] = &[
    v("Idempotency-Key", r#"{"type":"string"}"#, "A repeat under the same key takes effect once."),
    v("If-Match", ETAG, "Only if the key still has this ETag; `*`: only if it exists."),
    v("If-None-Match", ETAG, "Only if the key has another ETag; `*`: only if there is none."),
    v("Kvorum-Fence", TEXT, "Only while this lock is held under this token."),
    v(
        "Kvorum-Forward",
        r#"{"type":"string","examples":["no"]}"#,
        "`no`: answer 421 rather than forward to the leader.",
    ),
    v(
        "Kvorum-Min-Revision",
        r#"{"type":"string","examples":["17"]}"#,
        "Wait until the node has reached this revision.",
    ),
    v("Last-Event-ID", r#"{"type":"string","examples":["17"]}"#, "Go on after this event."),
    v(
        "Prefer",
        r#"{"type":"string","examples":["return=minimal","wait=30"]}"#,
        "`return=minimal`: no body; `wait=<seconds>`: as `wait`.",
    ),
    v("traceparent", TEXT, "W3C Trace Context; forwarded to the leader."),
];

/// Headers of answers.
pub(super) const RESPONSE: &[Value] = &[
    v("Allow", TEXT, "The methods of the path."),
    v(
        "ETag",
        r#"{"type":"string","pattern":"^\"[0-9]+\"$"}"#,
        "The revision of the key's last change, in quotes.",
    ),
    v(
        "Kvorum-Consistency",
        r#"{"type":"string","enum":["linearizable","stale"]}"#,
        "How fresh the answer is.",
    ),
    v("Kvorum-Index", NUMBER, "The log index the state stood at."),
    v("Kvorum-Leader", TEXT, "Who leads: `<NODE_ID>; url=\"…\"`."),
    v("Kvorum-Revision", NUMBER, "The store's revision."),
    v("Kvorum-Served-By", TEXT, "The node that gave the answer."),
    v("Retry-After", NUMBER, "Seconds to wait before trying again."),
    v("Server-Timing", TEXT, "How long it took."),
];

/// The entry of `name` in `table`.
pub(super) fn find(table: &'static [Value], name: &str) -> &'static Value {
    let found = table.iter().find(|value| value.name == name);
    found
        .unwrap_or_else(|| panic!("runtime/src/http/openapi/parameters.rs does not explain {name}"))
}
