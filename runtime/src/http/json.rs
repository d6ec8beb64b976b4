//! JSON in and out: the members of one object, compact text, escaped strings.
//!
//! Rule: the text of numbers is kept as it came, duplicate members and deep nesting are refused at
//! every level (RFC 8259 §4 leaves the meaning of duplicates open; ours must not depend on the
//! reader). Must never: pass a number through a float, or recurse on input.

use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::{collections::BTreeSet, fmt};

/// Why a text is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not JSON, or not an object where one is wanted; says what and where.
    Invalid(String),
    /// A member is given twice in one object.
    Duplicate(String),
    /// More members than allowed.
    TooMany,
    /// Deeper than allowed.
    TooDeep,
}

/// The members of the object in `text`, in order, at most `max` of them. Their values are checked
/// for syntax only; see `compact`.
pub(super) fn members(text: &str, max: usize) -> Result<Vec<(String, &RawValue)>, Fault> {
    let mut fault = None;
    let mut input = serde_json::Deserializer::from_str(text);
    let seed = Members { max, fault: &mut fault };
    let parsed = seed.deserialize(&mut input).and_then(|members| input.end().map(|()| members));
    parsed.map_err(|error| fault.unwrap_or_else(|| Fault::Invalid(error.to_string())))
}

struct Members<'f> {
    max: usize,
    fault: &'f mut Option<Fault>,
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = Vec<(String, &'de RawValue)>;

    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        let mut names = BTreeSet::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            let fault = if members.len() == self.max {
                Some(Fault::TooMany)
            } else if !names.insert(name.clone()) {
                Some(Fault::Duplicate(name.clone()))
            } else {
                None
            };
            if fault.is_some() {
                *self.fault = fault;
                return Err(A::Error::custom("refused"));
            }
            members.push((name, value));
        }
        Ok(members)
    }
}

/// Whether `text` is one JSON value.
pub(super) fn check(text: &str) -> Result<&RawValue, Fault> {
    serde_json::from_str(text).map_err(|error| Fault::Invalid(error.to_string()))
}

/// The text of `value` without insignificant whitespace; everything else stays as it came. Arrays
/// and objects may nest `max_depth` deep.
pub(super) fn compact(value: &RawValue, max_depth: usize) -> Result<String, Fault> {
    let text = value.get();
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    // One entry per open container: the names seen, if it is an object.
    let mut open: Vec<Option<BTreeSet<String>>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b' ' | b'\t' | b'\r' | b'\n' => {
                at += 1;
                continue;
            }
            b'"' => string_end(bytes, at),
            _ => at + 1,
        };
        match bytes[at] {
            b'{' => open.push(Some(BTreeSet::new())),
            b'[' => open.push(None),
            b'}' | b']' => {
                open.pop();
            }
            b'"' if is_name(bytes, end) => {
                let name: String = serde_json::from_str(&text[at..end])
                    .map_err(|error| Fault::Invalid(error.to_string()))?;
                if let Some(Some(names)) = open.last_mut()
                    && !names.insert(name.clone())
                {
                    return Err(Fault::Duplicate(name));
                }
            }
            _ => {}
        }
        if open.len() > max_depth {
            return Err(Fault::TooDeep);
        }
        // Slices are cut at ASCII only, except within a string, which is copied whole; other
        // tokens are ASCII by the grammar.
        out.push_str(&text[at..end]);
        at = end;
    }
    Ok(out)
}

/// The index after the closing quote of the string that opens at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Whether the string that ends before `end` is a member's name.
fn is_name(bytes: &[u8], end: usize) -> bool {
    bytes[end..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// Appends `text` as a JSON string.
pub(super) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[copied..at]);
        copied = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => out.push_str(&format!("\\u{byte:04x}")),
        }
    }
    out.push_str(&text[copied..]);
    out.push('"');
}

/// `text` as a JSON string.
pub(super) fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    out
}
