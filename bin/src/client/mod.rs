//! A client of a cluster: calls in, answers or failures out.
//!
//! Rule: a call is tried at one endpoint after the other until it has a certain answer or the time
//! is up; a change is repeated only under the idempotency key it was first sent with, or when it
//! certainly was not sent. Must never: call a change failed while an earlier attempt at it is open.

mod endpoint;
mod exchange;
mod failure;
mod target;

pub use endpoint::Endpoint;
pub use failure::{Failure, problem};
pub use target::Target;

use crate::exit;
use bytes::{Bytes, BytesMut};
use exchange::{Missed, cause, exchange};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ACCEPT, HOST, HeaderName, HeaderValue, USER_AGENT},
};
use kvorum_runtime::world::{TokioWorld, World};
use std::{cell::Cell, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};

/// Bytes of an answer that is read as a whole. A page has 4 MiB of keys and values, which JSON can
/// make six times as long.
const MAX_ANSWER: usize = 64 << 20;
/// An attempt gets at least this long, however many endpoints there are.
const LEAST_SHARE: Duration = Duration::from_secs(1);
/// Pauses between rounds through all endpoints, from … to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// No further attempt is begun with less time than this: it would only leave something open.
const LEAST_ATTEMPT: Duration = Duration::from_millis(250);
/// How long the answer of a node may stay out beyond the timeout that the node was told, so that
/// its own word arrives before the patience with it ends.
const GRACE: Duration = Duration::from_millis(500);
/// The longest `?timeout=` that a node takes by default.
const MAX_SERVER_TIMEOUT: Duration = Duration::from_secs(60);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REVISION: HeaderName = HeaderName::from_static("kvorum-revision");

/// What may be done when an attempt stays without an answer.
#[derive(Debug, Clone)]
pub enum Repeat {
    /// It reads: ask again.
    Read,
    /// It changes something: repeat it under this idempotency key.
    Once(HeaderValue),
    /// It changes something and knows no idempotency keys: never repeat it.
    Never,
}

/// A request, whichever node gets it.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path and query, without `timeout`.
    pub target: Target,
    /// Headers of its own.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// What may be done without an answer.
    pub repeat: Repeat,
    /// Whether the path takes `?timeout=`.
    pub timed: bool,
    /// How long the node may take beyond the timeout, because it is asked to wait.
    pub patience: Duration,
}

impl Call {
    /// A call that reads.
    pub fn read(target: Target) -> Call {
        Call::new(Method::GET, target, Repeat::Read)
    }

    /// A call that changes something, at most once.
    pub fn change(method: Method, target: Target, key: HeaderValue) -> Call {
        Call::new(method, target, Repeat::Once(key))
    }

    /// A call of any kind.
    pub fn new(method: Method, target: Target, repeat: Repeat) -> Call {
        Call {
            method,
            target,
            headers: Vec::new(),
            body: Bytes::new(),
            repeat,
            timed: true,
            patience: Duration::ZERO,
        }
    }

    /// For paths without `?timeout=`.
    pub fn untimed(mut self) -> Call {
        self.timed = false;
        self
    }

    /// With a body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Call {
        self.body = body.into();
        self
    }

    /// With a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Call {
        self.headers.push((name, value));
        self
    }
}

/// An answer of the 200s.
#[derive(Debug)]
pub struct Answer {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
}

impl Answer {
    /// The store's revision, as the header says it.
    pub fn revision(&self) -> Option<u64> {
        self.headers.get(REVISION)?.to_str().ok()?.parse().ok()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<serde_json::Value, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| Failure::strange(&error.to_string()))
    }
}

/// Nodes of one cluster and how long a command may take.
#[derive(Debug)]
pub struct Client {
    endpoints: Vec<Endpoint>,
    timeout: Duration,
    /// Which endpoint is asked first: the one that answered last.
    first: Cell<usize>,
}

/// What one attempt has shown.
enum Shown {
    /// This is the answer.
    Answer(Answer),
    /// This is the answer, and it is no.
    Refusal(Failure),
    /// Certainly nothing happened; another attempt may do better.
    Again(Failure),
    /// Nobody was there.
    Nobody(Failure),
    /// What happened is open.
    Open(Failure),
}

impl Client {
    /// Talks to `endpoints`, of which there is at least one.
    pub fn new(endpoints: Vec<Endpoint>, timeout: Duration) -> Client {
        Client { endpoints, timeout, first: Cell::new(0) }
    }

    /// The same nodes with another timeout.
    pub fn within(&self, timeout: Duration) -> Client {
        Client { endpoints: self.endpoints.clone(), timeout, first: self.first.clone() }
    }

    /// Makes the call.
    ///
    /// # Errors
    /// With `exit::UNKNOWN` when it may have changed something; with another code certainly not.
    pub async fn call(&self, call: &Call) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.timeout + call.patience;
        let mut open = None;
        let mut pause = PAUSES.0;
        loop {
            let mut nobody = true;
            let mut last = None;
            for turn in 0..self.endpoints.len() {
                let at = (self.first.get() + turn) % self.endpoints.len();
                let left = deadline.saturating_duration_since(Instant::now());
                let share =
                    left.saturating_sub(call.patience) / (self.endpoints.len() - turn) as u32;
                let share = share.max(LEAST_SHARE) + call.patience;
                let until = deadline.min(Instant::now() + share);
                match self.attempt(&self.endpoints[at], call, until).await {
                    Shown::Answer(answer) => {
                        self.first.set(at);
                        return Ok(answer);
                    }
                    Shown::Refusal(failure) => {
                        self.first.set(at);
                        return Err(after(open, failure));
                    }
                    Shown::Open(failure) => {
                        nobody = false;
                        if !matches!(call.repeat, Repeat::Read) {
                            open = Some(failure.clone());
                        }
                        last = Some(failure);
                        if matches!(call.repeat, Repeat::Never) {
                            break;
                        }
                    }
                    Shown::Again(failure) => {
                        nobody = false;
                        last = Some(failure);
                    }
                    Shown::Nobody(failure) => last = last.or(Some(failure)),
                }
                if Instant::now() + LEAST_ATTEMPT >= deadline {
                    break;
                }
            }
            let over = Instant::now() + pause + LEAST_ATTEMPT >= deadline
                || (nobody && open.is_none())
                || (open.is_some() && matches!(call.repeat, Repeat::Never));
            if over {
                let last = last.unwrap_or_else(|| Failure::strange("there is no endpoint"));
                return Err(given_up(open, last, &call.repeat));
            }
            sleep(pause).await;
            pause = PAUSES.1.min(pause * 2);
        }
    }

    async fn attempt(&self, endpoint: &Endpoint, call: &Call, until: Instant) -> Shown {
        match exchange_whole(endpoint, call, until).await {
            Err(Missed::Unsent(why)) => Shown::Nobody(unreachable(why)),
            Err(Missed::Open(why)) => Shown::Open(unreachable(why)),
            Ok((status, headers, body)) if status.is_success() => {
                Shown::Answer(Answer { headers, body })
            }
            Ok((status, _, body)) => judge(call, status, &body),
        }
    }

    /// Opens a stream: the answer's head is there, its body follows for as long as it likes.
    ///
    /// # Errors
    /// Why not, and whether asking again may help.
    pub async fn open(&self, call: &Call) -> Result<Response<Incoming>, (Failure, bool)> {
        let at = self.first.get() % self.endpoints.len();
        let endpoint = &self.endpoints[at];
        let until = Instant::now() + self.timeout.min(MAX_SERVER_TIMEOUT);
        let request = request(endpoint, call, until);
        let until = until + GRACE;
        let response = match exchange(endpoint, request, until).await {
            Ok(response) => response,
            Err(Missed::Unsent(why) | Missed::Open(why)) => return Err((unreachable(why), true)),
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = whole(response.into_body(), until).await.unwrap_or_default();
        match judge(call, status, &body) {
            Shown::Refusal(failure) => Err((failure, false)),
            Shown::Again(failure) | Shown::Open(failure) | Shown::Nobody(failure) => {
                Err((failure, true))
            }
            Shown::Answer(_) => Err((Failure::strange("no answer and no refusal"), false)),
        }
    }

    /// Turns to the next endpoint.
    pub fn turn(&self) {
        self.first.set((self.first.get() + 1) % self.endpoints.len());
    }

    /// How many endpoints there are.
    pub fn endpoints(&self) -> usize {
        self.endpoints.len()
    }

    /// The endpoint that is asked first.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoints[self.first.get() % self.endpoints.len()]
    }

    /// How long a command may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// A fresh idempotency key: 128 random bits.
pub fn fresh_key() -> HeaderValue {
    let world = TokioWorld::new();
    let text = format!("cli-{:016x}{:016x}", world.entropy(), world.entropy());
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("cli"))
}

fn request(endpoint: &Endpoint, call: &Call, until: Instant) -> Request<Full<Bytes>> {
    let mut target = call.target.clone();
    if call.timed {
        let left = until.saturating_duration_since(Instant::now()).saturating_sub(call.patience);
        target = target.lasting("timeout", left.min(MAX_SERVER_TIMEOUT));
    }
    let mut request = Request::new(Full::new(call.body.clone()));
    *request.method_mut() = call.method.clone();
    // A target is made of unreserved characters and percent signs, which a URI takes.
    *request.uri_mut() = target.as_str().parse().unwrap_or_default();
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(endpoint.authority()) {
        headers.insert(HOST, host);
    }
    let agent = concat!("kvorum-cli/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, */*"));
    if let Repeat::Once(key) = &call.repeat {
        headers.insert(IDEMPOTENCY_KEY, key.clone());
    }
    for (name, value) in &call.headers {
        headers.insert(name.clone(), value.clone());
    }
    request
}

async fn exchange_whole(
    endpoint: &Endpoint,
    call: &Call,
    until: Instant,
) -> Result<(StatusCode, HeaderMap, Bytes), Missed> {
    let request = request(endpoint, call, until);
    let until = until + GRACE;
    let (head, body) = exchange(endpoint, request, until).await?.into_parts();
    match whole(body, until).await {
        Ok(body) => Ok((head.status, head.headers, body)),
        Err(why) => Err(Missed::Open(format!("{endpoint}: {why}"))),
    }
}

async fn whole(mut body: Incoming, until: Instant) -> Result<Bytes, String> {
    let mut bytes = BytesMut::new();
    loop {
        match timeout_at(until, body.frame()).await {
            Err(_) => return Err("the answer did not end in time".to_owned()),
            Ok(None) => return Ok(bytes.freeze()),
            Ok(Some(Err(error))) => return Err(cause(&error)),
            Ok(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    if bytes.len() + data.len() > MAX_ANSWER {
                        return Err(format!("the answer has more than {MAX_ANSWER} bytes"));
                    }
                    bytes.extend_from_slice(data);
                }
            }
        }
    }
}

/// What a refusal means for the call.
fn judge(call: &Call, status: StatusCode, body: &[u8]) -> Shown {
    let failure = Failure::refused(status, body);
    let passing = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    let reads = matches!(call.repeat, Repeat::Read);
    let applied = failure.problem.as_ref().and_then(|problem| problem["applied"].as_str());
    // A server's failure that does not say `no` says nothing.
    let open = applied == Some("unknown") || (applied.is_none() && status.is_server_error());
    if open && !reads {
        return Shown::Open(failure);
    }
    if passing.contains(&status) { Shown::Again(failure) } else { Shown::Refusal(failure) }
}

fn unreachable(why: String) -> Failure {
    Failure::new(
        exit::FAILED,
        "unreachable",
        why,
        "check that a node runs there, or name others with --endpoints or KVORUM_ENDPOINTS",
    )
}

/// A refusal is certain only if no earlier attempt can still take effect. It cannot have done so
/// yet, or this answer would have been its.
fn after(open: Option<Failure>, mut refusal: Failure) -> Failure {
    if let Some(open) = open {
        refusal.exit = exit::UNKNOWN;
        refusal.hint = format!(
            "look at what is there; an earlier attempt stayed unanswered ({}) and may still take \
             effect",
            open.message
        );
        if let Some(problem) = &mut refusal.problem {
            problem["applied"] = "unknown".into();
            problem["hint"] = refusal.hint.clone().into();
        }
    }
    refusal
}

/// The time is up.
fn given_up(open: Option<Failure>, last: Failure, repeat: &Repeat) -> Failure {
    let Some(mut failure) = open else { return last };
    failure.exit = exit::UNKNOWN;
    failure.hint = match repeat {
        Repeat::Once(key) => format!(
            "repeat the command with --idempotency-key {}: it takes effect once",
            key.to_str().unwrap_or_default()
        ),
        _ => "look at what is there before you repeat it".to_owned(),
    };
    if let Some(problem) = &mut failure.problem {
        problem["applied"] = "unknown".into();
        problem["hint"] = failure.hint.clone().into();
    }
    failure
}
