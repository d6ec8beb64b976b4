//! A node behind its `Handle` that does as it is told, its HTTP server on loopback, and clients.
#![allow(dead_code, reason = "every test file uses its own part of this")]

pub mod documented;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use kvorum_core::{
    kv::{self, Command, MemoryTables, Query},
    raft::{Ignored, Index, Instant, NodeId, Refusal, RoleName, Term},
};
use kvorum_runtime::{
    config::Limits,
    handle::{
        Answer, Consistency, ExecuteError, Executed, Handle, JoinError, Joined, Member,
        MemberChange, MemberError, MemberView, Phase, QueryError, Request as NodeRequest, Seen,
        View,
    },
    http::{self, stop::Stop},
    metrics::Metrics,
    report::{PeerReport, QueueReport, Report},
    sync::Watched,
    transport::Stats,
    watch::Hub,
    world::{Listener, TokioWorld, World},
};
use serde_json::Value;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// Bounds every wait of a test; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The store of a whole (pretended) cluster: its nodes share it.
#[derive(Debug, Default)]
pub struct Store {
    pub tables: MemoryTables,
    pub index: u64,
    /// How many commands were applied.
    pub commands: u64,
    /// The cluster clock, and the date, as all nodes have them; tests move them.
    pub clock_ms: u64,
    pub wall_ms: u64,
}

pub type SharedStore = Arc<Mutex<Store>>;

/// What a node does with the next write.
#[derive(Debug)]
pub enum Turn {
    /// Fail with this, without applying.
    Fail(ExecuteError),
    /// Apply, and say that the outcome is unknown.
    ApplyUnknown,
    /// Never answer.
    Hang,
    /// Answer so.
    Say(Executed),
    /// Others come first.
    Meanwhile(Vec<Command>),
}

/// What a node does next, where it is not the ordinary.
#[derive(Debug, Default)]
pub struct Script {
    pub writes: VecDeque<Turn>,
    pub reads: VecDeque<Result<Answer, QueryError>>,
    pub hang_reads: bool,
    pub joins: VecDeque<Result<Joined, JoinError>>,
    pub joiners: Vec<Member>,
    pub transfers: VecDeque<Result<String, String>>,
    pub transferred: Vec<Option<String>>,
    /// What comes of changes of members; without any, they are committed.
    pub changes: VecDeque<Result<bool, MemberError>>,
    /// Those that were asked for.
    pub changed: Vec<(String, MemberChange)>,
    /// Whether requests for a report stay without an answer.
    pub driver_hangs: bool,
    /// What it says of its peers.
    pub peers: Vec<PeerReport>,
    hung_reports: Vec<oneshot::Sender<Report>>,
    /// Requests seen by `Execute`, answered or not.
    pub executed: u64,
    pub consistencies: Vec<Consistency>,
    hung: Vec<oneshot::Sender<Result<Executed, ExecuteError>>>,
    hung_reads: Vec<oneshot::Sender<Result<Answer, QueryError>>>,
}

/// A node.
pub struct Node {
    pub address: String,
    pub view: Arc<Watched<View>>,
    pub script: Arc<Mutex<Script>>,
    pub store: SharedStore,
    pub hub: Arc<Hub>,
    pub metrics: Arc<Metrics>,
    pub stop: Arc<Stop>,
    pub server: JoinHandle<()>,
}

pub fn member(name: &str, id: u64, http_address: &str) -> Member {
    Member {
        id: NodeId(id),
        name: name.to_owned(),
        raft_address: format!("{name}:7000"),
        http_address: http_address.to_owned(),
    }
}

impl Node {
    /// A sole leader with an empty store.
    pub async fn leader() -> Node {
        Node::start("app1", 1, SharedStore::default(), Limits::default()).await
    }

    pub async fn leader_with(limits: Limits) -> Node {
        Node::start("app1", 1, SharedStore::default(), limits).await
    }

    /// A node that leads; see `follow`.
    pub async fn start(name: &str, id: u64, store: SharedStore, limits: Limits) -> Node {
        let world = TokioWorld::new();
        let listener = world.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_address();
        let me = member(name, id, &address);
        let view = Arc::new(Watched::new(View {
            me: me.clone(),
            cluster: Some(0x6f1c),
            phase: Phase::Serving,
            role: RoleName::Leader,
            term: Term(2),
            leader: Some(me.clone()),
            members: vec![MemberView { member: me, voter: true }],
            commit: Index(7),
            applied: Index(7),
            durable: false,
        }));
        let script = Arc::new(Mutex::new(Script::default()));
        let (requests, inbox) = mpsc::channel(64);
        let hub = Arc::new(Hub::default());
        hub.replace(kv::revision(&store.lock().unwrap().tables).unwrap());
        let metrics = Arc::new(Metrics::new(0));
        show(&store, &metrics);
        let parts = (Arc::clone(&view), Arc::clone(&script), Arc::clone(&store), Arc::clone(&hub));
        tokio::spawn(answer(inbox, parts.0, parts.1, parts.2, parts.3, Arc::clone(&metrics)));
        let handle =
            Handle::new(requests, Arc::clone(&view), Arc::clone(&hub), Arc::clone(&metrics));
        let stop = Arc::new(Stop::new());
        let server = tokio::spawn(http::serve(world, listener, handle, limits, Arc::clone(&stop)));
        Node { address, view, script, store, hub, metrics, stop, server }
    }

    pub fn me(&self) -> Member {
        self.view.get().me.clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut View)) {
        let mut view = View::clone(&self.view.get());
        change(&mut view);
        self.view.set(view);
    }

    pub fn follow(&self, leader: Option<Member>) {
        self.change(|view| {
            view.role = RoleName::Follower;
            view.term = view.term.next();
            view.leader = leader;
        });
    }

    pub fn lead(&self) {
        self.change(|view| {
            view.role = RoleName::Leader;
            view.term = view.term.next();
            view.leader = Some(view.me.clone());
        });
    }

    pub fn next_write(&self, turn: Turn) {
        self.script.lock().unwrap().writes.push_back(turn);
    }

    /// So much time passes, and the leader's chores are done.
    pub fn pass(&self, ms: u64) {
        let mut store = self.store.lock().unwrap();
        store.clock_ms += ms;
        store.wall_ms += ms;
        let now_ms = store.clock_ms;
        while let Some(body) = kv::next_chore(&store.tables, now_ms).unwrap() {
            let command = Command { time_ms: now_ms, ..Command::new(body) };
            kv::apply(&mut store.tables, &command).unwrap();
        }
        drop(store);
        publish(&self.store, &self.hub);
    }

    pub fn executed(&self) -> u64 {
        self.script.lock().unwrap().executed
    }

    /// One request on a connection of its own.
    pub async fn call(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Res {
        self.call_with(method, path, &[], body).await
    }

    pub async fn call_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Res {
        call(&self.address, method, path, headers, body).await
    }

    pub async fn get(&self, path: &str) -> Res {
        self.call("GET", path, "").await
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Res {
        self.call("POST", path, body).await
    }
}

async fn answer(
    mut inbox: mpsc::Receiver<NodeRequest>,
    view: Arc<Watched<View>>,
    script: Arc<Mutex<Script>>,
    store: SharedStore,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
) {
    while let Some(request) = inbox.recv().await {
        let leads = view.get().role == RoleName::Leader;
        let mut script = script.lock().unwrap();
        match request {
            NodeRequest::Execute { command, reply } => {
                script.executed += 1;
                let outcome = match script.writes.pop_front() {
                    None if leads => Ok(apply(&store, &command)),
                    None => Err(ExecuteError::NotLeader),
                    Some(Turn::Fail(error)) => Err(error),
                    Some(Turn::Say(executed)) => Ok(executed),
                    Some(Turn::Meanwhile(others)) => {
                        others.iter().for_each(|other| drop(apply(&store, other)));
                        Ok(apply(&store, &command))
                    }
                    Some(Turn::ApplyUnknown) => {
                        apply(&store, &command);
                        Err(ExecuteError::Unknown)
                    }
                    Some(Turn::Hang) => {
                        script.hung.push(reply);
                        continue;
                    }
                };
                show(&store, &metrics);
                let _ = reply.send(outcome);
                publish(&store, &hub);
            }
            NodeRequest::Changes { from, limit, reply } => {
                let store = store.lock().unwrap();
                let _ = reply.send(Ok(kv::changes(&store.tables, from, limit).unwrap()));
            }
            NodeRequest::Query { query, consistency, reply } => {
                script.consistencies.push(consistency);
                if script.hang_reads {
                    script.hung_reads.push(reply);
                    continue;
                }
                let outcome = script.reads.pop_front().unwrap_or_else(|| {
                    if consistency == Consistency::Linearizable && view.get().leader.is_none() {
                        Err(QueryError::NoLeader)
                    } else {
                        Ok(look(&store, &query))
                    }
                });
                let _ = reply.send(outcome);
            }
            NodeRequest::Look { look, consistency, reply } => {
                script.consistencies.push(consistency);
                let unled = consistency == Consistency::Linearizable && view.get().leader.is_none();
                let store = store.lock().unwrap();
                let seen = || Seen {
                    applied: Index(store.index),
                    found: look.at(&store.tables, store.clock_ms).unwrap(),
                    revision: kv::revision(&store.tables).unwrap(),
                };
                let _ = reply.send(if unled { Err(QueryError::NoLeader) } else { Ok(seen()) });
            }
            NodeRequest::Join { joiner, reply } => {
                let outcome = script.joins.pop_front().unwrap_or_else(|| {
                    if !leads {
                        return Err(JoinError::NotLeader);
                    }
                    let mut members = view.get().members.clone();
                    members.push(MemberView { member: joiner.clone(), voter: false });
                    Ok(Joined { cluster: 0x6f1c, members })
                });
                script.joiners.push(joiner);
                let _ = reply.send(outcome);
            }
            NodeRequest::ChangeMember { name, change, reply } => {
                let outcome = script.changes.pop_front().unwrap_or(Ok(true));
                script.changed.push((name, change));
                let _ = reply.send(match outcome {
                    Ok(true) => {
                        let (commit, committing) = oneshot::channel();
                        commit.send(Ok(Index(9))).unwrap();
                        Ok(Some(committing))
                    }
                    Ok(false) => Ok(None),
                    Err(MemberError::OutcomeUnknown) => Ok(Some(oneshot::channel().1)),
                    Err(error) => Err(error),
                });
            }
            NodeRequest::Report { reply } if script.driver_hangs => script.hung_reports.push(reply),
            NodeRequest::Report { reply } => {
                drop(reply.send(report(&view.get(), script.peers.clone())));
            }
            NodeRequest::Transfer { to, reply } => {
                let outcome = script.transfers.pop_front();
                script.transferred.push(to.clone());
                let _ = reply.send(outcome.unwrap_or(Ok(to.unwrap_or("app2".to_owned()))));
            }
        }
    }
}

fn report(view: &View, peers: Vec<PeerReport>) -> Report {
    Report {
        term: view.term,
        role: view.role,
        leader: view.leader.as_ref().map(|leader| leader.id),
        base: Index(0),
        last: view.commit,
        written: view.commit,
        commit: view.commit,
        applied: view.applied,
        divergences: 0,
        ignored: vec![(Ignored::StaleTerm, 3)],
        refused: vec![(Refusal::NotLeader, 4)],
        peers,
        queues: vec![QueueReport { name: "log", depth: 0, limit: 8 }],
        transport: Stats::default(),
        recent: Duration::from_secs(2),
    }
}

/// What the state machine's lane does before it answers.
pub fn show(store: &SharedStore, metrics: &Metrics) {
    let status = kv::status(&store.lock().unwrap().tables).unwrap();
    metrics.store.set(Instant(0), status);
}

fn apply(store: &SharedStore, command: &Command) -> Executed {
    let mut store = store.lock().unwrap();
    store.index += 1;
    store.commands += 1;
    let index = Index(store.index);
    // The driver stamps what it proposes.
    let command = Command { time_ms: store.clock_ms, wall_ms: store.wall_ms, ..command.clone() };
    let reply = kv::apply(&mut store.tables, &command).unwrap();
    Executed { index, reply }
}

/// What the state machine's lane does after each batch.
pub fn publish(store: &SharedStore, hub: &Hub) {
    let store = store.lock().unwrap();
    let revision = kv::revision(&store.tables).unwrap();
    hub.advance(revision, |after| {
        kv::changes(&store.tables, (after + 1, 0), usize::MAX).map(Result::ok)
    })
    .unwrap();
}

fn look(store: &SharedStore, query: &Query) -> Answer {
    let store = store.lock().unwrap();
    Answer {
        applied: Index(store.index),
        reply: kv::query(&store.tables, query).unwrap(),
        revision: kv::revision(&store.tables).unwrap(),
    }
}

/// A response.
#[derive(Debug)]
pub struct Res {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Res {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?} ({})", self.body, self.status))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The response is this problem, complete and consistent.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{:?}", self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("https://kvorum.dev/e/{code}"));
        for member in ["title", "message", "hint", "instance"] {
            assert!(problem[member].is_string(), "{member} in {problem}");
        }
        assert!(!problem["message"].as_str().unwrap().is_empty());
        problem
    }
}

pub async fn call(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Res {
    let body = body.into();
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(path)
        .header("host", address);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body)).unwrap();
    let response = patient(sender.send_request(request)).await.unwrap();
    let (head, body) = response.into_parts();
    let body = patient(body.collect()).await.unwrap().to_bytes();
    let res = Res { status: head.status.as_u16(), headers: head.headers, body };
    documented::check(method, path, &res);
    res
}

pub async fn patient<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("a test waits no longer than PATIENCE")
}

/// A connection on which bytes are written and read as they are.
pub struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub async fn connect(address: &str) -> Raw {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Raw { stream, read: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends and says that nothing follows. The server may have closed before the end.
    pub async fn send_and_close(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.shutdown().await;
    }

    /// The next response with a `Content-Length` body (or none, for `HEAD`).
    pub async fn response(&mut self, head: bool) -> Res {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let text = String::from_utf8(self.read[..end].to_vec()).unwrap();
                let mut lines = text.split("\r\n");
                let status = lines.next().unwrap().split(' ').nth(1).unwrap();
                let status = StatusCode::from_bytes(status.as_bytes()).unwrap().as_u16();
                let mut headers = HeaderMap::new();
                for line in lines {
                    let (name, value) = line.split_once(": ").unwrap();
                    let name: hyper::header::HeaderName = name.parse().unwrap();
                    headers.append(name, value.parse().unwrap());
                }
                let length: usize = headers
                    .get("content-length")
                    .map_or(0, |value| value.to_str().unwrap().parse().unwrap());
                let length = if head || status == 100 { 0 } else { length };
                if self.read.len() >= end + 4 + length {
                    let body = Bytes::copy_from_slice(&self.read[end + 4..end + 4 + length]);
                    self.read.drain(..end + 4 + length);
                    return Res { status, headers, body };
                }
            }
            assert!(self.fill().await > 0, "closed within a response: {:?}", self.shown());
        }
    }

    /// Everything until the other side closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await > 0 {}
        std::mem::take(&mut self.read)
    }

    async fn fill(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        // A reset is an end, too.
        let count = patient(self.stream.read(&mut buffer)).await.unwrap_or(0);
        self.read.extend_from_slice(&buffer[..count]);
        count
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }
}
