//! A whole node in a world whose clock can be moved on, and a client of it.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use kvorum_core::raft::Instant;
use kvorum_runtime::{
    config::Config,
    node::{self, Fatal},
    world::{Listener, TokioWorld, World},
};
use serde_json::Value;
use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
};

/// Bounds every wait of a test; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The real world on ports that are free, with a clock that somebody may move on.
#[derive(Clone)]
pub struct JumpWorld {
    inner: TokioWorld,
    clock: Arc<Clock>,
}

#[derive(Default)]
struct Clock {
    ahead: Mutex<u64>,
    moved: Notify,
    addresses: Mutex<Vec<String>>,
}

impl JumpWorld {
    pub fn new() -> JumpWorld {
        JumpWorld { inner: TokioWorld::new(), clock: Arc::default() }
    }

    /// So much time passes at once.
    pub fn pass(&self, time: Duration) {
        *self.clock.ahead.lock().unwrap() += u64::try_from(time.as_nanos()).unwrap();
        self.clock.moved.notify_waiters();
    }
}

impl World for JumpWorld {
    type Stream = TcpStream;
    type Listener = <TokioWorld as World>::Listener;

    async fn listen(&self, _: &str) -> io::Result<Self::Listener> {
        let listener = self.inner.listen("127.0.0.1:0").await?;
        self.clock.addresses.lock().unwrap().push(listener.local_address());
        Ok(listener)
    }

    async fn dial(&self, address: &str) -> io::Result<TcpStream> {
        self.inner.dial(address).await
    }

    fn now(&self) -> Instant {
        Instant(self.inner.now().0 + *self.clock.ahead.lock().unwrap())
    }

    async fn sleep_until(&self, at: Instant) {
        loop {
            let moved = self.clock.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let left = at.since(self.now()).min(Duration::from_secs(3600));
            if left.is_zero() {
                return;
            }
            tokio::select! {
                biased;
                () = moved => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    fn wall_ms(&self) -> u64 {
        self.inner.wall_ms()
    }

    fn entropy(&self) -> u64 {
        self.inner.entropy()
    }

    fn lane<J: Send + 'static>(
        &self,
        name: &'static str,
        capacity: usize,
        work: impl FnMut(&mut Vec<J>) + Send + 'static,
    ) -> mpsc::Sender<J> {
        self.inner.lane(name, capacity, work)
    }
}

/// A cluster of one.
pub struct Alone {
    pub world: JumpWorld,
    pub address: String,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), Fatal>>,
}

impl Alone {
    /// Starts in memory, or with its data in `dir`; returns once it serves.
    pub async fn start(dir: Option<&Path>) -> Alone {
        let mut vars = vec![
            ("NODE_ID", "app1".to_owned()),
            ("KVORUM_BOOTSTRAP_GRACE", "0s".to_owned()),
            // A jump must not look like a long silence of a client that is there.
            ("KVORUM_MAX_REQUEST_TIMEOUT", "60m".to_owned()),
        ];
        if let Some(dir) = dir {
            vars.push(("RAFT_DIR", dir.to_str().unwrap().to_owned()));
        }
        let config = Config::from_env(vars).unwrap();
        // The threads of the life before may still be on their way out, with the directory locked.
        let node = eventually("it listens", async || {
            let world = JumpWorld::new();
            let (stop, stopped) = oneshot::channel();
            let running = tokio::spawn(node::run(world.clone(), config.clone(), async {
                let _ = stopped.await;
            }));
            while !running.is_finished() {
                let address = world.clock.addresses.lock().unwrap().first().cloned();
                if let Some(address) = address {
                    return Some(Alone { world, address, stop, running });
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            None
        })
        .await;
        eventually("it is ready", async || {
            (node.call("GET", "/readyz", "").await.status == 200).then_some(())
        })
        .await;
        node
    }

    /// Stops in order.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        patient(self.running).await.unwrap().unwrap();
    }

    pub async fn call(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Res {
        self.call_with(method, path, &[], body).await
    }

    pub async fn call_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Res {
        Connection::open(&self.address).await.call(method, path, headers, body).await
    }

    pub async fn get(&self, path: &str) -> Res {
        self.call("GET", path, "").await
    }
}

/// A connection on which one request follows the other.
pub struct Connection(SendRequest<Full<Bytes>>, String);

impl Connection {
    pub async fn open(address: &str) -> Connection {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Connection(sender, address.to_owned())
    }

    pub async fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Res {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header("host", &self.1);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = patient(self.0.send_request(request)).await.unwrap();
        let (head, body) = response.into_parts();
        let body = patient(body.collect()).await.unwrap().to_bytes();
        Res { status: head.status.as_u16(), headers: head.headers, body }
    }
}

/// A response.
#[derive(Debug)]
pub struct Res {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Res {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?} ({})", self.body, self.status))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub async fn patient<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("a test waits no longer than PATIENCE")
}

/// Asks until there is something, or fails saying what never came.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .unwrap_or_else(|_| panic!("waited in vain: {what}"))
}
