//! Watchers that wander: cut off at any moment, they go on elsewhere after the last thing they know.
//!
//! Rule: the last id is all that a watcher carries from one stream to the next. A watcher whose past
//! is forgotten lists the store and watches on from there, as the API's documents say. Must never:
//! hear half a message.

use super::{
    asking::{Asker, number},
    now,
};
use crate::{
    client::{Opened, Proxy},
    clock,
    journal::{Answer, Message, Refusal, Session, Told},
    rng::Rng,
    store::{
        Change, Record,
        request::{Bounds, Request, Scan},
        timeline::EMPTY,
        wire::encode,
    },
    workload::registers::Book,
};
use serde_json::Value as Json;
use std::{ops::Range, time::Duration};

/// Nanoseconds a watcher stays with a node.
const STAY: Range<u64> = 50_000_000..5_000_000_000;
/// Nanoseconds before it goes on.
const PAUSE: Range<u64> = 0..300_000_000;
/// How long it waits for a stream to begin.
const PATIENCE: Duration = Duration::from_secs(3);
/// Items of the list it makes when its past is forgotten.
const LIST: u64 = 1000;

/// A watcher.
pub struct Watcher {
    asker: Asker,
    rng: Rng,
    bounds: Bounds,
    /// Everything up to here was told.
    told: Option<u64>,
    /// When its past is forgotten, it hears what is left of it, and does not list the store.
    from_oldest: bool,
}

/// What a stream's text is made of.
struct Parser {
    lines: bool,
    buffer: Vec<u8>,
    event: String,
    data: String,
}

impl Watcher {
    /// A watcher of `bounds` that knows everything up to `told`.
    #[must_use]
    pub fn new(asker: Asker, rng: Rng, bounds: Bounds, told: Option<u64>) -> Watcher {
        Watcher { asker, rng, bounds, told, from_oldest: false }
    }

    /// One that hears all that a node still knows.
    #[must_use]
    pub fn auditor(asker: Asker, rng: Rng) -> Watcher {
        let bounds = Bounds::Prefix(String::new());
        Watcher { asker, rng, bounds, told: Some(EMPTY), from_oldest: true }
    }

    /// Its life, until the book is closed.
    pub async fn run(mut self, book: Book) {
        while book.is_open() {
            let node = self.rng.pick(&self.asker.nodes).clone();
            let stay = Duration::from_nanos(self.rng.within(&STAY));
            self.listen(&node, stay, u64::MAX).await;
            clock::exactly(Duration::from_nanos(self.rng.within(&PAUSE))).await;
        }
    }

    /// The last revision it knows.
    #[must_use]
    pub fn told(&self) -> Option<u64> {
        self.told
    }

    /// Watches at `node` for `stay`, or until it knows `enough`.
    pub async fn listen(&mut self, node: &str, stay: Duration, enough: u64) {
        let end = now() + u64::try_from(stay.as_nanos()).unwrap_or(u64::MAX);
        let (lines, previous) = (self.rng.chance(0.5), self.rng.chance(0.3));
        let by_header = self.rng.chance(0.5);
        let mut target = match &self.bounds {
            Bounds::One(key) => format!("/watch?key={}", encode(key)),
            Bounds::Prefix(prefix) => format!("/watch?prefix={}", encode(prefix)),
        };
        if previous {
            target.push_str("&prev");
        }
        let mut builder = hyper::Request::builder().header("host", node);
        if lines {
            builder = builder.header("accept", "application/x-ndjson");
        }
        let since = match (self.asker.client.proxy(), self.told) {
            (Proxy::SkipsOne, Some(told)) if told > EMPTY => Some(told + 1),
            (Proxy::RepeatsOne, Some(told)) if told > EMPTY => Some(told - 1),
            (_, told) => told,
        };
        match since {
            // What stands in the query is what a browser began with; the header is newer.
            Some(told) if by_header => builder = builder.header("last-event-id", told.to_string()),
            Some(told) => target.push_str(&format!("&since={told}")),
            None => {}
        }
        let request = builder.uri(target).body(Default::default());
        let request = request.expect("the request is well formed");
        let session = self.asker.journal.watch(Session {
            watcher: self.asker.name.clone(),
            node: node.to_owned(),
            bounds: self.bounds.clone(),
            since: self.told,
            previous,
            invoked: 0,
            refused: None,
            messages: Vec::new(),
        });
        let mut stream = match self.asker.client.open(node, request, PATIENCE).await {
            Opened::Stream(stream) => stream,
            Opened::Refused(refused) => {
                let problem: Json = serde_json::from_slice(refused.body()).unwrap_or(Json::Null);
                let code = problem.get("code").and_then(Json::as_str).unwrap_or("no code");
                let oldest = problem.get("oldest").and_then(Json::as_u64);
                let refusal = Refusal {
                    event: 0,
                    at: now(),
                    status: refused.status().as_u16(),
                    code: code.to_owned(),
                    oldest,
                    revision: number(refused.headers(), "kvorum-revision").unwrap_or(0),
                };
                self.asker.journal.refuse(session, refusal);
                match oldest {
                    Some(oldest) if self.from_oldest => self.told = Some(oldest),
                    Some(_) => self.list().await,
                    None => {}
                }
                return;
            }
            Opened::Nothing => {
                return self.asker.journal.refuse(session, Refusal::default());
            }
        };
        let mut parser = Parser::new(lines);
        while let Some(piece) = stream.piece(Duration::from_nanos(end.saturating_sub(now()))).await
        {
            for (event, data) in parser.take(&piece) {
                let mut message = message(&event, &data);
                if let (Proxy::LosesAChange, Message::Change { events, .. }) =
                    (self.asker.client.proxy(), &mut message)
                    && events.len() > 1
                {
                    events.pop();
                }
                tracing::trace!(watcher = self.asker.name, node, ?message, "heard");
                self.know(&message);
                let forgotten = message == Message::Error("compacted".to_owned());
                self.asker.journal.hear(session, message, now());
                if forgotten {
                    return self.list().await;
                }
            }
            if self.told >= Some(enough) {
                return;
            }
        }
    }

    fn know(&mut self, message: &Message) {
        match message {
            Message::Sync(revision)
            | Message::Progress(revision)
            | Message::Change { revision, more: false, .. } => self.told = Some(*revision),
            _ => {}
        }
    }

    /// Lists the whole store; the watch goes on from there.
    async fn list(&mut self) {
        let Bounds::Prefix(prefix) = self.bounds.clone() else { return self.told = None };
        let scan = Scan {
            prefix,
            limit: LIST,
            reverse: false,
            keys_only: false,
            at: None,
            after: None,
            stale: false,
        };
        let told = self.asker.once(&mut self.rng, Request::Scan(scan)).await;
        if let Told::Answered(Answer { status: 200, revision, .. }) = told {
            self.told = Some(revision);
        }
    }
}

impl Parser {
    fn new(lines: bool) -> Parser {
        Parser { lines, buffer: Vec::new(), event: String::new(), data: String::new() }
    }

    /// The messages that are complete with `piece`: their events and data.
    fn take(&mut self, piece: &[u8]) -> Vec<(String, Json)> {
        self.buffer.extend_from_slice(piece);
        let mut out = Vec::new();
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8(line).expect("a watch is text");
            let line = line.trim_end_matches('\n');
            if self.lines {
                let json: Json = serde_json::from_str(line).expect("a line is JSON");
                let event = json.get("event").and_then(Json::as_str).unwrap_or_default();
                out.push((event.to_owned(), json.get("data").cloned().unwrap_or_default()));
            } else if line.is_empty() {
                let data = std::mem::take(&mut self.data);
                let event = std::mem::take(&mut self.event);
                out.push((event, serde_json::from_str(&data).expect("data is JSON")));
            } else if let Some(event) = line.strip_prefix("event: ") {
                event.clone_into(&mut self.event);
            } else if let Some(data) = line.strip_prefix("data: ") {
                self.data.push_str(data);
            }
        }
        out
    }
}

fn message(event: &str, data: &Json) -> Message {
    let revision = data.get("revision").and_then(Json::as_u64);
    let broken = || -> ! { panic!("a message that no document knows: {event} {data}") };
    match (event, revision) {
        ("sync", Some(revision)) => Message::Sync(revision),
        ("progress", Some(revision)) => Message::Progress(revision),
        ("lag", _) => Message::Lag,
        ("error", _) => {
            let code = data.get("code").and_then(Json::as_str).unwrap_or("no code");
            Message::Error(code.to_owned())
        }
        ("change", Some(revision)) => {
            let more = data.get("more").is_some();
            let events = data.get("events").and_then(Json::as_array);
            let events = events.unwrap_or_else(|| broken());
            let events = events.iter().map(|one| change(one).unwrap_or_else(|| broken()));
            Message::Change { revision, more, events: events.collect() }
        }
        _ => broken(),
    }
}

fn change(json: &Json) -> Option<(Change, Option<Record>)> {
    let previous = match json.get("previous") {
        None => None,
        Some(previous) => Some(Record::parse(previous)?.1),
    };
    let key = json.get("key")?.as_str()?.to_owned();
    let now = match json.get("type")?.as_str()? {
        "put" => Some(Record::parse(json)?.1),
        "delete" => None,
        _ => return None,
    };
    Some((Change { key, now }, previous))
}
