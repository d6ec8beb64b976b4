//! The receiving side: accepted connections.
//!
//! Rule: one task per connection, a bounded number of them; nothing is believed before the
//! handshake, which must end in time; after it every message is checked against it and handed to
//! the driver, and while the driver is slow nothing more is read. One connection per incarnation:
//! the newest. Must never: let a caller of another cluster deliver anything.

use super::{
    PeerEvent, Shared,
    frame::{Decoder, Frame, Kind, next_message, put},
    handshake::{
        Cluster, HANDSHAKE_VERSION, Hello, MAX_HANDSHAKE_BYTES, Purpose, Reason, Reject, VERSIONS,
        Welcome, agree,
    },
    link::{End, Pulse, read_frame, write},
    stranger,
    tasks::Alive,
};
use crate::world::{Listener, World};
use bytes::BytesMut;
use kvorum_core::raft::NodeId;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, split},
    sync::Notify,
};
use tracing::{debug, info, warn};

/// How long to wait after the system refuses to accept (out of descriptors, say).
const PAUSE: Duration = Duration::from_millis(50);

/// The connection from one incarnation, as others see it.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    replaced: AtomicBool,
    wake: Notify,
}

impl Inbound {
    /// A newer connection has come from the same incarnation: close this one.
    pub(super) fn replace(&self) {
        self.replaced.store(true, Relaxed);
        self.wake.notify_one();
    }

    /// The caller is no longer a member: tell it now rather than with the next ping.
    pub(super) fn removed(&self) {
        self.wake.notify_one();
    }
}

/// Accepts until the transport stops.
pub(super) async fn listen<W: World>(
    shared: Arc<Shared<W>>,
    mut listener: W::Listener,
    _alive: Alive,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stopping() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                shared.stats.accepted.one();
                if shared.inbound.count() >= shared.config.max_inbound {
                    shared.stats.refused_inbound.one();
                    if shared.full_throttle.allow(shared.world.now()) {
                        warn!(
                            %from,
                            limit = shared.config.max_inbound,
                            "closing a connection to the Raft port: too many are open"
                        );
                    }
                    continue;
                }
                let alive = shared.inbound.enter();
                let shared = Arc::clone(&shared);
                tokio::spawn(async move { serve(&shared, stream, &from, alive).await });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection on the Raft port; trying again");
                tokio::select! {
                    biased;
                    () = shared.stopping() => return,
                    () = shared.world.sleep_until(shared.world.now().after(PAUSE)) => {}
                }
            }
        }
    }
}

/// One accepted connection, from the handshake to its end.
async fn serve<W: World>(shared: &Shared<W>, mut stream: W::Stream, from: &str, _alive: Alive) {
    let mut decoder = Decoder::new(MAX_HANDSHAKE_BYTES);
    let deadline = shared.world.now().after(shared.config.dial_timeout);
    let admitted = tokio::select! {
        biased;
        () = shared.closed() => return,
        admitted = admit(shared, &mut stream, &mut decoder, from) => admitted,
        () = shared.world.sleep_until(deadline) => {
            shared.stats.unfinished.one();
            debug!(%from, "closing a connection to the Raft port: no handshake in time");
            return;
        }
    };
    let Some((hello, version)) = admitted else { return };
    let inbound = shared.register_inbound(&hello.caller);
    decoder.set_max_payload(shared.config.max_frame_bytes);
    let caller = hello.caller.id;
    debug!(peer = %hello.caller.name, id = %caller, %from, "peer connected to us");
    let end = tokio::select! {
        biased;
        () = shared.closed() => return,
        end = receive(shared, stream, decoder, caller, version, &inbound) => end,
    };
    end.count(&shared.stats);
    let current = shared.deregister_inbound(caller, &inbound);
    match &end {
        End::Corrupt(_) | End::Impostor(_) => {
            warn!(peer = %hello.caller.name, %from, reason = %end, "closed a peer's connection");
        }
        _ => debug!(peer = %hello.caller.name, %from, reason = %end, "peer's connection ended"),
    }
    if current && end.is_loss() {
        shared.tell(PeerEvent::Unreachable(caller)).await;
    }
}

/// The handshake. `None`: it did not lead to a peer's connection (all is said and counted).
async fn admit<W: World>(
    shared: &Shared<W>,
    stream: &mut W::Stream,
    decoder: &mut Decoder,
    from: &str,
) -> Option<(Hello, u8)> {
    let hello = match read_hello(stream, decoder).await {
        Ok(hello) => hello,
        Err(end) => {
            if stranger::is_http(stream, decoder).await {
                shared.stats.strangers.one();
                info!(%from, "somebody spoke HTTP to the Raft port; told so");
                stranger::answer_http(stream, &shared.me).await;
            } else if let End::Corrupt(what) = end {
                shared.stats.strangers.one();
                debug!(%from, %what, "closing a connection to the Raft port: not a kvorum node");
            } else {
                shared.stats.unfinished.one();
                debug!(%from, reason = %end, "a connection to the Raft port ended unfinished");
            }
            return None;
        }
    };
    let answer = judge(shared, &hello);
    let mut out = BytesMut::new();
    match &answer {
        Ok(welcome) => put(&mut out, HANDSHAKE_VERSION, Kind::Welcome, |out| welcome.encode(out)),
        Err(reason) => {
            shared.stats.rejected.one();
            let (cluster, acceptor) = (shared.cluster(), shared.me.clone());
            let reject = Reject { reason: *reason, cluster, acceptor };
            put(&mut out, HANDSHAKE_VERSION, Kind::Reject, |out| reject.encode(out));
        }
    }
    let written = write(stream, &mut out).await;
    if let Err(Reason::NotYet | Reason::OtherCluster) = answer {
        report_call(shared, &hello).await;
    }
    written.ok()?;
    let welcome = answer.ok();
    if welcome.is_none() || hello.purpose == Purpose::Probe {
        stranger::linger(stream).await;
        return None;
    }
    Some((hello, welcome?.version))
}

async fn read_hello<S: AsyncRead + Unpin>(
    stream: &mut S,
    decoder: &mut Decoder,
) -> Result<Hello, End> {
    let frame = read_frame(stream, decoder, |_| {}).await?;
    if frame.kind != Kind::Hello || frame.version != HANDSHAKE_VERSION {
        return Err(End::Corrupt("the first frame is no Hello".to_owned()));
    }
    Hello::decode(frame.payload).map_err(|error| End::Corrupt(error.to_string()))
}

/// Whether the caller may come in.
fn judge<W: World>(shared: &Shared<W>, hello: &Hello) -> Result<Welcome, Reason> {
    let (min, max) = (*VERSIONS.start(), *VERSIONS.end());
    let version = agree(VERSIONS, hello.versions).ok_or(Reason::Version { min, max })?;
    let (cluster, member) = shared.cluster_and_membership(hello.caller.id);
    let welcome = Welcome { version, cluster, acceptor: shared.me.clone(), member };
    if hello.purpose == Purpose::Probe {
        return Ok(welcome);
    }
    match (cluster, hello.cluster) {
        (None, _) | (_, None) => Err(Reason::NotYet),
        (Some(mine), Some(theirs)) if mine != theirs => Err(Reason::OtherCluster),
        _ if hello.expected.is_some_and(|id| id != shared.me.id) => Err(Reason::OtherIncarnation),
        _ => Ok(welcome),
    }
}

/// Tells the driver of a caller whose cluster is not (yet) this node's.
async fn report_call<W: World>(shared: &Shared<W>, hello: &Hello) {
    let Some(cluster) = hello.cluster else { return };
    let caller = hello.caller.clone();
    let mine = shared.cluster();
    if mine.is_some() && shared.cluster_throttle.allow(shared.world.now()) {
        warn!(
            caller = %caller.name,
            address = %caller.raft_address,
            their_cluster = %Cluster(Some(cluster)),
            our_cluster = %Cluster(mine),
            "turned away a node of another cluster: check RAFT_JOIN_ADDR and RAFT_BIND_ADDR of both"
        );
    }
    let expected = hello.expected.unwrap_or(shared.me.id);
    shared.tell(PeerEvent::Called { cluster, caller, expected }).await;
}

/// Reads messages for the driver until the connection ends.
async fn receive<W: World>(
    shared: &Shared<W>,
    stream: W::Stream,
    mut decoder: Decoder,
    caller: NodeId,
    version: u8,
    inbound: &Inbound,
) -> End {
    let pulse = Pulse::default();
    let (mut reader, mut writer) = split(stream);
    let reading = async {
        loop {
            let heard = |n| {
                pulse.heard();
                shared.stats.received_bytes.add(n);
            };
            let frame = match read_frame(&mut reader, &mut decoder, heard).await {
                Ok(frame) => frame,
                Err(end) => return end,
            };
            if let Err(end) = deliver(shared, &pulse, frame, caller, version).await {
                return end;
            }
        }
    };
    // The light side first: a flood of messages must not keep the pings from leaving.
    tokio::select! {
        biased;
        end = pulse.watch(&shared.world, &shared.config) => end,
        end = answer(shared, &mut writer, &pulse, caller, version, inbound) => end,
        end = reading => end,
    }
}

/// Hands the messages of one frame to the driver.
async fn deliver<W: World>(
    shared: &Shared<W>,
    pulse: &Pulse,
    frame: Frame,
    caller: NodeId,
    version: u8,
) -> Result<(), End> {
    if frame.version != version {
        return Err(End::Corrupt(format!("a frame of wire version {}", frame.version)));
    }
    let mut payload = match frame.kind {
        Kind::Messages => frame.payload,
        Kind::Ping => return Ok(()),
        Kind::Bye => return Err(End::Bye),
        kind @ (Kind::Hello | Kind::Welcome | Kind::Reject | Kind::NotMember) => {
            return Err(End::Corrupt(format!("an unexpected {kind:?} frame")));
        }
    };
    while let Some(envelope) = next_message(&mut payload).map_err(End::Corrupt)? {
        if envelope.from != caller || envelope.to != shared.me.id {
            return Err(End::Impostor(format!(
                "a message from {} to {} on the connection from {caller} to {}",
                envelope.from, envelope.to, shared.me.id
            )));
        }
        pulse.set_busy(true);
        shared.tell(PeerEvent::Received(envelope)).await;
        pulse.set_busy(false);
        pulse.heard();
        shared.stats.received_messages.one();
    }
    Ok(())
}

/// The little that an acceptor has to say: that it is there, and that the caller is no member. It
/// repeats itself, since a caller that still hears a leader does not believe it yet.
async fn answer<W: World, S: AsyncWrite + Unpin>(
    shared: &Shared<W>,
    writer: &mut S,
    pulse: &Pulse,
    caller: NodeId,
    version: u8,
    inbound: &Inbound,
) -> End {
    let mut out = BytesMut::new();
    loop {
        tokio::select! {
            biased;
            () = inbound.wake.notified() => {}
            () = pulse.ping_due() => {}
        }
        if inbound.replaced.load(Relaxed) {
            return End::Left;
        }
        let kind = match shared.cluster_and_membership(caller) {
            (_, Some(false)) => Kind::NotMember,
            (_, Some(true) | None) => Kind::Ping,
        };
        put(&mut out, version, kind, |_| {});
        if let Err(error) = write(writer, &mut out).await {
            return End::Io(error);
        }
        pulse.wrote();
    }
}
