//! How fast the core commits: three nodes in one thread, no I/O, no encoding.
//!
//! `make bench-core`. An entry counts as committed when all three state machines have got it. What
//! is allocated is counted without the caller's own commands; if payloads were copied anywhere, the
//! bytes of the larger entries would tell.

#[path = "../tests/straight/counting.rs"]
mod counting;
#[path = "../tests/straight/mod.rs"]
mod straight;

use bytes::Bytes;
use counting::{Count, count};
use kvorum_core::raft::Config;
use std::{
    env, fs,
    sync::LazyLock,
    time::{Duration, Instant},
};
use straight::Cluster;

/// How long each line measures, after as long to warm up: caches and queues find their sizes.
const SPAN: Duration = Duration::from_secs(2);
/// Rounds between two passages of time, and how much passes.
const ROUNDS: usize = 64;
const NANOS: u64 = 1_000_000;

/// Commands of `size` bytes: slices of one buffer, as a reader of a connection has them.
fn commands(size: usize, batch: usize) -> Vec<Bytes> {
    let buffer = Bytes::from(vec![7; size * batch]);
    (0..batch).map(|at| buffer.slice(at * size..(at + 1) * size)).collect()
}

/// Time of this thread: on Linux the processor's for it, so that what else runs on the machine does
/// not count; elsewhere the clock's.
fn thread_time() -> Duration {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let nanos = fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|stat| stat.split(' ').next().and_then(|nanos| nanos.parse().ok()));
    nanos.map_or_else(|| BEGIN.elapsed(), Duration::from_nanos)
}

struct Line {
    commits: u64,
    span: Duration,
    asked: Count,
}

fn measure(size: usize, batch: usize) -> Line {
    let mut cluster = Cluster::new(&Config::default());
    let pool: Vec<Vec<Bytes>> = (0..ROUNDS).map(|_| commands(size, batch)).collect();
    let mut line = Line { commits: 0, span: Duration::ZERO, asked: Count::default() };
    let begin = thread_time();
    while line.span < SPAN {
        let work = pool.clone();
        let since = thread_time();
        let asked = count(|| {
            work.into_iter().for_each(|commands| cluster.commit(commands));
            cluster.pass(NANOS);
        });
        if since > begin + SPAN {
            line.span += thread_time() - since;
            line.commits += (ROUNDS * batch) as u64;
            line.asked.allocations += asked.allocations;
            line.asked.bytes += asked.bytes;
        }
    }
    line
}

/// `cargo bench … -- 64 256` measures that line alone.
fn main() {
    let chosen: Vec<usize> = env::args().filter_map(|argument| argument.parse().ok()).collect();
    println!("entry    batch      commits/s   allocations/commit   bytes allocated/commit");
    for (size, batch) in [(64, 1), (64, 16), (64, 256), (4096, 1), (4096, 16), (4096, 256)] {
        if !chosen.is_empty() && chosen != [size, batch] {
            continue;
        }
        let Line { commits, span, asked } = measure(size, batch);
        let each = |total: u64| total as f64 / commits as f64;
        println!(
            "{size:>4} B {batch:>8} {:>14.0} {:>20.2} {:>24.0}",
            commits as f64 / span.as_secs_f64(),
            each(asked.allocations),
            each(asked.bytes),
        );
    }
}
