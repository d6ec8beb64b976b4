//! What watchers cost: writes per second of one node with 0, 1,000 and 10,000 watchers that do not
//! match, and with 1,000 that do; memory per watcher.
//!
//! Rule: a program that prints numbers over real sockets; it asserts nothing about them. Must never:
//! talk to anything but the node it started, or leave it behind.
//!
//! `make bench-watch`, or `KVORUM_BENCH_SECONDS=10 cargo bench -p kvorum --bench watch`.

mod load;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1::SendRequest};
use load::{connect, free_ports, get};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    env,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// Connections that write.
const WRITERS: u64 = 32;
/// Bytes of a value.
const VALUE_BYTES: usize = 256;
/// Keys in use.
const KEYS: u64 = 10_000;

fn main() {
    let seconds = env::var("KVORUM_BENCH_SECONDS").ok().and_then(|text| text.parse().ok());
    let span = Duration::from_secs(seconds.unwrap_or(5));
    // For this process and, inherited, for the node.
    let most = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    println!(
        "one node in memory, {WRITERS} writers, {VALUE_BYTES}-byte values, {} s per row",
        span.as_secs()
    );
    println!(
        "{:<34} {:>9} {:>8} {:>8} {:>11} {:>12} {:>11}",
        "watchers", "writes/s", "p50 ms", "p99 ms", "events/s", "node MiB", "KiB/watcher"
    );
    runtime.block_on(async {
        for (name, count, matching) in [
            ("none", 0, false),
            ("1,000 of other prefixes", 1_000, false),
            ("10,000 of other prefixes", 10_000, false),
            ("10,000 of other ranges", 10_000, false),
            ("1,000 of what is written", 1_000, true),
            ("none, again", 0, false),
        ] {
            let ranges = name.contains("ranges");
            row(name, count, matching, ranges, span).await;
        }
    });
}

/// A node of its own for each row, so that none inherits the memory of the one before.
async fn row(name: &str, count: u64, matching: bool, ranges: bool, span: Duration) {
    let node = Node::start().await;
    // A first round of writes, so that what they need is not counted as the watchers'.
    write(&node.http, span / 5).await;
    let before = node.resident().await;
    let events = Arc::new(AtomicU64::new(0));
    let mut watchers = JoinSet::new();
    for number in 0..count {
        let query = match (matching, ranges) {
            (true, _) => "prefix=bench-".to_owned(),
            (false, true) => format!("start=other-{number:05}-a&end=other-{number:05}-m"),
            (false, false) => format!("prefix=other-{number:05}"),
        };
        let stream = watch(&node.http, &query).await;
        watchers.spawn(read_on(stream, Arc::clone(&events)));
    }
    let with = node.resident().await;
    let told = events.load(Relaxed);
    let tally = write(&node.http, span).await;
    let told = events.load(Relaxed) - told;
    let per_watcher = (with - before).max(0.0) / (count.max(1) as f64) / 1024.0;
    let mib = with / f64::from(1 << 20);
    println!(
        "{name:<34} {:>9.0} {:>8.2} {:>8.2} {:>11.0} {mib:>12.1} {:>11}",
        tally.len() as f64 / span.as_secs_f64(),
        at(&tally, 0.5),
        at(&tally, 0.99),
        told as f64 / span.as_secs_f64(),
        if count == 0 { "-".to_owned() } else { format!("{per_watcher:.1}") },
    );
}

/// Milliseconds at this share of the sorted times.
fn at(micros: &[u32], share: f64) -> f64 {
    let place = (micros.len() as f64 * share) as usize;
    let micros = micros.get(place.min(micros.len().saturating_sub(1)));
    f64::from(micros.copied().unwrap_or(0)) / 1000.0
}

/// Closed-loop writers for `span`; the times of their writes, sorted.
async fn write(address: &str, span: Duration) -> Vec<u32> {
    let until = Instant::now() + span;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(drive(address.to_owned(), writer, until));
    }
    let mut all: Vec<u32> = writers.join_all().await.into_iter().flatten().collect();
    all.sort_unstable();
    all
}

async fn drive(address: String, writer: u64, until: Instant) -> Vec<u32> {
    let mut micros = Vec::new();
    let mut sender = connect(&address).await;
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let mut state = writer.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while Instant::now() < until {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = (state >> 33) % KEYS;
        let began = Instant::now();
        let path = format!("/key/bench-{key}");
        let answered = put(&mut sender, &path, value.clone()).await;
        assert!(answered, "the node does not answer a write");
        micros.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    micros
}

/// A watch that has begun.
async fn watch(address: &str, query: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("the node listens");
    let request = format!("GET /watch?{query} HTTP/1.1\r\nHost: bench\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the request is written");
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).await.expect("the watch begins");
    assert_eq!(&begun, b"HTTP/1.1 200");
    stream
}

/// Reads what comes and counts the changes in it, by the word that each message has once.
async fn read_on(mut stream: TcpStream, events: Arc<AtomicU64>) {
    let mut buffer = vec![0; 4096];
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        let changes = buffer[..count].windows(13).filter(|word| word == b"event: change").count();
        events.fetch_add(changes as u64, Relaxed);
    }
}

/// Whether the node took the write.
async fn put(sender: &mut SendRequest<Full<Bytes>>, path: &str, value: Bytes) -> bool {
    let request = Request::put(path).header("host", "bench").body(Full::new(value));
    if sender.ready().await.is_err() {
        return false;
    }
    let Ok(response) = sender.send_request(request.expect("the path is one")).await else {
        return false;
    };
    let fine = response.status().is_success();
    response.into_body().collect().await.is_ok() && fine
}

/// One node in memory; it goes when this is dropped.
struct Node {
    child: Child,
    http: String,
}

impl Node {
    async fn start() -> Node {
        let ports = free_ports(2);
        let child = Command::new(env!("CARGO_BIN_EXE_kvorum"))
            .env_clear()
            .env("NODE_ID", "app1")
            .env("PORT", ports[0].to_string())
            .env("RAFT_BIND_ADDR", format!("127.0.0.1:{}", ports[1]))
            .env("KVORUM_BOOTSTRAP_GRACE", "0s")
            .env("KVORUM_MAX_CONNECTIONS", "12000")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let node = Node { child, http: format!("127.0.0.1:{}", ports[0]) };
        while get(&node.http, "/readyz").await.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        node
    }

    /// Bytes of memory it uses, as it says itself.
    async fn resident(&self) -> f64 {
        let page = get(&self.http, "/metrics").await.expect("the node tells its metrics");
        let page = String::from_utf8_lossy(&page);
        let line =
            page.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
