//! The body of an answer: whole, or a stream that is written while it is sent.
//!
//! Rule: a stream's source waits when the client is slow; at most `WINDOW` pieces are under way.
//! Must never: buffer for a client that does not read, or go on for one that has left.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::mpsc;

/// Pieces of a stream that may be under way.
const WINDOW: usize = 4;

/// The body of an answer.
#[derive(Debug)]
pub struct Content(Source);

#[derive(Debug)]
enum Source {
    /// All of it; empty once taken.
    Whole(Bytes),
    /// What the sender of the channel still says.
    Stream(mpsc::Receiver<Bytes>),
}

/// Where the pieces of a stream go.
#[derive(Debug)]
pub(super) struct Pieces(mpsc::Sender<Bytes>);

impl Content {
    /// A stream and the way to write it. It ends when the way is dropped.
    pub(super) fn stream() -> (Pieces, Content) {
        let (sender, receiver) = mpsc::channel(WINDOW);
        (Pieces(sender), Content(Source::Stream(receiver)))
    }

    /// The body, if it is not a stream.
    #[must_use]
    pub fn whole(&self) -> Option<&Bytes> {
        match &self.0 {
            Source::Whole(bytes) => Some(bytes),
            Source::Stream(_) => None,
        }
    }
}

impl Pieces {
    /// Sends a piece; `false` when the client has left.
    pub(super) async fn send(&self, piece: impl Into<Bytes>) -> bool {
        self.0.send(piece.into()).await.is_ok()
    }

    /// Returns once the client has left.
    pub(super) async fn abandoned(&self) {
        self.0.closed().await;
    }
}

impl Default for Content {
    fn default() -> Content {
        Content(Source::Whole(Bytes::new()))
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Content {
        Content(Source::Whole(bytes))
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut self.0 {
            Source::Whole(bytes) if bytes.is_empty() => None,
            Source::Whole(bytes) => Some(std::mem::take(bytes)),
            Source::Stream(pieces) => match pieces.poll_recv(context) {
                Poll::Ready(piece) => piece,
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.whole().is_some_and(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        self.whole()
            .map_or_else(SizeHint::default, |bytes| SizeHint::with_exact(bytes.len() as u64))
    }
}
