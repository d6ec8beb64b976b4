//! How a watch is written: server-sent events (HTML standard, §9.2) or lines of JSON.
//!
//! Rule: the same JSON in both; an event's id is the revision up to which the client then knows
//! everything. Must never: put an id on a message after which something of its revision is missing.

use super::{json::push_string, record};
use hyper::header::HeaderMap;
use kvorum_core::kv::Change;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `text/event-stream`
    Events,
    /// `application/x-ndjson`
    Lines,
}

/// A writer of messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    /// Events or lines.
    pub style: Style,
    /// Whether each change says what the key was before.
    pub previous: bool,
}

impl Style {
    /// What the client accepts; events unless it asks for lines.
    pub(super) fn of(headers: &HeaderMap) -> Style {
        if super::negotiate::wants_lines(headers) { Style::Lines } else { Style::Events }
    }

    /// Its name.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Style::Events => "text/event-stream",
            Style::Lines => "application/x-ndjson",
        }
    }
}

impl Text {
    /// The watch begins: list at this revision, and go on with what follows.
    pub(super) fn sync(self, revision: u64) -> String {
        self.message("sync", Some(revision), &format!("{{\"revision\":{revision}}}"))
    }

    /// Nothing else has happened up to here.
    pub(super) fn progress(self, revision: u64) -> String {
        self.message("progress", Some(revision), &format!("{{\"revision\":{revision}}}"))
    }

    /// The client is too slow: it knows everything up to `told`, the store stands at `published`.
    pub(super) fn lag(self, told: u64, published: u64) -> String {
        let behind = published.saturating_sub(told);
        let data = format!("{{\"revision\":{told},\"behind\":{behind}}}");
        self.message("lag", None, &data)
    }

    /// The watch ends.
    pub(super) fn error(self, problem: &[u8]) -> String {
        self.message("error", None, &String::from_utf8_lossy(problem))
    }

    /// What changed in one revision, or a part of it with more to come.
    pub(super) fn changes(self, revision: u64, changes: &[&Change], more: bool) -> String {
        let mut data = format!("{{\"revision\":{revision}");
        if more {
            data.push_str(",\"more\":true");
        }
        data.push_str(",\"events\":[");
        for (position, change) in changes.iter().enumerate() {
            if position > 0 {
                data.push(',');
            }
            self.push_change(&mut data, change);
        }
        data.push_str("]}");
        self.message("change", (!more).then_some(revision), &data)
    }

    fn push_change(self, out: &mut String, change: &Change) {
        match &change.now {
            Some(item) => {
                out.push_str("{\"type\":\"put\",");
                out.push_str(&record::record(item, true)[1..]);
            }
            None => {
                out.push_str("{\"type\":\"delete\",");
                record::push_key(out, &change.key);
                out.push('}');
            }
        }
        if let Some(before) = change.before.as_ref().filter(|_| self.previous) {
            out.pop();
            out.push_str(",\"previous\":");
            out.push_str(&record::record(before, true));
            out.push('}');
        }
    }

    /// JSON has no line breaks of its own here, so an event's data is one line.
    fn message(self, event: &str, id: Option<u64>, data: &str) -> String {
        match self.style {
            Style::Events => {
                let id = id.map_or(String::new(), |id| format!("id: {id}\n"));
                format!("{id}event: {event}\ndata: {data}\n\n")
            }
            Style::Lines => {
                let mut line = String::from("{\"event\":");
                push_string(&mut line, event);
                line.push_str(",\"data\":");
                line.push_str(data);
                line.push_str("}\n");
                line
            }
        }
    }
}
