//! The incoming side: every connection is introduced, then read.
//!
//! Rule: a caller of another cluster or for another incarnation is told so and reported; after the
//! introduction only messages from the named node to this incarnation come through. Must never:
//! accept more than `max_inbound` connections, or answer a browser with silence.

use super::{
    PeerEvent, Shared,
    dial::MAX_INTRODUCTION,
    frame::{self, Kind},
    handshake::{Hello, Reject, VERSION, Welcome},
};
use crate::{
    handle::Member,
    world::{Listener, World},
};
use bytes::BytesMut;
use kvorum_core::raft::Envelope;
use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Pause after a failed accept (no file descriptors, …).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What a client of the wrong port is told.
const WRONG_PORT: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
    Connection: close\r\n\r\nthis is kvorum's Raft port, where nodes talk to each other; use the \
    HTTP port (PORT) of the node\n";

/// Accepts until the transport closes.
pub async fn serve<W: World>(shared: Arc<Shared<W>>, mut listener: W::Listener) {
    let work = async {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        let full = shared.inbound.fetch_add(1, Ordering::Relaxed)
                            >= shared.config.max_inbound;
                        let ended = tokio::select! {
                            biased;
                            () = shared.closed.wait_for(|closed| closed.then_some(())) => Ok(()),
                            ended = receive(&shared, stream, full) => ended,
                        };
                        shared.inbound.fetch_sub(1, Ordering::Relaxed);
                        if let Err(error) = ended {
                            tracing::debug!(from, %error, "an incoming connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of a peer; trying again");
                    shared.world.sleep_until(shared.world.now().after(ACCEPT_PAUSE)).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shared.closed.wait_for(|closed| closed.then_some(())) => {}
        () = work => {}
    }
}

/// One connection, from hello to loss.
async fn receive<W: World>(
    shared: &Shared<W>,
    mut stream: W::Stream,
    full: bool,
) -> io::Result<()> {
    let mut input = BytesMut::new();
    let Some(hello) =
        shared.within(shared.config.dial_timeout, read_hello(&mut stream, &mut input)).await?
    else {
        return Ok(());
    };
    let verdict = if full { Err(Reject::Full) } else { judge(shared, &hello) };
    report_stranger(shared, &hello, verdict.as_ref().err()).await;
    let mut output = BytesMut::new();
    match &verdict {
        Ok(welcome) => frame::put(&mut output, Kind::Welcome, |out| welcome.encode(out)),
        Err(reject) => frame::put(&mut output, Kind::Reject, |out| reject.encode(out)),
    }
    stream.write_all(&output).await?;
    stream.flush().await?;
    if verdict.is_err() || hello.expected.is_none() {
        return stream.shutdown().await;
    }
    shared.learn(&hello.me);
    let ended = read_messages(shared, &hello.me, stream, input).await;
    // The process at the other end may be gone: say so without waiting for the next dial.
    shared.tell(PeerEvent::Unreachable(hello.me.id)).await;
    ended
}

/// The introduction; `None` when a client of the wrong port was sent away.
async fn read_hello<S>(stream: &mut S, input: &mut BytesMut) -> io::Result<Option<Hello>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        if looks_like_http(input) {
            stream.write_all(WRONG_PORT).await?;
            stream.flush().await?;
            stream.shutdown().await?;
            return Ok(None);
        }
        match frame::take(input, MAX_INTRODUCTION) {
            Ok(Some((Kind::Hello, body))) => {
                return Hello::decode(body)
                    .map(Some)
                    .map_err(|bad| io::Error::other(bad.to_string()));
            }
            Ok(Some(_)) => return Err(io::Error::other("the first frame is not a hello")),
            Err(bad) => return Err(io::Error::other(bad.to_string())),
            Ok(None) => {}
        }
        if stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

fn looks_like_http(input: &[u8]) -> bool {
    const METHODS: [&[u8]; 8] =
        [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"PRI * "];
    METHODS.iter().any(|method| input.starts_with(method))
}

fn judge<W: World>(shared: &Shared<W>, hello: &Hello) -> Result<Welcome, Reject> {
    let mine = shared.cluster();
    if hello.versions.0 > VERSION || hello.versions.1 < VERSION {
        return Err(Reject::Version);
    }
    if let Some(expected) = hello.expected {
        match (mine, hello.cluster) {
            (None, _) => return Err(Reject::NotYet),
            (Some(mine), Some(theirs)) if mine != theirs => return Err(Reject::OtherCluster(mine)),
            (Some(_), None) => return Err(Reject::NotYet),
            _ if expected != shared.me.id => return Err(Reject::OtherIncarnation(shared.me.id)),
            _ => {}
        }
    }
    Ok(Welcome {
        version: VERSION,
        cluster: mine,
        me: shared.me.clone(),
        member: shared.knows(hello.me.id),
    })
}

/// A call from another cluster, or while this node has none, is news for the node.
async fn report_stranger<W: World>(shared: &Shared<W>, hello: &Hello, reject: Option<&Reject>) {
    let (Some(cluster), Some(expected)) = (hello.cluster, hello.expected) else { return };
    if matches!(reject, Some(Reject::NotYet | Reject::OtherCluster(_))) {
        shared.tell(PeerEvent::Called { cluster, caller: hello.me.clone(), expected }).await;
    }
}

async fn read_messages<W: World>(
    shared: &Shared<W>,
    caller: &Member,
    stream: W::Stream,
    mut input: BytesMut,
) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    loop {
        while let Some((kind, body)) = frame::take(&mut input, shared.config.max_frame_bytes)
            .map_err(|bad| io::Error::other(bad.to_string()))?
        {
            match kind {
                Kind::Message => {
                    let envelope = Envelope::decode(body)
                        .map_err(|bad| io::Error::other(format!("a message is not one: {bad}")))?;
                    if envelope.from != caller.id {
                        return Err(io::Error::other("a message in somebody else's name"));
                    }
                    shared.tell(PeerEvent::Received(envelope)).await;
                }
                Kind::Ping => {
                    let mut pong = BytesMut::new();
                    frame::put(&mut pong, Kind::Pong, |_| {});
                    writer.write_all(&pong).await?;
                    writer.flush().await?;
                }
                Kind::Pong => {}
                Kind::Hello | Kind::Welcome | Kind::Reject => {
                    return Err(io::Error::other("a second introduction"));
                }
            }
        }
        // The dialler pings more often than this: silence means that it is gone.
        let silence = shared.config.idle_timeout * 2;
        let read = async { reader.read_buf(&mut input).await };
        if shared.within(silence, read).await? == 0 {
            return Ok(());
        }
    }
}
