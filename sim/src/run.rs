//! One seed from the first power-on to the verdict.
//!
//! Rule: trouble first, then healing, then proof: within a bounded simulated time every node serves
//! a write, everything acknowledged is read back, and all replicas hold the same. The seed alone
//! decides the plan. Must never: judge while the nemesis is active, or end without a verdict.

use crate::{
    check::{
        Violation,
        forgetting::Forgotten,
        leases::{Held, LEASES},
        ledger::Explained,
        once::Repeats,
        watching::Heard,
    },
    client::{Client, Exchange, Proxy},
    clock,
    cluster::{Cluster, disk_base},
    disk::DiskStats,
    history::{Answer, Call, History, Outcome, Reply, Ticks},
    journal::{Journal, Told},
    judge::{Facts, judge},
    nemesis::{Fault, Nemesis, Tally},
    net::{Net, Traffic},
    plan::{Canary, Plan, Settings},
    rng::Rng,
    simulate::try_simulate,
    store::request::{Bounds, Request, Scan},
    trace::{Keep, Trace},
    workload::{
        asking::Asker,
        hold::{Holder, TTLS},
        now,
        registers::{Book, run_client},
        store::Shopper,
        watch::Watcher,
    },
    world::SimWorld,
};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::json;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The cluster does not come back.
pub const LIVENESS: &str = "the cluster works again after healing";
/// Replicas differ.
pub const CONVERGENCE: &str = "all replicas hold the same after healing";
/// The process would have died.
pub const PANIC: &str = "nothing panics";

/// How long a cluster may take to form.
const FORMING: Duration = Duration::from_secs(60);
/// How long a cluster may take, after healing, until every node serves a write.
const HEALING: Duration = Duration::from_secs(30);
/// How long replicas may take to agree once nobody writes.
const CONVERGING: Duration = Duration::from_secs(15);
/// How much longer than its TTL a lease may last after healing: the five seconds of a tick
/// (decision 0025), and a few for looking and telling.
const LATE_EXPIRY: Duration = Duration::from_secs(8);
/// How long a watch of everything may take to come to the end.
const AUDIT: Duration = Duration::from_secs(20);
/// Lines kept for a report.
const KEPT_LINES: usize = 400;

/// What came out of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Hash over everything that was said.
    pub hash: u64,
    /// How many lines were said.
    pub lines: u64,
    /// What is wrong. Empty: nothing.
    pub violations: Vec<Violation>,
    /// The lines that were kept.
    pub trace: Vec<String>,
    /// What was covered.
    pub coverage: Coverage,
}

/// What a run has exercised.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    /// Operations answered, refused, and unknown.
    pub answered: u64,
    /// See `answered`.
    pub refused: u64,
    /// See `answered`.
    pub unknown: u64,
    /// Terms that had a leader.
    pub terms: u64,
    /// States compared between replicas.
    pub compared: u64,
    /// Keys whose order was found by search.
    pub searched: u64,
    /// Keys whose search was cut off.
    pub unsearched: u64,
    /// Faults by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// What the nodes said, and how often.
    pub said: BTreeMap<String, u64>,
    /// What the network did.
    pub traffic: Traffic,
    /// What the disks did.
    pub disks: DiskStats,
    /// What was judged of the whole store.
    pub explained: Explained,
    /// What was judged of watchers.
    pub heard: Heard,
    /// What was judged of repeats.
    pub repeats: Repeats,
    /// What was judged of leases and locks.
    pub held: Held,
    /// What was judged of compaction.
    pub forgotten: Forgotten,
    /// Writes that were refused because there was no room.
    pub no_room: u64,
    /// Stretches of revisions that nobody heard of.
    pub holes: u64,
}

/// Runs a seed on a thread of its own.
#[must_use]
pub fn run(seed: u64, plan: &Plan, keep: Keep) -> Report {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let label = format!("{seed}-{}", RUNS.fetch_add(1, Ordering::Relaxed));
    let base = disk_base(&label);
    let trace = Trace::new(
        match keep {
            Keep::Last(0) => Keep::Last(KEPT_LINES),
            other => other,
        },
        &base.display().to_string(),
    );
    let coverage: Arc<Mutex<Coverage>> = Arc::default();
    let outcome = {
        let (plan, trace, coverage, base) =
            (plan.clone(), trace.clone(), Arc::clone(&coverage), base.clone());
        try_simulate(seed, move || async move {
            let _recording = trace.start();
            let violations = Run::new(seed, plan, trace.clone(), &base).whole(&coverage).await;
            trace.stop();
            violations
        })
    };
    trace.stop();
    // A panic leaves the disks behind.
    let _ = std::fs::remove_dir_all(&base);
    let mut violations = outcome.unwrap_or_else(|payload| {
        vec![Violation::new(PANIC, panic_text(payload.as_ref()).to_owned())]
    });
    violations.splice(0..0, trace.violations());
    for violation in &mut violations {
        violation.evidence = violation.evidence.replace(&base.display().to_string(), "");
    }
    let coverage = coverage.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Report {
        seed,
        hash: trace.hash(),
        lines: trace.count(),
        violations,
        trace: trace.lines(),
        coverage,
    }
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
}

struct Run {
    seed: u64,
    plan: Plan,
    cluster: Cluster,
    book: Book,
    journal: Journal,
    tally: Tally,
}

impl Run {
    fn new(seed: u64, plan: Plan, trace: Trace, base: &std::path::Path) -> Run {
        let net = Net::start(seed);
        let cluster = Cluster::new(seed, net, trace, plan.cluster.clone(), base)
            .expect("the directory of simulated disks can be made");
        let ticks = Ticks::default();
        let book = Book::new(plan.workload.keys, ticks.clone());
        let journal = Journal::new(ticks);
        Run { seed, plan, cluster, book, journal, tally: Tally::default() }
    }

    async fn whole(self, coverage: &Mutex<Coverage>) -> Vec<Violation> {
        let mut violations = Vec::new();
        let top = match self.story().await {
            Ok(top) => Some(top),
            Err(violation) => {
                violations.push(violation);
                None
            }
        };
        violations.splice(0..0, self.cluster.violations());
        let history = self.history();
        let mut covered = self.coverage(&history);
        let apart = |end| self.cluster.apart(end);
        let facts = Facts { top, settings: self.plan.settings, apart: &apart };
        violations.extend(judge(&history, self.journal.read(), &facts, &mut covered));
        *coverage.lock().unwrap_or_else(PoisonError::into_inner) = covered;
        self.cluster.scrap();
        clock::exactly(Duration::from_millis(1)).await;
        violations
    }

    /// Returns the store's last revision.
    async fn story(&self) -> Result<u64, Violation> {
        let mut observer = self.client("observer", u32::MAX);
        self.form(&mut observer).await?;
        if self.plan.canary == Some(Canary::LyingDisks) {
            for machine in 0..self.cluster.len() {
                if let Some(disk) = self.cluster.disk(machine) {
                    disk.set_faults(|faults| faults.lies = true);
                }
            }
        }
        if self.plan.settings != Settings::default() {
            self.set(&mut observer).await?;
        }
        if self.plan.canary == Some(Canary::FastClocks) {
            (0..self.cluster.len()).for_each(|machine| self.cluster.clock(machine).hurry());
        }
        let clients = self.start_clients();
        let nemesis = Nemesis::new(
            self.cluster.clone(),
            self.plan.nemesis.clone(),
            self.seed,
            self.tally.clone(),
            self.client("nemesis", u32::MAX - 1),
        );
        nemesis.run(self.plan.storm).await;
        self.heal(&mut observer).await?;
        self.book.close();
        for client in clients {
            let _ = client.await;
        }
        self.leases_end(&mut observer).await?;
        self.read_back(&mut observer).await?;
        self.converge(&mut observer).await?;
        self.audit().await
    }

    /// Tells the cluster its settings.
    async fn set(&self, observer: &mut Client) -> Result<(), Violation> {
        let Settings { quota, keep_ms, revisions } = self.plan.settings;
        let history = json!({"keep": format!("{keep_ms}ms"), "revisions": revisions});
        let body = json!({"quota": quota, "history": history}).to_string();
        let address = self.cluster.http_address(0);
        let end = elapsed() + FORMING;
        loop {
            let request = hyper::Request::patch("/settings").header("host", &address);
            let request = request.body(Full::new(Bytes::from(body.clone())));
            let request = request.expect("the request is well formed");
            let told = observer.send(&address, request, Duration::from_secs(5)).await;
            if matches!(&told, Exchange::Answer(answer) if answer.status().is_success() || answer.status() == 404)
            {
                return Ok(());
            }
            if elapsed() > end {
                let text = format!("the settings were not taken: {told:?}");
                return Err(Violation::new(LIVENESS, text));
            }
            clock::exactly(Duration::from_millis(100)).await;
        }
    }

    /// A client on a machine of its own.
    fn client(&self, name: &str, number: u32) -> Client {
        let net = self.cluster.net();
        let place = net.power_on(net.add_host(name));
        let seed = self.seed ^ u64::from(number);
        let world = SimWorld::new(net.clone(), place, Default::default(), Arc::default(), seed);
        let proxy = match self.plan.canary {
            Some(Canary::LocalReads) => Proxy::LocalReads,
            Some(Canary::UnknownIsNo) => Proxy::UnknownIsNo,
            Some(Canary::Proxy(proxy)) => proxy,
            _ => Proxy::Honest,
        };
        Client::new(world, proxy)
    }

    fn addresses(&self) -> Vec<String> {
        (0..self.cluster.len()).map(|machine| self.cluster.http_address(machine)).collect()
    }

    fn start_clients(&self) -> Vec<madsim::task::JoinHandle<()>> {
        let nodes = self.addresses();
        let plan = &self.plan.workload;
        let machine = |name: &str| {
            let node = madsim::runtime::Handle::current().create_node().name(name).build();
            self.cluster.trace().name(node.id(), name);
            node
        };
        let mut handles = Vec::new();
        for number in 0..plan.clients {
            let name = format!("c{}", number + 1);
            let client = self.client(&name, number);
            let rng = Rng::stream(self.seed, "client", u64::from(number));
            let (nodes, book, plan) = (nodes.clone(), self.book.clone(), plan.clone());
            let life = run_client(client, number, nodes, book, plan, rng);
            handles.push(machine(&name).spawn(life));
        }
        for number in 0..plan.shoppers {
            let name = format!("s{}", number + 1);
            let rng = Rng::stream(self.seed, "shopper", u64::from(number));
            let shopper = Shopper::new(self.asker(&name, 1000 + number), rng);
            let life = shopper.run(self.book.clone(), plan.clone());
            handles.push(machine(&name).spawn(life));
        }
        for number in 0..plan.watchers {
            let name = format!("w{}", number + 1);
            let rng = Rng::stream(self.seed, "watcher", u64::from(number));
            // The first hears everything from the beginning on.
            let (prefix, told) =
                [("", Some(1)), ("t/", None), ("", None), ("t/a/", Some(1))][number as usize % 4];
            let bounds = Bounds::Prefix(prefix.to_owned());
            let watcher = Watcher::new(self.asker(&name, 2000 + number), rng, bounds, told);
            handles.push(machine(&name).spawn(watcher.run(self.book.clone())));
        }
        for number in 0..plan.holders {
            let name = format!("h{}", number + 1);
            let rng = Rng::stream(self.seed, "holder", u64::from(number));
            let asker = self.asker(&name, 4000 + number);
            let life = Holder::new(asker, rng, u64::from(number) + 1);
            handles.push(machine(&name).spawn(life.run(self.book.clone(), plan.clone())));
        }
        handles
    }

    fn asker(&self, name: &str, number: u32) -> Asker {
        let client = self.client(name, number);
        let patience = self.plan.workload.patience.clone();
        Asker::new(name.to_owned(), client, self.journal.clone(), self.addresses(), patience)
    }

    /// Nobody keeps anything alive any more: all leases end within the longest TTL and what decision
    /// 0025 adds to it.
    async fn leases_end(&self, observer: &mut Client) -> Result<(), Violation> {
        let longest = TTLS.into_iter().max().map_or(Duration::ZERO, Duration::from_millis);
        let apart = Duration::from_nanos(self.cluster.apart(now()));
        let patience = longest + apart + LATE_EXPIRY;
        let end = elapsed() + patience;
        let address = self.cluster.http_address(0);
        loop {
            let leases = observer.ask(&address, "/leases").await;
            let leases = leases.and_then(|json| json.get("leases").cloned());
            if leases.as_ref().and_then(|leases| leases.as_array()).is_some_and(Vec::is_empty) {
                return Ok(());
            }
            if elapsed() > end {
                let text = format!("{patience:?} after the last sign of life there is {leases:?}");
                return Err(Violation::new(LEASES, text));
            }
            clock::exactly(Duration::from_millis(100)).await;
        }
    }

    /// Every node tells the whole history it still has, and the whole store.
    async fn audit(&self) -> Result<u64, Violation> {
        let mut rng = Rng::stream(self.seed, "audit", 0);
        let mut scan = Scan {
            prefix: String::new(),
            limit: 1000,
            reverse: false,
            keys_only: false,
            at: None,
            after: None,
            stale: false,
        };
        let mut asker = self.asker("auditor", 3000);
        let told = asker.once(&mut rng, Request::Scan(scan.clone())).await;
        let Told::Answered(crate::journal::Answer { revision: top, .. }) = told else {
            return Err(Violation::new(LIVENESS, format!("the store cannot be listed: {told:?}")));
        };
        (scan.at, scan.stale) = (Some(top), true);
        for (number, address) in self.addresses().into_iter().enumerate() {
            let mut asker = self.asker("auditor", 3001 + number as u32);
            asker.nodes = vec![address.clone()];
            asker.once(&mut rng, Request::Scan(scan.clone())).await;
            let rng = Rng::stream(self.seed, "audit", 1 + number as u64);
            let mut watcher = Watcher::auditor(asker, rng);
            let end = elapsed() + AUDIT;
            while watcher.told() < Some(top) {
                if elapsed() > end {
                    let told = watcher.told();
                    let text = format!("a watch at {address} comes to {told:?}, not to {top}");
                    return Err(Violation::new(LIVENESS, text));
                }
                watcher.listen(&address, Duration::from_secs(5), top).await;
                clock::exactly(Duration::from_millis(10)).await;
            }
        }
        Ok(top)
    }

    /// Starts all nodes at random moments and waits until all of them vote.
    async fn form(&self, observer: &mut Client) -> Result<(), Violation> {
        let mut rng = Rng::stream(self.seed, "form", 0);
        let mut order: Vec<usize> = (0..self.cluster.len()).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, rng.index(at + 1));
        }
        for machine in order {
            self.cluster.start(machine);
            clock::exactly(Duration::from_millis(rng.below(500))).await;
        }
        let end = elapsed() + FORMING;
        while self.voters(observer).await < self.cluster.len() {
            if elapsed() > end {
                let evidence = format!("after {FORMING:?} not all nodes are voters");
                return Err(Violation::new(LIVENESS, evidence));
            }
            clock::exactly(Duration::from_millis(50)).await;
        }
        tracing::info!("formed");
        Ok(())
    }

    /// Voters as the first node sees them.
    async fn voters(&self, observer: &mut Client) -> usize {
        let Some(json) = observer.ask(&self.cluster.http_address(0), "/cluster").await else {
            return 0;
        };
        let members = json.get("members").and_then(|members| members.as_array());
        members.map_or(0, |members| {
            members.iter().filter(|m| m.get("voter").is_some_and(|v| v == true)).count()
        })
    }

    /// Every node must serve a write soon.
    async fn heal(&self, observer: &mut Client) -> Result<(), Violation> {
        let end = elapsed() + HEALING;
        for address in self.addresses() {
            loop {
                // Nodes that stop late (asked to, or for a disk that failed) come back as well.
                (0..self.cluster.len()).for_each(|machine| self.cluster.start(machine));
                let call = self.book.probe();
                let operation = self.book.invoke(u32::MAX, &address, call.clone());
                let outcome = observer.call(&address, &call, Duration::from_secs(5)).await;
                let done = matches!(outcome, Outcome::Done(_));
                self.book.finish(operation, outcome);
                if done {
                    break;
                }
                if elapsed() > end {
                    let evidence = format!("{address} served no write within {HEALING:?}");
                    return Err(Violation::new(LIVENESS, evidence));
                }
                clock::exactly(Duration::from_millis(100)).await;
            }
        }
        tracing::info!("healed");
        Ok(())
    }

    /// Reads every key that was ever used, at a random node.
    async fn read_back(&self, observer: &mut Client) -> Result<(), Violation> {
        let mut rng = Rng::stream(self.seed, "read back", 0);
        let addresses = self.addresses();
        for key in self.book.keys() {
            let mut done = false;
            for _ in 0..20 {
                let address = rng.pick(&addresses);
                let call = Call::Get { key, stale: false };
                let operation = self.book.invoke(u32::MAX, address, call.clone());
                let outcome = observer.call(address, &call, Duration::from_secs(5)).await;
                done = matches!(outcome, Outcome::Done(_));
                self.book.finish(operation, outcome);
                if done {
                    break;
                }
            }
            if !done {
                return Err(Violation::new(LIVENESS, format!("key {key} cannot be read back")));
            }
        }
        Ok(())
    }

    /// Without writes, all replicas come to stand at the same index.
    async fn converge(&self, observer: &mut Client) -> Result<(), Violation> {
        let end = elapsed() + CONVERGING;
        loop {
            let mut applied = Vec::new();
            for machine in 0..self.cluster.len() {
                let status = observer.ask(&self.cluster.http_address(machine), "/status").await;
                applied.push(status.and_then(|json| json.get("applied")?.as_u64()));
            }
            if applied.iter().all(|index| index.is_some() && *index == applied[0]) {
                return Ok(());
            }
            if elapsed() > end {
                let evidence = format!("after {CONVERGING:?} the nodes have applied {applied:?}");
                return Err(Violation::new(CONVERGENCE, evidence));
            }
            clock::exactly(Duration::from_millis(200)).await;
        }
    }

    /// What the judges get to see: the truth, unless a canary wants otherwise.
    fn history(&self) -> History {
        let mut history = self.book.history();
        if self.plan.canary == Some(Canary::StaleRead) {
            turn_back_a_read(&mut history);
        }
        history
    }

    fn coverage(&self, history: &History) -> Coverage {
        let count = |wanted: fn(&Outcome) -> bool| {
            history.operations().iter().filter(|op| wanted(&op.outcome)).count() as u64
        };
        let invariants = self.cluster.trace().invariants();
        let mut disks = DiskStats::default();
        for disk in (0..self.cluster.len()).filter_map(|machine| self.cluster.disk(machine)) {
            disks.add(&disk.stats());
        }
        Coverage {
            answered: count(|outcome| matches!(outcome, Outcome::Done(_))),
            refused: count(|outcome| *outcome == Outcome::Refused),
            unknown: count(|outcome| *outcome == Outcome::Unknown),
            terms: invariants.terms() as u64,
            compared: invariants.compared(),
            faults: self.tally.counts(),
            said: self.cluster.trace().said(),
            traffic: self.cluster.net().traffic(),
            disks,
            ..Coverage::default()
        }
    }
}

/// The last read of a changed key tells of the value before.
fn turn_back_a_read(history: &mut History) {
    let mut before: BTreeMap<u32, Outcome> = BTreeMap::new();
    let mut turned = None;
    for (number, operation) in history.operations().iter().enumerate() {
        let Call::Get { key, stale: false } = operation.call else { continue };
        let Some(Answer { result: Reply::Found { .. }, .. }) = operation.answer() else { continue };
        let older = before.insert(key, operation.outcome.clone());
        if let Some(older) = older.filter(|older| *older != operation.outcome) {
            turned = Some((number, older));
        }
    }
    if let Some((number, older)) = turned {
        history.operations_mut()[number].outcome = older;
    }
}

fn elapsed() -> Duration {
    madsim::time::TimeHandle::current().elapsed()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        Ok(())
    }
}
