//! A client of the cluster: plain HTTP, one request at a time.
//!
//! Rule: what the client notes is what it was told and nothing more; an error before the request
//! was sent is certain, everything after is not. Must never: repeat a request.

use crate::{
    history::{Answer, Call, Guard, Outcome, Reply, Value},
    store::wire::Sent,
    world::SimWorld,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use kvorum_runtime::world::World;
use serde_json::Value as Json;
use std::time::Duration;

/// A connection to one node at a time.
pub struct Client {
    world: SimWorld,
    connection: Option<(String, SendRequest<Full<Bytes>>)>,
    proxy: Proxy,
}

/// What happened to a request.
#[derive(Debug)]
pub enum Exchange {
    /// The answer.
    Answer(Response<Bytes>),
    /// It certainly reached nobody.
    NotSent,
    /// It may have reached the node.
    Lost,
}

impl Client {
    /// A client in `world`, without a connection.
    #[must_use]
    pub fn new(world: SimWorld, proxy: Proxy) -> Client {
        Client { world, connection: None, proxy }
    }

    /// What stands between it and the cluster.
    #[must_use]
    pub fn proxy(&self) -> Proxy {
        self.proxy
    }

    /// Sends a request to `address` (`host:port`) and waits for the answer within `patience`.
    pub async fn send(
        &mut self,
        address: &str,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Exchange {
        let deadline = self.world.now().after(patience);
        let world = self.world.clone();
        let mut sent = false;
        let answer = tokio::select! {
            biased;
            answer = self.exchange(address, request, &mut sent) => answer,
            () = world.sleep_until(deadline) => None,
        };
        match answer {
            Some(answer) => Exchange::Answer(answer),
            None => {
                self.connection = None;
                if sent { Exchange::Lost } else { Exchange::NotSent }
            }
        }
    }

    async fn exchange(
        &mut self,
        address: &str,
        request: Request<Full<Bytes>>,
        sent: &mut bool,
    ) -> Option<Response<Bytes>> {
        let usable = |c: &(String, SendRequest<_>)| c.0 == address && !c.1.is_closed();
        if !self.connection.as_ref().is_some_and(usable) {
            let stream = self.world.dial(address).await.ok()?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
            tokio::spawn(connection);
            self.connection = Some((address.to_owned(), sender));
        }
        let (_, sender) = self.connection.as_mut()?;
        sender.ready().await.ok()?;
        *sent = true;
        let (head, body) = sender.send_request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        Some(Response::from_parts(head, body))
    }

    /// Asks `address` for a stream, on a connection of its own.
    pub async fn open(
        &mut self,
        address: &str,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Opened {
        let deadline = self.world.now().after(patience);
        let world = self.world.clone();
        let begin = async {
            let stream = world.dial(address).await.ok()?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
            tokio::spawn(connection);
            let (head, body) = sender.send_request(request).await.ok()?.into_parts();
            if head.status == StatusCode::OK {
                let world = world.clone();
                return Some(Opened::Stream(Stream { world, body, _sender: sender }));
            }
            let body = body.collect().await.ok()?.to_bytes();
            Some(Opened::Refused(Response::from_parts(head, body)))
        };
        tokio::select! {
            biased;
            opened = begin => opened.unwrap_or(Opened::Nothing),
            () = self.world.sleep_until(deadline) => Opened::Nothing,
        }
    }

    /// Carries out `call` at `address`.
    pub async fn call(&mut self, address: &str, call: &Call, patience: Duration) -> Outcome {
        let mut sent = call.clone();
        if let (Proxy::LocalReads, Call::Get { stale, .. }) = (self.proxy, &mut sent) {
            *stale = true;
        }
        let outcome = match self.send(address, request(address, &sent, patience), patience).await {
            Exchange::Answer(answer) => outcome(call, &answer),
            Exchange::NotSent => Outcome::Refused,
            Exchange::Lost => Outcome::Unknown,
        };
        match (self.proxy, outcome) {
            (Proxy::UnknownIsNo, Outcome::Unknown) => Outcome::Refused,
            (_, outcome) => outcome,
        }
    }

    /// Asks `address` for the JSON at `path`.
    pub async fn ask(&mut self, address: &str, path: &str) -> Option<Json> {
        let request = Request::get(path).header("host", address).body(Full::default());
        match self.send(address, request.ok()?, ASK_PATIENCE).await {
            Exchange::Answer(answer) => serde_json::from_slice(answer.body()).ok(),
            Exchange::NotSent | Exchange::Lost => None,
        }
    }
}

/// What came of asking for a stream.
pub enum Opened {
    /// It begins.
    Stream(Stream),
    /// Another answer.
    Refused(Response<Bytes>),
    /// No answer.
    Nothing,
}

/// The body of an answer, piece by piece. The connection ends when it is dropped.
pub struct Stream {
    world: SimWorld,
    body: Incoming,
    /// The connection lives as long as somebody could ask more of it.
    _sender: SendRequest<Full<Bytes>>,
}

impl Stream {
    /// The next piece; `None` at the end, after an error, or when none came within `patience`.
    pub async fn piece(&mut self, patience: Duration) -> Option<Bytes> {
        let deadline = self.world.now().after(patience);
        loop {
            let frame = tokio::select! {
                biased;
                frame = self.body.frame() => frame?.ok()?,
                () = self.world.sleep_until(deadline) => return None,
            };
            if let Ok(data) = frame.into_data() {
                return Some(data);
            }
        }
    }
}

/// What stands between a client and the cluster. All but the first are planted bugs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Proxy {
    /// Nothing.
    #[default]
    Honest,
    /// Reads are answered by the node asked, from the state it has.
    LocalReads,
    /// "Unknown" is told as "no".
    UnknownIsNo,
    /// A repeat comes without its idempotency key.
    ForgetsKeys,
    /// A read of the past is answered from the present.
    ForgetsThePast,
    /// A write comes without its fence.
    ForgetsFences,
    /// A watch that goes on elsewhere begins one revision too late.
    SkipsOne,
    /// A watch that goes on elsewhere begins one revision too early.
    RepeatsOne,
    /// Of several changes in one message, the last is lost.
    LosesAChange,
}

impl Proxy {
    /// What it makes of a request of the whole store, sent for the `attempt`th time from 0 on.
    pub fn bend(self, sent: &mut Sent, attempt: usize) {
        let drop = |sent: &mut Sent, name: &str| sent.headers.retain(|(header, _)| *header != name);
        match self {
            Proxy::ForgetsKeys if attempt > 0 => drop(sent, "idempotency-key"),
            Proxy::ForgetsFences => drop(sent, "kvorum-fence"),
            Proxy::ForgetsThePast => {
                if let Some((before, _)) = sent.target.split_once("&at=") {
                    sent.target = before.to_owned();
                }
            }
            _ => {}
        }
    }
}

/// How long `Client::ask` waits.
const ASK_PATIENCE: Duration = Duration::from_secs(1);

/// A key's name.
fn key_name(key: u32) -> String {
    format!("k{key}")
}

/// A value's text.
fn value_text(value: Value) -> String {
    format!("v{value}")
}

fn request(address: &str, call: &Call, patience: Duration) -> Request<Full<Bytes>> {
    // The server gives up a little earlier than the client, mostly.
    let timeout = patience.as_millis() * 9 / 10;
    let (method, target, guard, body) = match call {
        Call::Get { key, stale } => {
            let freshness = if *stale { "&consistency=stale" } else { "" };
            let target = format!("/key/{}?meta&timeout={timeout}ms{freshness}", key_name(*key));
            (Method::GET, target, Guard::Always, Bytes::new())
        }
        Call::Set { pairs, guard } => {
            let object: serde_json::Map<String, Json> = pairs
                .iter()
                .map(|(key, value)| (key_name(*key), Json::from(value_text(*value))))
                .collect();
            let target = format!("/key?timeout={timeout}ms");
            (Method::POST, target, *guard, Json::from(object).to_string().into())
        }
        Call::Delete { key, guard } => {
            let target = format!("/key/{}?timeout={timeout}ms", key_name(*key));
            (Method::DELETE, target, *guard, Bytes::new())
        }
    };
    let builder = Request::builder().method(method).uri(target).header("host", address);
    let builder = match guard {
        Guard::Always => builder,
        Guard::Absent => builder.header("if-none-match", "*"),
        Guard::At { revision, .. } => builder.header("if-match", format!("\"{revision}\"")),
    };
    builder.body(Full::new(body)).expect("the request is well formed")
}

/// What an answer says about `call`.
///
/// # Panics
/// When the answer breaks the contract of the HTTP API.
#[must_use]
pub fn outcome(call: &Call, answer: &Response<Bytes>) -> Outcome {
    let body = || String::from_utf8_lossy(answer.body()).into_owned();
    let broken = |what: &str| -> ! {
        panic!("{what}: {call:?} -> {} {:?} {}", answer.status(), answer.headers(), body())
    };
    let result = match (call, answer.status()) {
        (Call::Get { .. }, StatusCode::OK) => match record(answer.body()) {
            Some((value, modified)) => Reply::Found { value, modified },
            None => broken("an unreadable record"),
        },
        (_, StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT) => Reply::Written,
        (Call::Get { .. } | Call::Delete { .. }, StatusCode::NOT_FOUND) => Reply::Missing,
        (_, StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT) => Reply::Conflict,
        (Call::Get { .. }, _) => return Outcome::Refused,
        _ => return applied(answer).unwrap_or_else(|| broken("no word on `applied`")),
    };
    let stamps =
        number(answer.headers(), "kvorum-index").zip(number(answer.headers(), "kvorum-revision"));
    let Some((index, revision)) = stamps else { broken("no index or revision") };
    Outcome::Done(Answer { index, revision, result })
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn record(body: &Bytes) -> Option<(Value, u64)> {
    let json: Json = serde_json::from_slice(body).ok()?;
    let value = json.get("value")?.as_str()?.strip_prefix('v')?.parse().ok()?;
    Some((value, json.get("mod_revision")?.as_u64()?))
}

fn applied(answer: &Response<Bytes>) -> Option<Outcome> {
    let json: Json = serde_json::from_slice(answer.body()).ok()?;
    match json.get("applied")?.as_str()? {
        "no" => Some(Outcome::Refused),
        "unknown" => Some(Outcome::Unknown),
        _ => None,
    }
}
