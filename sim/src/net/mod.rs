//! The simulated network: hosts with names and power, wires with weather, and TCP between them.
//!
//! Rule: this is a TCP of our own on the simulator's clock, because the faults that matter happen
//! between segments: half-open connections after a power loss, RST after a reboot, connects that
//! hang, one-way cuts, back-pressure. One pump task carries out what is due; streams only look at
//! buffers. Must never: draw from a shared random stream or use the simulator's own sockets.

mod connection;
mod handshake;
mod model;
mod stream;
mod weather;

pub use connection::{RECEIVE_BUFFER, SEND_BUFFER};
pub use handshake::BACKLOG;
pub use model::Traffic;
pub use stream::{SimListener, SimStream};
pub use weather::{RTO_MAX, RTO_MIN, SEGMENT_BYTES, Weather};

use madsim::{task::AbortHandle, time::TimeHandle};
use model::Model;
use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// A machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u32);

/// A machine between one power-on and the next loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The machine.
    pub host: HostId,
    /// Which time it was switched on.
    pub epoch: u32,
}

/// The network. Cheap to clone.
#[derive(Clone)]
pub struct Net {
    shared: Arc<Shared>,
}

struct Shared {
    time: TimeHandle,
    model: Mutex<Model>,
    pump: Mutex<Pump>,
}

#[derive(Default)]
struct Pump {
    waker: Option<Waker>,
    armed: Option<u64>,
    task: Option<AbortHandle>,
}

impl Net {
    /// A network without hosts. Call it inside a runtime, once: its pump runs in the caller's node,
    /// which must be the supervisor.
    #[must_use]
    pub fn start(seed: u64) -> Net {
        let shared = Arc::new(Shared {
            time: TimeHandle::current(),
            model: Mutex::new(Model::new(seed)),
            pump: Mutex::default(),
        });
        let net = Net { shared };
        let pump = madsim::task::spawn(net.clone().pump());
        net.lock_pump().task = Some(pump.abort_handle());
        net
    }

    /// Nothing moves any more. A simulation ends with this, or its memory is never given back.
    pub fn stop(&self) {
        let task = self.lock_pump().task.take();
        if let Some(task) = task {
            task.abort();
        }
    }

    fn lock_pump(&self) -> MutexGuard<'_, Pump> {
        self.shared.pump.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A machine, switched off.
    #[must_use]
    pub fn add_host(&self, name: &str) -> HostId {
        self.with(|model, _| model.add_host(name))
    }

    /// Switches a machine on.
    #[must_use]
    pub fn power_on(&self, host: HostId) -> Place {
        self.with(|model, _| model.power_on(host))
    }

    /// Cuts a machine's power: it falls silent in the middle of everything.
    pub fn power_off(&self, host: HostId) {
        self.with(|model, _| model.power_off(host));
    }

    /// Ends the process in `place` (SIGKILL): its kernel closes the sockets.
    pub fn kill_process(&self, place: Place) {
        self.with(|model, now| model.kill_process(place, now));
    }

    /// Whether this power-on still lasts.
    #[must_use]
    pub fn alive(&self, place: Place) -> bool {
        self.with(|model, _| model.alive(place))
    }

    /// Lets nothing pass from one host to another.
    pub fn cut(&self, from: HostId, to: HostId) {
        self.with(|model, _| model.wires.cut(from, to));
    }

    /// Undoes `cut`.
    pub fn mend(&self, from: HostId, to: HostId) {
        self.with(|model, _| model.wires.mend(from, to));
    }

    /// Good weather and no cuts everywhere.
    pub fn calm(&self) {
        self.with(|model, _| model.wires.calm());
    }

    /// The weather on every wire that has none of its own.
    pub fn set_weather(&self, weather: Weather) {
        self.with(|model, _| model.set_weather(weather));
    }

    /// The weather on one wire; `None`: the same as everywhere.
    pub fn set_link(&self, from: HostId, to: HostId, weather: Option<Weather>) {
        self.with(|model, _| model.wires.set_link(from, to, weather));
    }

    /// Resets every connection of a host, as a box on the way would.
    pub fn reset_all(&self, host: HostId) {
        self.with(|model, now| model.reset_all(host, now));
    }

    /// What has been going on.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.with(|model, _| model.traffic)
    }

    /// Binds `host:port`, where the host must be this one.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable`, `InvalidInput`, `NotFound`.
    pub fn listen(&self, place: Place, address: &str) -> io::Result<SimListener> {
        let port = self.with(|model, _| model.listen(place, address))?;
        let name = self.with(|model, _| model.host_name(place.host).to_owned());
        Ok(SimListener::new(self.clone(), place, port, format!("{name}:{port}")))
    }

    /// Connects to `host:port`.
    ///
    /// # Errors
    /// `NotFound` (no such name), `ConnectionRefused`, `TimedOut` (after two minutes).
    pub async fn dial(&self, place: Place, address: &str) -> io::Result<SimStream> {
        let dial = self.with(|model, now| model.dial(place, address, now))?;
        stream::Dialling::new(self.clone(), dial, place).await
    }

    /// Nanoseconds since the simulation began.
    fn now(&self) -> u64 {
        u64::try_from(self.shared.time.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Runs `f` on the model as of now, then wakes whom it concerns.
    fn with<R>(&self, f: impl FnOnce(&mut Model, u64) -> R) -> R {
        let now = self.now();
        let mut model = self.shared.model.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut model, now);
        let wakes = model.take_wakes();
        let due = model.due();
        drop(model);
        for waker in wakes {
            waker.wake();
        }
        let mut pump = self.lock_pump();
        let earlier = due.is_some_and(|due| pump.armed.is_none_or(|armed| due < armed));
        let waker = if earlier { pump.waker.take() } else { None };
        drop(pump);
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    /// Carries out what is due, for ever.
    async fn pump(self) {
        poll_fn(|cx| self.pump_once(cx)).await
    }

    fn pump_once(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.with(|model, now| model.run(now));
            let due = self.with(|model, _| model.due());
            {
                let mut pump = self.lock_pump();
                pump.waker = Some(cx.waker().clone());
                pump.armed = due;
            }
            let Some(due) = due else { return Poll::Pending };
            let now = self.now();
            if due <= now {
                continue;
            }
            // A fresh sleep is never shorter than a millisecond; a reset one is exact. Its timer
            // wakes this task even when the sleep itself is gone.
            let mut timer = pin!(self.shared.time.sleep(Duration::ZERO));
            let at = self.shared.time.now_instant() + Duration::from_nanos(due - now);
            timer.as_mut().reset(at);
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
