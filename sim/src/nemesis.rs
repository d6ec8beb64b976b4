//! What goes wrong, and when.
//!
//! Rule: every seed enables its own mix of faults (a swarm: a fault that is always on hides what
//! others would find); several overlap; some wait for a moment that matters ("the node that just
//! became leader"). Must never: take from a cluster in memory more than it can lose, or be active
//! while the cluster is judged for healing.

use crate::{
    client::Client,
    clock,
    cluster::{Cluster, Crash},
    net::Weather,
    rng::Rng,
    world::Pace,
};
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The cluster falls into two halves.
    Split,
    /// One machine hears and reaches nobody.
    Isolate,
    /// The same, for the leader.
    IsolateLeader,
    /// Nothing passes from one machine to another, but back it does.
    OneWay,
    /// A box on the way resets a machine's connections.
    Reset,
    /// Segments are lost everywhere.
    Loss,
    /// Segments are slow everywhere.
    Slow,
    /// The wires of one machine are slow.
    SlowMachine,
    /// One machine loses its power.
    Power,
    /// The leader's machine loses its power.
    PowerLeader,
    /// The power goes inside a system call on a disk.
    PowerInside,
    /// Some machines lose their power at once, perhaps all.
    Blackout,
    /// A process is killed.
    Kill,
    /// A process is asked to stop in order and is started again.
    Restart,
    /// A process is frozen.
    Pause,
    /// The leader's process is frozen.
    PauseLeader,
    /// A machine's clock runs fast or slow.
    Drift,
    /// A machine's wall clock jumps.
    Jump,
    /// A disk is slow.
    SlowDisk,
    /// A sync fails.
    FailedSync,
    /// The node that becomes leader next loses its power a moment later.
    PowerNextLeader,
    /// A machine comes back knowing nothing: its memory is gone, or its disk was replaced.
    Forget,
}

use Fault::*;

/// All faults.
pub const ALL: [Fault; 22] = [
    Split,
    Isolate,
    IsolateLeader,
    OneWay,
    Reset,
    Loss,
    Slow,
    SlowMachine,
    Power,
    PowerLeader,
    PowerInside,
    Blackout,
    Kill,
    Restart,
    Pause,
    PauseLeader,
    Drift,
    Jump,
    SlowDisk,
    FailedSync,
    PowerNextLeader,
    Forget,
];

/// What a nemesis is like.
#[derive(Debug, Clone)]
pub struct NemesisPlan {
    /// The faults it may use.
    pub faults: Vec<Fault>,
    /// Nanoseconds between two faults.
    pub pause: Range<u64>,
    /// Nanoseconds a fault lasts.
    pub length: Range<u64>,
    /// Most faults at once.
    pub overlap: usize,
}

/// How often each fault was used. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    counts: Arc<Mutex<BTreeMap<Fault, u64>>>,
}

impl Tally {
    fn note(&self, fault: Fault) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default() += 1;
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Fault, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A fault that will be undone.
struct Ongoing {
    until: Duration,
    undo: Box<dyn FnOnce(&Cluster) + Send>,
    /// The machine that is off, if that is what it is.
    off: Option<usize>,
}

/// Makes trouble.
pub struct Nemesis {
    cluster: Cluster,
    plan: NemesisPlan,
    rng: Rng,
    tally: Tally,
    ongoing: Vec<Ongoing>,
    observer: Client,
    /// The node that has forgotten everything last, until it votes again.
    convalescent: Option<usize>,
}

/// How long a nemesis waits for the next leader before it gives up on a trap.
const TRAP_PATIENCE: Duration = Duration::from_secs(5);
/// How long it waits for a node that has forgotten everything to be a voter again.
const RETURN_PATIENCE: Duration = Duration::from_secs(20);

impl Nemesis {
    /// A nemesis for `cluster`, which it looks at through `observer`.
    #[must_use]
    pub fn new(
        cluster: Cluster,
        plan: NemesisPlan,
        seed: u64,
        tally: Tally,
        observer: Client,
    ) -> Nemesis {
        let rng = Rng::stream(seed, "nemesis", 0);
        Nemesis { cluster, plan, rng, tally, ongoing: Vec::new(), observer, convalescent: None }
    }

    /// Makes trouble for `time`, then undoes all of it.
    pub async fn run(mut self, time: Duration) {
        let end = now() + time;
        while now() < end {
            let pause = Duration::from_nanos(self.rng.within(&self.plan.pause));
            clock::exactly(pause).await;
            self.undo(|ongoing| ongoing.until <= now());
            self.revive();
            if self.ongoing.len() < self.plan.overlap && !self.plan.faults.is_empty() {
                let fault = *self.rng.pick(&self.plan.faults);
                self.strike(fault).await;
            }
        }
        self.undo(|_| true);
        self.cluster.heal();
    }

    fn undo(&mut self, due: impl Fn(&Ongoing) -> bool) {
        let (over, rest) = std::mem::take(&mut self.ongoing).into_iter().partition(due);
        self.ongoing = rest;
        for ongoing in over {
            (ongoing.undo)(&self.cluster);
        }
    }

    /// Machines that went off by themselves (a cut inside a call, a failed disk) come back.
    fn revive(&mut self) {
        for machine in 0..self.cluster.len() {
            let meant = self.ongoing.iter().any(|ongoing| ongoing.off == Some(machine));
            if !meant && !self.cluster.is_up(machine) {
                self.off(machine);
            }
        }
    }

    fn last(&mut self, off: Option<usize>, undo: impl FnOnce(&Cluster) + Send + 'static) {
        let length = Duration::from_nanos(self.rng.within(&self.plan.length));
        self.ongoing.push(Ongoing { until: now() + length, undo: Box::new(undo), off });
    }

    /// Keeps a machine that is off, off for a while.
    fn off(&mut self, machine: usize) {
        self.last(Some(machine), move |cluster| cluster.start(machine));
    }

    fn any(&mut self) -> usize {
        self.rng.index(self.cluster.len())
    }

    fn leader(&mut self) -> usize {
        let leader = self.cluster.trace().leader();
        leader.and_then(|(name, _)| self.cluster.named(&name)).unwrap_or_else(|| self.any())
    }

    async fn strike(&mut self, fault: Fault) {
        tracing::info!(?fault, "fault");
        self.tally.note(fault);
        let weather = Weather::default();
        match fault {
            Split => self.split(),
            Isolate => {
                let machine = self.any();
                self.isolate(machine);
            }
            IsolateLeader => {
                let machine = self.leader();
                self.isolate(machine);
            }
            OneWay => {
                let (from, to) = (self.any(), self.any());
                let (from, to) = (self.cluster.host(from), self.cluster.host(to));
                self.cluster.net().cut(from, to);
                self.last(None, move |cluster| cluster.net().mend(from, to));
            }
            Reset => {
                let machine = self.any();
                self.cluster.net().reset_all(self.cluster.host(machine));
            }
            Loss => {
                let loss = *self.rng.pick(&[0.01, 0.05, 0.2]);
                self.weather(Weather { loss, ..weather });
            }
            Slow => {
                let most = *self.rng.pick(&[5_000_000, 30_000_000, 150_000_000]);
                self.weather(Weather { latency: most / 10..most, ..weather });
            }
            SlowMachine => self.slow_machine(),
            Power => {
                let machine = self.any();
                self.power(machine);
            }
            PowerLeader => {
                let machine = self.leader();
                self.power(machine);
            }
            PowerInside => {
                let machine = self.any();
                if let Some(disk) = self.cluster.disk(machine) {
                    disk.cut_after(1 + self.rng.below(40));
                }
            }
            Blackout => self.blackout(),
            Kill => {
                let machine = self.any();
                self.cluster.crash(machine, Crash::Process);
                self.off(machine);
            }
            Restart => {
                let machine = self.any();
                self.cluster.stop(machine);
            }
            Pause | PauseLeader => {
                let machine = if fault == Pause { self.any() } else { self.leader() };
                self.cluster.pause(machine);
                self.last(None, move |cluster| cluster.resume(machine));
            }
            Drift => {
                let machine = self.any();
                let ppm = self.rng.within(&(0..400_000)) as i64 - 200_000;
                self.cluster.clock(machine).set_drift(ppm);
                self.last(None, move |cluster| cluster.clock(machine).set_drift(0));
            }
            Jump => {
                let machine = self.any();
                let ms = self.rng.within(&(0..7_200_000)) as i64 - 3_600_000;
                self.cluster.clock(machine).set_wall_offset(ms);
            }
            SlowDisk => {
                let machine = self.any();
                let most = *self.rng.pick(&[20_000_000, 100_000_000, 600_000_000]);
                let pace = Pace { log: most / 4..most, other: 10_000..most / 10 };
                self.cluster.set_pace(machine, pace);
                self.last(None, move |cluster| cluster.set_pace(machine, Pace::default()));
            }
            FailedSync => {
                let machine = self.any();
                self.cluster.fail_sync(machine);
            }
            PowerNextLeader => self.trap_next_leader().await,
            Forget => self.forget().await,
        }
    }

    fn split(&mut self) {
        let mut sides: Vec<bool> = (0..self.cluster.len()).map(|_| self.rng.chance(0.5)).collect();
        if sides.iter().all(|side| *side == sides[0]) {
            let odd = self.any();
            sides[odd] = !sides[odd];
        }
        let host = |machine: usize| self.cluster.host(machine);
        let mut pairs = Vec::new();
        for a in 0..sides.len() {
            for b in 0..sides.len() {
                if sides[a] != sides[b] {
                    pairs.push((host(a), host(b)));
                }
            }
        }
        self.cut_all(pairs);
    }

    fn isolate(&mut self, machine: usize) {
        let here = self.cluster.host(machine);
        let others = (0..self.cluster.len()).filter(|other| *other != machine);
        let pairs: Vec<_> = others
            .map(|other| self.cluster.host(other))
            .flat_map(|there| [(here, there), (there, here)])
            .collect();
        self.cut_all(pairs);
    }

    fn cut_all(&mut self, pairs: Vec<(crate::net::HostId, crate::net::HostId)>) {
        for (from, to) in &pairs {
            self.cluster.net().cut(*from, *to);
        }
        self.last(None, move |cluster| {
            for (from, to) in pairs {
                cluster.net().mend(from, to);
            }
        });
    }

    fn weather(&mut self, weather: Weather) {
        self.cluster.net().set_weather(weather);
        self.last(None, |cluster| cluster.net().set_weather(Weather::default()));
    }

    fn slow_machine(&mut self) {
        let machine = self.any();
        let most = *self.rng.pick(&[50_000_000, 300_000_000]);
        let set = move |cluster: &Cluster, weather: Option<Weather>| {
            let here = cluster.host(machine);
            for other in 0..cluster.len() {
                let there = cluster.host(other);
                cluster.net().set_link(here, there, weather.clone());
                cluster.net().set_link(there, here, weather.clone());
            }
        };
        let slow = Weather { latency: most / 5..most, ..Weather::default() };
        set(&self.cluster, Some(slow));
        self.last(None, move |cluster| set(cluster, None));
    }

    fn power(&mut self, machine: usize) {
        if self.cluster.is_up(machine) {
            self.cluster.crash(machine, Crash::Power);
            self.off(machine);
        }
    }

    fn blackout(&mut self) {
        let all = self.rng.chance(0.5);
        for machine in 0..self.cluster.len() {
            if all || self.rng.chance(0.5) {
                self.power(machine);
            }
        }
    }

    /// One node at a time may forget, and the one that starts clusters only while the others can
    /// tell it that theirs lives.
    async fn forget(&mut self) {
        if let Some(machine) = self.convalescent {
            if !self.votes(machine).await {
                return;
            }
            self.convalescent = None;
        }
        self.undo(|_| true);
        self.cluster.heal();
        let machine = self.any();
        self.cluster.crash(machine, Crash::Process);
        if let Some(disk) = self.cluster.disk(machine) {
            disk.replace().expect("the directory of simulated disks can be written");
        }
        self.convalescent = Some(machine);
        let pause = Duration::from_nanos(self.rng.within(&self.plan.length));
        clock::exactly(pause).await;
        self.cluster.start(machine);
        let until = now() + RETURN_PATIENCE;
        while machine == 0 && now() < until && !self.votes(machine).await {
            clock::exactly(Duration::from_millis(50)).await;
        }
    }

    async fn votes(&mut self, machine: usize) -> bool {
        let status = self.observer.ask(&self.cluster.http_address(machine), "/status").await;
        status.is_some_and(|json| json.get("voter").is_some_and(|voter| *voter == true))
    }

    async fn trap_next_leader(&mut self) {
        let before = self.cluster.trace().leader();
        let until = now() + TRAP_PATIENCE;
        while now() < until && self.cluster.trace().leader() == before {
            clock::exactly(Duration::from_millis(1)).await;
        }
        if self.cluster.trace().leader() != before {
            let moment = Duration::from_nanos(self.rng.within(&(0..20_000_000)));
            clock::exactly(moment).await;
            let machine = self.leader();
            self.power(machine);
        }
    }
}

impl Fault {
    /// Whether it strikes a cluster with disks, or one in memory. Whoever crashes in memory has
    /// forgotten everything, and only `Forget` does that with care.
    #[must_use]
    pub fn suits(self, disks: bool) -> bool {
        match self {
            Power | PowerLeader | PowerInside | Blackout | Kill | Restart | SlowDisk
            | FailedSync | PowerNextLeader => disks,
            _ => true,
        }
    }
}

fn now() -> Duration {
    madsim::time::TimeHandle::current().elapsed()
}
