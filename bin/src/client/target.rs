//! Paths and queries, byte for byte.
//!
//! Rule: every byte that could mean something else is percent-encoded, once. Must never: lose or
//! normalise a byte of a key.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use std::time::Duration;

/// RFC 3986, section 2.3: everything but the unreserved characters.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// In a path, a slash stays a slash: the server takes both spellings for the same key.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// A path and its query.
#[derive(Debug, Clone)]
pub struct Target {
    text: String,
    asked: bool,
}

impl Target {
    /// A path of plain characters.
    pub fn of(path: &str) -> Target {
        Target { text: path.to_owned(), asked: false }
    }

    /// `before`, a name of any bytes, and `after`.
    pub fn named(before: &str, name: &[u8], after: &str) -> Target {
        Target::of(&format!("{before}{}{after}", percent_encode(name, PATH)))
    }

    /// `/key/…`
    pub fn key(key: &[u8]) -> Target {
        Target::named("/key/", key, "")
    }

    /// Adds `name=value`.
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Target {
        self.begin(name);
        self.text.push('=');
        self.text.extend(percent_encode(value.as_ref(), QUERY));
        self
    }

    /// Adds `name=value` when there is a value.
    pub fn maybe(self, name: &str, value: Option<impl AsRef<[u8]>>) -> Target {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds the switch `name` when it is on.
    pub fn flag(mut self, name: &str, on: bool) -> Target {
        if on {
            self.begin(name);
        }
        self
    }

    /// Adds a duration, in whole milliseconds and at least one.
    pub fn lasting(self, name: &str, value: Duration) -> Target {
        self.with(name, format!("{}ms", value.as_millis().max(1)))
    }

    fn begin(&mut self, name: &str) {
        self.text.push(if self.asked { '&' } else { '?' });
        self.text.push_str(name);
        self.asked = true;
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn every_byte_of_a_key_survives() {
        assert_eq!(Target::key(b"a/b").as_str(), "/key/a/b");
        assert_eq!(Target::key(b"\x00\xFF %?#+&=").as_str(), "/key/%00%FF%20%25%3F%23%2B%26%3D");
        assert_eq!(Target::key("ä".as_bytes()).as_str(), "/key/%C3%A4");
        assert_eq!(Target::key(b"../.").as_str(), "/key/../.");
    }

    #[test]
    fn a_query_is_joined_and_encoded() {
        let target = Target::of("/keys").with("prefix", b"a b/+").flag("reverse", true);
        let target = target.flag("no", false).maybe("limit", Some("3")).maybe("at", None::<&str>);
        assert_eq!(target.as_str(), "/keys?prefix=a%20b%2F%2B&reverse&limit=3");
    }
}
