//! Keys and values out of request bodies.
//!
//! Rule: JSON strings are stored as their text, other JSON as compact text, anything else as it
//! came. Must never: accept what could not be given back.

use super::{
    json::{self, Fault},
    key::{self, shown},
    problem::{
        DUPLICATE_KEY, EMPTY_BODY, INVALID_JSON, INVALID_VALUE, JSON_TOO_DEEP, NO_DATA, Problem,
        TOO_MANY_KEYS, VALUE_TOO_LARGE,
    },
};
use crate::config::Limits;
use bytes::Bytes;
use kvorum_core::kv::{Kind, Put};
use serde_json::value::RawValue;

/// The keys and values of a `POST /key` body.
pub(super) fn keys_in(body: &Bytes, limits: &Limits) -> Result<Vec<Put>, Problem> {
    let text = text_of(body)?;
    let members = json::members(text, limits.keys_per_request).map_err(|f| fault(f, limits))?;
    if members.is_empty() {
        return Err(Problem::new(NO_DATA, "no data provided"));
    }
    let mut puts = Vec::with_capacity(members.len());
    for (name, value) in members {
        let key = Bytes::from(name);
        key::check(&key, limits.key_bytes)?;
        if value.get() == "null" {
            let message = format!("the value of key '{}' is null", shown(&key));
            return Err(Problem::new(INVALID_VALUE, message));
        }
        // The body's object is the first level.
        let (value, kind) =
            typed(value, limits.json_depth.saturating_sub(1)).map_err(|f| fault(f, limits))?;
        check_value(&key, &value, limits)?;
        puts.push(Put { kind, ..Put::new(key, value) });
    }
    Ok(puts)
}

/// A JSON value as it is stored: a string as its text, anything else as compact JSON.
pub(super) fn typed(value: &RawValue, depth: usize) -> Result<(Bytes, Kind), Fault> {
    if value.get().starts_with('"') {
        let text: String =
            serde_json::from_str(value.get()).map_err(|error| Fault::Invalid(error.to_string()))?;
        return Ok((Bytes::from(text), Kind::Text));
    }
    Ok((Bytes::from(json::compact(value, depth)?), Kind::Json))
}

/// The body of a `PUT` that says it is JSON, compact.
pub(super) fn json_value(body: &Bytes, limits: &Limits) -> Result<Bytes, Problem> {
    let value = json::check(text_of(body)?).map_err(|f| fault(f, limits))?;
    if value.get() == "null" {
        return Err(Problem::new(INVALID_VALUE, "the value is null"));
    }
    let text = json::compact(value, limits.json_depth).map_err(|f| fault(f, limits))?;
    Ok(Bytes::from(text))
}

/// The body as text.
pub(super) fn text_of(body: &Bytes) -> Result<&str, Problem> {
    if body.is_empty() {
        return Err(Problem::new(EMPTY_BODY, "request is not a valid json")
            .hint("the body is empty; send one JSON object, e.g. {\"key1\":\"value1\"}"));
    }
    std::str::from_utf8(body).map_err(|error| {
        Problem::new(INVALID_JSON, "request is not a valid json")
            .hint(format!("the body is not UTF-8 from byte {}", error.valid_up_to()))
    })
}

/// How a fault of JSON is told.
pub(super) fn fault(fault: Fault, limits: &Limits) -> Problem {
    match fault {
        Fault::Invalid(why) => Problem::new(INVALID_JSON, "request is not a valid json").hint(why),
        Fault::Duplicate(name) => {
            let message = format!("member \"{}\" is given twice", shown(name.as_bytes()));
            Problem::new(DUPLICATE_KEY, message)
        }
        Fault::TooMany => {
            let message = format!("more than {} keys in one request", limits.keys_per_request);
            Problem::new(TOO_MANY_KEYS, message)
        }
        Fault::TooDeep => {
            let message = format!("the JSON is nested more than {} deep", limits.json_depth);
            Problem::new(JSON_TOO_DEEP, message)
        }
    }
}

/// Whether a value's length is allowed.
pub(super) fn check_value(key: &[u8], value: &[u8], limits: &Limits) -> Result<(), Problem> {
    if value.len() > limits.value_bytes {
        let message = format!(
            "the value of key '{}' has {} bytes, the limit is {}",
            shown(key),
            value.len(),
            limits.value_bytes
        );
        return Err(Problem::new(VALUE_TOO_LARGE, message));
    }
    Ok(())
}

/// The body again, compact and in the client's order.
pub(super) fn echo(puts: &[Put]) -> Bytes {
    let size = puts.iter().map(|put| put.key.len() + put.value.len() + 6).sum::<usize>();
    let mut text = String::with_capacity(size + 2);
    for put in puts {
        text.push(if text.is_empty() { '{' } else { ',' });
        // Both came out of JSON text, so both are UTF-8.
        json::push_string(&mut text, &String::from_utf8_lossy(&put.key));
        text.push(':');
        let value = String::from_utf8_lossy(&put.value);
        match put.kind {
            Kind::Json => text.push_str(&value),
            Kind::Text | Kind::Bytes => json::push_string(&mut text, &value),
        }
    }
    text.push('}');
    Bytes::from(text)
}
