//! How long a lease lasts, and which lease a key gets, as requests say it.
//!
//! Rule: a TTL is a duration as everywhere, in JSON also a number of seconds; what is shown is
//! seconds. Ids of leases are strings in JSON and text elsewhere. Must never: round a TTL, or take
//! a TTL and a lease for one key.

use super::{
    duration,
    params::{Params, invalid},
    problem::{INVALID_LEASE, INVALID_PARAMETER, INVALID_VALUE, Problem},
};
use kvorum_core::kv::{
    Op,
    lease::{GRANTED, MAX_LEASE, MAX_TTL_MS},
};
use serde_json::value::RawValue;

/// The parameters of a write that attach its keys to a lease.
pub(super) const PARAMETERS: [&str; 2] = ["ttl", "lease"];

/// The lease that the keys of a write get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attach {
    /// None; one that they had, they lose.
    Nothing,
    /// This one.
    Lease(u64),
    /// A new one, which lasts so many milliseconds without a sign of life.
    Ttl(u64),
}

impl Attach {
    /// `?ttl=` or `?lease=`.
    pub(super) fn of(params: &Params) -> Result<Attach, Problem> {
        match (params.get("ttl"), params.get("lease")) {
            (None, None) => Ok(Attach::Nothing),
            (Some(_), Some(_)) => Err(both(INVALID_PARAMETER)),
            (Some(_), None) => Ok(Attach::Ttl(ttl_parameter(params, 0)?)),
            (None, Some(text)) => lease_id(text).map(Attach::Lease).ok_or_else(|| {
                invalid("lease", text, &format!("the id of a lease, 1 to {MAX_LEASE}"))
            }),
        }
    }

    /// What goes before the puts.
    pub(super) fn grant(self) -> Option<Op> {
        match self {
            Attach::Ttl(ttl_ms) => Some(Op::Grant { id: 0, ttl_ms }),
            Attach::Nothing | Attach::Lease(_) => None,
        }
    }

    /// What each put has as its lease.
    pub(super) fn lease(self) -> u64 {
        match self {
            Attach::Nothing => 0,
            Attach::Lease(id) => id,
            Attach::Ttl(_) => GRANTED,
        }
    }
}

/// A put has both a lease and a TTL.
pub(super) fn both(kind: super::problem::Kind) -> Problem {
    Problem::new(kind, "ttl and lease are given both")
        .hint("ttl grants a new lease, lease names one that is there")
}

/// `?ttl=` in milliseconds, or `default`.
pub(super) fn ttl_parameter(params: &Params, default: u64) -> Result<u64, Problem> {
    let Some(text) = params.get("ttl") else { return Ok(default) };
    milliseconds(text).ok_or_else(|| invalid("ttl", text, &accepted()))
}

/// `"30s"`, or a number of seconds, as the member `ttl` of a JSON object.
pub(super) fn ttl_member(value: &RawValue) -> Result<u64, Problem> {
    let text = value.get();
    let ttl = match serde_json::from_str::<String>(text) {
        Ok(text) => milliseconds(&text),
        Err(_) => number_of_seconds(text),
    };
    ttl.ok_or_else(|| {
        Problem::new(INVALID_VALUE, format!("the ttl is {text}"))
            .hint(format!("a ttl is {}", accepted()))
    })
}

/// The id of a lease, as text.
pub(super) fn lease_id(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let id: u64 = if digits { text.parse().ok()? } else { return None };
    (1..=MAX_LEASE).contains(&id).then_some(id)
}

/// The id of a lease as a member of a JSON object: a string, or a number.
pub(super) fn lease_member(name: &str, value: &RawValue) -> Result<u64, Problem> {
    let text = value.get();
    let string = serde_json::from_str::<String>(text);
    lease_id(string.as_deref().unwrap_or(text)).ok_or_else(|| {
        Problem::new(INVALID_LEASE, format!("\"{name}\" is {text}"))
            .hint(format!("the id of a lease is a string of digits, \"1\" to \"{MAX_LEASE}\""))
    })
}

/// Milliseconds as seconds: `30`, `12.345`.
pub(super) fn seconds(ms: u64) -> String {
    let (whole, part) = (ms / 1000, ms % 1000);
    if part == 0 {
        return whole.to_string();
    }
    format!("{whole}.{part:03}").trim_end_matches('0').to_owned()
}

fn accepted() -> String {
    format!("a duration up to {}s, e.g. 30s; less than 2s is granted as 2s", MAX_TTL_MS / 1000)
}

fn milliseconds(text: &str) -> Option<u64> {
    let ms = u64::try_from(duration::parse(text)?.as_millis()).ok()?;
    (ms <= MAX_TTL_MS).then_some(ms)
}

/// A JSON number of seconds with at most three decimals.
fn number_of_seconds(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return None;
    }
    let part: u64 = format!("{part:0<3}").parse().ok()?;
    let ms = whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(part)?;
    (ms <= MAX_TTL_MS).then_some(ms)
}
