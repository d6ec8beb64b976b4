//! Meeting something that is not a kvorum node: who it is, and what it is told.
//!
//! Rule: whoever confuses the HTTP port and the Raft port gets one line that says so, on whichever
//! side the confusion is. Must never: read without a bound of bytes (the caller bounds the time).

use super::frame::Decoder;
use crate::handle::Member;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes read from somebody who has been answered, before the connection is closed anyway.
const LINGER_BYTES: u64 = 64 << 10;

/// Bytes that tell HTTP and TLS from anything else.
const ENOUGH: usize = 4;

/// Whether what `decoder` refused begins an HTTP request (or one inside TLS). Reads on until there
/// are enough bytes to tell.
pub(super) async fn is_http<S: AsyncRead + Unpin>(stream: &mut S, decoder: &mut Decoder) -> bool {
    while decoder.pending().len() < ENOUGH {
        if !matches!(stream.read_buf(decoder.space()).await, Ok(1..)) {
            return false;
        }
    }
    const BEGINNINGS: [&[u8; ENOUGH]; 10] =
        [b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI "];
    let first = decoder.pending();
    const TLS: [u8; 2] = [0x16, 0x03];
    BEGINNINGS.iter().any(|beginning| first.starts_with(*beginning)) || first.starts_with(&TLS)
}

/// Tells an HTTP client where it is, and closes.
pub(super) async fn answer_http<S>(stream: &mut S, me: &Member)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Member { name, raft_address, http_address, .. } = me;
    let text = format!(
        "this is kvorum's Raft port ({raft_address} of {name}); use the HTTP port \
         {http_address}\n"
    );
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    if stream.write_all(answer.as_bytes()).await.is_ok() {
        linger(stream).await;
    }
}

/// Closes the writing side and waits until the other side has read all and closes too. Closing at
/// once would send a reset when something is still unread here, and a reset can overtake the
/// answer.
pub(super) async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let mut rest = [0; 1024];
    let mut left = LINGER_BYTES;
    if stream.flush().await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    while left > 0
        && let Ok(n @ 1..) = stream.read(&mut rest).await
    {
        left = left.saturating_sub(n as u64);
    }
}

/// Says what answered a handshake with `first`, for whoever dialled it.
pub(super) fn describe(first: &[u8]) -> String {
    if first.starts_with(b"HTTP/") {
        return "an HTTP server answers there, not a kvorum Raft port: give the address of \
                RAFT_BIND_ADDR, not the one of PORT"
            .to_owned();
    }
    let shown = first[..first.len().min(24)].escape_ascii();
    format!("something that is not kvorum answers there (it said \"{shown}\")")
}
