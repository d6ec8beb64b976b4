//! Which keys a request names by bounds.
//!
//! Rule: `prefix`, or `start` (first key) with or without `end` (first key no longer in); nothing
//! means every key. Must never: read two ways of naming keys as one.

use super::{
    params::Params,
    problem::{INVALID_PARAMETER, Problem},
};
use bytes::Bytes;
use kvorum_core::kv::{KeyRange, Query};

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

/// The part of the scan's range after `last`, a key or a group of keys, in its direction.
pub(super) fn after(scan: &Query, last: &[u8]) -> KeyRange {
    let KeyRange::Between { start, end } = scan.range.clone() else { return scan.range.clone() };
    let is_group = scan.group.as_ref().is_some_and(|group| group.of(last).is_some());
    if is_group && !scan.descending {
        let KeyRange::Between { end: next, .. } = KeyRange::prefix(Bytes::copy_from_slice(last))
        else {
            unreachable!("a prefix is a range")
        };
        // No key comes after those that begin with FF bytes only.
        let Some(next) = next else {
            return KeyRange::Between { start: start.clone(), end: Some(start) };
        };
        return KeyRange::Between { start: next, end };
    }
    if scan.descending {
        return KeyRange::Between { start, end: Some(Bytes::copy_from_slice(last)) };
    }
    let mut next = Vec::with_capacity(last.len() + 1);
    next.extend_from_slice(last);
    next.push(0);
    KeyRange::Between { start: next.into(), end }
}
