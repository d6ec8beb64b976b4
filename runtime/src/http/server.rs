//! The accept loop and its connections: HTTP/1.1 with keep-alive, and HTTP/2 with prior knowledge.
//!
//! Rule: connections, heads, idle time and streams are bounded; when the stop is thrown, requests
//! under way are finished and everything else closes. Must never: end because one accept failed.

use super::{
    Api, Reply,
    client::Client,
    gone::Gone,
    problem::{Problem, TOO_MANY_CONNECTIONS},
    rt::{TaskExecutor, TaskTimer},
    staleness::Fresh,
    stop::Stop,
};
use crate::{
    config::Limits,
    handle::Handle,
    metrics::Metrics,
    world::{Listener, World},
};
use hyper::{
    Method, Request,
    body::Incoming,
    header::{self, HeaderValue},
    service::service_fn,
};
use hyper_util::{rt::TokioIo, server::conn::auto};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// How long a request's head may take, and how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Streams of one HTTP/2 connection.
const STREAMS: u32 = 256;
/// HTTP/2 connections are asked for a sign of life this often, and closed when none comes.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// hyper wants room for a head of at least so many bytes.
const LEAST_BUFFER: usize = 8192;
/// Connections beyond the limit that are told so; further ones are closed at once.
const TURNED_AWAY: usize = 64;
/// How long a connection beyond the limit has to hear it.
const TURN_AWAY_TIME: Duration = Duration::from_secs(1);
/// After a failed accept (out of descriptors, say) the next one waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the API on `listener` until `stop` is thrown and every request under way is answered.
/// The caller bounds the time of the latter: dropping the future leaves connections to their fate.
pub async fn serve<W: World>(
    world: W,
    listener: W::Listener,
    handle: Handle,
    limits: Limits,
    stop: Arc<Stop>,
) {
    let client = Client::new(world.clone());
    let started = world.now();
    let (fresh, locks) = (Fresh::default(), Arc::default());
    let stopping = Arc::clone(&stop);
    let api =
        Arc::new(Api { world, handle, limits, client, started, fresh, stop: stopping, locks });
    let metrics = Arc::clone(api.handle.metrics());
    let open = Arc::new(Open { count: AtomicUsize::new(0), none: Notify::new(), metrics });
    accept(&api, listener, &stop, &open).await;
    open.none().await;
}

async fn accept<W: World>(
    api: &Arc<Api<W>>,
    mut listener: W::Listener,
    stop: &Arc<Stop>,
    open: &Arc<Open>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.stopped() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let seat = open.enter();
                let limit = api.limits.connections;
                if seat.number > limit {
                    seat.open.metrics.http.refused_connections.one();
                }
                if seat.number > limit.saturating_add(TURNED_AWAY) {
                    tracing::debug!(from, "connection closed: too many");
                } else if seat.number > limit {
                    tracing::debug!(from, "connection turned away: too many");
                    tokio::spawn(turn_away(Arc::clone(api), stream, seat));
                } else {
                    tokio::spawn(connection(Arc::clone(api), stream, Arc::clone(stop), seat));
                }
            }
            Err(error) => {
                tracing::warn!("HTTP: accepting a connection failed, trying again: {error}");
                tokio::select! {
                    biased;
                    () = stop.stopped() => return,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
}

async fn connection<W: World>(api: Arc<Api<W>>, stream: W::Stream, stop: Arc<Stop>, _seat: Seat) {
    let spoken = AtomicBool::new(false);
    let gone = Gone::default();
    let stream = gone.watch(stream);
    let service = service_fn(|mut request: Request<Incoming>| {
        spoken.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(gone.clone());
        let api = Arc::clone(&api);
        async move { Ok::<Reply, Infallible>(api.respond(request).await) }
    });
    let builder = protocols(&api.limits);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // hyper's timeout begins with the first byte of a head; this one, with the connection.
    let first_request = tokio::time::sleep(HEAD_TIMEOUT);
    tokio::pin!(first_request);
    let mut waiting = true;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!("HTTP connection ended: {error}");
                }
                return;
            }
            () = stop.stopped() => break,
            () = &mut first_request, if waiting => {
                waiting = false;
                if !spoken.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    if let Err(error) = connection.await {
        tracing::debug!("HTTP connection ended while stopping: {error}");
    }
}

async fn turn_away<W: World>(api: Arc<Api<W>>, stream: W::Stream, _seat: Seat) {
    let service = service_fn(|request: Request<Incoming>| {
        let message = format!("{} connections are open, the limit", api.limits.connections);
        let mutating = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let instance = format!("req-{:016x}", api.world.entropy());
        let problem = Problem::new(TOO_MANY_CONNECTIONS, message);
        let mut reply = problem.respond(&instance, mutating);
        reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        async move { Ok::<Reply, Infallible>(reply) }
    });
    let mut builder = protocols(&api.limits);
    builder.http1().keep_alive(false);
    let builder = builder.http1_only();
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        biased;
        // Whether it was heard or not: the connection is over.
        _ = connection => {}
        () = tokio::time::sleep(TURN_AWAY_TIME) => {}
    }
}

fn protocols(limits: &Limits) -> auto::Builder<TaskExecutor> {
    let head = limits.header_bytes.saturating_mul(2).max(LEAST_BUFFER);
    let mut builder = auto::Builder::new(TaskExecutor);
    builder
        .http1()
        .timer(TaskTimer)
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(head)
        // A client that has said all may close its half and still read the answer.
        .half_close(true);
    builder
        .http2()
        .timer(TaskTimer)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL);
    builder
}

/// How many connections are open.
#[derive(Debug)]
struct Open {
    count: AtomicUsize,
    none: Notify,
    metrics: Arc<Metrics>,
}

/// One open connection; gives its seat back when dropped.
struct Seat {
    open: Arc<Open>,
    /// How many were open with it.
    number: usize,
}

impl Open {
    fn enter(self: &Arc<Open>) -> Seat {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        self.metrics.http.connections.up();
        Seat { open: Arc::clone(self), number }
    }

    /// Returns once none is open.
    async fn none(&self) {
        loop {
            let left = self.none.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.open.metrics.http.connections.down();
        if self.open.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.open.none.notify_waiters();
        }
    }
}
