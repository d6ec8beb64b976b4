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
        match (item.kind, std::str::from_utf8(&item.value)) {
            (Kind::Json, Ok(text)) => {
                out.push_str(",\"value_json\":");
                out.push_str(text);
            }
            (_, Ok(text)) => {
                out.push_str(",\"value\":");
                push_string(&mut out, text);
            }
            (_, Err(_)) => {
                out.push_str(",\"value_base64\":");
                push_string(&mut out, &STANDARD.encode(&item.value));
            }
        }
    }
    out.push_str(&format!(
        ",\"create_revision\":{},\"mod_revision\":{},\"version\":{}",
        item.create_revision, item.mod_revision, item.version
    ));
    if item.lease != 0 {
        out.push_str(&format!(",\"lease\":\"{}\"", item.lease));
    }
    out.push('}');
    out
}

/// Appends `"key":"…"`, or `"key_base64":"…"` for a key that is not UTF-8.
pub(super) fn push_key(out: &mut String, key: &[u8]) {
    match std::str::from_utf8(key) {
        Ok(text) => {
            out.push_str("\"key\":");
            push_string(out, text);
        }
        Err(_) => {
            out.push_str("\"key_base64\":");
            push_string(out, &STANDARD.encode(key));
        }
    }
}
