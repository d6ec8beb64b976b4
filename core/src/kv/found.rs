//! What a query has found so far, and when it has found enough.
//!
//! Rule: keys come in the order asked for; each becomes an item, or the group of those that share
//! its beginning, until a bound is met. Must never: return less than one item or group when there
//! is one, or more than the bounds allow beyond that one.

use super::{
    command::{Group, KeyRange, Query},
    reply::{KeyValue, QueryReply},
    rows::Version,
    tables::Order,
};
use alloc::vec::Vec;
use bytes::Bytes;

/// What to do after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Read the next.
    Go,
    /// Go on after the group that was just found.
    Skip,
    /// Enough.
    Stop,
}

pub(super) struct Found<'a> {
    query: &'a Query,
    items: Vec<KeyValue>,
    groups: Vec<Bytes>,
    count: u64,
    bytes: u64,
    full: bool,
}

impl<'a> Found<'a> {
    pub fn new(query: &'a Query) -> Found<'a> {
        let (items, groups) = (Vec::new(), Vec::new());
        Found { query, items, groups, count: 0, bytes: 0, full: false }
    }

    pub fn order(&self) -> Order {
        if self.query.descending { Order::Descending } else { Order::Ascending }
    }

    /// Takes in the next key. It is copied only when it is kept.
    pub fn add(&mut self, key: &[u8], version: Version) -> Step {
        let counting = self.query.count || self.query.count_only;
        self.count += 1;
        if self.query.count_only {
            return Step::Go;
        }
        let group = self.query.group.as_ref().and_then(|group| group.of(key));
        if group.is_some() && self.groups.last().map(|last| &last[..]) == group {
            return Step::Go;
        }
        let size = match group {
            Some(group) => group.len(),
            None if self.query.keys_only => key.len(),
            None => key.len() + version.value.len(),
        } as u64;
        self.full = self.full || self.has_no_room(size);
        if self.full {
            return if counting { Step::Go } else { Step::Stop };
        }
        self.bytes += size;
        if let Some(group) = group {
            self.groups.push(Bytes::copy_from_slice(group));
            return if counting { Step::Go } else { Step::Skip };
        }
        let key = Bytes::copy_from_slice(key);
        self.items.push(version.into_key_value(key, !self.query.keys_only));
        Step::Go
    }

    fn has_no_room(&self, size: u64) -> bool {
        let kept = (self.items.len() + self.groups.len()) as u64;
        let Query { limit, max_bytes, .. } = *self.query;
        (limit != 0 && kept >= limit)
            || (max_bytes != 0 && kept > 0 && self.bytes + size > max_bytes)
    }

    /// What follows the keys and groups found.
    pub fn rest(&self) -> Option<KeyRange> {
        rest(&self.query.range, self.query.descending, self.items.last(), self.groups.last())
    }

    pub fn reply(self, revision: u64) -> QueryReply {
        let kept = (self.items.len() + self.groups.len()) as u64;
        let counted = self.query.count || self.query.count_only;
        QueryReply {
            revision,
            items: self.items,
            groups: self.groups,
            count: if counted { self.count } else { kept },
            more: self.full,
        }
    }
}

impl Group {
    /// The group that a key is in.
    #[must_use]
    pub fn of<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        let after = usize::try_from(self.after).ok()?;
        let tail = key.get(after..)?;
        if self.delimiter.is_empty() {
            return None;
        }
        let at = tail.windows(self.delimiter.len()).position(|found| found == self.delimiter)?;
        Some(&key[..after + at + self.delimiter.len()])
    }
}

impl Query {
    /// The keys that `reply`, an answer to this query with `more`, did not come to: the range to
    /// ask for next, at the revision of the reply to see the same store. `None`: there are none.
    #[must_use]
    pub fn rest(&self, reply: &QueryReply) -> Option<KeyRange> {
        rest(&self.range, self.descending, reply.items.last(), reply.groups.last())
    }
}

fn rest(
    range: &KeyRange,
    descending: bool,
    item: Option<&KeyValue>,
    group: Option<&Bytes>,
) -> Option<KeyRange> {
    let KeyRange::Between { start, end } = range else { return None };
    if descending {
        // A group begins with its own name: what comes before the name is not in it.
        let end = [item.map(|item| &item.key), group].into_iter().flatten().min().or(end.as_ref());
        return Some(KeyRange::Between { start: start.clone(), end: end.cloned() });
    }
    let after_item = item.map(|item| Bytes::from([&item.key[..], &[0]].concat()));
    let after_group = match group.map(|group| KeyRange::prefix(group.clone())) {
        None => None,
        // No key comes after the group of keys that begin with FF bytes only.
        Some(KeyRange::Between { end, .. }) => Some(end?),
        Some(KeyRange::One(_)) => None,
    };
    let start = after_item.max(after_group).unwrap_or_else(|| start.clone());
    Some(KeyRange::Between { start, end: end.clone() })
}
