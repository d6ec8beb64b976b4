//! The world of a simulated node: clocks, entropy, and blocking work.
#![cfg(madsim)]

use kvorum_core::raft::Instant;
use kvorum_runtime::world::World;
use kvorum_sim::{
    clock::{Clock, exactly},
    net::Net,
    simulate::{simulate, try_simulate},
    world::{Pace, SimWorld},
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);

fn world(net: &Net, seed: u64) -> SimWorld {
    let place = net.power_on(net.add_host("a"));
    SimWorld::new(net.clone(), place, Clock::new(), Arc::default(), seed)
}

#[test]
fn a_fast_clock_shows_more_time_and_its_sleeps_end_earlier() {
    simulate(1, async || {
        let (fast, slow) = (Clock::new(), Clock::new());
        fast.set_drift(200_000);
        slow.set_drift(-200_000);
        exactly(SECOND).await;
        let millis = |clock: &Clock| clock.now().0 / 1_000_000;
        assert_eq!((millis(&fast), millis(&slow)), (1200, 800));
        let begun = madsim::time::TimeHandle::current().elapsed();
        fast.sleep_until(fast.now().after(SECOND)).await;
        let took = madsim::time::TimeHandle::current().elapsed() - begun;
        assert!(took.as_millis() == 833, "{took:?}");
    });
}

#[test]
fn a_clock_never_goes_back_when_its_rate_changes() {
    simulate(1, async || {
        let clock = Clock::new();
        let mut last = clock.now();
        for step in 0..100 {
            clock.set_drift(if step % 2 == 0 { 300_000 } else { -300_000 });
            exactly(Duration::from_micros(37)).await;
            assert!(clock.now() > last);
            last = clock.now();
        }
    });
}

#[test]
fn a_wall_clock_jumps_and_the_monotone_one_does_not() {
    simulate(1, async || {
        let clock = Clock::new();
        let (wall, now) = (clock.wall_ms(), clock.now());
        clock.set_wall_offset(-3_600_000);
        assert!(clock.wall_ms() + 3_599_000 < wall);
        assert!(clock.now().since(now) < Duration::from_millis(1));
    });
}

#[test]
fn a_sleep_may_be_shorter_than_a_millisecond_or_without_end() {
    simulate(1, async || {
        let clock = Clock::new();
        let begun = clock.now();
        clock.sleep_until(begun.after(Duration::from_micros(20))).await;
        assert!(clock.now().since(begun) < Duration::from_micros(21));
        let forever = clock.sleep_until(Instant(u64::MAX));
        assert!(tokio::time::timeout(Duration::from_secs(86_400), forever).await.is_err());
    });
}

#[test]
fn entropy_is_the_seeds_and_each_life_of_a_machine_has_its_own() {
    let draw = |seed| {
        simulate(seed, async move || {
            let net = Net::start(seed);
            let host = net.add_host("a");
            let mut draws = Vec::new();
            for _ in 0..2 {
                let place = net.power_on(host);
                let world = SimWorld::new(net.clone(), place, Clock::new(), Arc::default(), seed);
                draws.push(world.entropy());
                net.power_off(host);
            }
            draws
        })
    };
    let (one, again, other) = (draw(1), draw(1), draw(2));
    assert_eq!(one, again);
    assert_ne!(one[0], one[1]);
    assert_ne!(one, other);
}

#[test]
fn a_lane_does_everything_in_order_in_batches_and_takes_its_time() {
    simulate(1, async || {
        let net = Net::start(1);
        let world = world(&net, 1);
        let batches: Arc<Mutex<Vec<Vec<u32>>>> = Arc::default();
        let seen = Arc::clone(&batches);
        let lane = world.lane("log", 100, move |jobs: &mut Vec<u32>| {
            seen.lock().expect("not poisoned").push(std::mem::take(jobs));
        });
        let begun = world.now();
        for job in 0..50 {
            lane.send(job).await.expect("the lane lives");
        }
        exactly(SECOND).await;
        let batches = batches.lock().expect("not poisoned").clone();
        assert_eq!(batches.concat(), (0..50).collect::<Vec<_>>());
        assert!(batches.len() < 50, "what is queued is done together: {} batches", batches.len());
        assert!(world.now().since(begun) >= SECOND);
    });
}

#[test]
fn work_under_way_when_the_power_goes_is_never_begun() {
    simulate(1, async || {
        let net = Net::start(1);
        let host = net.add_host("a");
        let place = net.power_on(host);
        let pace = Pace { log: 1_000_000..1_000_001, ..Pace::default() };
        let pace = Arc::new(Mutex::new(pace));
        let world = SimWorld::new(net.clone(), place, Clock::new(), pace, 1);
        let done = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&done);
        let lane = world.lane("log", 10, move |jobs: &mut Vec<u32>| {
            count.fetch_add(jobs.len(), Ordering::Relaxed);
        });
        lane.send(1).await.expect("the lane lives");
        exactly(Duration::from_micros(500)).await;
        net.power_off(host);
        assert!(!world.is_alive());
        exactly(SECOND).await;
        assert_eq!(done.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_panic_in_a_simulation_is_told() {
    let outcome = try_simulate(1, async || {
        exactly(SECOND).await;
        assert_eq!(1, 2, "on purpose");
    });
    assert!(outcome.is_err());
}
