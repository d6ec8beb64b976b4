//! Which keys a request names by bounds.
//!
//! Rule: `prefix`, or `start` (first key) with or without `end` (first key no longer in); nothing
//! means every key. Must never: read two ways of naming keys as one.

use super::{
    params::Params,
    problem::{INVALID_PARAMETER, Problem},
};
use bytes::Bytes;
use kvorum_core::kv::KeyRange;

/// The keys that `params` name.
pub(super) fn range(params: &Params) -> Result<KeyRange, Problem> {
    let get = |name| params.bytes(name).map(Bytes::copy_from_slice);
    of(get("prefix"), get("start"), get("end")).ok_or_else(|| {
        Problem::new(INVALID_PARAMETER, "prefix stands together with start or end")
            .hint("name the keys by prefix, or by start and end")
    })
}

/// The range of these bounds; `None` when they contradict each other.
pub(super) fn of(
    prefix: Option<Bytes>,
    start: Option<Bytes>,
    end: Option<Bytes>,
) -> Option<KeyRange> {
    match (prefix, start, end) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => None,
        (Some(prefix), None, None) => Some(KeyRange::prefix(prefix)),
        (None, start, end) => {
            let start = start.unwrap_or_default();
            Some(KeyRange::Between { start, end: end.filter(|end| !end.is_empty()) })
        }
    }
}

/// The part of `range` after `last`, in the direction of the scan.
pub(super) fn after(range: KeyRange, last: &[u8], descending: bool) -> KeyRange {
    let KeyRange::Between { start, end } = range else { return range };
    if descending {
        return KeyRange::Between { start, end: Some(Bytes::copy_from_slice(last)) };
    }
    let mut next = Vec::with_capacity(last.len() + 1);
    next.extend_from_slice(last);
    next.push(0);
    KeyRange::Between { start: next.into(), end }
}
