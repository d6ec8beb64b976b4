//! The connections between nodes.
//!
//! Rule: frames are length-prefixed, checksummed and versioned; a connection begins with a
//! handshake that names cluster, node and incarnation on both sides; every queue is bounded and
//! full means dropped (Raft repeats itself). Must never: deliver a message whose sender the
//! handshake has not named, buffer without bound for a peer that is away, or dial an address
//! resolved earlier.

use crate::{handle::Member, world::World};
use kvorum_core::raft::{Envelope, NodeId};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;

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

/// The way to all peers. Cheap to clone; the tasks end when the last clone is gone.
#[derive(Debug)]
pub struct Transport<W: World> {
    _world: W,
    _inner: Arc<()>,
}

impl<W: World> Clone for Transport<W> {
    fn clone(&self) -> Self {
        Transport { _world: self._world.clone(), _inner: Arc::clone(&self._inner) }
    }
}

impl<W: World> Transport<W> {
    /// Starts accepting on `listener`. Events go to `events` (bounded: a slow driver slows
    /// reading, not memory).
    pub fn start(
        _world: W,
        _config: TransportConfig,
        _me: Member,
        _listener: W::Listener,
        _events: mpsc::Sender<PeerEvent>,
    ) -> Transport<W> {
        todo!()
    }

    /// Sets the cluster once it is known. Before that, callers are told "not yet" (and reported).
    pub fn set_cluster(&self, _cluster: u64) {
        todo!()
    }

    /// The members as the log says. Connections to others end; new ones are dialled.
    pub fn set_members(&self, _members: &[Member]) {
        todo!()
    }

    /// Queues a message for `envelope.to`, or drops it. To a node that is not a member, it goes to
    /// the address that node gave when it called. Never blocks.
    pub fn send(&self, _envelope: Envelope) {
        todo!()
    }

    /// Asks who lives at `address`: a dial, a handshake, and good-bye.
    ///
    /// # Errors
    /// See `ProbeError`.
    pub async fn probe(&self, _address: &str) -> Result<Answered, ProbeError> {
        todo!()
    }

    /// Flushes what is queued (bounded by `within`), then closes everything.
    pub async fn stop(&self, _within: Duration) {
        todo!()
    }
}
