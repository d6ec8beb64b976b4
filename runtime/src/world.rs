//! The seam between a node and everything outside it: network, clock, blocking work, entropy.
//!
//! Rule: nothing in this crate opens a socket, reads a clock, starts a thread or draws a random
//! number except through a `World`. Must never: grow a method that only one side can implement.

use kvorum_core::raft::Instant;
use std::{future::Future, io};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

#[cfg(not(madsim))]
mod tokio_world;
#[cfg(not(madsim))]
pub use tokio_world::TokioWorld;

/// What a node may ask of its surroundings. Cheap to clone; one per node.
pub trait World: Clone + Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// A bound socket.
    type Listener: Listener<Stream = Self::Stream>;

    /// Binds `host:port`.
    ///
    /// # Errors
    /// Whatever binding says; `AddrInUse` when somebody has it.
    fn listen(&self, address: &str) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Connects to `host:port`. The name is resolved anew at every call. Callers bound the time.
    ///
    /// # Errors
    /// Whatever resolving and connecting say.
    fn dial(&self, address: &str) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// This node's monotone clock.
    fn now(&self) -> Instant;

    /// Returns once `now()` has reached `at`.
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> + Send;

    /// This node's wall clock: milliseconds since 1970. May jump; only ever data.
    fn wall_ms(&self) -> u64;

    /// Fresh randomness: ids, incarnations, seeds.
    fn entropy(&self) -> u64;

    /// What this process uses of the machine, where a process is what a node is; for people only.
    fn usage(&self) -> Option<Usage> {
        None
    }

    /// Starts a worker for blocking work: a thread of its own here, a task that takes simulated
    /// time in the simulator. `work` gets everything that is queued (up to an internal bound), in
    /// order, and must drain it. The worker ends when all senders are gone.
    fn lane<J: Send + 'static>(
        &self,
        name: &'static str,
        capacity: usize,
        work: impl FnMut(&mut Vec<J>) + Send + 'static,
    ) -> mpsc::Sender<J>;
}

/// What a process uses of the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Seconds of processor time, user and system.
    pub cpu_seconds: f64,
    /// Bytes of memory in use.
    pub resident_bytes: u64,
    /// Bytes of address space in use.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// How many may be open.
    pub max_fds: u64,
}

/// A bound socket.
pub trait Listener: Send + 'static {
    /// A connection.
    type Stream;
    /// The next connection and where it comes from, for logs.
    ///
    /// # Errors
    /// Whatever accepting says; the caller waits a little and goes on.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, String)>> + Send;
    /// Where it is bound, for logs.
    fn local_address(&self) -> String;
}

/// Most jobs a lane hands to `work` at once.
pub const LANE_BATCH: usize = 4096;
