//! What locks are called, and how they are told.
//!
//! Rule: the lock `name` is the key `00 "lock/" name`; the token is the revision that created it.
//! Must never: tell a lock without the token that it is held under.

use super::{
    json::push_string,
    key::percent_decode,
    problem::{BAD_PERCENT_ENCODING, INVALID_FENCE, INVALID_LOCK_NAME, Problem},
    record::push_text,
    ttl::seconds,
};
use bytes::{Bytes, BytesMut};
use hyper::{HeaderMap, header::HeaderName};
use kvorum_core::kv::{Fence, KeyValue, LeaseView};

/// Gives a write effect only while a lock is held under a token: `name=token`.
const FENCE: HeaderName = HeaderName::from_static("kvorum-fence");

/// Before the names of locks in their keys. It begins with a byte that no text begins with, so that
/// no key meets it by accident.
const PREFIX: &[u8] = b"\0lock/";
/// Bytes of a lock's name.
const MAX_NAME: usize = 1024;

/// The name in a path: what follows `/lock/`, percent-decoded once.
pub(super) fn name(path: &str) -> Result<Bytes, Problem> {
    let name = percent_decode(path).ok_or_else(|| {
        let message = format!("the path has a bad percent-encoding in {path:?}");
        Problem::new(BAD_PERCENT_ENCODING, message)
    })?;
    if name.is_empty() || name.len() > MAX_NAME {
        let message = format!("the name of the lock has {} bytes", name.len());
        return Err(Problem::new(INVALID_LOCK_NAME, message));
    }
    Ok(Bytes::from(name))
}

/// The key of the lock `name`.
pub(super) fn key_of(name: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(PREFIX.len() + name.len());
    key.extend_from_slice(PREFIX);
    key.extend_from_slice(name);
    key.freeze()
}

/// `Kvorum-Fence: name=token`, with the name percent-encoded as in a path.
pub(super) fn fence(headers: &HeaderMap) -> Result<Option<Fence>, Problem> {
    let mut given = headers.get_all(FENCE).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| {
        let (name, token) = text.trim().rsplit_once('=')?;
        let name = percent_decode(name)?;
        let token = token.parse().ok().filter(|token| *token > 0)?;
        let fits = (1..=MAX_NAME).contains(&name.len());
        fits.then(|| Fence { key: key_of(&name), token })
    });
    match (parsed, given.next()) {
        (Some(fence), None) => Ok(Some(fence)),
        _ => Err(Problem::new(INVALID_FENCE, "Kvorum-Fence is not one name=token")),
    }
}

/// A lock that is held, as `GET /lock/{name}` tells it.
pub(super) fn held(name: &[u8], item: &KeyValue, lease: Option<&LeaseView>) -> String {
    let mut out = String::from("{");
    push_text(&mut out, "name", name);
    out.push(',');
    push_holder(&mut out, item, lease);
    if let Some(lease) = lease {
        out.push_str(&format!(",\"lease\":\"{}\",\"ttl\":{}", lease.id, seconds(lease.ttl_ms)));
    }
    out.push('}');
    out
}

/// Who holds it, as the refusal of another tells it.
pub(super) fn holder(item: &KeyValue, lease: Option<&LeaseView>) -> String {
    let mut out = String::from("{");
    push_holder(&mut out, item, lease);
    out.push('}');
    out
}

/// A lock that was just acquired.
pub(super) fn acquired(name: &[u8], token: u64, lease: u64, ttl_ms: u64) -> String {
    let mut out = String::from("{");
    push_text(&mut out, "name", name);
    let ttl = seconds(ttl_ms);
    out.push_str(&format!(",\"token\":{token},\"lease\":\"{lease}\",\"ttl\":{ttl}}}"));
    out
}

/// A lock that was just released.
pub(super) fn released(name: &[u8]) -> String {
    let mut out = String::from("{\"message\":");
    push_string(&mut out, "lock released");
    out.push(',');
    push_text(&mut out, "name", name);
    out.push('}');
    out
}

fn push_holder(out: &mut String, item: &KeyValue, lease: Option<&LeaseView>) {
    out.push_str(&format!("\"token\":{},", item.create_revision));
    push_text(out, "note", &item.value);
    // Without a lease only by somebody who has written the lock's key by hand.
    match lease {
        Some(lease) => out.push_str(&format!(",\"remaining\":{}", seconds(lease.remaining_ms))),
        None => out.push_str(",\"remaining\":null"),
    }
}
