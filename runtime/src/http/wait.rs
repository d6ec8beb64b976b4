//! `GET /key/{key}?wait=30s`: an answer when the key changes, 304 when it does not in time.
//!
//! Rule: "changes" is measured from what the client says it knows: an ETag (`If-None-Match`) or a
//! revision (`?since=`). Must never: miss a change between the look and the wait.

use super::{
    Api,
    condition::{Conditions, Judgement},
    duration,
    params::{Params, invalid},
    problem::{INVALID_PARAMETER, Problem, TOO_MANY_WATCHES},
    read::Read,
};
use crate::{
    handle::{Answer, Consistency},
    world::World,
};
use hyper::{HeaderMap, header::IF_NONE_MATCH};
use kvorum_core::kv::Query;
use std::time::Duration;

/// How long to wait for a change, and of what.
#[derive(Debug)]
pub(super) struct Wait {
    patience: Duration,
    /// Changes after this revision count; without it, the conditions decide.
    since: Option<u64>,
}

impl<W: World> Api<W> {
    /// What `?wait=` (or `Prefer: wait=`) asks for.
    pub(super) fn patience_for_news(
        &self,
        params: &Params,
        headers: &HeaderMap,
        conditions: &Conditions,
    ) -> Result<Option<Wait>, Problem> {
        let since = params.number("since")?;
        let most = self.limits.max_request_timeout;
        let patience = match (params.get("wait"), preferred(headers)) {
            (None, None) if since.is_none() => return Ok(None),
            (None, None) => Duration::ZERO,
            (Some(text), _) => match duration::parse(text) {
                Some(wait) if wait <= most => wait,
                _ => {
                    let accepted = format!("a duration up to {}ms, e.g. 30s", most.as_millis());
                    return Err(invalid("wait", text, &accepted));
                }
            },
            // A preference may be bent (RFC 7240).
            (None, Some(wait)) => wait.min(most),
        };
        if since.is_none() && !headers.contains_key(IF_NONE_MATCH) {
            if params.get("wait").is_none() {
                return Ok(None);
            }
            let message = "wait says not from where on";
            return Err(Problem::new(INVALID_PARAMETER, message)
                .hint("send the ETag you have as If-None-Match, or its revision as since"));
        }
        if params.get("at").is_some() {
            return Err(Problem::new(INVALID_PARAMETER, "the past does not change; drop at"));
        }
        if since.is_some() && !conditions.is_empty() {
            return Err(Problem::new(INVALID_PARAMETER, "since stands together with conditions"));
        }
        Ok(Some(Wait { patience, since }))
    }

    /// Reads once the key has changed, or when the time is up; whether it has changed.
    pub(super) async fn read_when_changed(
        &self,
        read: &Read,
        wait: &Wait,
        conditions: &Conditions,
    ) -> Result<(Answer, bool), Problem> {
        let until = self.deadline(wait.patience);
        let hub = self.handle.hub();
        let most = self.limits.watches;
        // Before the look, so that nothing slips through between.
        let Some((watcher, _)) = hub.watch(read.query.range.clone(), most) else {
            return Err(Problem::new(
                TOO_MANY_WATCHES,
                format!("{most} watches are open, the limit"),
            ));
        };
        let mut answer = self.read(read).await?;
        // What the watcher hears of is in this node's state.
        let again = Read { consistency: Consistency::Stale, ..read.clone() };
        while !self.has_changed(read, wait, conditions, &answer).await? {
            if self.until(until, watcher.next()).await.is_none() {
                return Ok((answer, false));
            }
            answer = self.read(&again).await?;
        }
        Ok((answer, true))
    }

    async fn has_changed(
        &self,
        read: &Read,
        wait: &Wait,
        conditions: &Conditions,
        answer: &Answer,
    ) -> Result<bool, Problem> {
        let Ok(reply) = &answer.reply else { return Ok(true) };
        let found = reply.items.first().map(|item| item.mod_revision);
        match (wait.since, found) {
            (None, found) => Ok(conditions.judge(found) != Judgement::NotModified),
            (Some(since), Some(revision)) => Ok(revision > since),
            (Some(since), None) if since >= answer.revision => Ok(false),
            // Gone: is that news? When nobody remembers, the client had better look.
            (Some(since), None) => {
                let query = Query { revision: since.max(1), keys_only: true, ..read.query.clone() };
                let then = Read { query, consistency: Consistency::Stale, ..read.clone() };
                let then = self.read(&then).await?;
                Ok(then.reply.map_or(true, |reply| !reply.items.is_empty()))
            }
        }
    }
}

/// `Prefer: wait=30` (seconds).
fn preferred(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
        .find_map(|preference| preference.trim().strip_prefix("wait=")?.parse().ok())
        .map(Duration::from_secs)
}
