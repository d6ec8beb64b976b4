//! `/lease` and `/leases`: granting, keeping alive, revoking and looking at leases.
//!
//! Rule: each change is one operation of one transaction; what is left of a lease is told by the
//! cluster clock. Must never: call a lease gone that a command has not ended.

use super::{
    Api, Reply,
    body::Payload,
    condition::no_conditions,
    envelope::Envelope,
    json::{self, Fault, push_string},
    look,
    outcome::{accepted, misfit},
    params::{Params, invalid},
    problem::{
        EMPTY_BODY, INTERNAL, INVALID_CURSOR, INVALID_LEASE, INVALID_VALUE, LEASE_NOT_FOUND,
        Problem,
    },
    read::{json as ok_json, refused},
    record::push_text,
    seek::Call,
    ttl::{lease_id, lease_member, seconds, ttl_member},
    values::{fault, text_of},
};
use crate::{
    config::Limits,
    handle::{Executed, Found, Look},
    world::World,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use hyper::http::request::Parts;
use kvorum_core::kv::{Body, CommandError, LeaseView, Op, OpReply, Txn, lease::MAX_LEASE};

/// What the calls that change a lease take.
pub(super) const CHANGE_PARAMETERS: [&str; 1] = ["timeout"];
/// What `GET /lease/{id}` takes.
pub(super) const ONE_PARAMETERS: [&str; 4] =
    ["limit", "from", look::PARAMETERS[0], look::PARAMETERS[1]];
/// What `GET /leases` takes.
pub(super) const ALL_PARAMETERS: [&str; 4] =
    ["limit", "after", look::PARAMETERS[0], look::PARAMETERS[1]];
/// Keys or leases in one answer unless fewer are asked for, and the most that may be.
const PAGE: usize = 1000;
/// Members of the body of `POST /lease`, and a few that are wrong.
const MEMBERS: usize = 8;

impl<W: World> Api<W> {
    /// Answers `POST /lease`.
    pub(super) async fn grant_lease(
        &self,
        head: &Parts,
        payload: &mut Payload,
    ) -> Result<Reply, Problem> {
        let timeout = self.timeout(&Params::parse(head.uri.query(), &CHANGE_PARAMETERS)?)?;
        let body = payload.read(&self.world, &self.limits).await?;
        let grant = granted(&body, &self.limits)?;
        self.change_lease(Call { head, body, deadline: self.deadline(timeout) }, grant).await
    }

    /// Answers `POST /lease/{id}/keepalive`.
    pub(super) async fn keep_lease_alive(&self, head: &Parts, id: &str) -> Result<Reply, Problem> {
        let timeout = self.timeout(&Params::parse(head.uri.query(), &CHANGE_PARAMETERS)?)?;
        let keep_alive = Op::KeepAlive { id: known_id(id)? };
        let call = Call { head, body: Bytes::new(), deadline: self.deadline(timeout) };
        self.change_lease(call, keep_alive).await
    }

    /// Answers `DELETE /lease/{id}`.
    pub(super) async fn revoke_lease(&self, head: &Parts, id: &str) -> Result<Reply, Problem> {
        let timeout = self.timeout(&Params::parse(head.uri.query(), &CHANGE_PARAMETERS)?)?;
        let revoke = Op::Revoke { id: known_id(id)? };
        let call = Call { head, body: Bytes::new(), deadline: self.deadline(timeout) };
        self.change_lease(call, revoke).await
    }

    async fn change_lease(&self, call: Call<'_>, op: Op) -> Result<Reply, Problem> {
        no_conditions(&call.head.headers)?;
        let body = Body::Txn(Txn { then: vec![op], ..Txn::default() });
        let envelope = Envelope::new(body, &call.head.headers, 5)?;
        self.decide(&call, || self.submit(&envelope, tell)).await
    }

    /// Answers `GET /lease/{id}`.
    pub(super) async fn get_lease(&self, head: &Parts, id: &str) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &ONE_PARAMETERS)?;
        let id = known_id(id)?;
        let limit = page(&params)?;
        let from = from(&params)?;
        let manner = self.manner(&params, head)?;
        let look = Look::Lease { id, from, limit: limit + 1 };
        let seen = self.look(&look, &manner).await?;
        let headers = manner.stamps(&seen);
        let mut lease = match seen.found {
            Ok(Found::Lease(lease)) => lease,
            Ok(_) => return Err(Problem::new(INTERNAL, "the answer does not fit the question")),
            Err(CommandError::LeaseNotFound) => {
                let message = format!("there is no lease {id}");
                return Err(Problem::new(LEASE_NOT_FOUND, message).headers(headers));
            }
            Err(error) => return Err(refused(error).headers(headers)),
        };
        let next = if lease.keys.len() > limit { lease.keys.pop() } else { None };
        Ok(ok_json(one(&lease, next.as_deref()), headers))
    }

    /// Answers `GET /leases`.
    pub(super) async fn get_leases(&self, head: &Parts) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &ALL_PARAMETERS)?;
        let limit = page(&params)?;
        let after = match params.get("after") {
            None => 0,
            Some(text) => lease_id(text)
                .ok_or_else(|| invalid("after", text, "the id of a lease, as in \"next\""))?,
        };
        let manner = self.manner(&params, head)?;
        let look = Look::Leases { after, limit: limit + 1 };
        let seen = self.look(&look, &manner).await?;
        let headers = manner.stamps(&seen);
        match seen.found {
            Ok(Found::Leases(leases)) => Ok(ok_json(all(&leases, limit), headers)),
            Ok(_) => Err(Problem::new(INTERNAL, "the answer does not fit the question")),
            Err(error) => Err(refused(error).headers(headers)),
        }
    }
}

/// What the body of `POST /lease` asks for.
fn granted(body: &Bytes, limits: &Limits) -> Result<Op, Problem> {
    const EXAMPLE: &str = "send {\"ttl\":\"30s\"}; an \"id\" may be chosen";
    if body.is_empty() {
        return Err(Problem::new(EMPTY_BODY, "request is not a valid json").hint(EXAMPLE));
    }
    let members = json::members(text_of(body)?, MEMBERS).map_err(|found| match found {
        Fault::TooMany => Problem::new(INVALID_VALUE, "too many members").hint(EXAMPLE),
        found => fault(found, limits),
    })?;
    let (mut id, mut ttl) = (0, None);
    for (name, value) in members {
        match name.as_str() {
            "ttl" => ttl = Some(ttl_member(value)?),
            "id" => id = lease_member("id", value)?,
            _ => {
                let message = format!("unknown member {name:?}");
                return Err(Problem::new(INVALID_VALUE, message).hint(EXAMPLE));
            }
        }
    }
    let missing = || Problem::new(INVALID_VALUE, "the lease has no \"ttl\"").hint(EXAMPLE);
    Ok(Op::Grant { id, ttl_ms: ttl.ok_or_else(missing)? })
}

fn known_id(text: &str) -> Result<u64, Problem> {
    lease_id(text).ok_or_else(|| {
        Problem::new(INVALID_LEASE, format!("{text:?} is not the id of a lease"))
            .hint(format!("ids are numbers from 1 to {MAX_LEASE}; GET /leases lists them"))
    })
}

fn page(params: &Params) -> Result<usize, Problem> {
    match params.number("limit")? {
        None => Ok(PAGE),
        Some(limit) => usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=PAGE).contains(limit))
            .ok_or_else(|| invalid("limit", &limit.to_string(), &format!("1 to {PAGE}"))),
    }
}

/// The key to go on from, as `next` names it.
fn from(params: &Params) -> Result<Bytes, Problem> {
    let Some(text) = params.get("from") else { return Ok(Bytes::new()) };
    let key = URL_SAFE_NO_PAD.decode(text);
    key.map(Bytes::from).map_err(|_| {
        Problem::new(INVALID_CURSOR, "\"from\" is not one of this server's")
            .hint("hand back \"next\" as it came")
    })
}

/// What came of a change.
fn tell(executed: Executed) -> Result<Reply, Problem> {
    let (outcome, headers) = accepted(executed)?;
    let text = match outcome.results.first() {
        Some(OpReply::Lease { id, ttl_ms }) => {
            format!("{{\"id\":\"{id}\",\"ttl\":{}}}", seconds(*ttl_ms))
        }
        Some(OpReply::Revoked { id, deleted }) => {
            format!("{{\"message\":\"lease revoked\",\"id\":\"{id}\",\"deleted\":{deleted}}}")
        }
        _ => return Err(misfit(headers)),
    };
    Ok(ok_json(text, headers))
}

fn one(lease: &LeaseView, next: Option<&[u8]>) -> String {
    let mut out = head_of(lease);
    out.push_str(",\"keys\":[");
    for (position, key) in lease.keys.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        // A key that is not text is an object, so that it is not taken for one that is.
        match std::str::from_utf8(key) {
            Ok(text) => push_string(&mut out, text),
            Err(_) => {
                out.push('{');
                push_text(&mut out, "key", key);
                out.push('}');
            }
        }
    }
    out.push_str(&format!("],\"more\":{}", next.is_some()));
    if let Some(next) = next {
        out.push_str(&format!(",\"next\":\"{}\"", URL_SAFE_NO_PAD.encode(next)));
    }
    out.push('}');
    out
}

fn all(leases: &[LeaseView], limit: usize) -> String {
    let shown = &leases[..leases.len().min(limit)];
    let list: Vec<String> = shown.iter().map(|lease| head_of(lease) + "}").collect();
    let mut out = format!("{{\"leases\":[{}]", list.join(","));
    if leases.len() > limit
        && let Some(last) = shown.last()
    {
        out.push_str(&format!(",\"next\":\"{}\"", last.id));
    }
    out.push('}');
    out
}

/// An open object that says what a lease is.
fn head_of(lease: &LeaseView) -> String {
    let (ttl, left) = (seconds(lease.ttl_ms), seconds(lease.remaining_ms));
    format!("{{\"id\":\"{}\",\"ttl\":{ttl},\"remaining\":{left}", lease.id)
}
