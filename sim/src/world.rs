//! The world of a simulated node.
//!
//! Rule: implements the runtime's `World` on the simulated network, clocks and random streams;
//! blocking work is a task that takes simulated time. Must never: let anything happen, or leave,
//! after the machine has lost its power.

use crate::{
    clock::{self, Clock},
    net::{Net, Place, SimListener, SimStream},
    rng::Rng,
};
use kvorum_core::raft::Instant;
use kvorum_runtime::world::{LANE_BATCH, World};
use std::{
    future::{Future, pending},
    io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc;

/// How long blocking work takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Nanoseconds a batch for the log takes (its sync).
    pub log: Range<u64>,
    /// Nanoseconds a batch of anything else takes.
    pub other: Range<u64>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { log: 150_000..2_000_000, other: 5_000..100_000 }
    }
}

/// The lane whose batches end in a sync.
const LOG_LANE: &str = "log";

/// One machine's world, from one start of its process to the end. Cheap to clone.
#[derive(Clone)]
pub struct SimWorld {
    net: Net,
    place: Place,
    clock: Clock,
    entropy: Arc<Mutex<Rng>>,
    pace: Arc<Mutex<Pace>>,
    pace_rng: Arc<Mutex<Rng>>,
}

impl SimWorld {
    /// The world in `place`. `pace` may be changed from outside while it runs.
    #[must_use]
    pub fn new(
        net: Net,
        place: Place,
        clock: Clock,
        pace: Arc<Mutex<Pace>>,
        seed: u64,
    ) -> SimWorld {
        let id = (u64::from(place.host.0) << 32) | u64::from(place.epoch);
        SimWorld {
            net,
            place,
            clock,
            entropy: Arc::new(Mutex::new(Rng::stream(seed, "entropy", id))),
            pace,
            pace_rng: Arc::new(Mutex::new(Rng::stream(seed, "pace", id))),
        }
    }

    fn work_time(&self, lane: &'static str) -> Duration {
        let pace = lock(&self.pace);
        let range = if lane == LOG_LANE { &pace.log } else { &pace.other };
        Duration::from_nanos(lock(&self.pace_rng).within(range))
    }

    /// Whether the machine still has the power it was started with.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.net.alive(self.place)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World for SimWorld {
    type Stream = SimStream;
    type Listener = SimListener;

    async fn listen(&self, address: &str) -> io::Result<SimListener> {
        self.net.listen(self.place, address)
    }

    fn dial(&self, address: &str) -> impl Future<Output = io::Result<SimStream>> + Send {
        let (net, place, address) = (self.net.clone(), self.place, address.to_owned());
        async move { net.dial(place, &address).await }
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> + Send {
        let clock = self.clock.clone();
        async move { clock.sleep_until(at).await }
    }

    fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    fn entropy(&self) -> u64 {
        lock(&self.entropy).next_u64()
    }

    fn lane<J: Send + 'static>(
        &self,
        name: &'static str,
        capacity: usize,
        mut work: impl FnMut(&mut Vec<J>) + Send + 'static,
    ) -> mpsc::Sender<J> {
        let (sender, mut receiver) = mpsc::channel(capacity);
        let world = self.clone();
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while receiver.recv_many(&mut batch, LANE_BATCH).await > 0 {
                // Time passes before the work, so that the power can go with the batch not begun;
                // inside it, an armed disk cuts the power at a system call of its choice.
                clock::exactly(world.work_time(name)).await;
                if !world.is_alive() {
                    pending::<()>().await;
                }
                work(&mut batch);
                batch.clear();
            }
        });
        sender
    }
}
