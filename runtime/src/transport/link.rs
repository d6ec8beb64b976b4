//! What both ends of a connection have in common: reading frames, and the pulse.
//!
//! Rule: a side that has written nothing for a ping interval pings, and a side that has heard
//! nothing for the idle timeout closes. TCP alone never tells that the other machine is gone. Must
//! never: take its own pause for the peer's silence (it counts ticks of its own clock, so that a
//! frozen process that wakes up first reads what has arrived).

use super::{
    TransportConfig,
    frame::{Decoder, Frame, FrameError},
    stats::Counters,
};
use crate::world::World;
use bytes::BytesMut;
use std::{
    fmt, io,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Notify,
};

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// Lost: end of stream, reset, or whatever the socket said.
    Io(io::Error),
    /// Nothing arrived for too long.
    Idle(Duration),
    /// What arrived does not verify.
    Corrupt(String),
    /// A message named somebody that the handshake did not.
    Impostor(String),
    /// The other side closed on purpose and lives on.
    Bye,
    /// This side closed on purpose.
    Left,
}

impl End {
    /// Whether the peer may be gone.
    pub(super) fn is_loss(&self) -> bool {
        !matches!(self, End::Bye | End::Left)
    }

    /// Counts it, if it is a kind that is counted.
    pub(super) fn count(&self, stats: &Counters) {
        match self {
            End::Idle(_) => stats.idle_closed.one(),
            End::Corrupt(_) => stats.corrupt.one(),
            End::Impostor(_) => stats.impostors.one(),
            End::Io(_) | End::Bye | End::Left => {}
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the other side closed the connection")
            }
            End::Io(error) => write!(f, "{error}"),
            End::Idle(after) => write!(f, "nothing arrived for {after:?}"),
            End::Corrupt(what) | End::Impostor(what) => f.write_str(what),
            End::Bye => f.write_str("closed by the other side on purpose"),
            End::Left => f.write_str("closed by this side on purpose"),
        }
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Io(error)
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> End {
        End::Corrupt(error.to_string())
    }
}

/// The next frame, reading as much as it takes.
pub(super) async fn read_frame<R: AsyncRead + Unpin>(
    reader: &mut R,
    decoder: &mut Decoder,
    mut heard: impl FnMut(usize),
) -> Result<Frame, End> {
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return Ok(frame);
        }
        let n = reader.read_buf(decoder.space()).await?;
        if n == 0 {
            return Err(End::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        heard(n);
    }
}

/// Writes all of `bytes` and empties it; gives memory back after an unusually large write.
pub(super) async fn write<S: AsyncWrite + Unpin>(
    writer: &mut S,
    bytes: &mut BytesMut,
) -> io::Result<()> {
    const KEEP: usize = 1 << 20;
    writer.write_all(bytes).await?;
    writer.flush().await?;
    if bytes.capacity() > KEEP {
        *bytes = BytesMut::new();
    } else {
        bytes.clear();
    }
    Ok(())
}

/// Signs of life of one connection.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    heard: AtomicBool,
    busy: AtomicBool,
    wrote: AtomicBool,
    ping: Notify,
}

impl Pulse {
    /// Bytes have arrived.
    pub(super) fn heard(&self) {
        self.heard.store(true, Relaxed);
    }

    /// Bytes have left.
    pub(super) fn wrote(&self) {
        self.wrote.store(true, Relaxed);
    }

    /// Whether this side is too busy to read; silence does not count meanwhile.
    pub(super) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Relaxed);
    }

    /// Returns when it is time to ping. For one consumer.
    pub(super) async fn ping_due(&self) {
        self.ping.notified().await;
    }

    /// Calls for pings, and returns once nothing has been heard for the idle timeout.
    pub(super) async fn watch<W: World>(&self, world: &W, config: &TransportConfig) -> End {
        // Ticks are not evenly short of the timeout: round up, and allow the one under way.
        let interval = config.ping_interval.max(Duration::from_millis(1));
        let ticks = config.idle_timeout.as_nanos().div_ceil(interval.as_nanos()).max(2);
        let mut silent = 0;
        while silent < ticks {
            world.sleep_until(world.now().after(interval)).await;
            if !self.wrote.swap(false, Relaxed) {
                self.ping.notify_one();
            }
            let alive = self.heard.swap(false, Relaxed) || self.busy.load(Relaxed);
            silent = if alive { 0 } else { silent + 1 };
        }
        End::Idle(config.idle_timeout)
    }
}
