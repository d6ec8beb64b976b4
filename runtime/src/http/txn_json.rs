//! The JSON of a transaction.
//!
//! Rule: every object has members from a fixed list, each once; values are stored as `POST /key`
//! stores them. Must never: pass over what it does not know.

use super::{
    json::{self, Fault},
    key,
    problem::{INVALID_TXN, INVALID_VALUE, Problem},
    range,
    ttl::{Attach, both, lease_member, ttl_member},
    values::{check_value, fault, text_of, typed},
};
use crate::config::Limits;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use kvorum_core::kv::{
    Compare, Delete, Guard, KeyRange, Kind, Op, Put, Query, Target, Txn, check::MAX_TXN_DEPTH,
};
use serde_json::value::RawValue;

/// Items of one `get` unless it asks for fewer.
const GET_ITEMS: u64 = 1000;
/// Bytes of one `get`.
const GET_BYTES: u64 = 1 << 20;
/// Members of one object; no kind of object knows more.
const MEMBERS: usize = 16;

/// Reads a transaction.
pub(super) fn parse(body: &Bytes, limits: &Limits) -> Result<Txn, Problem> {
    let text = text_of(body)?;
    Reader { limits }.txn(text, MAX_TXN_DEPTH)
}

/// What a transaction's JSON must not be.
pub(super) fn bad(message: impl Into<String>) -> Problem {
    Problem::new(INVALID_TXN, message)
}

struct Reader<'l> {
    limits: &'l Limits,
}

/// The members of one object that are not used up yet.
struct Members<'a> {
    what: &'static str,
    left: Vec<(String, &'a RawValue)>,
}

impl Reader<'_> {
    fn txn(&self, text: &str, depth: usize) -> Result<Txn, Problem> {
        let depth =
            depth.checked_sub(1).ok_or_else(|| bad("transactions are nested too deeply"))?;
        let mut members = self.members("a transaction", text)?;
        let mut txn = Txn::default();
        for text in self.list(members.take("if"), "if")? {
            self.guards(text.get(), &mut txn.guards)?;
        }
        for text in self.list(members.take("then"), "then")? {
            self.op(text.get(), depth, &mut txn.then)?;
        }
        for text in self.list(members.take("else"), "else")? {
            self.op(text.get(), depth, &mut txn.otherwise)?;
        }
        members.end("if, then, else")?;
        Ok(txn)
    }

    fn list<'a>(
        &self,
        value: Option<&'a RawValue>,
        name: &str,
    ) -> Result<Vec<&'a RawValue>, Problem> {
        let Some(value) = value else { return Ok(Vec::new()) };
        serde_json::from_str(value.get()).map_err(|_| bad(format!("\"{name}\" is not a list")))
    }

    fn members<'a>(&self, what: &'static str, text: &'a str) -> Result<Members<'a>, Problem> {
        let left = json::members(text, MEMBERS).map_err(|found| match found {
            Fault::TooMany => bad(format!("{what} has too many members")),
            Fault::Invalid(why) => bad(format!("{what} is not an object: {why}")),
            other => fault(other, self.limits),
        })?;
        Ok(Members { what, left })
    }

    /// One object of `if`: keys and one or more things that they must be.
    fn guards(&self, text: &str, guards: &mut Vec<Guard>) -> Result<(), Problem> {
        let mut members = self.members("a condition", text)?;
        let range = self.range(&mut members)?;
        let before = guards.len();
        let mut push = |compare, target| {
            guards.push(Guard { range: range.clone(), compare, target });
        };
        for (name, target) in [
            ("version", Target::Version as fn(u64) -> Target),
            ("create_revision", Target::Create),
            ("mod_revision", Target::Mod),
            ("lease", Target::Lease),
        ] {
            if let Some(value) = members.take(name) {
                let (compare, value) = self.relation(name, value)?;
                push(compare, target(self.whole(name, value)?));
            }
        }
        if let Some(value) = members.take("exists") {
            let exists: bool = parse_as("exists", value, "true or false")?;
            push(if exists { Compare::Greater } else { Compare::Equal }, Target::Version(0));
        }
        if let Some(value) = members.take("value") {
            let (compare, value) = self.relation("value", value)?;
            let (value, _) =
                typed(value, self.limits.json_depth).map_err(|f| fault(f, self.limits))?;
            push(compare, Target::Value(value));
        }
        if let Some(value) = members.take("value_base64") {
            let (compare, value) = self.relation("value_base64", value)?;
            push(compare, Target::Value(base64("value_base64", value)?));
        }
        members.end(
            "key, prefix, start, end, version, create_revision, mod_revision, lease, exists, value",
        )?;
        if guards.len() == before {
            return Err(bad("a condition says nothing about its keys")
                .hint("e.g. {\"key\":\"a\",\"exists\":false}"));
        }
        Ok(())
    }

    /// `17`, or `{">":17}`. An object that is meant as a value to compare with is
    /// `{"=":{…}}`.
    fn relation<'a>(
        &self,
        name: &str,
        value: &'a RawValue,
    ) -> Result<(Compare, &'a RawValue), Problem> {
        if !value.get().starts_with('{') {
            return Ok((Compare::Equal, value));
        }
        let members = self.members("a comparison", value.get())?;
        let relation = |sign: &str| {
            Some(match sign {
                "=" => Compare::Equal,
                "!=" => Compare::NotEqual,
                ">" => Compare::Greater,
                "<" => Compare::Less,
                _ => return None,
            })
        };
        match members.left[..] {
            [(ref sign, value)] => {
                match relation(sign) {
                    Some(compare) => Ok((compare, value)),
                    None => Err(bad(format!("\"{name}\" is compared with {sign:?}"))
                        .hint("use =, !=, > or <")),
                }
            }
            _ => Err(bad(format!("\"{name}\" has not one comparison"))
                .hint("e.g. {\"version\":{\">\":0}}")),
        }
    }

    /// One object of `then` or `else`. A put with a TTL is two operations: its lease is granted
    /// right before it (`txn_reply` tells the two as one).
    fn op(&self, text: &str, depth: usize, ops: &mut Vec<Op>) -> Result<(), Problem> {
        let members = self.members("an operation", text)?;
        let [(kind, value)] = &members.left[..] else {
            return Err(bad("an operation has not exactly one member")
                .hint("e.g. {\"put\":{\"key\":\"a\",\"value\":\"1\"}}"));
        };
        let op = match kind.as_str() {
            "put" => {
                let (put, attach) = self.put(value.get())?;
                ops.extend(attach.grant());
                Op::Put(put)
            }
            "delete" => Op::Delete(self.delete(value.get())?),
            "get" => Op::Range(self.get(value.get())?),
            "txn" => Op::Txn(self.txn(value.get(), depth)?),
            "grant" => self.grant(value.get())?,
            "keepalive" => Op::KeepAlive { id: self.lease("a keepalive", value.get())? },
            "revoke" => Op::Revoke { id: self.lease("a revoke", value.get())? },
            other => {
                return Err(bad(format!("there is no operation {other:?}"))
                    .hint("the operations are put, delete, get, txn, grant, keepalive, revoke"));
            }
        };
        ops.push(op);
        Ok(())
    }

    fn grant(&self, text: &str) -> Result<Op, Problem> {
        let mut members = self.members("a grant", text)?;
        let ttl = members.take("ttl").ok_or_else(|| bad("a grant has no ttl"))?;
        let ttl_ms = ttl_member(ttl)?;
        let id = members.take("id").map_or(Ok(0), |value| lease_member("id", value))?;
        members.end("ttl, id")?;
        Ok(Op::Grant { id, ttl_ms })
    }

    /// The lease that a keepalive or a revocation names.
    fn lease(&self, what: &'static str, text: &str) -> Result<u64, Problem> {
        let mut members = self.members(what, text)?;
        let id = members.take("id").ok_or_else(|| bad(format!("{what} has no id")))?;
        members.end("id")?;
        lease_member("id", id)
    }

    fn put(&self, text: &str) -> Result<(Put, Attach), Problem> {
        let mut members = self.members("a put", text)?;
        let key = self.one_key(&mut members)?.ok_or_else(|| bad("a put has no key"))?;
        let (value, kind) = match (members.take("value"), members.take("value_base64")) {
            (Some(value), None) if value.get() == "null" => {
                return Err(Problem::new(INVALID_VALUE, "the value of a put is null"));
            }
            (Some(value), None) => {
                typed(value, self.limits.json_depth).map_err(|f| fault(f, self.limits))?
            }
            (None, Some(value)) => (base64("value_base64", value)?, Kind::Bytes),
            _ => return Err(bad("a put has not one of value and value_base64")),
        };
        check_value(&key, &value, self.limits)?;
        let attach = match (members.take("ttl"), members.take("lease")) {
            (None, None) => Attach::Nothing,
            (Some(ttl), None) => Attach::Ttl(ttl_member(ttl)?),
            (None, Some(id)) => Attach::Lease(lease_member("lease", id)?),
            (Some(_), Some(_)) => return Err(both(INVALID_TXN)),
        };
        let previous = switch(&mut members, "previous")?;
        members.end("key, key_base64, value, value_base64, ttl, lease, previous")?;
        Ok((Put { kind, lease: attach.lease(), previous, ..Put::new(key, value) }, attach))
    }

    fn delete(&self, text: &str) -> Result<Delete, Problem> {
        let mut members = self.members("a delete", text)?;
        let range = self.range(&mut members)?;
        let previous = switch(&mut members, "previous")?;
        members.end("key, key_base64, prefix, start, end, previous")?;
        Ok(Delete { range, previous })
    }

    fn get(&self, text: &str) -> Result<Query, Problem> {
        let mut members = self.members("a get", text)?;
        let mut query = Query::of(self.range(&mut members)?);
        query.limit = match members.take("limit") {
            None => GET_ITEMS,
            Some(value) => match self.whole("limit", value)? {
                limit @ 1..=GET_ITEMS => limit,
                _ => return Err(bad(format!("\"limit\" is not from 1 to {GET_ITEMS}"))),
            },
        };
        query.max_bytes = GET_BYTES;
        query.descending = switch(&mut members, "reverse")?;
        query.keys_only = switch(&mut members, "keys_only")?;
        query.count_only = switch(&mut members, "count_only")?;
        if let Some(value) = members.take("at") {
            query.revision = self.whole("at", value)?;
        }
        members.end(
            "key, key_base64, prefix, start, end, limit, reverse, keys_only, count_only, at",
        )?;
        Ok(query)
    }

    fn one_key(&self, members: &mut Members<'_>) -> Result<Option<Bytes>, Problem> {
        let key = match (members.take("key"), members.take("key_base64")) {
            (None, None) => return Ok(None),
            (Some(value), None) => Bytes::from(parse_as::<String>("key", value, "a string")?),
            (None, Some(value)) => base64("key_base64", value)?,
            (Some(_), Some(_)) => return Err(bad("key and key_base64 are given both")),
        };
        key::check(&key, self.limits.key_bytes)?;
        Ok(Some(key))
    }

    fn range(&self, members: &mut Members<'_>) -> Result<KeyRange, Problem> {
        let what = members.what;
        let mut text = |name: &'static str| {
            let value = members.take(name);
            value.map(|v| parse_as::<String>(name, v, "a string").map(Bytes::from)).transpose()
        };
        let (prefix, start, end) = (text("prefix")?, text("start")?, text("end")?);
        let bounded = prefix.is_some() || start.is_some() || end.is_some();
        match (self.one_key(members)?, bounded) {
            (Some(key), false) => Ok(KeyRange::One(key)),
            (None, true) => range::of(prefix, start, end)
                .ok_or_else(|| bad(format!("{what} has prefix together with start or end"))),
            (Some(_), true) => Err(bad(format!("{what} has both a key and bounds"))),
            (None, false) => {
                Err(bad(format!("{what} names no key")).hint("give key, prefix, or start and end"))
            }
        }
    }

    fn whole(&self, name: &str, value: &RawValue) -> Result<u64, Problem> {
        // 64-bit ids are strings elsewhere; both are understood.
        let text = value.get().trim_matches('"');
        text.parse().map_err(|_| bad(format!("\"{name}\" is not a whole number")))
    }
}

impl<'a> Members<'a> {
    fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let position = self.left.iter().position(|(known, _)| known == name)?;
        Some(self.left.remove(position).1)
    }

    fn end(self, known: &str) -> Result<(), Problem> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => Err(bad(format!("{} has no member {name:?}", self.what))
                .hint(format!("its members are {known}"))),
        }
    }
}

fn switch(members: &mut Members<'_>, name: &'static str) -> Result<bool, Problem> {
    members.take(name).map_or(Ok(false), |value| parse_as(name, value, "true or false"))
}

fn base64(name: &str, value: &RawValue) -> Result<Bytes, Problem> {
    let text: String = parse_as(name, value, "a string")?;
    let bytes = STANDARD.decode(text).map_err(|error| bad(format!("\"{name}\": {error}")))?;
    Ok(Bytes::from(bytes))
}

fn parse_as<'a, T: serde::Deserialize<'a>>(
    name: &str,
    value: &'a RawValue,
    accepted: &str,
) -> Result<T, Problem> {
    serde_json::from_str(value.get()).map_err(|_| bad(format!("\"{name}\" is not {accepted}")))
}
