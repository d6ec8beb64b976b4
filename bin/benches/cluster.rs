//! Writes and linearizable reads per second of a three-node durable cluster on loopback.
//!
//! Rule: a program that prints numbers; it asserts nothing about them. Must never: talk to anything
//! but the nodes it started, or leave one behind.
//!
//! `make bench`, or `KVORUM_BENCH_SECONDS=10 cargo bench -p kvorum --bench cluster`.

mod load;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, client::conn::http1::SendRequest};
use load::{connect, free_ports, get};
use std::{
    env, fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Connections per run.
const CONNECTIONS: [usize; 3] = [1, 64, 256];
/// Bytes of a value.
const VALUE_BYTES: usize = 256;
/// Keys in use.
const KEYS: u64 = 10_000;

fn main() {
    let seconds = env::var("KVORUM_BENCH_SECONDS").ok().and_then(|text| text.parse().ok());
    let span = Duration::from_secs(seconds.unwrap_or(3));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let cluster = Cluster::start().await;
        let leader = cluster.leader().await;
        println!(
            "three durable nodes on loopback, {VALUE_BYTES}-byte values, {} s per row, to the leader",
            span.as_secs()
        );
        println!("{:<10} {:>11} {:>10} {:>9} {:>9} {:>7}", "load", "connections", "per s", "p50 ms", "p99 ms", "errors");
        for connections in CONNECTIONS {
            report("write", connections, span, run(&leader, connections, span, Load::Write).await);
        }
        for connections in CONNECTIONS {
            report("read", connections, span, run(&leader, connections, span, Load::Read).await);
        }
    });
}

#[derive(Clone, Copy)]
enum Load {
    Write,
    Read,
}

#[derive(Default)]
struct Tally {
    micros: Vec<u32>,
    errors: u64,
}

fn report(load: &str, connections: usize, span: Duration, mut tally: Tally) {
    tally.micros.sort_unstable();
    let at = |share: f64| {
        let place = (tally.micros.len() as f64 * share) as usize;
        let micros = tally.micros.get(place.min(tally.micros.len().saturating_sub(1)));
        f64::from(micros.copied().unwrap_or(0)) / 1000.0
    };
    println!(
        "{load:<10} {connections:>11} {:>10.0} {:>9.2} {:>9.2} {:>7}",
        tally.micros.len() as f64 / span.as_secs_f64(),
        at(0.5),
        at(0.99),
        tally.errors
    );
}

/// Closed-loop clients, one request at a time each, for `span`.
async fn run(address: &str, connections: usize, span: Duration, load: Load) -> Tally {
    let until = Instant::now() + span;
    let clients: Vec<_> = (0..connections)
        .map(|client| tokio::spawn(drive(address.to_owned(), client as u64, until, load)))
        .collect();
    let mut all = Tally::default();
    for client in clients {
        let tally = client.await.expect("a client ends");
        all.micros.extend(tally.micros);
        all.errors += tally.errors;
    }
    all
}

async fn drive(address: String, client: u64, until: Instant, load: Load) -> Tally {
    let mut tally = Tally::default();
    let mut sender = connect(&address).await;
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    // A plain congruential walk over the keys, different for each client.
    let mut state = client.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while Instant::now() < until {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = (state >> 33) % KEYS;
        let (method, body) = match load {
            Load::Write => (Method::PUT, value.clone()),
            Load::Read => (Method::GET, Bytes::new()),
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("/key/bench-{key}"))
            .header("host", "bench")
            .body(Full::new(body))
            .expect("a request of fixed parts is well-formed");
        let began = Instant::now();
        if exchange(&mut sender, request, load).await {
            tally.micros.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
        } else {
            tally.errors += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
            sender = connect(&address).await;
        }
    }
    tally
}

/// One request and its whole answer; a read of a key nobody wrote counts as answered.
async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    load: Load,
) -> bool {
    if sender.ready().await.is_err() {
        return false;
    }
    let Ok(response) = sender.send_request(request).await else { return false };
    let status = response.status();
    let whole = response.into_body().collect().await.is_ok();
    whole
        && (status.is_success()
            || (matches!(load, Load::Read) && matches!(status.as_u16(), 404 | 406)))
}

/// Three nodes and their directory; both go when it is dropped.
struct Cluster {
    nodes: Vec<Child>,
    http: Vec<String>,
    dir: PathBuf,
}

impl Cluster {
    async fn start() -> Cluster {
        // Beside the build, so that the disk is a disk and not memory.
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("bench-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("the data directory can be made");
        let ports = free_ports(6);
        let http: Vec<String> = ports[..3].iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut cluster = Cluster { nodes: Vec::new(), http, dir };
        for node in 0..3 {
            let mut command = Command::new(env!("CARGO_BIN_EXE_kvorum"));
            // KVORUM_BENCH_SECONDS is not a variable of a node.
            command
                .env_clear()
                .env("NODE_ID", format!("app{}", node + 1))
                .env("PORT", ports[node].to_string())
                .env("RAFT_BIND_ADDR", format!("127.0.0.1:{}", ports[3 + node]))
                .env("RAFT_DIR", &cluster.dir)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            if node > 0 {
                command.env("RAFT_JOIN_ADDR", &cluster.http[0]);
            }
            cluster.nodes.push(command.spawn().expect("the binary starts"));
        }
        for (address, node) in cluster.http.iter().zip(&mut cluster.nodes) {
            let pause = Duration::from_millis(200);
            while !matches!(tokio::time::timeout(pause, get(address, "/readyz")).await, Ok(Some(_)))
            {
                let ended = node.try_wait().expect("a child can be asked");
                assert!(ended.is_none(), "the node at {address} has ended: {ended:?}");
                tokio::time::sleep(pause).await;
            }
        }
        cluster
    }

    /// The HTTP address of the leader.
    async fn leader(&self) -> String {
        for address in &self.http {
            let status = get(address, "/status").await.unwrap_or_default();
            let status: serde_json::Value = serde_json::from_slice(&status).unwrap_or_default();
            if status["role"].as_str().is_some_and(|role| role.eq_ignore_ascii_case("leader")) {
                return address.clone();
            }
        }
        self.http[0].clone()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}
