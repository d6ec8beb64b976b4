//! Reading a request's body within its limits.
//!
//! Rule: a body announced as too large is refused before a byte of it is read (so that
//! `Expect: 100-continue` saves sending it); one without a length is refused when it outgrows the
//! limit; one that does not arrive in time is given up. Must never: hold more than the limit.

use super::problem::{BODY_TIMEOUT, BODY_TOO_LARGE, BROKEN_BODY, Problem};
use crate::{config::Limits, world::World};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{
    Version,
    body::{Body, Incoming},
    header::{CONTENT_LENGTH, EXPECT},
    http::request::Parts,
};
use std::{fmt::Display, time::Duration};

/// Bytes of an unread body that are taken off the connection, so that the client gets to read its
/// answer instead of a reset (RFC 9112 §9.6).
const LINGER_BYTES: usize = 8 << 20;
/// How long that may take.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// A request's body, not read yet.
pub(super) struct Payload {
    body: Option<Incoming>,
    announced: Option<u64>,
    linger: bool,
    spoilt: bool,
}

impl Payload {
    /// The body that came with `head`.
    pub(super) fn new(head: &Parts, body: Incoming) -> Payload {
        let length = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let announced = length.and_then(|text| text.parse().ok()).or(body.size_hint().exact());
        // With `Expect`, reading would ask for the body; on HTTP/2, a stream is cut off singly.
        let linger = head.version <= Version::HTTP_11 && !head.headers.contains_key(EXPECT);
        Payload { body: Some(body), announced, linger, spoilt: false }
    }

    /// The whole body.
    pub(super) async fn read<W: World>(
        &mut self,
        world: &W,
        limits: &Limits,
    ) -> Result<Bytes, Problem> {
        let limit = limits.body_bytes;
        if let Some(announced) = self.announced
            && announced > limit as u64
        {
            return Err(too_large(announced, limit));
        }
        let Some(body) = &mut self.body else { return Ok(Bytes::new()) };
        // Most bodies are one frame, which is not copied.
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        let give_up = world.sleep_until(world.now().after(limits.body_timeout));
        tokio::pin!(give_up);
        loop {
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                () = &mut give_up => {
                    self.abandon();
                    let message = format!("the body took longer than {:?}", limits.body_timeout);
                    return Err(Problem::new(BODY_TIMEOUT, message));
                }
            };
            let data = match frame {
                None => break,
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    self.abandon();
                    let message = format!("the body could not be read: {error}");
                    return Err(Problem::new(BROKEN_BODY, message));
                }
            };
            if first.len() + whole.len() + data.len() > limit {
                return Err(too_large(format_args!("more than {limit}"), limit));
            }
            if first.is_empty() && whole.is_empty() {
                first = data;
                continue;
            }
            if whole.is_empty() {
                // At most the limit, as judged above.
                let announced = self.announced.and_then(|bytes| usize::try_from(bytes).ok());
                whole.reserve(announced.unwrap_or(first.len() + data.len()));
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&data);
        }
        self.body = None;
        Ok(if whole.is_empty() { first } else { whole.freeze() })
    }

    fn abandon(&mut self) {
        self.body = None;
        self.spoilt = true;
    }

    /// Lets go of what was not read. Returns whether the connection cannot be used again.
    pub(super) fn release<W: World>(self, world: &W) -> bool {
        let Some(body) = self.body.filter(|body| !body.is_end_stream()) else {
            return self.spoilt;
        };
        if self.linger {
            let world = world.clone();
            tokio::spawn(async move { linger(&world, body).await });
        }
        !self.linger
    }
}

async fn linger<W: World>(world: &W, mut body: Incoming) {
    let enough = world.sleep_until(world.now().after(LINGER_TIME));
    tokio::pin!(enough);
    let mut taken = 0;
    while taken < LINGER_BYTES {
        tokio::select! {
            biased;
            frame = body.frame() => match frame {
                Some(Ok(frame)) => taken += frame.data_ref().map_or(0, Bytes::len),
                _ => return,
            },
            () = &mut enough => return,
        }
    }
}

fn too_large(size: impl Display, limit: usize) -> Problem {
    let message = format!("the request body has {size} bytes, the limit is {limit}");
    Problem::new(BODY_TOO_LARGE, message)
}
