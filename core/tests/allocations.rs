//! What a commit costs in memory: few allocations, and none that grows with the payload.
//!
//! Counts, never seconds; `benches/commits.rs` measures speed.

#[path = "straight/counting.rs"]
mod counting;
mod straight;

use bytes::Bytes;
use counting::{Count, count};
use kvorum_core::raft::Config;
use straight::Cluster;

const ROUNDS: u64 = 512;

fn commands(size: usize, batch: usize) -> Vec<Bytes> {
    let buffer = Bytes::from(vec![7; size * batch]);
    (0..batch).map(|at| buffer.slice(at * size..(at + 1) * size)).collect()
}

/// What `ROUNDS` batches ask for, all three nodes and their messages together, once the queues have
/// found their sizes.
fn steady(size: usize, batch: usize) -> Count {
    // A cache that is full from early on, so that entries leave it as they come.
    let config = Config { cache_bytes: 1 << 20, ..Config::default() };
    let mut cluster = Cluster::new(&config);
    let mut rounds = |n: u64| {
        for _ in 0..n {
            cluster.commit(commands(size, batch));
            cluster.pass(1_000_000);
        }
    };
    rounds(ROUNDS);
    let alone = count(|| (0..ROUNDS).for_each(|_| drop(commands(size, batch))));
    let all = count(|| rounds(ROUNDS));
    Count {
        allocations: all.allocations - alone.allocations,
        bytes: all.bytes - alone.bytes,
        largest: all.largest,
    }
}

#[test]
fn a_batch_costs_a_few_allocations_however_many_entries_it_has() {
    for batch in [1, 16, 256] {
        let all = steady(64, batch);
        let each = all.allocations as f64 / ROUNDS as f64;
        println!("{batch} entries: {each:.1} allocations");
        assert!(each < 24.0, "{each} allocations for a batch of {batch}");
    }
}

#[test]
fn what_is_allocated_does_not_grow_with_the_payload() {
    // One entry a batch: then a copied payload would be the largest allocation there is.
    let (small, large) = (steady(64, 1), steady(64 << 10, 1));
    println!("{small:?} {large:?}");
    assert!(large.bytes < small.bytes + small.bytes / 10, "{small:?} {large:?}");
    assert!(large.allocations < small.allocations + ROUNDS, "{small:?} {large:?}");
}
