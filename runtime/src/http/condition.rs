//! Conditional requests (RFC 9110 §13): `If-Match` and `If-None-Match` on revisions.
//!
//! Rule: a write's conditions become guards of its transaction, for every key it touches; an ETag
//! is the quoted revision of the key's last change. Must never: let a missing key pass as
//! revision 0.

use super::{
    params::whole,
    problem::{INVALID_CONDITION, Problem},
};
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use kvorum_core::kv::{Compare, Guard, KeyRange, Target};

/// The conditions of one request.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    matches: Option<Tags>,
    none_match: Option<Tags>,
}

#[derive(Debug, PartialEq, Eq)]
enum Tags {
    Any,
    Revisions(Vec<u64>),
}

/// What the conditions say to a read of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Answer.
    Go,
    /// 304: the client has it.
    NotModified,
    /// 412.
    Failed,
}

/// Most tags in one header.
const MAX_TAGS: usize = 64;

impl Conditions {
    /// The conditions in `headers`.
    pub(super) fn parse(headers: &HeaderMap, mutating: bool) -> Result<Conditions, Problem> {
        if headers.contains_key(IF_UNMODIFIED_SINCE) {
            let message = "If-Unmodified-Since is not supported: kvorum has revisions, not dates";
            return Err(Problem::new(INVALID_CONDITION, message));
        }
        let matches = tags(headers, &IF_MATCH, !mutating)?;
        let none_match = tags(headers, &IF_NONE_MATCH, true)?;
        if let (Some(Tags::Revisions(all)), true) = (&matches, mutating)
            && all.len() > 1
        {
            let message = "If-Match of a write takes one ETag";
            return Err(Problem::new(INVALID_CONDITION, message));
        }
        Ok(Conditions { matches, none_match })
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.matches.is_none() && self.none_match.is_none()
    }

    /// Adds what they ask of `key` to a write's guards.
    pub(super) fn guard(&self, key: &Bytes, guards: &mut Vec<Guard>) {
        let mut modified = |compare, revision| {
            let range = KeyRange::One(key.clone());
            guards.push(Guard { range, compare, target: Target::Mod(revision) });
        };
        match &self.matches {
            None => {}
            Some(Tags::Any) => modified(Compare::Greater, 0),
            Some(Tags::Revisions(all)) => all.iter().for_each(|r| modified(Compare::Equal, *r)),
        }
        match &self.none_match {
            None => {}
            Some(Tags::Any) => modified(Compare::Equal, 0),
            Some(Tags::Revisions(all)) => all.iter().for_each(|r| modified(Compare::NotEqual, *r)),
        }
    }

    /// Judges a read of a key whose last change was at `revision` (`None`: there is no such key).
    pub(super) fn judge(&self, revision: Option<u64>) -> Judgement {
        let hit = |tags: &Tags| match (tags, revision) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::Revisions(all), Some(revision)) => all.contains(&revision),
        };
        if self.matches.as_ref().is_some_and(|tags| !hit(tags)) {
            Judgement::Failed
        } else if self.none_match.as_ref().is_some_and(hit) {
            Judgement::NotModified
        } else {
            Judgement::Go
        }
    }
}

/// Refuses conditions on a call that is about no key.
pub(super) fn no_conditions(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(IF_MATCH) || headers.contains_key(IF_NONE_MATCH) {
        let message = "conditions are about one key, and this call is about none";
        return Err(Problem::new(INVALID_CONDITION, message)
            .hint("leave the condition out; /txn takes conditions on any keys"));
    }
    Ok(())
}

fn tags(headers: &HeaderMap, name: &HeaderName, weak: bool) -> Result<Option<Tags>, Problem> {
    let mut revisions = Vec::new();
    let mut any = false;
    let mut given = false;
    for value in headers.get_all(name) {
        given = true;
        let text = value.to_str().map_err(|_| bad(name, "it is not text"))?;
        for tag in text.split(',').map(str::trim) {
            if tag == "*" {
                any = true;
                continue;
            }
            let strong = match tag.strip_prefix("W/") {
                None => tag,
                Some(strong) if weak => strong,
                Some(_) => return Err(bad(name, "a weak ETag never matches a write; drop the W/")),
            };
            let quoted = strong.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            match whole(quoted.unwrap_or(strong)) {
                Some(revision) if revision > 0 && revisions.len() < MAX_TAGS => {
                    revisions.push(revision);
                }
                _ => return Err(bad(name, &format!("{tag} is not the ETag of a key"))),
            }
        }
    }
    match (given, any) {
        (false, _) => Ok(None),
        (true, true) if revisions.is_empty() => Ok(Some(Tags::Any)),
        (true, true) => Err(bad(name, "* stands alone")),
        (true, false) => Ok(Some(Tags::Revisions(revisions))),
    }
}

fn bad(name: &HeaderName, why: &str) -> Problem {
    let shown = if *name == IF_MATCH { "If-Match" } else { "If-None-Match" };
    Problem::new(INVALID_CONDITION, format!("{shown}: {why}"))
}
