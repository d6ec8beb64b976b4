//! `/settings` and `/compact`: what all replicas have agreed to about space and history.
//!
//! Rule: both go through the log, so that every replica judges the quota and forgets history at the
//! same entry. Must never: change part of what a request asks for.

use super::{
    Api, Reply,
    body::Payload,
    duration,
    envelope::Envelope,
    json::{self, Fault},
    look,
    outcome::accepted,
    params::Params,
    problem::{DUPLICATE_KEY, EMPTY_BODY, INTERNAL, INVALID_JSON, INVALID_VALUE, NO_DATA, Problem},
    read::{json as ok_json, refused},
    seek::Call,
};
use crate::{
    config::parse_bytes,
    handle::{Executed, Found, Look},
    world::World,
};
use hyper::http::request::Parts;
use kvorum_core::kv::{Body, Settings, SettingsChange};
use serde_json::value::RawValue;

/// What `PATCH /settings` and `POST /compact` take.
pub(super) const PARAMETERS: [&str; 1] = ["timeout"];
/// Members of a body that are looked at.
const MAX_MEMBERS: usize = 8;
/// Largest number in JSON that every reader takes exactly.
const MAX_NUMBER: u64 = (1 << 53) - 1;

impl<W: World> Api<W> {
    /// Answers `GET /settings`.
    pub(super) async fn get_settings(&self, head: &Parts) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &look::PARAMETERS)?;
        let manner = self.manner(&params, head)?;
        let seen = self.look(&Look::Settings, &manner).await?;
        let headers = manner.stamps(&seen);
        match seen.found {
            Ok(Found::Settings(settings)) => Ok(ok_json(shown(&settings), headers)),
            Ok(_) => Err(Problem::new(INTERNAL, "the answer does not fit the question")),
            Err(error) => Err(refused(error).headers(headers)),
        }
    }

    /// Answers `PATCH /settings`.
    pub(super) async fn patch_settings(
        &self,
        head: &Parts,
        payload: &mut Payload,
    ) -> Result<Reply, Problem> {
        let call = self.order(head, payload).await?;
        let change = Body::Settings(settings_in(&call.body)?);
        let envelope = Envelope::new(change, &head.headers, 5)?;
        let tell = |executed: Executed| {
            let (_, headers) = accepted(executed)?;
            Ok(ok_json(self.settings_json()?, headers))
        };
        self.decide(&call, || self.submit(&envelope, tell)).await
    }

    /// Answers `POST /compact`.
    pub(super) async fn compact(
        &self,
        head: &Parts,
        payload: &mut Payload,
    ) -> Result<Reply, Problem> {
        let call = self.order(head, payload).await?;
        let revision = revision_in(&call.body)?;
        let envelope = Envelope::new(Body::Compact { revision }, &head.headers, 6)?;
        let tell = |executed: Executed| {
            let now = executed.reply.revision;
            let (_, headers) = accepted(executed)?;
            let text = format!("{{\"compacted\":{revision},\"revision\":{now}}}");
            Ok(ok_json(text, headers))
        };
        self.decide(&call, || self.submit(&envelope, tell)).await
    }

    /// What `PATCH /settings` and `POST /compact` have in common: a body, and a time for it.
    async fn order<'h>(&self, head: &'h Parts, payload: &mut Payload) -> Result<Call<'h>, Problem> {
        let timeout = self.timeout(&Params::parse(head.uri.query(), &PARAMETERS)?)?;
        let body = payload.read(&self.world, &self.limits).await?;
        Ok(Call { head, body, deadline: self.deadline(timeout) })
    }

    fn settings_json(&self) -> Result<String, Problem> {
        let status = self.handle.metrics().store.get();
        let status = status.ok_or_else(|| Problem::new(INTERNAL, "the store is not open yet"))?;
        Ok(shown(&status.settings))
    }
}

fn shown(settings: &Settings) -> String {
    let keep = match settings.keep_ms {
        u64::MAX => "\"forever\"".to_owned(),
        ms if ms % 1000 == 0 => (ms / 1000).to_string(),
        ms => format!("{}.{:03}", ms / 1000, ms % 1000),
    };
    format!(
        "{{\"quota\":{},\"history\":{{\"keep\":{keep},\"revisions\":{}}}}}",
        settings.quota_bytes, settings.keep_revisions
    )
}

/// `{"quota":"2GiB","history":{"keep":"10m","revisions":100}}`, or a part of it.
fn settings_in(body: &[u8]) -> Result<SettingsChange, Problem> {
    let mut change = SettingsChange::default();
    for (name, value) in members(body)? {
        match name.as_str() {
            "quota" => change.quota_bytes = Some(quota(value)?),
            "history" => {
                for (name, value) in members(value.get().as_bytes())? {
                    match name.as_str() {
                        "keep" => change.keep_ms = Some(keep(value)?),
                        "revisions" => {
                            let taken = "a whole number of revisions";
                            change.keep_revisions = Some(
                                number(value).ok_or_else(|| wrong("revisions", value, taken))?,
                            );
                        }
                        other => return Err(unknown(&format!("history.{other}"))),
                    }
                }
            }
            other => return Err(unknown(other)),
        }
    }
    if change == SettingsChange::default() {
        return Err(Problem::new(NO_DATA, "no setting is given")
            .hint("send e.g. {\"quota\":\"2GiB\"} or {\"history\":{\"keep\":\"10m\"}}"));
    }
    Ok(change)
}

/// `{"revision":N}`.
fn revision_in(body: &[u8]) -> Result<u64, Problem> {
    let mut revision = None;
    for (name, value) in members(body)? {
        if name != "revision" {
            let message = format!("unknown member {name:?}");
            return Err(Problem::new(INVALID_VALUE, message).hint("send {\"revision\":N}"));
        }
        revision =
            Some(number(value).ok_or_else(|| wrong("revision", value, "a revision, as a number"))?);
    }
    revision
        .ok_or_else(|| Problem::new(NO_DATA, "no revision is given").hint("send {\"revision\":N}"))
}

fn members(body: &[u8]) -> Result<Vec<(String, &RawValue)>, Problem> {
    let invalid = |why: String| Problem::new(INVALID_JSON, "request is not a valid json").hint(why);
    if body.is_empty() {
        return Err(Problem::new(EMPTY_BODY, "the request has no body"));
    }
    let text = std::str::from_utf8(body).map_err(|error| invalid(error.to_string()))?;
    json::members(text, MAX_MEMBERS).map_err(|fault| match fault {
        Fault::Duplicate(name) => {
            Problem::new(DUPLICATE_KEY, format!("member {name:?} is given twice"))
        }
        Fault::Invalid(why) => invalid(why),
        Fault::TooMany | Fault::TooDeep => invalid("too many members".to_owned()),
    })
}

fn number(value: &RawValue) -> Option<u64> {
    serde_json::from_str(value.get()).ok().filter(|number| *number <= MAX_NUMBER)
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

fn quota(value: &RawValue) -> Result<u64, Problem> {
    let given = number(value).or_else(|| parse_bytes(&text(value)?));
    given.filter(|bytes| *bytes <= MAX_NUMBER).ok_or_else(|| {
        wrong("quota", value, "a number of bytes, or a text like \"512MiB\"; 0 is no limit")
    })
}

fn keep(value: &RawValue) -> Result<u64, Problem> {
    let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).ok();
    let given = match text(value) {
        Some(text) if text == "forever" => Some(u64::MAX),
        Some(text) => duration::parse(&text).and_then(ms),
        None => number(value).and_then(|seconds| seconds.checked_mul(1000)),
    };
    given
        .filter(|ms| *ms == u64::MAX || *ms <= MAX_NUMBER)
        .ok_or_else(|| wrong("keep", value, "seconds, a duration like \"10m\", or \"forever\""))
}

fn wrong(name: &str, value: &RawValue, taken: &str) -> Problem {
    let message = format!("{name} has the value {}", value.get());
    Problem::new(INVALID_VALUE, message).hint(format!("{name} takes {taken}"))
}

fn unknown(name: &str) -> Problem {
    Problem::new(INVALID_VALUE, format!("there is no setting {name:?}"))
        .hint("the settings are quota, history.keep and history.revisions")
}
