//! A cluster of whole nodes, each on a machine of its own.
//!
//! Rule: a node is the runtime's entry point with a configuration read as the binary reads it; a
//! crash takes network, disk and tasks in this order: silence first, then the image of the disk,
//! then the memory. Must never: reach into a node.

use crate::{
    check::Violation,
    clock::{self, Clock},
    disk::SimDisk,
    net::{HostId, Net, Place},
    rng::Rng,
    trace::Trace,
    world::{Pace, SimWorld},
};
use kvorum_core::raft;
use kvorum_runtime::{
    config::Config,
    node::{self, FatalKind},
};
use madsim::{
    runtime::Handle,
    task::{AbortHandle, NodeId},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// A node stopped with a cause that no fault explains.
pub const UNEXPLAINED_STOP: &str = "a node stops only for a cause";

/// Where clients reach a node.
pub const HTTP_PORT: u16 = 8080;
/// Where peers reach it.
const RAFT_PORT: u16 = 7000;
/// After so much silence a watch says how far it has come.
const WATCH_PROGRESS: Duration = Duration::from_millis(200);

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// Machines with a node.
    pub nodes: usize,
    /// Whether they keep their data on disks, or in memory.
    pub disks: bool,
    /// Limits and periods of Raft.
    pub raft: raft::Config,
    /// Applied bytes after which a node makes its state durable.
    pub checkpoint_bytes: u64,
    /// Bytes of a log segment.
    pub segment_bytes: u64,
}

/// How a node's process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The machine loses its power.
    Power,
    /// The process is killed; its machine lives.
    Process,
}

/// A running cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    seed: u64,
    net: Net,
    trace: Trace,
    plan: ClusterPlan,
    machines: Vec<Machine>,
    violations: Mutex<Vec<Violation>>,
    ends: mpsc::UnboundedSender<End>,
    watcher: Mutex<Option<AbortHandle>>,
}

struct Machine {
    name: String,
    host: HostId,
    node: NodeId,
    clock: Clock,
    pace: Arc<Mutex<Pace>>,
    disk: Option<SimDisk>,
    state: Mutex<Power>,
}

/// What a machine is doing.
#[derive(Debug, Default)]
struct Power {
    /// Where its process runs.
    place: Option<Place>,
    /// Asks the process to stop in order.
    stop: Option<oneshot::Sender<()>>,
    /// The node has been told to fail its disk: it may stop by itself.
    may_fail: bool,
    /// The node is paused.
    paused: bool,
}

/// A process has ended by itself, or its machine has lost its power inside a system call.
#[derive(Debug)]
struct End {
    machine: usize,
    place: Place,
    cut: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// Machines that are switched off. `base` holds their disks. Call it inside a runtime.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(
        seed: u64,
        net: Net,
        trace: Trace,
        plan: ClusterPlan,
        base: &Path,
    ) -> io::Result<Cluster> {
        let handle = Handle::current();
        let mut machines = Vec::new();
        for number in 0..plan.nodes {
            let name = format!("n{}", number + 1);
            let node = handle.create_node().name(&name).build().id();
            trace.name(node, &name);
            let disk = match plan.disks {
                true => {
                    let rng = Rng::stream(seed, "disk", number as u64);
                    Some(SimDisk::new(&base.join(&name), rng)?)
                }
                false => None,
            };
            machines.push(Machine {
                host: net.add_host(&name),
                name,
                node,
                clock: Clock::new(),
                pace: Arc::default(),
                disk,
                state: Mutex::default(),
            });
        }
        let (ends, mut ended) = mpsc::unbounded_channel();
        let shared = Shared {
            seed,
            net,
            trace,
            plan,
            machines,
            violations: Mutex::default(),
            ends,
            watcher: Mutex::default(),
        };
        let cluster = Cluster { shared: Arc::new(shared) };
        let watcher = cluster.clone();
        let watching = madsim::task::spawn(async move {
            while let Some(end) = ended.recv().await {
                watcher.ended(&end);
            }
        });
        *lock(&cluster.shared.watcher) = Some(watching.abort_handle());
        Ok(cluster)
    }

    fn machine(&self, machine: usize) -> &Machine {
        &self.shared.machines[machine]
    }

    /// How many machines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.machines.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.machines.is_empty()
    }

    /// The name of a machine and its node.
    #[must_use]
    pub fn name(&self, machine: usize) -> &str {
        &self.machine(machine).name
    }

    /// The machine of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<usize> {
        self.shared.machines.iter().position(|machine| machine.name == name)
    }

    /// Where clients reach a node.
    #[must_use]
    pub fn http_address(&self, machine: usize) -> String {
        format!("{}:{HTTP_PORT}", self.name(machine))
    }

    /// A machine's place in the network.
    #[must_use]
    pub fn host(&self, machine: usize) -> HostId {
        self.machine(machine).host
    }

    /// A machine's clocks.
    #[must_use]
    pub fn clock(&self, machine: usize) -> &Clock {
        &self.machine(machine).clock
    }

    /// How far the machines' clocks can have come apart until `end` (simulated nanoseconds).
    #[must_use]
    pub fn apart(&self, end: u64) -> u64 {
        let machines = &self.shared.machines;
        let rates: Vec<_> = machines.iter().map(|machine| machine.clock.rates()).collect();
        clock::apart(&rates, end)
    }

    /// A machine's disk, if it has one.
    #[must_use]
    pub fn disk(&self, machine: usize) -> Option<&SimDisk> {
        self.machine(machine).disk.as_ref()
    }

    /// The network.
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.shared.net
    }

    /// What the nodes say.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.shared.trace
    }

    /// What was built.
    #[must_use]
    pub fn plan(&self) -> &ClusterPlan {
        &self.shared.plan
    }

    /// Changes how long blocking work takes on a machine.
    pub fn set_pace(&self, machine: usize, pace: Pace) {
        *lock(&self.machine(machine).pace) = pace;
    }

    /// Whether a process runs there.
    #[must_use]
    pub fn is_up(&self, machine: usize) -> bool {
        lock(&self.machine(machine).state).place.is_some()
    }

    /// Nodes that stopped without a cause so far.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        lock(&self.shared.violations).clone()
    }

    /// The environment the node is started with. The first node starts the cluster.
    fn environment(&self, machine: usize) -> Vec<(String, String)> {
        let name = self.name(machine);
        let mut vars = vec![
            ("NODE_ID".to_owned(), name.to_owned()),
            ("PORT".to_owned(), HTTP_PORT.to_string()),
            ("RAFT_BIND_ADDR".to_owned(), format!("{name}:{RAFT_PORT}")),
        ];
        if machine > 0 {
            let first = self.name(0);
            vars.push(("RAFT_JOIN_ADDR".to_owned(), format!("http://{first}:{HTTP_PORT}")));
        }
        if let Some(disk) = self.disk(machine) {
            vars.push(("RAFT_DIR".to_owned(), disk.root().display().to_string()));
        }
        vars
    }

    fn config(&self, machine: usize) -> Config {
        let mut config = Config::from_env(self.environment(machine))
            .expect("the environment of a simulated node is valid");
        let plan = &self.shared.plan;
        config.raft = plan.raft.clone();
        config.checkpoint_bytes = plan.checkpoint_bytes;
        config.disk.segment_bytes = plan.segment_bytes;
        // A storm is over in the time that a watch is silent for by default.
        config.limits.watch_progress = WATCH_PROGRESS;
        // Without threads, or nothing would replay.
        config.disk.fjall_workers = 0;
        config
    }

    /// Switches a machine on and starts its node. Nothing happens when it runs.
    pub fn start(&self, machine: usize) {
        if self.is_up(machine) {
            return;
        }
        let this = self.machine(machine);
        let place = self.shared.net.power_on(this.host);
        let ends = self.shared.ends.clone();
        if let Some(disk) = &this.disk {
            let (net, host, ends) = (self.shared.net.clone(), this.host, ends.clone());
            // A fault that was meant for the life before, and did not strike, is over.
            disk.set_faults(|faults| faults.fail_next_sync = false);
            disk.mount(move || {
                // In the middle of a system call: from here on nothing leaves the machine.
                net.power_off(host);
                let _ = ends.send(End { machine, place, cut: true });
            })
            .expect("the directory of simulated disks can be read");
        }
        let handle = Handle::current();
        handle.restart(this.node);
        let (stop, stopped) = oneshot::channel();
        *lock(&this.state) = Power { place: Some(place), stop: Some(stop), ..Power::default() };
        let world = SimWorld::new(
            self.shared.net.clone(),
            place,
            this.clock.clone(),
            Arc::clone(&this.pace),
            self.shared.seed,
        );
        let (config, cluster) = (self.config(machine), self.clone());
        let node = handle.get_node(this.node).expect("the node was made");
        tracing::info!(machine = this.name, "power on");
        node.spawn(async move {
            let result = node::run(world.clone(), config, async {
                let _ = stopped.await;
            })
            .await;
            if world.is_alive() {
                cluster.judge_stop(machine, result.as_ref().err());
            }
            let _ = ends.send(End { machine, place, cut: false });
        });
    }

    fn judge_stop(&self, machine: usize, fatal: Option<&node::Fatal>) {
        let Some(fatal) = fatal else { return };
        let name = self.name(machine);
        tracing::warn!(machine = name, kind = ?fatal.kind, cause = fatal.message, "node stopped");
        let may_fail = lock(&self.machine(machine).state).may_fail;
        if !(may_fail && fatal.kind == FatalKind::Io) {
            let evidence = format!("{name} stopped ({:?}): {}", fatal.kind, fatal.message);
            let mut violations = lock(&self.shared.violations);
            // It will say the same at every start; once is enough.
            if !violations.iter().any(|v| v.evidence.starts_with(&format!("{name} stopped"))) {
                violations.push(Violation::new(UNEXPLAINED_STOP, evidence));
            }
        }
    }

    /// A process ended by itself, or its power went inside a system call: clears up behind it.
    fn ended(&self, end: &End) {
        let this = self.machine(end.machine);
        if lock(&this.state).place != Some(end.place) {
            return;
        }
        tracing::info!(machine = this.name, cut = end.cut, "process ended");
        self.clear(end.machine, if end.cut { Crash::Power } else { Crash::Process });
    }

    /// Ends a process. Nothing happens when none runs.
    pub fn crash(&self, machine: usize, how: Crash) {
        if self.is_up(machine) {
            tracing::info!(machine = self.name(machine), ?how, "crash");
            self.clear(machine, how);
        }
    }

    fn clear(&self, machine: usize, how: Crash) {
        let this = self.machine(machine);
        let Some(place) = std::mem::take(&mut *lock(&this.state)).place else { return };
        match how {
            Crash::Power => self.shared.net.power_off(this.host),
            Crash::Process => self.shared.net.kill_process(place),
        }
        if let Some(disk) = &this.disk {
            let image = match how {
                Crash::Power => disk.cut(),
                Crash::Process => disk.abandon(),
            };
            image.expect("the directory of simulated disks can be written");
        }
        Handle::current().kill(this.node);
    }

    /// Asks a node to stop in order, as SIGTERM does. It ends some time later.
    pub fn stop(&self, machine: usize) {
        if let Some(stop) = lock(&self.machine(machine).state).stop.take() {
            tracing::info!(machine = self.name(machine), "asked to stop");
            let _ = stop.send(());
        }
    }

    /// Freezes a process (SIGSTOP): its kernel goes on.
    pub fn pause(&self, machine: usize) {
        let this = self.machine(machine);
        let mut state = lock(&this.state);
        if state.place.is_some() && !state.paused {
            state.paused = true;
            tracing::info!(machine = this.name, "paused");
            Handle::current().pause(this.node);
        }
    }

    /// Undoes `pause`.
    pub fn resume(&self, machine: usize) {
        let this = self.machine(machine);
        let mut state = lock(&this.state);
        if std::mem::take(&mut state.paused) {
            tracing::info!(machine = this.name, "resumed");
            Handle::current().resume(this.node);
        }
    }

    /// Lets the next sync of a machine's disk fail. The node is expected to stop.
    pub fn fail_sync(&self, machine: usize) {
        let this = self.machine(machine);
        if let Some(disk) = &this.disk {
            tracing::info!(machine = this.name, "the next sync fails");
            lock(&this.state).may_fail = true;
            disk.set_faults(|faults| faults.fail_next_sync = true);
        }
    }

    /// All machines run true, unpaused, with healthy disks on a calm network; those that are off
    /// are switched on.
    pub fn heal(&self) {
        tracing::info!("healing");
        self.shared.net.calm();
        for machine in 0..self.len() {
            let this = self.machine(machine);
            this.clock.set_drift(0);
            *lock(&this.pace) = Pace::default();
            if let Some(disk) = &this.disk {
                disk.disarm();
                disk.set_faults(|faults| {
                    faults.fail_next_sync = false;
                    faults.full = false;
                });
            }
            self.resume(machine);
            self.start(machine);
        }
    }

    /// Switches everything off, the network too, and removes the disks. Let some time pass after
    /// it, so that the tasks are gone when the simulation ends.
    pub fn scrap(&self) {
        for machine in 0..self.len() {
            self.clear(machine, Crash::Power);
            if let Some(disk) = self.disk(machine) {
                disk.scrap().expect("the directory of simulated disks can be removed");
            }
        }
        if let Some(watcher) = lock(&self.shared.watcher).take() {
            watcher.abort();
        }
        self.shared.net.stop();
    }
}

/// Room that a place for disks must have; containers often have 64 MiB of shared memory.
const ROOM_BYTES: u64 = 1 << 30;

/// A directory for a simulation's disks, in memory if the system has such a place with room.
#[must_use]
pub fn disk_base(label: &str) -> PathBuf {
    let shm = Path::new("/dev/shm");
    let roomy = rustix::fs::statvfs(shm)
        .is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) >= ROOM_BYTES);
    let base = if roomy { shm.to_owned() } else { std::env::temp_dir() };
    base.join(format!("kvorum-sim-{}-{label}", std::process::id()))
}
