//! What a query answers.

use super::{State, shape::within};
use bytes::Bytes;
use kvorum_core::kv::{Group, KeyValue, Query, QueryReply};

pub fn answer(state: &State, query: &Query, revision: u64) -> QueryReply {
    let mut items: Vec<KeyValue> =
        state.values().filter(|item| within(&query.range, &item.key)).cloned().collect();
    if query.descending {
        items.reverse();
    }
    let mut reply = QueryReply { revision, ..QueryReply::default() };
    let all = items.len() as u64;
    reply.count = all;
    if query.count_only {
        return reply;
    }
    let mut bytes = 0;
    for mut item in items {
        if query.keys_only {
            item.value = Bytes::new();
        }
        let group = query.group.as_ref().and_then(|group| beginning(group, &item.key));
        if group.is_some() && reply.groups.contains(group.as_ref().unwrap()) {
            continue;
        }
        let kept = (reply.items.len() + reply.groups.len()) as u64;
        bytes += group.as_ref().map_or(item.key.len() + item.value.len(), Bytes::len) as u64;
        let too_large = query.max_bytes != 0 && bytes > query.max_bytes && kept > 0;
        if too_large || (query.limit != 0 && kept == query.limit) {
            reply.more = true;
            break;
        }
        match group {
            Some(group) => reply.groups.push(group),
            None => reply.items.push(item),
        }
    }
    if !query.count {
        reply.count = (reply.items.len() + reply.groups.len()) as u64;
    }
    reply
}

/// The shortest beginning of `key` that ends in the delimiter and goes on beyond `after` bytes.
fn beginning(group: &Group, key: &Bytes) -> Option<Bytes> {
    let after = usize::try_from(group.after).unwrap() + group.delimiter.len();
    let found = (after..=key.len()).find(|end| key[..*end].ends_with(&group.delimiter))?;
    Some(key.slice(..found))
}
