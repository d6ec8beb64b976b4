//! Transports on loopback, a world whose names and wires can be bent, and hand-made peers.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use bytes::{Bytes, BytesMut};
use kvorum_core::raft::{
    Chain, Entry, EntryId, Envelope, Index, Instant, Message, NodeId, Payload, Term,
};
use kvorum_runtime::{
    handle::Member,
    transport::{
        PeerEvent, Stats, Transport, TransportConfig,
        frame::{Decoder, Frame, Kind, put},
        handshake::{HANDSHAKE_VERSION, Hello, Purpose, Welcome},
    },
    world::{Listener, TokioWorld, World},
};
use std::{
    collections::BTreeMap,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// Bounds every wait of a test; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The cluster of the tests.
pub const CLUSTER: u64 = 0xc1;

/// Longer than any test.
pub const NEVER: Duration = Duration::from_secs(3600);

/// `work`, within `PATIENCE`.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(value) => value,
        Err(_) => panic!("in vain: {what}"),
    }
}

/// Returns when `holds`.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    soon(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// The real world, but for names that the test maps and wires that it can cut.
#[derive(Clone, Default)]
pub struct TestWorld {
    inner: TokioWorld,
    /// Where a name leads; other addresses lead to themselves.
    pub names: Arc<Mutex<BTreeMap<String, String>>>,
    /// While set, every stream of this world swallows what is written and delivers nothing, not
    /// even an end: the other machine has lost its power.
    pub dark: Arc<AtomicBool>,
    /// Sockets that went out with the light: a machine without power closes nothing.
    unclosed: Arc<Mutex<Vec<TcpStream>>>,
}

/// A stream of a `TestWorld`.
pub struct Wire {
    inner: Option<TcpStream>,
    world: TestWorld,
}

impl Wire {
    fn is_dark(&self) -> bool {
        self.world.dark.load(Ordering::SeqCst)
    }

    fn inner(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.inner.as_mut().expect("it is there until the drop"))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.is_dark() {
            self.world.unclosed.lock().unwrap().extend(self.inner.take());
        }
    }
}

/// A listener of a `TestWorld`.
pub struct Door {
    inner: <TokioWorld as World>::Listener,
    world: TestWorld,
}

impl World for TestWorld {
    type Stream = Wire;
    type Listener = Door;

    async fn listen(&self, address: &str) -> io::Result<Door> {
        let inner = self.inner.listen(address).await?;
        Ok(Door { inner, world: self.clone() })
    }

    async fn dial(&self, address: &str) -> io::Result<Wire> {
        let target = self.names.lock().unwrap().get(address).cloned();
        let target = target.unwrap_or_else(|| address.to_owned());
        let inner = self.inner.dial(&target).await?;
        Ok(Wire { inner: Some(inner), world: self.clone() })
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    async fn sleep_until(&self, at: Instant) {
        self.inner.sleep_until(at).await;
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

impl Listener for Door {
    type Stream = Wire;

    async fn accept(&mut self) -> io::Result<(Wire, String)> {
        let (inner, from) = self.inner.accept().await?;
        Ok((Wire { inner: Some(inner), world: self.world.clone() }, from))
    }

    fn local_address(&self) -> String {
        self.inner.local_address()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let result = ready!(self.inner().poll_read(cx, out));
        if self.is_dark() {
            // Nothing will ever come: the test never turns the light on again.
            out.set_filled(before);
            return Poll::Pending;
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_dark() {
            return Poll::Ready(Ok(bytes.len()));
        }
        self.inner().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_dark() {
            return Poll::Ready(Ok(()));
        }
        self.inner().poll_shutdown(cx)
    }
}

/// One node's transport, and what it tells.
pub struct Node {
    pub transport: Transport<TestWorld>,
    pub world: TestWorld,
    pub me: Member,
    pub events: mpsc::Receiver<PeerEvent>,
}

/// How to start a node of the tests.
pub struct Start {
    pub id: u64,
    pub bind: String,
    pub cluster: Option<u64>,
    pub config: TransportConfig,
    pub world: TestWorld,
    pub events: usize,
}

/// Node `id` on a free port, in the cluster of the tests.
pub fn start(id: u64) -> Start {
    Start {
        id,
        bind: "127.0.0.1:0".to_owned(),
        cluster: Some(CLUSTER),
        config: quick(),
        world: TestWorld::default(),
        events: 1024,
    }
}

/// Short back-off, no other haste: what ends connections here is not the clock.
pub fn quick() -> TransportConfig {
    TransportConfig {
        backoff_min: Duration::from_millis(2),
        backoff_max: Duration::from_millis(10),
        dial_timeout: PATIENCE,
        ping_interval: Duration::from_millis(20),
        idle_timeout: NEVER,
        ..TransportConfig::default()
    }
}

impl Start {
    pub async fn go(self) -> Node {
        let Start { id, bind, cluster, config, world, events } = self;
        let listener = soon("the port is free", async {
            loop {
                match world.listen(&bind).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        })
        .await;
        let me = member(id, &listener.local_address());
        let (sender, events) = mpsc::channel(events);
        let transport = Transport::start(world.clone(), config, me.clone(), listener, sender);
        if let Some(cluster) = cluster {
            transport.set_cluster(cluster);
        }
        Node { transport, world, me, events }
    }
}

impl Node {
    /// The next event.
    pub async fn event(&mut self) -> PeerEvent {
        soon("an event comes", self.events.recv()).await.expect("the transport lives")
    }

    /// The next event that `accept` takes; others are passed over.
    pub async fn find<T>(
        &mut self,
        what: &str,
        mut accept: impl FnMut(PeerEvent) -> Option<T>,
    ) -> T {
        soon(what, async {
            loop {
                let event = self.events.recv().await.expect("the transport lives");
                if let Some(found) = accept(event) {
                    return found;
                }
            }
        })
        .await
    }

    /// Passes over events up to and including `wanted`.
    pub async fn see(&mut self, wanted: PeerEvent) {
        self.find(&format!("{wanted:?}"), |event| (event == wanted).then_some(())).await;
    }

    /// The next message; other events are passed over.
    pub async fn message(&mut self) -> Envelope {
        self.find("a message", |event| match event {
            PeerEvent::Received(envelope) => Some(envelope),
            _ => None,
        })
        .await
    }

    /// Every event that is there already.
    pub fn events_so_far(&mut self) -> Vec<PeerEvent> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }

    pub fn stats(&self) -> Stats {
        self.transport.stats()
    }
}

/// Two nodes of one cluster that know each other and are connected both ways.
pub async fn pair() -> (Node, Node) {
    pair_of(start(1), start(2)).await
}

/// The same, as configured.
pub async fn pair_of(first: Start, second: Start) -> (Node, Node) {
    let (mut a, mut b) = (first.go().await, second.go().await);
    let members = [a.me.clone(), b.me.clone()];
    a.transport.set_members(&members);
    b.transport.set_members(&members);
    a.see(PeerEvent::Connected(b.me.id)).await;
    b.see(PeerEvent::Connected(a.me.id)).await;
    (a, b)
}

/// A member called `n<id>`.
pub fn member(id: u64, address: &str) -> Member {
    Member {
        id: NodeId(id),
        name: format!("n{id}"),
        raft_address: address.to_owned(),
        http_address: format!("n{id}.example:8080"),
    }
}

/// A small message that is told apart by `sequence`.
pub fn heartbeat(from: u64, to: u64, sequence: u64) -> Envelope {
    let message = Message::Heartbeat { commit: Index(7), sequence, compare: None, proven: None };
    Envelope { from: NodeId(from), to: NodeId(to), epoch: 1, term: Term(3), message }
}

/// A message of one entry of `bytes` bytes.
pub fn append(from: u64, to: u64, sequence: u64, bytes: usize) -> Envelope {
    let id = EntryId { term: Term(3), index: Index(sequence + 1) };
    let payload = Payload::Command(Bytes::from(vec![sequence as u8; bytes]));
    let message = Message::Append {
        prev: EntryId { term: Term(3), index: Index(sequence) },
        prev_chain: Chain::START,
        entries: vec![Entry::new(Chain::START, id, payload)],
        commit: Index(7),
        sequence,
    };
    Envelope { from: NodeId(from), to: NodeId(to), epoch: 1, term: Term(3), message }
}

/// What `heartbeat` and `append` put in.
pub fn sequence(envelope: &Envelope) -> u64 {
    match &envelope.message {
        Message::Heartbeat { sequence, .. } | Message::Append { sequence, .. } => *sequence,
        other => panic!("not of this test: {other:?}"),
    }
}

/// A peer made by hand: a socket and a decoder.
pub struct Hand {
    pub stream: TcpStream,
    pub decoder: Decoder,
}

impl Hand {
    /// Dials `address` and says nothing.
    pub async fn dial(address: &str) -> Hand {
        let stream = soon("the node accepts", TcpStream::connect(address)).await.unwrap();
        Hand { stream, decoder: Decoder::new(1 << 20) }
    }

    /// Dials `to` as member `id` of the cluster of the tests.
    pub async fn peer(id: u64, to: &Member) -> Hand {
        let mut hand = Hand::dial(&to.raft_address).await;
        hand.frame(Kind::Hello, |out| hello(id, to).encode(out)).await;
        let frame = hand.next().await.expect("an answer");
        assert_eq!(frame.kind, Kind::Welcome);
        hand
    }

    /// Sends a frame.
    pub async fn frame(&mut self, kind: Kind, write: impl FnOnce(&mut BytesMut)) {
        let mut out = BytesMut::new();
        put(&mut out, HANDSHAKE_VERSION, kind, write);
        self.stream.write_all(&out).await.unwrap();
    }

    /// The next frame but pings; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Frame> {
        soon("a frame comes, or the end", async {
            loop {
                match self.decoder.next_frame().expect("the node sends frames") {
                    Some(frame) if frame.kind == Kind::Ping => {}
                    Some(frame) => return Some(frame),
                    None => match self.stream.read_buf(self.decoder.space()).await {
                        Ok(0) | Err(_) => return None,
                        Ok(_) => {}
                    },
                }
            }
        })
        .await
    }
}

/// What member `id` says to `to`.
pub fn hello(id: u64, to: &Member) -> Hello {
    Hello {
        versions: (1, 1),
        purpose: Purpose::Peer,
        cluster: Some(CLUSTER),
        caller: member(id, "127.0.0.1:1"),
        expected: Some(to.id),
    }
}

/// Takes the next call on `listener` and welcomes it as node `id`.
pub async fn welcome(listener: &TcpListener, id: u64) -> Hand {
    let (stream, _) = soon("the node dials", listener.accept()).await.unwrap();
    let mut hand = Hand { stream, decoder: Decoder::new(1 << 20) };
    let frame = hand.next().await.expect("a hello");
    assert_eq!(frame.kind, Kind::Hello);
    let acceptor = member(id, &listener.local_addr().unwrap().to_string());
    let welcome = Welcome { version: 1, cluster: Some(CLUSTER), acceptor, member: Some(true) };
    hand.frame(Kind::Welcome, |out| welcome.encode(out)).await;
    hand
}
