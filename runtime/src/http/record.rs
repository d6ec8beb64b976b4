//! How a key and its value are written in JSON.
//!
//! Rule: text is text; base64 appears only under a name that says so. Must never: guess an
//! encoding that a reader could confuse with another.

use super::json::push_string;
use base64::{Engine, engine::general_purpose::STANDARD};
use kvorum_core::kv::{KeyValue, Kind};

/// The value as the JSON text of the one-key view; `None` when it is not text.
pub(super) fn value_text(item: &KeyValue) -> Option<String> {
    let text = std::str::from_utf8(&item.value).ok()?;
    Some(match item.kind {
        Kind::Json => text.to_owned(),
        Kind::Text | Kind::Bytes => super::json::string(text),
    })
}

/// The whole record. Without `with_value`, everything but the value.
pub(super) fn record(item: &KeyValue, with_value: bool) -> String {
    let mut out = String::with_capacity(96 + item.key.len() + item.value.len());
    out.push('{');
    push_key(&mut out, &item.key);
    if with_value {
        push_value(&mut out, item);
    }
    out.push_str(&format!(
        ",\"create_revision\":{},\"mod_revision\":{},\"version\":{}",
        item.create_revision, item.mod_revision, item.version
    ));
    push_lease(&mut out, item.lease);
    out.push('}');
    out
}

/// Appends `,"value":"…"`, or the value under the name that says what it is.
pub(super) fn push_value(out: &mut String, item: &KeyValue) {
    match (item.kind, std::str::from_utf8(&item.value)) {
        (Kind::Json, Ok(text)) => {
            out.push_str(",\"value_json\":");
            out.push_str(text);
        }
        _ => {
            out.push(',');
            push_text(out, "value", &item.value);
        }
    }
}

/// Appends `,"lease":"…"` if there is one.
pub(super) fn push_lease(out: &mut String, lease: u64) {
    if lease != 0 {
        out.push_str(&format!(",\"lease\":\"{lease}\""));
    }
}

/// Appends `"key":"…"`, or `"key_base64":"…"` for a key that is not UTF-8.
pub(super) fn push_key(out: &mut String, key: &[u8]) {
    push_text(out, "key", key);
}

/// Appends `"name":"…"`, or `"name_base64":"…"` for bytes that are not UTF-8.
pub(super) fn push_text(out: &mut String, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            push_string(out, name);
            out.push(':');
            push_string(out, text);
        }
        Err(_) => {
            push_string(out, &format!("{name}_base64"));
            out.push(':');
            push_string(out, &STANDARD.encode(bytes));
        }
    }
}
