//! What waits for a peer is bounded, keeps its order, and lets small messages overtake bulk.

mod transport_support;

use kvorum_runtime::transport::queue::{Full, Queue};
use transport_support::{append, heartbeat, sequence};

fn take(queue: &Queue, budget: usize) -> Vec<u64> {
    let mut batch = Vec::new();
    queue.take(budget, &mut batch);
    batch.iter().map(sequence).collect()
}

#[test]
fn small_messages_overtake_bulk_and_each_lane_keeps_its_order() {
    let queue = Queue::new(100, 1 << 30);
    for i in 0..3 {
        queue.push(append(1, 2, i, 100_000)).unwrap();
        queue.push(heartbeat(1, 2, 10 + i)).unwrap();
    }
    assert_eq!(take(&queue, 150_000), [10, 11, 12, 0, 1]);
    queue.push(heartbeat(1, 2, 13)).unwrap();
    assert_eq!(take(&queue, 150_000), [13, 2]);
    assert!(queue.is_empty());
    assert_eq!(queue.waiting(), (0, 0));
}

#[test]
fn a_message_larger_than_the_budget_goes_alone_with_the_small_ones() {
    let queue = Queue::new(100, 1 << 30);
    for i in 0..3 {
        queue.push(append(1, 2, i, 1 << 20)).unwrap();
    }
    for i in 0..3 {
        queue.push(heartbeat(1, 2, 10 + i)).unwrap();
        assert_eq!(take(&queue, 1024), [10 + i, i]);
    }
}

#[test]
fn the_newest_is_dropped_when_the_count_is_full() {
    let queue = Queue::new(4, 1 << 30);
    for i in 0..4 {
        assert_eq!(queue.push(heartbeat(1, 2, i)), Ok(()));
    }
    assert_eq!(queue.push(heartbeat(1, 2, 4)), Err(Full));
    assert_eq!(take(&queue, 1 << 20), [0, 1, 2, 3]);
    assert_eq!(queue.push(heartbeat(1, 2, 5)), Ok(()));
}

#[test]
fn the_newest_is_dropped_when_the_bytes_are_full() {
    let queue = Queue::new(1000, 100_000);
    let taken = (0..100).filter(|i| queue.push(append(1, 2, *i, 10_000)).is_ok()).count();
    assert!((5..10).contains(&taken), "{taken} of 10 kB in 100 kB");
    assert!(queue.waiting().1 <= 100_000);
    assert_eq!(take(&queue, usize::MAX), (0..taken as u64).collect::<Vec<_>>());
}

#[test]
fn bulk_that_fills_its_share_leaves_room_for_a_heartbeat() {
    let by_count = Queue::new(100, 1 << 30);
    while by_count.push(append(1, 2, 0, 10)).is_ok() {}
    assert_eq!(by_count.push(heartbeat(1, 2, 1)), Ok(()));

    let by_bytes = Queue::new(1 << 20, 1 << 20);
    while by_bytes.push(append(1, 2, 0, 10_000)).is_ok() {}
    assert_eq!(by_bytes.push(heartbeat(1, 2, 1)), Ok(()));
}

#[test]
fn a_message_larger_than_the_bound_fits_an_empty_queue() {
    let queue = Queue::new(10, 1000);
    assert_eq!(queue.push(append(1, 2, 0, 5000)), Ok(()));
    assert_eq!(queue.push(append(1, 2, 1, 5000)), Err(Full));
    assert_eq!(take(&queue, 1), [0]);
}

#[test]
fn clearing_says_how_much_was_lost() {
    let queue = Queue::new(10, 1 << 20);
    queue.push(heartbeat(1, 2, 0)).unwrap();
    queue.push(append(1, 2, 1, 10)).unwrap();
    assert_eq!(queue.clear(), 2);
    assert_eq!(queue.waiting(), (0, 0));
    assert_eq!(queue.clear(), 0);
}
