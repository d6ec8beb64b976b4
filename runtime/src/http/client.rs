//! A small HTTP/1.1 client for other members: forwarding to the leader, and joining.
//!
//! Rule: an error says whether the peer can have seen the request; connections are kept alive and
//! used again, within bounds. Must never: send a request twice.

use crate::world::World;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use kvorum_core::raft::Instant;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long a connection may take to be made. A host that is gone answers nothing at all, and an
/// election is over long before a dial gives up by itself.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a request may take when its caller does not say.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a response. A record of the largest value stays below, escaped to the full.
const MAX_RESPONSE_BYTES: usize = 32 << 20;
/// Connections kept for one peer.
const MAX_IDLE: usize = 128;
/// Peers that connections are kept for.
const MAX_PEERS: usize = 64;
/// An idle connection is not used after this long: well before the server closes it, so that no
/// request is caught in between.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientError {
    /// Certainly nothing reached the peer; the text says why.
    NotSent(String),
    /// The request, or a part of it, may have reached the peer; the text says what happened.
    Unknown(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::NotSent(why) | ClientError::Unknown(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ClientError {}

/// Sends requests to members of the cluster. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Client<W: World> {
    world: W,
    idle: Arc<Mutex<BTreeMap<String, Vec<Idle>>>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

impl<W: World> Client<W> {
    /// A client without connections.
    #[must_use]
    pub fn new(world: W) -> Client<W> {
        Client { world, idle: Arc::default() }
    }

    /// Sends `request` to `address` (`host:port`) and returns the whole response, within 10 s.
    /// Dropping the future leaves it open whether the peer has seen the request.
    ///
    /// # Errors
    /// See `ClientError`.
    pub async fn request(
        &self,
        address: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, ClientError> {
        self.request_until(address, request, self.world.now().after(REQUEST_TIMEOUT)).await
    }

    /// As `request`, within the time until `deadline`.
    ///
    /// # Errors
    /// See `ClientError`.
    pub async fn request_until(
        &self,
        address: &str,
        mut request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Response<Bytes>, ClientError> {
        if !request.headers().contains_key(header::HOST) {
            let host = HeaderValue::from_str(address)
                .map_err(|_| ClientError::NotSent(format!("{address:?} is not a host and port")))?;
            request.headers_mut().insert(header::HOST, host);
        }
        loop {
            let (mut sender, reused) = match self.idle_connection(address) {
                Some(sender) => (sender, true),
                None => (self.connect(address, deadline).await?, false),
            };
            match self.exchange(&mut sender, request, deadline).await {
                Ok(response) => {
                    self.keep(address, sender);
                    return Ok(response);
                }
                // A kept connection had closed meanwhile: the request came back untouched.
                Err(Failure::Untouched(again, _)) if reused => request = *again,
                Err(Failure::Untouched(_, why)) => return Err(ClientError::NotSent(why)),
                Err(Failure::Unknown(why)) => return Err(ClientError::Unknown(why)),
            }
        }
    }

    async fn connect(
        &self,
        address: &str,
        deadline: Instant,
    ) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let limit = self.world.now().after(DIAL_TIMEOUT).min(deadline);
        let stream = tokio::select! {
            biased;
            stream = self.world.dial(address) => stream,
            () = self.world.sleep_until(limit) => {
                return Err(ClientError::NotSent("connecting took too long".to_owned()));
            }
        };
        let stream = stream.map_err(|error| ClientError::NotSent(error.to_string()))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ClientError::NotSent(error.to_string()))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("HTTP connection to a member ended: {error}");
            }
        });
        Ok(sender)
    }

    async fn exchange(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Response<Bytes>, Failure> {
        let response = async {
            if let Err(error) = sender.ready().await {
                return Err(Failure::Untouched(Box::new(request), error.to_string()));
            }
            let response = sender.try_send_request(request).await.map_err(|mut error| {
                let why = describe(error.error());
                match error.take_message() {
                    // hyper gives the request back only if none of it was written.
                    Some(request) => Failure::Untouched(Box::new(request), why),
                    None => Failure::Unknown(why),
                }
            })?;
            whole(response).await
        };
        tokio::select! {
            biased;
            response = response => response,
            () = self.world.sleep_until(deadline) => {
                Err(Failure::Unknown("no answer came in time".to_owned()))
            }
        }
    }

    /// The connection to `address` used last, if it is fresh and open.
    fn idle_connection(&self, address: &str) -> Option<SendRequest<Full<Bytes>>> {
        let now = self.world.now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.get_mut(address)?;
        kept.retain(|one| now.since(one.since) < IDLE_TIME && !one.sender.is_closed());
        kept.pop().map(|one| one.sender)
    }

    fn keep(&self, address: &str, sender: SendRequest<Full<Bytes>>) {
        if sender.is_closed() {
            return;
        }
        let since = self.world.now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !idle.contains_key(address) && idle.len() >= MAX_PEERS {
            idle.clear();
        }
        let kept = idle.entry(address.to_owned()).or_default();
        if kept.len() < MAX_IDLE {
            kept.push(Idle { sender, since });
        }
    }
}

enum Failure {
    /// The request, back again, and why.
    Untouched(Box<Request<Full<Bytes>>>, String),
    /// It may have arrived.
    Unknown(String),
}

async fn whole(response: Response<Incoming>) -> Result<Response<Bytes>, Failure> {
    let (head, mut body) = response.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Unknown(describe(&error)))?;
        let data = frame.into_data().unwrap_or_default();
        if bytes.len() + data.len() > MAX_RESPONSE_BYTES {
            return Err(Failure::Unknown("the answer is too large".to_owned()));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Response::from_parts(head, bytes.freeze()))
}

/// hyper's error with its cause, in one line.
fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
