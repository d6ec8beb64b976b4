//! The connections between nodes.
//!
//! Rule: frames are length-prefixed, checksummed and versioned; a connection begins with a
//! handshake that names cluster, node and incarnation on both sides; every queue is bounded and
//! full means dropped (Raft repeats itself). Must never: deliver a message whose sender the
//! handshake has not named, buffer without bound for a peer that is away, or dial an address
//! resolved earlier.

use self::{
    accept::Inbound,
    book::Book,
    dial::{DialError, Peer},
    queue::Queue,
    stats::Counters,
    tasks::Tasks,
    throttle::Throttle,
};
use crate::{handle::Member, sync::Watched, world::World};
use kvorum_core::raft::{Envelope, NodeId};
use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;

mod accept;
mod book;
mod dial;
pub mod frame;
pub mod handshake;
mod link;
pub mod queue;
mod stats;
mod stranger;
mod tasks;
mod throttle;

pub use stats::{LinkStats, Stats};

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
    /// Each side of a connection that has written nothing for this long says that it is there …
    /// Default 250 ms.
    pub ping_interval: Duration,
    /// … and closes after this long without anything from the other. Default 1.5 s.
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
    /// A connection to or from this peer was lost, or a dial failed. Told once per loss (a node
    /// that dies usually loses two connections, one per direction) and per failed dial, so at most
    /// once per back-off. A connection closed on purpose by a node that lives on is no loss.
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
    /// A peer of this cluster says that this incarnation is not (or no longer) a member. Told only
    /// while this node's own members contain it. A hint: whoever says so may lag behind the log
    /// (it may not know yet that this node has joined), or be a former member itself.
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
    /// No answer in time, or the connection broke before one: it may live behind a broken network.
    Silent(String),
    /// Something else listens there.
    Stranger(String),
}

/// The way to all peers. Cheap to clone; the tasks end when the last clone is gone.
#[derive(Clone)]
pub struct Transport<W: World> {
    shared: Arc<Shared<W>>,
    _last: Arc<CloseWhenGone<W>>,
}

/// What the tasks share. They hold this and never a `Transport`.
struct Shared<W: World> {
    world: W,
    config: TransportConfig,
    me: Member,
    events: mpsc::Sender<PeerEvent>,
    phase: Watched<Phase>,
    state: Mutex<State>,
    stats: Counters,
    /// The tasks of peers.
    outbound: Tasks,
    /// The tasks of accepted connections; their number is bounded.
    inbound: Tasks,
    /// The accepting task.
    listening: Tasks,
    cluster_throttle: Throttle,
    full_throttle: Throttle,
}

#[derive(Debug, Default)]
struct State {
    cluster: Option<u64>,
    book: Book,
    /// One task per member but this node, and per caller that is answered: bounded by the book.
    peers: BTreeMap<NodeId, Arc<Peer>>,
    /// Connections from peers, the newest of each.
    inbound: BTreeMap<NodeId, Arc<Inbound>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// No new connections; what is queued still goes out.
    Stopping,
    Closed,
}

/// Closes everything when the last `Transport` is dropped.
struct CloseWhenGone<W: World>(Arc<Shared<W>>);

impl<W: World> Drop for CloseWhenGone<W> {
    fn drop(&mut self) {
        self.0.phase.set(Phase::Closed);
    }
}

impl<W: World> fmt::Debug for Transport<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("me", &self.shared.me).finish_non_exhaustive()
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
            events,
            phase: Watched::new(Phase::Running),
            state: Mutex::default(),
            stats: Counters::default(),
            outbound: Tasks::default(),
            inbound: Tasks::default(),
            listening: Tasks::default(),
            cluster_throttle: Throttle::default(),
            full_throttle: Throttle::default(),
        });
        let alive = shared.listening.enter();
        tokio::spawn(accept::listen(Arc::clone(&shared), listener, alive));
        let _last = Arc::new(CloseWhenGone(Arc::clone(&shared)));
        Transport { shared, _last }
    }

    /// Sets the cluster once it is known. Before that, callers are told "not yet" (and reported),
    /// and nobody is dialled.
    pub fn set_cluster(&self, cluster: u64) {
        let mut state = self.shared.state();
        state.cluster = Some(cluster);
        state.peers.values().for_each(|peer| peer.kick());
    }

    /// The members as the log says. Connections to others end; new ones are dialled.
    pub fn set_members(&self, members: &[Member]) {
        let mut state = self.shared.state();
        let state = &mut *state;
        let before = state.book.members();
        state.book.set_members(members);
        for old in before.values().filter(|old| state.book.is_member(old.id) == Some(false)) {
            if let Some(peer) = state.peers.remove(&old.id) {
                peer.drop_it();
            }
            if let Some(inbound) = state.inbound.get(&old.id) {
                inbound.removed();
            }
        }
        for member in members.iter().filter(|member| member.id != self.shared.me.id) {
            let moved = before.get(&member.id).is_some_and(|old| old != member);
            match state.peers.get(&member.id) {
                Some(peer) if moved => peer.kick(),
                Some(_) => {}
                None => drop(self.shared.add_peer(state, member.id)),
            }
        }
    }

    /// Queues a message for `envelope.to`, or drops it. To a node that is not a member, it goes to
    /// the address that node gave when it called. Never blocks.
    pub fn send(&self, envelope: Envelope) {
        let shared = &self.shared;
        let to = envelope.to;
        let mut state = shared.state();
        let peer = match state.peers.get(&to) {
            Some(peer) => Arc::clone(peer),
            None if to != shared.me.id && state.book.address(to, 0).is_some() => {
                shared.add_peer(&mut state, to)
            }
            None => return shared.stats.dropped_unknown.one(),
        };
        // Under the lock, so that the peer is not forgotten between the look and the push.
        if peer.queue.push(envelope).is_err() {
            shared.stats.dropped_full.one();
        }
    }

    /// Asks who lives at `address`: a dial, a handshake, and good-bye.
    ///
    /// # Errors
    /// See `ProbeError`.
    pub async fn probe(&self, address: &str) -> Result<Answered, ProbeError> {
        let hello = dial::probe_hello(&self.shared.me, self.shared.cluster());
        let (acceptor, cluster) = match dial::call(&self.shared, address, &hello).await {
            Ok((_, _, welcome)) => (welcome.acceptor, welcome.cluster),
            Err(DialError::Rejected(reject)) => (reject.acceptor, reject.cluster),
            Err(error) => return Err(probe_error(address, &error)),
        };
        Ok(Answered { id: acceptor.id, name: acceptor.name, cluster })
    }

    /// Flushes what is queued (bounded by `within`), then closes everything. No event comes after.
    pub async fn stop(&self, within: Duration) {
        let shared = &self.shared;
        shared.set_phase(Phase::Stopping);
        let deadline = shared.world.now().after(within);
        tokio::select! {
            biased;
            () = shared.outbound.ended() => {}
            () = shared.world.sleep_until(deadline) => {}
        }
        shared.set_phase(Phase::Closed);
        shared.outbound.ended().await;
        shared.inbound.ended().await;
        shared.listening.ended().await;
    }

    /// What has been counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats.snapshot()
    }

    /// What there is to say of the connection to `id`.
    #[must_use]
    pub fn link(&self, id: NodeId) -> LinkStats {
        let peer = self.shared.state().peers.get(&id).map(Arc::clone);
        peer.map_or_else(LinkStats::default, |peer| {
            let (waiting_messages, waiting_bytes) = peer.queue.waiting();
            LinkStats { waiting_messages, waiting_bytes, ..peer.stats.snapshot() }
        })
    }

    /// Events that wait for the driver, and how many may.
    #[must_use]
    pub fn events_waiting(&self) -> (usize, usize) {
        let most = self.shared.events.max_capacity();
        (most - self.shared.events.capacity(), most)
    }

    /// Messages and bytes that wait for `id`; `None` when nothing is kept for it.
    #[must_use]
    pub fn waiting(&self, id: NodeId) -> Option<(usize, usize)> {
        self.shared.state().peers.get(&id).map(|peer| peer.queue.waiting())
    }
}

impl<W: World> Shared<W> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves on to `phase`, never back.
    fn set_phase(&self, phase: Phase) {
        if *self.phase.get() < phase {
            self.phase.set(phase);
        }
    }

    /// Returns once the transport stops: no new connections.
    async fn stopping(&self) {
        self.phase.wait_for(|phase| (*phase >= Phase::Stopping).then_some(())).await;
    }

    /// Returns once everything must end at once.
    async fn closed(&self) {
        self.phase.wait_for(|phase| (*phase == Phase::Closed).then_some(())).await;
    }

    /// Tells the driver, waiting while it is busy; gives up when the transport closes.
    async fn tell(&self, event: PeerEvent) {
        tokio::select! {
            biased;
            () = self.closed() => {}
            // An error says that the driver is gone; the transport will be dropped any moment.
            _ = self.events.send(event) => {}
        }
    }

    fn cluster(&self) -> Option<u64> {
        self.state().cluster
    }

    /// The cluster, and whether `id` is a member as far as known.
    fn cluster_and_membership(&self, id: NodeId) -> (Option<u64>, Option<bool>) {
        let state = self.state();
        (state.cluster, state.book.is_member(id))
    }

    /// Where to dial `id` at this attempt, and the cluster to name.
    fn address_and_cluster(&self, id: NodeId, attempt: usize) -> (Option<String>, Option<u64>) {
        let state = self.state();
        (state.book.address(id, attempt).map(str::to_owned), state.cluster)
    }

    /// A peer's name if known, else its id: for logs.
    fn name(&self, id: NodeId) -> String {
        self.state().book.name(id)
    }

    /// A peer says that this node is no member: worth telling if this node believes it is one.
    async fn told_not_member(&self, by: &Member) {
        let believes = self.state().book.is_member(self.me.id) == Some(true);
        if believes {
            self.tell(PeerEvent::NotMember { by: by.clone() }).await;
        }
    }

    /// Starts the task of a peer.
    fn add_peer(self: &Arc<Self>, state: &mut State, id: NodeId) -> Arc<Peer> {
        let queue = Queue::new(self.config.queue_messages, self.config.queue_bytes);
        let peer = Arc::new(Peer::new(id, queue));
        state.peers.insert(id, Arc::clone(&peer));
        let alive = self.outbound.enter();
        tokio::spawn(dial::keep(Arc::clone(self), Arc::clone(&peer), alive));
        peer
    }

    /// Ends a peer that is no member when nothing waits for it. Returns whether it is ended.
    fn forget_if_unneeded(&self, peer: &Peer) -> bool {
        let mut state = self.state();
        let unneeded = state.book.is_member(peer.id) != Some(true) && peer.queue.is_empty();
        if unneeded && state.peers.get(&peer.id).is_some_and(|known| std::ptr::eq(&**known, peer)) {
            state.peers.remove(&peer.id);
            peer.drop_it();
        }
        unneeded
    }

    /// Notes a peer's new connection, in place of an older one, and where the peer says it lives.
    fn register_inbound(&self, caller: &Member) -> Arc<Inbound> {
        let inbound = Arc::new(Inbound::default());
        let mut state = self.state();
        if let Some(older) = state.inbound.insert(caller.id, Arc::clone(&inbound)) {
            older.replace();
        }
        if let Some(forgotten) = state.book.called(caller)
            && state.book.is_member(forgotten) != Some(true)
            && let Some(peer) = state.peers.remove(&forgotten)
        {
            peer.drop_it();
        }
        if let Some(peer) = state.peers.get(&caller.id) {
            peer.kick();
        }
        inbound
    }

    /// Notes that a peer's connection has ended. Returns whether it was the newest one.
    fn deregister_inbound(&self, id: NodeId, inbound: &Arc<Inbound>) -> bool {
        let mut state = self.state();
        let newest = state.inbound.get(&id).is_some_and(|known| Arc::ptr_eq(known, inbound));
        if newest {
            state.inbound.remove(&id);
        }
        newest
    }
}

/// What a failed probe says about whoever should live at `address`.
fn probe_error(address: &str, error: &DialError) -> ProbeError {
    use io::ErrorKind::{
        ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut,
    };
    match error {
        DialError::Connect(io) => match io.kind() {
            TimedOut | HostUnreachable | NetworkUnreachable | NetworkDown | ConnectionReset => {
                ProbeError::Silent(format!("{address} cannot be reached: {io}"))
            }
            _ => ProbeError::Nobody(format!("nobody listens at {address}: {io}")),
        },
        DialError::NoAddress | DialError::Silent(_) | DialError::Closed(_) => {
            ProbeError::Silent(format!("{address}: {error}"))
        }
        DialError::Stranger(_) | DialError::Rejected(_) => {
            ProbeError::Stranger(format!("{address}: {error}"))
        }
    }
}
