//! One request on one connection.
//!
//! Rule: what became of a request that was not answered is told apart: never sent, or open. Must
//! never: wait without a bound, or call a request unsent of which a byte may have left.

use super::endpoint::Endpoint;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

/// Resolving a name and connecting take no longer; a packet lost once is sent again within it.
const CONNECT: Duration = Duration::from_secs(3);

/// Why there is no answer.
#[derive(Debug)]
pub enum Missed {
    /// Nobody was there: the request never left.
    Unsent(String),
    /// It was sent, wholly or in part; what became of it is open.
    Open(String),
}

/// Sends `request` to `endpoint` and returns the head of the answer; the body follows. All of it
/// ends at `until`.
pub async fn exchange(
    endpoint: &Endpoint,
    request: Request<Full<Bytes>>,
    until: Instant,
) -> Result<Response<Incoming>, Missed> {
    let connected = until.min(Instant::now() + CONNECT);
    let stream = match timeout_at(connected, TcpStream::connect(endpoint.authority())).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(Missed::Unsent(format!("{endpoint}: {error}"))),
        Err(_) => return Err(Missed::Unsent(format!("{endpoint}: no connection in time"))),
    };
    // One small request and its answer: waiting for more to send would only delay it.
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Missed::Unsent(format!("{endpoint}: {error}")))?;
    tokio::spawn(connection);
    match timeout_at(until, sender.send_request(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) if error.is_canceled() => {
            Err(Missed::Unsent(format!("{endpoint}: {error}")))
        }
        Ok(Err(error)) if error.is_parse() => Err(Missed::Open(format!(
            "{endpoint}: the answer is not HTTP; is this the HTTP port of a node?"
        ))),
        Ok(Err(error)) => Err(Missed::Open(format!("{endpoint}: {}", cause(&error)))),
        Err(_) => Err(Missed::Open(format!("{endpoint}: no answer in time"))),
    }
}

/// The innermost reason; hyper's own words only say where it happened.
pub fn cause(error: &hyper::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
