//! The simulated TCP behaves as TCP does, including where it hurts.
#![cfg(madsim)]

use kvorum_runtime::world::Listener;
use kvorum_sim::{
    net::{HostId, Net, Place, RECEIVE_BUFFER, SEND_BUFFER, SimListener, SimStream, Weather},
    simulate::simulate,
};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep, timeout},
};

/// Two machines that are switched on; the second listens on port 7.
struct Pair {
    net: Net,
    a: Place,
    b: Place,
    listener: SimListener,
}

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(30);

fn pair() -> Pair {
    let net = Net::start(7);
    let (a, b) = (net.add_host("a"), net.add_host("b"));
    let (a, b) = (net.power_on(a), net.power_on(b));
    let listener = net.listen(b, "0.0.0.0:7").expect("the port is free");
    Pair { net, a, b, listener }
}

impl Pair {
    async fn connect(&mut self) -> (SimStream, SimStream) {
        let here = self.net.dial(self.a, "b:7").await.expect("somebody listens");
        let (there, _) = self.listener.accept().await.expect("the connection arrives");
        (here, there)
    }

    fn cut_both(&self) {
        self.net.cut(self.a.host, self.b.host);
        self.net.cut(self.b.host, self.a.host);
    }
}

/// Nothing is ready within a second.
async fn pends<T>(future: impl Future<Output = T>) -> bool {
    timeout(SECOND, future).await.is_err()
}

#[test]
fn bytes_arrive_in_order_whatever_the_segments() {
    for seed in 0..8 {
        simulate(seed, async || {
            let mut pair = pair();
            pair.net.set_weather(Weather { loss: 0.2, ..Weather::default() });
            let (mut here, mut there) = pair.connect().await;
            let sent: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
            let copy = sent.clone();
            let writer = tokio::spawn(async move {
                here.write_all(&copy).await.expect("the peer lives");
                here.shutdown().await.expect("the peer lives");
                here
            });
            let mut got = Vec::new();
            there.read_to_end(&mut got).await.expect("the peer lives");
            assert!(got == sent, "what is read is what was written");
            drop(writer.await);
        });
    }
}

#[test]
fn reads_come_in_pieces_of_any_size() {
    simulate(1, async || {
        let mut pair = pair();
        let (mut here, mut there) = pair.connect().await;
        let mut sizes = std::collections::BTreeSet::new();
        for _ in 0..200 {
            here.write_all(&[1; 1000]).await.expect("the peer lives");
            sleep(Duration::from_millis(5)).await;
            let mut left = 1000;
            while left > 0 {
                let mut buffer = [0; 4096];
                let n = there.read(&mut buffer).await.expect("the peer lives");
                sizes.insert(n);
                left -= n;
            }
        }
        assert!(sizes.len() > 20, "whole writes only: {sizes:?}");
    });
}

#[test]
fn a_name_nobody_has_is_not_found_and_a_closed_port_refuses() {
    simulate(1, async || {
        let pair = pair();
        let unknown = pair.net.dial(pair.a, "c:7").await.err().expect("no such host");
        assert_eq!(unknown.kind(), io::ErrorKind::NotFound);
        let closed = pair.net.dial(pair.a, "b:8").await.err().expect("nobody listens");
        assert_eq!(closed.kind(), io::ErrorKind::ConnectionRefused);
        let twice = pair.net.listen(pair.b, "b:7").err().expect("the port is taken");
        assert_eq!(twice.kind(), io::ErrorKind::AddrInUse);
    });
}

#[test]
fn a_connect_into_a_cut_hangs_and_succeeds_after_the_cut() {
    simulate(1, async || {
        let pair = pair();
        // Only the way back is cut: the SYN arrives, the answer does not.
        pair.net.cut(pair.b.host, pair.a.host);
        let (net, a) = (pair.net.clone(), pair.a);
        let dialling = tokio::spawn(async move { net.dial(a, "b:7").await });
        sleep(LONG).await;
        assert!(!dialling.is_finished(), "it neither fails nor succeeds");
        pair.net.calm();
        let stream = dialling.await.expect("the task ends");
        assert!(stream.is_ok());
    });
}

#[test]
fn a_connect_to_a_machine_without_power_times_out_in_the_end() {
    simulate(1, async || {
        let pair = pair();
        pair.net.power_off(pair.b.host);
        let begun = Instant::now();
        let error = pair.net.dial(pair.a, "b:7").await.err().expect("nobody answers");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() > Duration::from_secs(60), "only after many tries");
    });
}

#[test]
fn a_half_closed_connection_still_carries_the_other_direction() {
    simulate(1, async || {
        let mut pair = pair();
        let (mut here, mut there) = pair.connect().await;
        here.write_all(b"question").await.expect("the peer lives");
        here.shutdown().await.expect("the peer lives");
        let mut got = Vec::new();
        there.read_to_end(&mut got).await.expect("the peer lives");
        assert_eq!(got, b"question");
        there.write_all(b"answer").await.expect("the peer lives");
        drop(there);
        let mut got = Vec::new();
        here.read_to_end(&mut got).await.expect("the peer has said all");
        assert_eq!(got, b"answer");
        let error = here.write_all(b"more").await.expect_err("it is closed");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn letting_go_with_unread_data_resets() {
    simulate(1, async || {
        let mut pair = pair();
        let (mut here, there) = pair.connect().await;
        here.write_all(b"never read").await.expect("the peer lives");
        sleep(SECOND).await;
        drop(there);
        let error = here.read(&mut [0; 8]).await.expect_err("the peer threw it away");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_writer_waits_when_nobody_reads_and_goes_on_when_somebody_does() {
    simulate(1, async || {
        let mut pair = pair();
        let (mut here, mut there) = pair.connect().await;
        let total = SEND_BUFFER + RECEIVE_BUFFER + 100_000;
        let writer = tokio::spawn(async move {
            let mut written = 0;
            while written < total {
                written += here.write(&vec![9; total - written]).await.expect("the peer lives");
            }
            here
        });
        sleep(LONG).await;
        assert!(!writer.is_finished(), "both buffers are full");
        assert!(pair.net.traffic().waits > 0);
        let mut left = total;
        while left > 0 {
            left -= there.read(&mut vec![0; 65_536]).await.expect("the peer lives");
        }
        assert!(writer.await.is_ok());
    });
}

#[test]
fn a_cut_holds_what_is_in_flight_and_it_arrives_after_the_cut() {
    simulate(1, async || {
        let mut pair = pair();
        pair.net.set_weather(Weather { latency: 10_000_000..10_000_001, ..Weather::default() });
        let (mut here, mut there) = pair.connect().await;
        here.write_all(b"late").await.expect("there is room");
        pair.net.cut(pair.a.host, pair.b.host); // after sending, before landing
        let mut buffer = [0; 4];
        assert!(pends(there.read_exact(&mut buffer)).await);
        pair.net.calm();
        there.read_exact(&mut buffer).await.expect("sent again");
        assert_eq!(&buffer, b"late");
    });
}

#[test]
fn a_one_way_cut_stops_one_way_only() {
    simulate(1, async || {
        let mut pair = pair();
        let (mut here, mut there) = pair.connect().await;
        pair.net.cut(pair.a.host, pair.b.host);
        there.write_all(b"down").await.expect("there is room");
        let mut buffer = [0; 4];
        here.read_exact(&mut buffer).await.expect("this way is open");
        here.write_all(b"up").await.expect("there is room");
        assert!(pends(there.read(&mut buffer)).await);
    });
}

#[test]
fn a_power_loss_is_silence_and_a_rebooted_machine_resets() {
    simulate(1, async || {
        let mut pair = pair();
        let (mut here, there) = pair.connect().await;
        pair.net.power_off(pair.b.host);
        drop(there); // memory of a machine without power
        assert!(pends(here.read(&mut [0; 1])).await, "nothing tells the survivor");
        here.write_all(b"anybody?").await.expect("there is room");
        assert!(pends(here.read(&mut [0; 1])).await, "still silence");
        let b = pair.net.power_on(pair.b.host);
        assert!(!pair.net.alive(pair.b), "the former life is over");
        assert!(pair.net.alive(b));
        let answer = timeout(LONG, here.read(&mut [0; 1])).await.expect("an answer at last");
        assert_eq!(answer.expect_err("no such connection").kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_silent_reader_never_learns_of_a_power_loss() {
    simulate(1, async || {
        let mut pair = pair();
        let (mut here, _there) = pair.connect().await;
        pair.net.power_off(pair.b.host);
        let _b = pair.net.power_on(pair.b.host);
        let read = timeout(Duration::from_secs(3600), here.read(&mut [0; 1])).await;
        assert!(read.is_err(), "without a segment of its own there is no reset");
    });
}

#[test]
fn a_killed_process_closes_its_connections_unless_a_cut_hides_it() {
    simulate(1, async || {
        let mut pair = pair();
        let (mut here, there) = pair.connect().await;
        pair.cut_both();
        pair.net.kill_process(pair.b);
        drop(there);
        assert!(pends(here.read(&mut [0; 1])).await, "the FIN does not pass the cut");
        pair.net.calm();
        let end = timeout(LONG, here.read(&mut [0; 1])).await.expect("the FIN is sent again");
        assert_eq!(end.expect("an orderly end"), 0);
        let error = pair.net.dial(pair.a, "b:7").await.err().expect("nobody listens any more");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_machine_without_power_sends_nothing() {
    simulate(1, async || {
        let mut pair = pair();
        let (here, mut there) = pair.connect().await;
        pair.net.power_off(pair.b.host);
        assert!(pends(there.write_all(b"ghost")).await, "its polls are silent");
        assert!(pends(pair.net.dial(pair.b, "a:7")).await);
        drop(here);
    });
}

#[test]
fn a_full_backlog_drops_connects() {
    simulate(1, async || {
        let mut pair = pair();
        let mut held = Vec::new();
        for _ in 0..kvorum_sim::net::BACKLOG {
            held.push(pair.net.dial(pair.a, "b:7").await.expect("there is room"));
        }
        sleep(SECOND).await;
        assert!(pends(pair.net.dial(pair.a, "b:7")).await, "the SYN is dropped");
        pair.listener.accept().await.expect("one is waiting");
        assert!(pair.net.dial(pair.a, "b:7").await.is_ok());
    });
}

#[test]
fn closing_the_listener_resets_those_it_never_accepted() {
    simulate(1, async || {
        let pair = pair();
        let mut here = pair.net.dial(pair.a, "b:7").await.expect("somebody listens");
        sleep(SECOND).await;
        drop(pair.listener);
        let end = timeout(LONG, here.read(&mut [0; 1])).await.expect("it is told");
        assert!(matches!(end, Ok(0) | Err(_)));
    });
}

#[test]
fn the_same_seed_gives_the_same_traffic_and_another_seed_another() {
    let run = |seed: u64| {
        simulate(1, async move || {
            let net = Net::start(seed);
            let (a, b) = (net.add_host("a"), net.add_host("b"));
            let (a, b) = (net.power_on(a), net.power_on(b));
            let mut listener = net.listen(b, "b:7").expect("the port is free");
            net.set_weather(Weather { loss: 0.3, ..Weather::default() });
            let mut here = net.dial(a, "b:7").await.expect("somebody listens");
            let (mut there, _) = listener.accept().await.expect("it arrives");
            let mut times = Vec::new();
            for _ in 0..20 {
                here.write_all(b"x").await.expect("there is room");
                there.read_exact(&mut [0; 1]).await.expect("it arrives");
                times.push(madsim::time::TimeHandle::current().elapsed());
            }
            times
        })
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn hosts_are_told_apart_by_name() {
    simulate(1, async || {
        let pair = pair();
        assert_eq!(pair.a.host, HostId(0));
        let mut own = pair.net.listen(pair.a, "a:9").expect("the port is free");
        let _here = pair.net.dial(pair.a, "localhost:9").await.expect("a host reaches itself");
        let (_, from) = own.accept().await.expect("it arrives");
        assert!(from.starts_with("a:"), "{from}");
        let error = pair.net.listen(pair.a, "b:9").err().expect("not this host's address");
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    });
}
