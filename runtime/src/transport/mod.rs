//! The connections between nodes.
//!
//! Rule: frames are length-prefixed, checksummed and versioned; a connection begins with a
//! handshake that names cluster, node and incarnation on both sides; every queue is bounded and
//! full means dropped (Raft repeats itself). Must never: deliver a message whose sender the
//! handshake has not named, buffer without bound for a peer that is away, or dial an address
//! resolved earlier.

mod accept;
mod dial;
pub mod frame;
pub mod handshake;
mod queue;

use crate::{handle::Member, sync::Watched, world::World};
use bytes::BytesMut;
use dial::{Introduction, Link};
use frame::Kind;
use kvorum_core::raft::{Envelope, Message, NodeId};
use queue::Queue;
use std::{
    collections::BTreeMap,
    future::Future,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

/// Callers whose addresses are remembered though they are not members (joiners, mostly).
const MAX_CALLERS: usize = 64;

/// Limits and periods of the transport.
#[derive(Debug, Clone)]
pub struct TransportConfig {
    /// Messages waiting for one peer; more are dropped and counted. Default 4,096.
    pub queue_messages: usize,
    /// Bytes waiting for one peer; more are dropped and counted. Default 32 MiB.
    pub queue_bytes: usize,
    /// Largest frame accepted. Default 16 MiB.
    pub max_frame_bytes: usize,
    /// Back-off after a failed dial: from this … Default 20 ms.
    pub backoff_min: Duration,
    /// … doubling up to this, with jitter. Default 400 ms.
    pub backoff_max: Duration,
    /// Bound of a dial with its handshake. Default 1 s.
    pub dial_timeout: Duration,
    /// A connection on which nothing arrives is pinged this often … Default 250 ms.
    pub ping_interval: Duration,
    /// … and closed after this long without anything. Default 1.5 s.
    pub idle_timeout: Duration,
    /// Inbound connections at once. Default 256.
    pub max_inbound: usize,
}

impl Default for TransportConfig {
    fn default() -> TransportConfig {
        TransportConfig {
            queue_messages: 4096,
            queue_bytes: 32 << 20,
            max_frame_bytes: 16 << 20,
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(400),
            dial_timeout: Duration::from_secs(1),
            ping_interval: Duration::from_millis(250),
            idle_timeout: Duration::from_millis(1500),
            max_inbound: 256,
        }
    }
}

/// What the transport tells the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerEvent {
    /// A message, from the node the handshake named, of this cluster, for this incarnation.
    Received(Envelope),
    /// The connection to this peer was lost, or a dial failed. Told once per loss and per failed
    /// dial.
    Unreachable(NodeId),
    /// The outgoing connection to this peer stands.
    Connected(NodeId),
    /// A node of cluster `cluster` called. Told while this node has no cluster of its own, or when
    /// the caller belongs to another one. `expected` is the incarnation it meant to reach:
    /// when that is not this node's, a living cluster remembers a former node of this name.
    Called {
        /// The caller's cluster.
        cluster: u64,
        /// Who called, with its addresses.
        caller: Member,
        /// Whom it meant.
        expected: NodeId,
    },
    /// A peer of this cluster says that this incarnation is not (or no longer) a member.
    NotMember {
        /// Who says so.
        by: Member,
    },
}

/// Who answers at an address (`Transport::probe`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The incarnation that answered.
    pub id: NodeId,
    /// Its `NODE_ID`.
    pub name: String,
    /// Its cluster, if it has one.
    pub cluster: Option<u64>,
}

/// Why nobody answered a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeError {
    /// Nobody listens there (refused, or no such host).
    Nobody(String),
    /// No answer in time: it may live behind a broken network.
    Silent(String),
    /// Something else listens there.
    Stranger(String),
}

/// What the tasks of one transport share.
#[derive(Debug)]
pub(crate) struct Shared<W: World> {
    world: W,
    config: TransportConfig,
    me: Member,
    closed: Watched<bool>,
    events: mpsc::Sender<PeerEvent>,
    inbound: AtomicUsize,
    book: Mutex<Book>,
}

/// Who is where.
#[derive(Debug, Default)]
struct Book {
    cluster: Option<u64>,
    members: BTreeMap<NodeId, Member>,
    /// Addresses that callers gave, by incarnation.
    callers: BTreeMap<NodeId, Member>,
    links: BTreeMap<NodeId, Arc<Link>>,
}

impl<W: World> Shared<W> {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cluster(&self) -> Option<u64> {
        self.book().cluster
    }

    /// Whether `id` is a member, as far as any member is known.
    fn knows(&self, id: NodeId) -> bool {
        let book = self.book();
        book.members.is_empty() || book.members.contains_key(&id)
    }

    /// Remembers where a caller is.
    fn learn(&self, caller: &Member) {
        let mut book = self.book();
        if book.callers.len() >= MAX_CALLERS && !book.callers.contains_key(&caller.id) {
            book.callers.pop_first();
        }
        if let Some(link) = book.links.get(&caller.id)
            && !book.members.contains_key(&caller.id)
        {
            *link.address.lock().unwrap_or_else(PoisonError::into_inner) =
                caller.raft_address.clone();
        }
        book.callers.insert(caller.id, caller.clone());
    }

    /// Tells the driver; waits while it is busy, so that reading slows instead of memory growing.
    async fn tell(&self, event: PeerEvent) {
        // A driver that is gone needs no news.
        let _ = self.events.send(event).await;
    }

    /// `work`, or `TimedOut` after `span`.
    async fn within<T>(
        &self,
        span: Duration,
        work: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        tokio::select! {
            biased;
            result = work => result,
            () = self.world.sleep_until(self.world.now().after(span)) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))
            }
        }
    }
}

/// The way to all peers. Cheap to clone; the tasks end when the last clone is gone.
#[derive(Debug)]
pub struct Transport<W: World> {
    shared: Arc<Shared<W>>,
    _open: Arc<Open<W>>,
}

/// Closes the transport when the last handle is gone.
#[derive(Debug)]
struct Open<W: World>(Arc<Shared<W>>);

impl<W: World> Drop for Open<W> {
    fn drop(&mut self) {
        self.0.closed.set(true);
    }
}

impl<W: World> Clone for Transport<W> {
    fn clone(&self) -> Self {
        Transport { shared: Arc::clone(&self.shared), _open: Arc::clone(&self._open) }
    }
}

impl<W: World> Transport<W> {
    /// Starts accepting on `listener`. Events go to `events` (bounded: a slow driver slows
    /// reading, not memory).
    pub fn start(
        world: W,
        config: TransportConfig,
        me: Member,
        listener: W::Listener,
        events: mpsc::Sender<PeerEvent>,
    ) -> Transport<W> {
        let shared = Arc::new(Shared {
            world,
            config,
            me,
            closed: Watched::new(false),
            events,
            inbound: AtomicUsize::new(0),
            book: Mutex::default(),
        });
        tokio::spawn(accept::serve(Arc::clone(&shared), listener));
        let open = Arc::new(Open(Arc::clone(&shared)));
        Transport { shared, _open: open }
    }

    /// Sets the cluster once it is known. Before that, callers are told "not yet" (and reported).
    pub fn set_cluster(&self, cluster: u64) {
        self.shared.book().cluster = Some(cluster);
    }

    /// The members as the log says. Connections to others end; new ones are dialled.
    pub fn set_members(&self, members: &[Member]) {
        let mut book = self.shared.book();
        book.members = members.iter().map(|member| (member.id, member.clone())).collect();
        let gone: Vec<NodeId> =
            book.links.keys().filter(|id| !book.members.contains_key(id)).copied().collect();
        for id in gone {
            if let Some(link) = book.links.remove(&id) {
                link.retired.set(true);
            }
        }
        for member in members.iter().filter(|member| member.id != self.shared.me.id) {
            self.link(&mut book, member);
        }
    }

    /// The link to `member`, started if need be.
    fn link(&self, book: &mut Book, member: &Member) -> Arc<Link> {
        if let Some(link) = book.links.get(&member.id) {
            let mut address = link.address.lock().unwrap_or_else(PoisonError::into_inner);
            address.clone_from(&member.raft_address);
            return Arc::clone(link);
        }
        let config = &self.shared.config;
        let link = Arc::new(Link {
            id: member.id,
            address: Mutex::new(member.raft_address.clone()),
            queue: Queue::new(config.queue_messages, config.queue_bytes),
            retired: Watched::new(false),
        });
        book.links.insert(member.id, Arc::clone(&link));
        tokio::spawn(dial::keep(Arc::clone(&self.shared), Arc::clone(&link)));
        link
    }

    /// Queues a message for `envelope.to`, or drops it. To a node that is not a member, it goes to
    /// the address that node gave when it called. Never blocks.
    pub fn send(&self, envelope: Envelope) {
        let link = {
            let mut book = self.shared.book();
            match book.links.get(&envelope.to) {
                Some(link) => Arc::clone(link),
                None => {
                    let known = book.members.get(&envelope.to).or(book.callers.get(&envelope.to));
                    let Some(member) = known.cloned() else { return };
                    self.link(&mut book, &member)
                }
            }
        };
        let bulk = matches!(envelope.message, Message::InstallSnapshot { .. });
        let mut bytes = BytesMut::new();
        frame::put(&mut bytes, Kind::Message, |out| envelope.encode(out));
        if bytes.len() > self.shared.config.max_frame_bytes {
            tracing::error!(
                bytes = bytes.len(),
                "a message is larger than a frame may be; dropped"
            );
            return;
        }
        link.queue.push(bytes, bulk);
    }

    /// Messages dropped because a queue was full, by peer.
    pub fn dropped(&self) -> BTreeMap<NodeId, u64> {
        let book = self.shared.book();
        book.links.iter().map(|(id, link)| (*id, link.queue.dropped())).collect()
    }

    /// Asks who lives at `address`: a dial, a handshake, and good-bye.
    ///
    /// # Errors
    /// See `ProbeError`.
    pub async fn probe(&self, address: &str) -> Result<Answered, ProbeError> {
        match dial::introduce(&self.shared, address, None).await {
            Ok(Introduction::Welcome(_, welcome, _)) => {
                let handshake::Welcome { cluster, me, .. } = welcome;
                Ok(Answered { id: me.id, name: me.name, cluster })
            }
            Ok(Introduction::Rejected(reject)) => {
                Err(ProbeError::Silent(format!("the node at {address} answers {reject:?}")))
            }
            Ok(Introduction::Stranger(what)) => Err(ProbeError::Stranger(what)),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::TimedOut
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable => {
                    ProbeError::Silent(format!("{address} does not answer: {error}"))
                }
                _ => ProbeError::Nobody(format!("nobody listens at {address}: {error}")),
            }),
        }
    }

    /// Flushes what is queued (bounded by `within`), then closes everything.
    pub async fn stop(&self, within: Duration) {
        let flushed = async {
            loop {
                let idle = self.shared.book().links.values().all(|link| link.queue.is_empty());
                if idle {
                    return Ok(());
                }
                let soon = self.shared.world.now().after(Duration::from_millis(5));
                self.shared.world.sleep_until(soon).await;
            }
        };
        // Late words are only a courtesy.
        let _ = self.shared.within(within, flushed).await;
        self.shared.closed.set(true);
        self.shared.inbound.store(self.shared.config.max_inbound, Ordering::Relaxed);
    }
}
