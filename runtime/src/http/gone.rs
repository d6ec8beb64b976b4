//! Noticing that a client has left while its request waits.
//!
//! Rule: while somebody wants to know, the connection reads ahead, at most `AHEAD` bytes; the end of
//! the stream says that the client has left, or has closed its half and will not wait either. Must
//! never: cost anything while nobody wants to know, or lose a byte.
//!
//! hyper does not read while an answer is outstanding (a client may close its half and still want
//! it), but flushes whenever it is woken: that is when this looks.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

/// Bytes read ahead of their time.
const AHEAD: usize = 1024;

/// Tells whether the client of a connection has left. Stands among a request's extensions.
#[derive(Debug, Clone, Default)]
pub(super) struct Gone(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// How many want to know.
    wanted: AtomicUsize,
    gone: AtomicBool,
    told: Notify,
}

/// Somebody wants to know.
struct Wanted<'g>(&'g Shared);

/// A connection that can tell.
pub(super) struct Noticing<S> {
    stream: S,
    shared: Arc<Shared>,
    ahead: Vec<u8>,
}

impl Gone {
    /// Returns once the client has left.
    pub(super) async fn left(&self) {
        self.0.wanted.fetch_add(1, Ordering::Relaxed);
        let _wanted = Wanted(&self.0);
        loop {
            let told = self.0.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if self.0.gone.load(Ordering::Relaxed) {
                return;
            }
            told.await;
        }
    }

    /// `stream`, watched.
    pub(super) fn watch<S>(&self, stream: S) -> Noticing<S> {
        Noticing { stream, shared: Arc::clone(&self.0), ahead: Vec::new() }
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> Noticing<S> {
    fn look_ahead(&mut self, context: &mut Context<'_>) {
        let wanted = self.shared.wanted.load(Ordering::Relaxed) > 0;
        if !wanted || !self.ahead.is_empty() || self.shared.gone.load(Ordering::Relaxed) {
            return;
        }
        let mut bytes = [0; AHEAD];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                self.ahead.extend_from_slice(buffer.filled());
                // Whoever reads has been told that there is nothing.
                context.waker().wake_by_ref();
            }
            Poll::Ready(_) => {
                self.shared.gone.store(true, Ordering::Relaxed);
                self.shared.told.notify_waiters();
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noticing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..count]);
        self.ahead.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Noticing<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.look_ahead(context);
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
