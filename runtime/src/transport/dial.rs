//! The sending side: one task per peer owns its queue and its connection.
//!
//! Rule: the address is looked up in the book and resolved anew at every attempt; failed attempts
//! back off with jitter, and whatever waited for a failed attempt or a lost connection is dropped,
//! because it is stale. While a connection stands, everything that waits goes out in one write,
//! and the socket is read too, so that a close, a reset or silence is noticed at once. Must never:
//! stop trying while the peer is a member.

use super::{
    PeerEvent, Shared,
    frame::{Decoder, Kind, put, put_messages},
    handshake::{
        Cluster, HANDSHAKE_VERSION, Hello, MAX_HANDSHAKE_BYTES, Purpose, Reason, Reject, VERSIONS,
        Welcome,
    },
    link::{End, Pulse, read_frame, write},
    queue::Queue,
    stats::LinkCounters,
    stranger,
    tasks::Alive,
};
use crate::{handle::Member, world::World};
use bytes::BytesMut;
use kvorum_core::raft::{Instant, NodeId};
use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt, split},
    sync::Notify,
};
use tracing::{debug, info, warn};

/// Bytes of each lane that go into one write, about. A small message waits for one such write of
/// bulk at most.
const BATCH_BYTES: usize = 256 << 10;

/// A node that is no member is kept connected this long without a message for it.
const LINGER: Duration = Duration::from_secs(10);

/// How long a connection that is left on purpose may take to send what waits.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// One peer as the rest of the transport sees it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: NodeId,
    pub(super) queue: Queue,
    pub(super) stats: LinkCounters,
    /// Something changed that makes a dial worth while at once.
    kick: Notify,
    dropped: AtomicBool,
    drop: Notify,
}

impl Peer {
    pub(super) fn new(id: NodeId, queue: Queue) -> Peer {
        let dropped = AtomicBool::new(false);
        let stats = LinkCounters::default();
        Peer { id, queue, stats, kick: Notify::new(), dropped, drop: Notify::new() }
    }

    /// Ends the back-off under way, if any: the peer lives, or its address is new.
    pub(super) fn kick(&self) {
        self.kick.notify_one();
    }

    /// Ends the task, once what waits is sent or cannot be.
    pub(super) fn drop_it(&self) {
        self.dropped.store(true, Relaxed);
        self.drop.notify_one();
    }

    fn is_dropped(&self) -> bool {
        self.dropped.load(Relaxed)
    }

    /// Returns once the peer is dropped. For one waiter.
    async fn dropped(&self) {
        while !self.is_dropped() {
            self.drop.notified().await;
        }
    }
}

/// Why a dial did not lead to a connection.
#[derive(Debug)]
pub(super) enum DialError {
    /// No address is known.
    NoAddress,
    /// Resolving or connecting failed.
    Connect(io::Error),
    /// No answer in time.
    Silent(Duration),
    /// The connection ended before the answer.
    Closed(io::Error),
    /// What answered is not a kvorum node.
    Stranger(String),
    /// It said no.
    Rejected(Box<Reject>),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::NoAddress => f.write_str("no address is known"),
            DialError::Connect(error) => write!(f, "{error}"),
            DialError::Silent(after) => write!(f, "no answer within {after:?}"),
            DialError::Closed(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the connection was closed without an answer")
            }
            DialError::Closed(error) => {
                write!(f, "the connection broke without an answer: {error}")
            }
            DialError::Stranger(text) => f.write_str(text),
            DialError::Rejected(reject) => write!(f, "{reject}"),
        }
    }
}

/// Connects to `address` and shakes hands.
pub(super) async fn call<W: World>(
    shared: &Shared<W>,
    address: &str,
    hello: &Hello,
) -> Result<(W::Stream, Decoder, Welcome), DialError> {
    let timeout = shared.config.dial_timeout;
    tokio::select! {
        biased;
        result = shake(&shared.world, address, hello) => result,
        () = shared.world.sleep_until(shared.world.now().after(timeout)) => {
            Err(DialError::Silent(timeout))
        }
    }
}

async fn shake<W: World>(
    world: &W,
    address: &str,
    hello: &Hello,
) -> Result<(W::Stream, Decoder, Welcome), DialError> {
    let mut stream = world.dial(address).await.map_err(DialError::Connect)?;
    let mut out = BytesMut::new();
    put(&mut out, HANDSHAKE_VERSION, Kind::Hello, |out| hello.encode(out));
    write(&mut stream, &mut out).await.map_err(DialError::Closed)?;
    let mut decoder = Decoder::new(MAX_HANDSHAKE_BYTES);
    let frame = match read_frame(&mut stream, &mut decoder, |_| {}).await {
        Ok(frame) => frame,
        Err(End::Io(error)) => return Err(DialError::Closed(error)),
        Err(_) => return Err(DialError::Stranger(stranger::describe(decoder.pending()))),
    };
    let stranger = || DialError::Stranger("a broken handshake came back".to_owned());
    match frame.kind {
        Kind::Welcome => {
            let welcome = Welcome::decode(frame.payload).map_err(|_| stranger())?;
            if !VERSIONS.contains(&welcome.version) && hello.purpose == Purpose::Peer {
                return Err(stranger());
            }
            Ok((stream, decoder, welcome))
        }
        Kind::Reject => {
            let reject = Reject::decode(frame.payload).map_err(|_| stranger())?;
            Err(DialError::Rejected(Box::new(reject)))
        }
        _ => Err(stranger()),
    }
}

/// The life of one peer's task.
pub(super) async fn keep<W: World>(shared: Arc<Shared<W>>, peer: Arc<Peer>, _alive: Alive) {
    let mut backoff = Backoff::new(&shared);
    let mut last_error = None;
    loop {
        let dialled = tokio::select! {
            biased;
            () = shared.stopping() => break,
            () = peer.dropped() => break,
            dialled = dial(&shared, &peer, backoff.attempt) => dialled,
        };
        match dialled {
            Ok((stream, decoder, welcome)) => {
                if last_error.take().is_some() {
                    info!(peer = %welcome.acceptor.name, id = %peer.id, "peer is reachable again");
                }
                let since = shared.world.now();
                let end = talk(&shared, &peer, stream, decoder, &welcome).await;
                end.count(&shared.stats);
                shared.stats.dropped_stale.add(peer.queue.clear());
                if matches!(end, End::Left) {
                    break;
                }
                backoff.connection_ended(shared.world.now().since(since));
                debug!(peer = %welcome.acceptor.name, id = %peer.id, reason = %end, "lost a peer");
                if end.is_loss() {
                    shared.tell(PeerEvent::Unreachable(peer.id)).await;
                }
            }
            Err(error) => {
                shared.stats.dials_failed.one();
                shared.stats.dropped_stale.add(peer.queue.clear());
                report(&shared, &peer, &error, &mut last_error);
                backoff.failed(&error);
                shared.tell(PeerEvent::Unreachable(peer.id)).await;
            }
        }
        tokio::select! {
            biased;
            () = shared.stopping() => break,
            () = peer.dropped() => break,
            () = peer.kick.notified() => {}
            () = shared.world.sleep_until(backoff.until(&shared)) => {}
        }
        if shared.forget_if_unneeded(&peer) {
            break;
        }
    }
    shared.stats.dropped_stale.add(peer.queue.clear());
}

/// One attempt. Waits for a cluster first: without one nobody would let us in.
async fn dial<W: World>(
    shared: &Shared<W>,
    peer: &Peer,
    attempt: usize,
) -> Result<(W::Stream, Decoder, Welcome), DialError> {
    let (address, cluster) = loop {
        match shared.address_and_cluster(peer.id, attempt) {
            (_, None) => peer.kick.notified().await,
            (None, _) => return Err(DialError::NoAddress),
            (Some(address), cluster) => break (address, cluster),
        }
    };
    shared.stats.dials.one();
    let hello = Hello {
        versions: (*VERSIONS.start(), *VERSIONS.end()),
        purpose: Purpose::Peer,
        cluster,
        caller: shared.me.clone(),
        expected: Some(peer.id),
    };
    let (stream, decoder, welcome) = call(shared, &address, &hello).await?;
    if welcome.acceptor.id != peer.id || welcome.cluster != cluster {
        return Err(DialError::Stranger("it let us in though it is not whom we meant".to_owned()));
    }
    Ok((stream, decoder, welcome))
}

/// Says once what is wrong, and again when something else is.
fn report<W: World>(shared: &Shared<W>, peer: &Peer, error: &DialError, last: &mut Option<String>) {
    let text = error.to_string();
    if last.as_ref() == Some(&text) {
        return;
    }
    let name = shared.name(peer.id);
    match error {
        DialError::Rejected(reject) if matches!(reject.reason, Reason::NotYet) => {
            debug!(peer = %name, id = %peer.id, reason = %text, "peer is not ready");
        }
        DialError::Rejected(reject) if matches!(reject.reason, Reason::OtherCluster) => {
            let (ours, theirs) = (Cluster(shared.cluster()), Cluster(reject.cluster));
            warn!(
                peer = %name, id = %peer.id, our_cluster = %ours, their_cluster = %theirs,
                reason = %text, "a node of another cluster lives at a peer's address"
            );
        }
        DialError::Rejected(_) | DialError::Stranger(_) => {
            warn!(peer = %name, id = %peer.id, reason = %text, "cannot reach a peer; trying on");
        }
        _ => info!(peer = %name, id = %peer.id, reason = %text, "cannot reach a peer; trying on"),
    }
    *last = Some(text);
}

/// A connection that stands, until its end.
async fn talk<W: World>(
    shared: &Shared<W>,
    peer: &Peer,
    stream: W::Stream,
    mut decoder: Decoder,
    welcome: &Welcome,
) -> End {
    shared.stats.connected.one();
    peer.stats.connections.one();
    debug!(peer = %welcome.acceptor.name, id = %peer.id, "connected to a peer");
    shared.tell(PeerEvent::Connected(peer.id)).await;
    if welcome.member == Some(false) {
        shared.told_not_member(&welcome.acceptor).await;
    }
    let pulse = Pulse::default();
    let (mut reader, mut writer) = split(stream);
    let listening = async {
        loop {
            match read_frame(&mut reader, &mut decoder, |_| pulse.heard()).await {
                Ok(frame) if frame.version != welcome.version => {
                    return End::Corrupt(format!("a frame of wire version {}", frame.version));
                }
                Ok(frame) => match frame.kind {
                    Kind::Ping => {}
                    Kind::NotMember => shared.told_not_member(&welcome.acceptor).await,
                    Kind::Bye => return End::Bye,
                    kind => return End::Corrupt(format!("an unexpected {kind:?} frame")),
                },
                Err(end) => return end,
            }
        }
    };
    tokio::pin!(listening);
    // The light side first, so that a flood of messages does not hide the peer's pings.
    let end = tokio::select! {
        biased;
        () = shared.closed() => return End::Left,
        end = pulse.watch(&shared.world, &shared.config) => end,
        end = &mut listening => end,
        end = send(shared, peer, &mut writer, &pulse, welcome.version) => end,
    };
    if matches!(end, End::Left) {
        // All is written and the writing side closed. Reading on until the peer closes too keeps
        // an unread ping from turning our close into a reset, which could overtake the messages.
        let deadline = shared.world.now().after(LEAVE_WITHIN);
        tokio::select! {
            biased;
            () = shared.closed() => {}
            _ = &mut listening => {}
            () = shared.world.sleep_until(deadline) => {}
        }
    }
    end
}

/// Writes what waits, one write per wake-up, until the peer is left or the connection breaks.
async fn send<W: World, S: AsyncWrite + Unpin>(
    shared: &Shared<W>,
    peer: &Peer,
    writer: &mut S,
    pulse: &Pulse,
    version: u8,
) -> End {
    let mut batch = Vec::new();
    let mut out = BytesMut::new();
    let mut used: Instant = shared.world.now();
    let leave = async {
        tokio::select! {
            biased;
            () = shared.stopping() => {}
            () = peer.dropped() => {}
        }
    };
    tokio::pin!(leave);
    let mut leaving = false;
    loop {
        peer.queue.take(BATCH_BYTES, &mut batch);
        if !batch.is_empty() {
            used = shared.world.now();
            let left_out = put_messages(&mut out, version, &batch, shared.config.max_frame_bytes);
            shared.stats.dropped_too_large.add(left_out);
            shared.stats.sent_messages.add(batch.len() - left_out);
            peer.stats.sent_messages.add(batch.len() - left_out);
            batch.clear();
            if left_out > 0 {
                warn!(
                    id = %peer.id, limit = shared.config.max_frame_bytes,
                    "dropped a message larger than the largest frame"
                );
            }
        } else if leaving {
            if peer.is_dropped() {
                put(&mut out, version, Kind::Bye, |_| {});
            }
            let farewell = async {
                write(writer, &mut out).await?;
                writer.shutdown().await
            };
            return farewell.await.map_or_else(End::Io, |()| End::Left);
        } else {
            tokio::select! {
                biased;
                () = &mut leave => leaving = true,
                () = peer.queue.ready() => continue,
                () = pulse.ping_due() => {
                    let unused = shared.world.now().since(used) > LINGER;
                    if unused && shared.forget_if_unneeded(peer) {
                        continue;
                    }
                    put(&mut out, version, Kind::Ping, |_| {});
                }
            }
        }
        if out.is_empty() {
            continue;
        }
        shared.stats.sent_batches.one();
        shared.stats.sent_bytes.add(out.len());
        peer.stats.sent_bytes.add(out.len());
        if let Err(error) = write(writer, &mut out).await {
            return End::Io(error);
        }
        pulse.wrote();
    }
}

/// Time between attempts: grows with every failure, with jitter so that nodes do not dial in step.
#[derive(Debug)]
struct Backoff {
    min: Duration,
    max: Duration,
    current: Duration,
    attempt: usize,
}

impl Backoff {
    fn new<W: World>(shared: &Shared<W>) -> Backoff {
        let (min, max) = (shared.config.backoff_min, shared.config.backoff_max);
        Backoff { min, max: max.max(min), current: min, attempt: 0 }
    }

    /// A dial failed.
    fn failed(&mut self, error: &DialError) {
        self.attempt = self.attempt.wrapping_add(1);
        let hopeless = matches!(error, DialError::Rejected(reject)
            if !matches!(reject.reason, Reason::NotYet));
        self.current = if hopeless { self.max } else { (self.current * 2).min(self.max) };
    }

    /// A connection that lasted for `lasted` ended. One that lasted is no failure to connect.
    fn connection_ended(&mut self, lasted: Duration) {
        self.attempt = 0;
        self.current = if lasted > self.max { self.min } else { (self.current * 2).min(self.max) };
    }

    /// When to try again: between the minimum and the current bound from now.
    fn until<W: World>(&self, shared: &Shared<W>) -> Instant {
        let spread = u64::try_from((self.current - self.min).as_nanos()).unwrap_or(u64::MAX);
        let jitter = shared.world.entropy() % spread.saturating_add(1);
        shared.world.now().after(self.min + Duration::from_nanos(jitter))
    }
}

/// What a probe says of itself.
pub(super) fn probe_hello(me: &Member, cluster: Option<u64>) -> Hello {
    Hello {
        versions: (*VERSIONS.start(), *VERSIONS.end()),
        purpose: Purpose::Probe,
        cluster,
        caller: me.clone(),
        expected: None,
    }
}
