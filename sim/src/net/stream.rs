//! The ends of a simulated connection as the runtime uses them.
//!
//! Rule: polls look at the model's buffers and leave a waker. Must never: outlive the power of their
//! machine: from then on every poll is silent.

use super::{
    Net, Place,
    model::{ConnId, DialId},
};
use kvorum_runtime::world::Listener;
use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection.
pub struct SimStream {
    net: Net,
    conn: ConnId,
    end: usize,
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        let (conn, end) = (self.conn, self.end);
        match self.net.with(|model, now| model.read(conn, end, room, now, cx.waker())) {
            None => Poll::Pending,
            Some(Err(error)) => Poll::Ready(Err(error)),
            Some(Ok(data)) => {
                buffer.put_slice(&data);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let (conn, end) = (self.conn, self.end);
        match self.net.with(|model, now| model.write(conn, end, data, now, cx.waker())) {
            None => Poll::Pending,
            Some(result) => Poll::Ready(result),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (conn, end) = (self.conn, self.end);
        self.net.with(|model, now| model.shutdown(conn, end, now));
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let (conn, end) = (self.conn, self.end);
        self.net.with(|model, now| model.close(conn, end, now));
    }
}

/// A bound port.
pub struct SimListener {
    net: Net,
    place: Place,
    port: u16,
    address: String,
}

impl SimListener {
    pub(super) fn new(net: Net, place: Place, port: u16, address: String) -> SimListener {
        SimListener { net, place, port, address }
    }
}

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&mut self) -> io::Result<(SimStream, String)> {
        let (place, port) = (self.place, self.port);
        let net = self.net.clone();
        poll_fn(|cx| match net.with(|model, _| model.accept(place, port, cx.waker())) {
            Some((conn, from)) => {
                Poll::Ready(Ok((SimStream { net: net.clone(), conn, end: 1 }, from)))
            }
            None => Poll::Pending,
        })
        .await
    }

    fn local_address(&self) -> String {
        self.address.clone()
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let (place, port) = (self.place, self.port);
        self.net.with(|model, now| model.unlisten(place, port, now));
    }
}

/// A connection in the making. Dropping it gives up.
pub(super) struct Dialling {
    net: Net,
    dial: DialId,
    place: Place,
}

impl Dialling {
    pub(super) fn new(net: Net, dial: DialId, place: Place) -> Dialling {
        Dialling { net, dial, place }
    }
}

impl Future for Dialling {
    type Output = io::Result<SimStream>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<SimStream>> {
        let (dial, place) = (self.dial, self.place);
        let outcome =
            self.net.with(
                |model, _| {
                    if model.alive(place) { model.dialled(dial, cx.waker()) } else { None }
                },
            );
        match outcome {
            None => Poll::Pending,
            Some(Err(error)) => Poll::Ready(Err(error)),
            Some(Ok(conn)) => Poll::Ready(Ok(SimStream { net: self.net.clone(), conn, end: 0 })),
        }
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        let dial = self.dial;
        self.net.with(|model, now| model.abandon(dial, now));
    }
}
