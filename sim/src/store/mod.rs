//! The store as a client may picture it: keys with versions, at every revision.
//!
//! Rule: plain ordered maps and nothing of the product; what a revision did to the store is taken
//! from what watchers were told, and everything else is worked out from that. Must never: use
//! `kvorum_core`, or the judge and the judged share their bugs.

pub mod evaluate;
pub mod request;
pub mod timeline;
pub mod wire;

use serde_json::{Map, Value as Json, json};

/// As the lease of an expected record: one that the server chose.
pub const SOME_LEASE: u64 = u64::MAX;

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The value.
    pub value: String,
    /// Revision of its creation.
    pub created: u64,
    /// Revision of its last change.
    pub modified: u64,
    /// Times written since its creation.
    pub version: u64,
    /// Its lease; 0: none.
    pub lease: u64,
}

/// What one revision did to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// What it holds since; `None`: it is gone.
    pub now: Option<Record>,
}

impl Record {
    /// As the API writes it.
    #[must_use]
    pub fn json(&self, key: &str, with_value: bool) -> Json {
        let mut out = Map::new();
        out.insert("key".to_owned(), json!(key));
        if with_value {
            out.insert("value".to_owned(), json!(self.value));
        }
        out.insert("create_revision".to_owned(), json!(self.created));
        out.insert("mod_revision".to_owned(), json!(self.modified));
        out.insert("version".to_owned(), json!(self.version));
        if self.lease != 0 {
            out.insert("lease".to_owned(), json!(self.lease.to_string()));
        }
        Json::Object(out)
    }

    /// Reads what the API writes: the key and what it holds.
    #[must_use]
    pub fn parse(json: &Json) -> Option<(String, Record)> {
        let number = |name: &str| json.get(name)?.as_u64();
        let lease = match json.get("lease") {
            None => 0,
            Some(lease) => lease.as_str()?.parse().ok()?,
        };
        let record = Record {
            value: json.get("value").and_then(Json::as_str).unwrap_or_default().to_owned(),
            created: number("create_revision")?,
            modified: number("mod_revision")?,
            version: number("version")?,
            lease,
        };
        Some((json.get("key")?.as_str()?.to_owned(), record))
    }

    /// Whether `actual` is what was expected here.
    #[must_use]
    pub fn allows(&self, actual: &Record) -> bool {
        let lease =
            if self.lease == SOME_LEASE && actual.lease != 0 { actual.lease } else { self.lease };
        Record { lease, ..self.clone() } == *actual
    }
}

impl Change {
    /// Whether `actual` is what was expected here.
    #[must_use]
    pub fn allows(&self, actual: &Change) -> bool {
        self.key == actual.key
            && match (&self.now, &actual.now) {
                (None, None) => true,
                (Some(expected), Some(actual)) => expected.allows(actual),
                _ => false,
            }
    }
}

/// Whether `actual` is what was expected, in this order.
#[must_use]
pub fn allow(expected: &[Change], actual: &[Change]) -> bool {
    expected.len() == actual.len()
        && expected.iter().zip(actual).all(|(expected, actual)| expected.allows(actual))
}
