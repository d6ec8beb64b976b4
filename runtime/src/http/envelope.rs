//! What every write carries besides its meaning, and its way into the log.
//!
//! Rule: a repeat under the same `Idempotency-Key` is recognised by its meaning, whoever proposes
//! it; an outcome is told as certain only when it is. Must never: propose a write twice by itself.

use super::{
    Api, Reply,
    lock_text::fence,
    problem::{
        INVALID_IDEMPOTENCY_KEY, OUTCOME_UNKNOWN, OVERLOADED, OVERWRITTEN, Problem, STOPPING,
        VALUE_TOO_LARGE,
    },
    seek::{Attempt, no_leader},
};
use crate::{
    handle::{ExecuteError, Executed},
    world::World,
};
use bytes::{Bytes, BytesMut};
use hyper::{HeaderMap, header::HeaderName};
use kvorum_core::kv::{Body, Command, Fence, Idempotency};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Makes repeats of a request take effect once.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Bytes of an idempotency key.
const MAX_IDEMPOTENCY_KEY: usize = 128;

/// A checked write: what to do, and how it is recognised when it comes again.
#[derive(Debug)]
pub(super) struct Envelope {
    body: Body,
    idempotency: Option<Idempotency>,
    fence: Option<Fence>,
}

impl Envelope {
    /// Wraps `body` as `headers` ask. `shape` tells requests apart that mean the same to the store
    /// and not to the client.
    pub(super) fn new(body: Body, headers: &HeaderMap, shape: u64) -> Result<Envelope, Problem> {
        let mut envelope = Envelope { body, idempotency: None, fence: None };
        if let Some(key) = idempotency_key(headers)? {
            // Without key, fence and times, the command's encoding is the request's meaning.
            let mut meaning = BytesMut::new();
            envelope.command().encode(&mut meaning);
            envelope.idempotency = Some(identity(key, &meaning, shape));
        }
        envelope.fence = fence(headers)?;
        Ok(envelope)
    }

    /// As `new`, of a request whose `body` depends on the state that it meets, and whose `meaning`
    /// does not.
    pub(super) fn meaning(
        body: Body,
        headers: &HeaderMap,
        meaning: &[u8],
        shape: u64,
    ) -> Result<Envelope, Problem> {
        let key = idempotency_key(headers)?;
        let idempotency = key.map(|key| identity(key, meaning, shape));
        Ok(Envelope { body, idempotency, fence: fence(headers)? })
    }

    /// Whether the client may send it again under its key.
    pub(super) fn is_keyed(&self) -> bool {
        self.idempotency.is_some()
    }

    fn command(&self) -> Command {
        Command {
            idempotency: self.idempotency.clone(),
            fence: self.fence.clone(),
            ..Command::new(self.body.clone())
        }
    }
}

impl<W: World> Api<W> {
    /// Puts the write through the log, here, as the leader; `tell` renders what came of it.
    pub(super) async fn submit(
        &self,
        envelope: &Envelope,
        tell: impl Fn(Executed) -> Result<Reply, Problem>,
    ) -> Result<Attempt, Problem> {
        match self.handle.execute(envelope.command()).await {
            Ok(executed) => tell(executed).map(Attempt::Done),
            Err(ExecuteError::NotLeader) => {
                Ok(Attempt::Again(no_leader(&self.handle.view().get())))
            }
            Err(ExecuteError::Stopping) => {
                Ok(Attempt::Again(Problem::new(STOPPING, "the node is stopping")))
            }
            Err(ExecuteError::Lost) => Ok(Attempt::Again(Problem::new(
                OVERWRITTEN,
                "another leader's entry took the write's place",
            ))),
            Err(ExecuteError::Overloaded) => {
                Err(Problem::new(OVERLOADED, "too many writes are under way"))
            }
            Err(ExecuteError::TooLarge) => {
                Err(Problem::new(VALUE_TOO_LARGE, "the write is too large for one log entry"))
            }
            Err(ExecuteError::Unknown) => Err(Problem::new(
                OUTCOME_UNKNOWN,
                "the write was proposed, but its outcome cannot be learnt here any more",
            )),
        }
    }
}

fn identity(key: Bytes, meaning: &[u8], shape: u64) -> Idempotency {
    Idempotency { key, fingerprint: xxh3_64_with_seed(meaning, shape) }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<Bytes>, Problem> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let key = value.as_bytes();
    let visible = key.iter().all(u8::is_ascii_graphic);
    if !visible || key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY || given.next().is_some() {
        let message = "Idempotency-Key is not one string of 1 to 128 visible ASCII characters";
        return Err(Problem::new(INVALID_IDEMPOTENCY_KEY, message));
    }
    Ok(Some(Bytes::copy_from_slice(key)))
}
