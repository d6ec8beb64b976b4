//! Sending a request and noting what was said.
//!
//! Rule: a request under an idempotency key is sent again, to whichever node, until it is answered;
//! any other is sent once. Must never: take an answer that breaks the API's documents for one.

use super::now;
use crate::{
    client::{Client, Exchange},
    clock,
    journal::{Answer, Journal, Told},
    rng::Rng,
    store::request::Request,
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Response, StatusCode};
use serde_json::Value as Json;
use std::time::Duration;

/// Attempts under one idempotency key.
const MOST_ATTEMPTS: usize = 12;
/// Nanoseconds between two of them.
const PAUSE: std::ops::Range<u64> = 10_000_000..400_000_000;

/// A client with its journal.
pub struct Asker {
    /// What it is called.
    pub name: String,
    /// Its connection.
    pub client: Client,
    /// Where it notes everything.
    pub journal: Journal,
    /// All nodes.
    pub nodes: Vec<String>,
    /// How long it waits for an answer, in nanoseconds.
    pub patience: std::ops::Range<u64>,
    keys: u64,
}

impl Asker {
    /// A client that has asked for nothing yet.
    #[must_use]
    pub fn new(
        name: String,
        client: Client,
        journal: Journal,
        nodes: Vec<String>,
        patience: std::ops::Range<u64>,
    ) -> Asker {
        Asker { name, client, journal, nodes, patience, keys: 0 }
    }

    /// A key that no other request has.
    pub fn fresh_key(&mut self) -> String {
        self.keys += 1;
        format!("{}-{}", self.name, self.keys)
    }

    /// Sends `request` once.
    pub async fn once(&mut self, rng: &mut Rng, request: Request) -> Told {
        let entry = self.journal.enter(&self.name, request.clone(), None);
        self.attempt(rng, entry, &request, None).await
    }

    /// Sends `request` under `key` until it is settled; then perhaps once more.
    pub async fn keyed(&mut self, rng: &mut Rng, request: Request, key: &str) -> Told {
        let entry = self.journal.enter(&self.name, request.clone(), Some(key.to_owned()));
        let mut told = Told::Unknown;
        for _ in 0..MOST_ATTEMPTS {
            told = self.attempt(rng, entry, &request, Some(key)).await;
            if matches!(told, Told::Answered(_)) {
                break;
            }
            clock::exactly(Duration::from_nanos(rng.within(&PAUSE))).await;
        }
        if matches!(told, Told::Answered(_)) && rng.chance(0.15) {
            self.attempt(rng, entry, &request, Some(key)).await;
        }
        told
    }

    /// Sends another request under a key whose request was answered.
    pub async fn misuse(&mut self, rng: &mut Rng, request: Request, key: &str) {
        let entry = self.journal.enter(&self.name, request.clone(), Some(key.to_owned()));
        self.journal.misuse(entry);
        self.attempt(rng, entry, &request, Some(key)).await;
    }

    async fn attempt(
        &mut self,
        rng: &mut Rng,
        entry: usize,
        request: &Request,
        key: Option<&str>,
    ) -> Told {
        let node = rng.pick(&self.nodes).clone();
        let patience = Duration::from_nanos(rng.within(&self.patience));
        let attempt = self.journal.attempt(entry, &node, now());
        let wait = match request {
            Request::Wait { patience, .. } => Duration::from_millis(*patience),
            Request::Lock { wait, .. } => Duration::from_millis(*wait),
            _ => Duration::ZERO,
        };
        // The server gives up a little earlier than the client, mostly.
        let mut sent = request.sent((patience.as_millis() * 9 / 10) as u64);
        sent.headers.extend(key.map(|key| ("idempotency-key", key.to_owned())));
        self.client.proxy().bend(&mut sent, attempt);
        let mut builder =
            hyper::Request::builder().method(sent.method).uri(&sent.target).header("host", &node);
        for (name, value) in &sent.headers {
            builder = builder.header(*name, value);
        }
        let built = builder.body(Full::new(Bytes::from(sent.body)));
        let built = built.expect("the request is well formed");
        let told = match self.client.send(&node, built, patience + wait).await {
            Exchange::Answer(answer) => told(request, &answer),
            Exchange::NotSent => Told::Refused { code: "not sent".to_owned() },
            Exchange::Lost if request.is_write() => Told::Unknown,
            Exchange::Lost => Told::Refused { code: "lost".to_owned() },
        };
        tracing::trace!(client = self.name, node, ?request, ?told, "told");
        self.journal.tell(entry, attempt, told.clone(), now());
        told
    }
}

/// What an answer says of `request`.
///
/// # Panics
/// When the answer breaks the contract of the HTTP API.
#[must_use]
pub fn told(request: &Request, answer: &Response<Bytes>) -> Told {
    let status = answer.status();
    let mut body: Json = serde_json::from_slice(answer.body()).unwrap_or(Json::Null);
    if let Some(problem) = body.as_object_mut() {
        // It names the attempt.
        problem.remove("instance");
    }
    let text = |name: &str| body.get(name).and_then(Json::as_str);
    let code = text("code").unwrap_or("no code").to_owned();
    let stamps =
        number(answer.headers(), "kvorum-index").zip(number(answer.headers(), "kvorum-revision"));
    let says_where = status.is_success()
        || status == StatusCode::NOT_MODIFIED
        || matches!(status.as_u16(), 404 | 409 | 410 | 412);
    if let (true, Some((index, revision))) = (says_where, stamps) {
        let replayed = answer.headers().contains_key("idempotency-replayed");
        let status = status.as_u16();
        return Told::Answered(Answer { status, index, revision, body: Some(body), replayed });
    }
    if !request.is_write() {
        return Told::Refused { code };
    }
    match text("applied") {
        Some("no") => Told::Refused { code },
        Some("unknown") => Told::Unknown,
        _ => panic!(
            "no word on `applied`: {request:?} -> {status} {:?} {}",
            answer.headers(),
            String::from_utf8_lossy(answer.body())
        ),
    }
}

/// A header that holds a number.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
