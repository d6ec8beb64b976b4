//! The node: its life from start to stop, and the driver that runs the core in between.
//!
//! Rule: store first (its lock keeps a second process out), then the ports, then the cluster, then
//! service; the way out is the reverse. Must never: answer for data before the store is open, or
//! leave the store with a write half reported.

mod admit;
mod birth;
mod chores;
mod disk_watch;
mod driver;
mod fatal;
mod join;
mod lanes;
mod log_lane;
mod members;
mod outbox;
mod pending;
mod quorum_watch;
mod reads;
mod report;
mod view;

pub use fatal::{Fatal, FatalKind};

use crate::{
    config::Config,
    handle::{Handle, Member, Phase, Request, View},
    http::{self, client::Client, stop::Stop},
    metrics::Metrics,
    storage::{Identity, Opened, disk, memory},
    sync::Watched,
    transport::{PeerEvent, Transport},
    watch::Hub,
    world::{Listener, World},
};
use admit::Admission;
use birth::Birth;
use driver::{Control, Driver, Inputs, Parts};
use join::{Asked, Joiner};
use kvorum_core::{
    kv,
    raft::{Index, Instant, NodeId, Raft, RoleName, Term},
};
use lanes::StateLane;
use log_lane::{LogJob, log_lane};
use std::{future::Future, io, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};
use view::Publisher;

/// Requests waiting for the driver; more wait in their connections.
pub const REQUEST_QUEUE: usize = 8192;
/// Peer events waiting for the driver; more wait in their connections.
pub const PEER_QUEUE: usize = 4096;
/// Jobs in a lane's queue; more wait in the driver, which then takes no new requests.
pub const LANE_QUEUE: usize = 4096;

/// What the log says of a node without a directory.
const IN_MEMORY: &str =
    "memory: kept while a majority of the nodes runs; set RAFT_DIR to keep it on disk";

/// A store that is open, or a place for one.
enum Store {
    Opened(Box<Opened>),
    BlankDisk(disk::BlankDir),
    BlankMemory,
}

/// Runs one node until `stop` resolves (then it stops gracefully) or something ends it.
///
/// # Errors
/// `Fatal`: one line with cause, place and cure, and a kind for the exit code.
pub async fn run<W: World>(
    world: W,
    config: Config,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), Fatal> {
    let store = open_store(&config)?;
    let id = match &store {
        Store::Opened(opened) => opened.identity.node,
        Store::BlankDisk(_) | Store::BlankMemory => NodeId(world.entropy()),
    };
    let me = Member {
        id,
        name: config.name.clone(),
        raft_address: config.raft_advertise.clone(),
        http_address: config.http_advertise.clone(),
    };
    let http = listen(&world, &config.http_bind, "PORT").await?;
    let raft = listen(&world, &config.raft_bind, "RAFT_BIND_ADDR").await?;
    tracing::info!(
        node = me.name,
        id = format_args!("{:016x}", id.0),
        http = http.local_address(),
        raft = raft.local_address(),
        data = config.dir.as_ref().map_or(IN_MEMORY.to_owned(), |dir| dir.display().to_string()),
        "kvorum {}",
        env!("CARGO_PKG_VERSION")
    );

    let view = Arc::new(Watched::new(first_view(&me, config.dir.is_some())));
    let (request_sender, requests) = mpsc::channel(REQUEST_QUEUE);
    let (peer_sender, peers) = mpsc::channel(PEER_QUEUE);
    let hub = Arc::new(Hub::new(world.entropy()));
    let metrics = Arc::new(Metrics::new(world.wall_ms()));
    let handle =
        Handle::new(request_sender, Arc::clone(&view), Arc::clone(&hub), Arc::clone(&metrics));
    let transport =
        Transport::start(world.clone(), config.transport.clone(), me.clone(), raft, peer_sender);
    let http_stop = Arc::new(Stop::new());
    let (drained_sender, drained) = oneshot::channel();
    {
        let (world, limits, stop) = (world.clone(), config.limits.clone(), Arc::clone(&http_stop));
        tokio::spawn(async move {
            http::serve(world, http, handle, limits, stop).await;
            let _ = drained_sender.send(());
        });
    }
    let node = Node { world, config, me, view, hub, metrics, transport, http_stop, drained };
    node.live(store, requests, peers, stop).await
}

/// A node with its doors open.
struct Node<W: World> {
    world: W,
    config: Config,
    me: Member,
    view: Arc<Watched<View>>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    transport: Transport<W>,
    http_stop: Arc<Stop>,
    drained: oneshot::Receiver<()>,
}

impl<W: World> Node<W> {
    async fn live(
        self,
        store: Store,
        requests: mpsc::Receiver<Request>,
        mut peers: mpsc::Receiver<PeerEvent>,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), Fatal> {
        let mut stop = Box::pin(stop);
        let opened = tokio::select! {
            biased;
            () = &mut stop => {
                self.http_stop.stop();
                return Ok(());
            }
            opened = self.settle(store, &mut peers) => opened?,
        };
        let (driver, control, inputs) = self.assemble(opened, requests, peers)?;
        self.keep_addresses_current();
        let mut driving = Box::pin(driver.run(inputs));
        tokio::select! {
            biased;
            ended = &mut driving => return ended,
            () = &mut stop => {}
        }
        let closing = self.close(control);
        let (ended, ()) = both(driving, closing).await;
        ended
    }

    /// Opens or formats the store, having found the cluster if need be.
    async fn settle(
        &self,
        store: Store,
        peers: &mut mpsc::Receiver<PeerEvent>,
    ) -> Result<Opened, Fatal> {
        let opened = match store {
            Store::Opened(opened) => *opened,
            blank => {
                let joiner = self.joiner();
                let Birth { cluster, restored } = birth::find_cluster(
                    &self.world,
                    &joiner,
                    &self.me,
                    self.config.join.as_deref(),
                    self.config.bootstrap_grace,
                    peers,
                )
                .await?;
                let identity = Identity { cluster, node: self.me.id, name: self.me.name.clone() };
                match blank {
                    Store::BlankDisk(dir) => dir.format(identity, restored)?,
                    _ => memory::open(identity, restored),
                }
            }
        };
        self.transport.set_cluster(opened.identity.cluster);
        let mut view = (*self.view.get()).clone();
        view.cluster = Some(opened.identity.cluster);
        self.view.set(view);
        Ok(opened)
    }

    fn joiner(&self) -> Joiner<W> {
        Joiner::new(Client::new(self.world.clone()), self.me.clone())
    }

    fn assemble(
        &self,
        opened: Opened,
        requests: mpsc::Receiver<Request>,
        peers: mpsc::Receiver<PeerEvent>,
    ) -> Result<(Driver<W>, mpsc::Sender<Control>, Inputs), Fatal> {
        let Opened { identity, restored, log, state } = opened;
        let world = &self.world;
        let raft = Raft::restore(
            identity.node,
            self.config.raft.clone(),
            restored,
            world.entropy(),
            world.now(),
        )
        .map_err(|corrupt| {
            Fatal::new(
                FatalKind::Data,
                format!(
                    "the stored log does not fit together: {}; rejoin with an empty data \
                             directory",
                    corrupt.0
                ),
            )
        })?;
        let (done_sender, done) = mpsc::unbounded_channel();
        let (verdict_sender, verdicts) = mpsc::unbounded_channel();
        let (control_sender, control) = mpsc::channel(2);
        let clock_ms = kv::clock_ms(state.tables()).map_err(|failure| {
            Fatal::new(FatalKind::Data, format!("the stored state cannot be read: {failure}"))
        })?;
        let clock = {
            let world = world.clone();
            move || world.now()
        };
        let metrics = &self.metrics;
        let work = log_lane(log, clock.clone(), Arc::clone(metrics), done_sender.clone());
        let log = world.lane::<LogJob>("log", LANE_QUEUE, work);
        let mut lane = StateLane::new(
            state,
            self.config.checkpoint_bytes,
            Arc::clone(&self.hub),
            clock,
            Arc::clone(metrics),
            done_sender,
        );
        let state = world.lane("state", LANE_QUEUE, move |jobs| lane.work(jobs));
        let admission = Admission::new(
            world.clone(),
            self.transport.clone(),
            identity.cluster,
            Arc::clone(&self.view),
            verdict_sender,
        );
        let driver = Driver::new(Parts {
            world: world.clone(),
            raft,
            transport: self.transport.clone(),
            log,
            state,
            admission,
            publisher: Publisher::new(Arc::clone(&self.view), Arc::clone(metrics)),
            metrics: Arc::clone(metrics),
            clock_ms,
        });
        Ok((driver, control_sender, Inputs { requests, peers, done, control, verdicts }))
    }

    /// A member that comes back under other addresses tells the cluster, by joining again.
    fn keep_addresses_current(&self) {
        let (world, view, joiner) = (self.world.clone(), Arc::clone(&self.view), self.joiner());
        let (me, join) = (self.me.clone(), self.config.join.clone());
        tokio::spawn(async move {
            loop {
                let known = view
                    .wait_for(|view| match view.phase {
                        Phase::Stopping => Some(None),
                        _ => {
                            let known = view.members.iter().find(|known| known.member.id == me.id);
                            known.map(|known| Some((known.member.clone(), view.members.clone())))
                        }
                    })
                    .await;
                let Some((known, members)) = known else { return };
                if known == me {
                    return;
                }
                let others = members.iter().map(|known| &known.member).filter(|m| m.id != me.id);
                let addresses: Vec<String> = others
                    .map(|member| member.http_address.clone())
                    .chain(join.clone())
                    .chain([me.http_address.clone()])
                    .collect();
                for address in addresses {
                    match joiner.ask(&address).await {
                        Asked::Joined { .. } => return,
                        Asked::NotYet(cause) => tracing::debug!(address, cause, "not yet"),
                        Asked::Refused(cause) => tracing::warn!(address, cause, "new address"),
                    }
                }
                world.sleep_until(world.now().after(ADDRESS_RETRY)).await;
            }
        });
    }

    /// The graceful way out: hand over, let what is in flight finish, end the driver.
    async fn close(self, control: mpsc::Sender<Control>) {
        tracing::info!("stopping: no new connections, finishing what is in flight");
        let deadline = self.world.now().after(self.config.stop_timeout);
        self.http_stop.stop();
        let (handed_over, over) = oneshot::channel();
        let _ = control.send(Control::HandOver(handed_over)).await;
        let wait = self.config.stop_timeout / 2;
        within(&self.world, self.world.now().after(wait), over).await;
        within(&self.world, deadline, self.drained).await;
        let _ = control.send(Control::End).await;
        self.transport.stop(LAST_WORDS).await;
        tracing::info!("stopped");
    }
}

/// How often a member whose addresses changed tries to tell the cluster.
const ADDRESS_RETRY: Duration = Duration::from_millis(500);
/// How long queued messages may take to leave at the end.
const LAST_WORDS: Duration = Duration::from_millis(200);

async fn within<W: World, T>(world: &W, deadline: Instant, work: impl Future<Output = T>) {
    let mut work = Box::pin(work);
    tokio::select! {
        biased;
        _ = &mut work => {}
        () = world.sleep_until(deadline) => {}
    }
}

/// Runs both to their ends.
async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (Box::pin(a), Box::pin(b));
    tokio::select! {
        biased;
        first = &mut a => (first, b.await),
        second = &mut b => (a.await, second),
    }
}

fn open_store(config: &Config) -> Result<Store, Fatal> {
    let Some(dir) = &config.dir else { return Ok(Store::BlankMemory) };
    Ok(match disk::Dir::open(dir, &config.name, config.disk.clone())? {
        disk::Found::Blank(blank) => Store::BlankDisk(blank),
        disk::Found::Formatted(opened) => Store::Opened(Box::new(opened)),
    })
}

async fn listen<W: World>(world: &W, address: &str, variable: &str) -> Result<W::Listener, Fatal> {
    world.listen(address).await.map_err(|error| {
        let port = address.rsplit(':').next().unwrap_or(address);
        let text = match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "{variable}: port {port} is in use ({address}). Stop the process that has it, or \
                 set {variable} to another port"
            ),
            io::ErrorKind::PermissionDenied => format!(
                "{variable}: no permission to listen on {address}. Set {variable} to a port above \
                 1023"
            ),
            _ => format!(
                "{variable}: cannot listen on {address}: {error}. Set {variable} to an address of \
                 this machine"
            ),
        };
        Fatal::new(FatalKind::Bind, text)
    })
}

fn first_view(me: &Member, durable: bool) -> View {
    View {
        me: me.clone(),
        cluster: None,
        phase: Phase::Joining,
        role: RoleName::Follower,
        term: Term(0),
        leader: None,
        members: Vec::new(),
        commit: Index::ZERO,
        applied: Index::ZERO,
        durable,
    }
}
