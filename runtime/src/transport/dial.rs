//! The outgoing side: one task per peer that dials, introduces itself, and sends what is queued.
//!
//! Rule: the name is resolved at every dial; a failed dial or a lost connection is told at once and
//! followed by a growing, jittered pause; a connection on which nothing comes back is given up.
//! Must never: keep what was queued for a connection that is gone.

use super::{
    PeerEvent, Shared,
    frame::{self, Kind},
    handshake::{Hello, Reject, VERSION, Welcome},
    queue::Queue,
};
use crate::world::World;
use bytes::BytesMut;
use kvorum_core::raft::NodeId;
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A peer as the sending side knows it.
#[derive(Debug)]
pub struct Link {
    /// The incarnation meant.
    pub id: NodeId,
    /// Where it is now; changes when the membership or its own call says so.
    pub address: Mutex<String>,
    /// What waits for it.
    pub queue: Queue,
    /// Thrown when the peer is no longer one.
    pub retired: crate::sync::Watched<bool>,
}

impl Link {
    fn address(&self) -> String {
        self.address.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What became of an introduction.
pub enum Introduction<S> {
    /// The other side is who it should be.
    Welcome(S, Welcome, BytesMut),
    /// It refuses.
    Rejected(Reject),
    /// It is not kvorum; the text says what it said.
    Stranger(String),
}

/// Keeps a connection to `link` until it is retired or the transport closes.
pub async fn keep<W: World>(shared: Arc<Shared<W>>, link: Arc<Link>) {
    let work = async {
        let mut pause = shared.config.backoff_min;
        loop {
            let ended = attempt(&shared, &link, &mut pause).await;
            link.queue.clear();
            tracing::debug!(peer = link.id.0, address = link.address(), cause = %ended, "no connection");
            shared.tell(PeerEvent::Unreachable(link.id)).await;
            let jitter = shared.world.entropy() % 256;
            let wait = pause.mul_f64(0.5 + jitter as f64 / 512.0);
            shared.world.sleep_until(shared.world.now().after(wait)).await;
            pause = (pause * 2).min(shared.config.backoff_max);
        }
    };
    tokio::select! {
        biased;
        () = shared.closed.wait_for(|closed| closed.then_some(())) => {}
        () = link.retired.wait_for(|retired| retired.then_some(())) => {}
        () = work => {}
    }
}

/// One connection, from dial to loss; returns why it ended.
async fn attempt<W: World>(shared: &Shared<W>, link: &Link, pause: &mut Duration) -> io::Error {
    let address = link.address();
    let introduction = match introduce(shared, &address, Some(link.id)).await {
        Ok(introduction) => introduction,
        Err(error) => return error,
    };
    match introduction {
        Introduction::Welcome(stream, welcome, input) => {
            *pause = shared.config.backoff_min;
            shared.tell(PeerEvent::Connected(link.id)).await;
            if !welcome.member {
                shared.tell(PeerEvent::NotMember { by: welcome.me }).await;
            }
            converse(shared, link, stream, input).await
        }
        Introduction::Rejected(reject) => {
            if let Reject::OtherCluster(theirs) = reject {
                tracing::error!(
                    address,
                    theirs = format_args!("{theirs:016x}"),
                    "a node of another cluster answers at a member's address; stop it, or remove \
                     the member"
                );
            }
            io::Error::other(format!("{address} refuses: {reject:?}"))
        }
        Introduction::Stranger(what) => io::Error::other(what),
    }
}

/// Dials and says hello, within the dial timeout.
pub async fn introduce<W: World>(
    shared: &Shared<W>,
    address: &str,
    expected: Option<NodeId>,
) -> io::Result<Introduction<W::Stream>> {
    let work = async {
        let mut stream = shared.world.dial(address).await?;
        let mut output = BytesMut::new();
        let hello = Hello {
            versions: (VERSION, VERSION),
            cluster: shared.cluster(),
            me: shared.me.clone(),
            expected,
        };
        frame::put(&mut output, Kind::Hello, |out| hello.encode(out));
        stream.write_all(&output).await?;
        stream.flush().await?;
        let mut input = BytesMut::new();
        loop {
            match frame::take(&mut input, MAX_INTRODUCTION) {
                Ok(Some((Kind::Welcome, body))) => {
                    return Ok(match Welcome::decode(body) {
                        Ok(welcome) => Introduction::Welcome(stream, welcome, input),
                        Err(bad) => Introduction::Stranger(bad.to_string()),
                    });
                }
                Ok(Some((Kind::Reject, body))) => {
                    return Ok(match Reject::decode(body) {
                        Ok(reject) => Introduction::Rejected(reject),
                        Err(bad) => Introduction::Stranger(bad.to_string()),
                    });
                }
                Ok(Some(_)) | Err(_) => {
                    return Ok(Introduction::Stranger(format!(
                        "what answers at {address} is not kvorum's Raft port; give the address of \
                         RAFT_BIND_ADDR"
                    )));
                }
                Ok(None) => {}
            }
            if stream.read_buf(&mut input).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed at hello"));
            }
        }
    };
    shared.within(shared.config.dial_timeout, work).await
}

/// Largest frame of an introduction.
pub const MAX_INTRODUCTION: usize = 64 << 10;

/// Sends what is queued until the connection is lost.
async fn converse<W: World>(
    shared: &Shared<W>,
    link: &Link,
    stream: W::Stream,
    mut input: BytesMut,
) -> io::Error {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let now = || shared.world.now();
    let mut heard = now();
    let mut ping_due = now().after(shared.config.ping_interval);
    // Bytes on their way out; a peer that does not take them does not stop us from listening.
    let mut output = BytesMut::new();
    loop {
        let dead = heard.after(shared.config.idle_timeout);
        if now() >= dead {
            return io::Error::new(io::ErrorKind::TimedOut, "nothing comes back");
        }
        if now() >= ping_due {
            ping_due = now().after(shared.config.ping_interval);
            if output.is_empty() {
                frame::put(&mut output, Kind::Ping, |_| {});
            }
        }
        let sending = !output.is_empty();
        tokio::select! {
            biased;
            read = reader.read_buf(&mut input) => match read {
                Ok(0) => return io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the peer"),
                Err(error) => return error,
                Ok(_) => {
                    heard = now();
                    loop {
                        match frame::take(&mut input, MAX_INTRODUCTION) {
                            Ok(Some(_)) => {}
                            Ok(None) => break,
                            Err(bad) => return io::Error::other(bad.to_string()),
                        }
                    }
                }
            },
            written = writer.write_buf(&mut output), if sending => match written {
                Ok(0) => return io::Error::new(io::ErrorKind::WriteZero, "cannot send"),
                Ok(_) => {
                    if output.is_empty() && let Err(error) = writer.flush().await {
                        return error;
                    }
                }
                Err(error) => return error,
            },
            batch = link.queue.batch(), if !sending => output = batch,
            () = shared.world.sleep_until(dead.min(ping_due)) => {}
        }
    }
}
