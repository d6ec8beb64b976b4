//! Says once that the disk is slow, before anybody wonders about elections.
//!
//! Rule: judged by the 99th percentile of all writes of a window of thirty seconds; one line when it
//! becomes slow, one when it has become twice as slow as it was told, one when it is over. Must
//! never: read a clock of its own, or say the same thing twice.

use crate::metrics::LogMetrics;
use kvorum_core::raft::Instant;
use std::time::Duration;

/// Over how long writes are judged.
pub const WINDOW: Duration = Duration::from_secs(30);
/// From here on a disk is slow: two heartbeats, a fifth of the election time-out.
pub const LIMIT: Duration = Duration::from_millis(100);
/// Writes of a window that are remembered; of more, the last so many.
const MOST: usize = 16_384;

/// The writes of the window under way.
#[derive(Debug)]
pub struct DiskWatch {
    since: Instant,
    micros: Vec<u32>,
    next: usize,
    /// What was last said.
    told: Option<u32>,
}

/// What there is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// It has become slow, or much slower.
    Slow(Duration),
    /// It is no longer slow.
    Over(Duration),
}

impl DiskWatch {
    /// A window begins.
    #[must_use]
    pub fn new(now: Instant) -> DiskWatch {
        DiskWatch { since: now, micros: Vec::new(), next: 0, told: None }
    }

    /// A write has taken so long.
    pub fn note(&mut self, now: Instant, took: Duration, shown: &LogMetrics) {
        match self.judge(now, took, shown) {
            None => {}
            Some(Edge::Slow(p99)) => tracing::warn!(
                "disk: fsync p99 {} ms over {} s (limit {}): elections are possible, and every \
                 write waits so long; give the log a faster disk, or keep others off it (GET \
                 /metrics: kvorum_disk_fsync_seconds)",
                p99.as_millis(),
                WINDOW.as_secs(),
                LIMIT.as_millis()
            ),
            Some(Edge::Over(p99)) => tracing::info!(
                "disk: fsync p99 {} ms over {} s: no longer slow",
                p99.as_millis(),
                WINDOW.as_secs()
            ),
        }
    }

    /// Takes a write in; says what is to be said when a window is full.
    pub fn judge(&mut self, now: Instant, took: Duration, shown: &LogMetrics) -> Option<Edge> {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        if self.micros.len() < MOST {
            self.micros.push(micros);
        } else {
            self.micros[self.next % MOST] = micros;
            self.next += 1;
        }
        if now.since(self.since) < WINDOW {
            return None;
        }
        self.micros.sort_unstable();
        let p99 = self.micros[(self.micros.len() - 1) * 99 / 100];
        self.since = now;
        self.micros.clear();
        self.next = 0;
        shown.recent_p99.set(u64::from(p99));
        let time = Duration::from_micros(u64::from(p99));
        let slow = time > LIMIT;
        shown.slow.set(u64::from(slow));
        match self.told {
            None if slow => {
                self.told = Some(p99);
                Some(Edge::Slow(time))
            }
            Some(told) if slow && p99 / 2 >= told => {
                self.told = Some(p99);
                Some(Edge::Slow(time))
            }
            Some(_) if !slow => {
                self.told = None;
                Some(Edge::Over(time))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    /// Windows of 120 writes of `ms` each; what was said at the end of each.
    fn windows(ms: &[u64]) -> (Vec<Option<Edge>>, Metrics) {
        let metrics = Metrics::new(0);
        let mut now = Instant(0);
        let mut watch = DiskWatch::new(now);
        let mut said = Vec::new();
        for &ms in ms {
            let mut last = None;
            for _ in 0..120 {
                now = now.after(Duration::from_millis(250));
                assert_eq!(last, None, "said before the window was full");
                last = watch.judge(now, Duration::from_millis(ms), &metrics.log);
            }
            said.push(last);
        }
        (said, metrics)
    }

    #[test]
    fn a_slow_disk_is_said_once_and_again_only_on_change() {
        let ms = Duration::from_millis;
        let (said, metrics) = windows(&[3, 150, 160, 290, 320, 330, 5, 5, 200]);
        let slow = |time| Some(Edge::Slow(ms(time)));
        let over = Some(Edge::Over(ms(5)));
        assert_eq!(said, [None, slow(150), None, None, slow(320), None, over, None, slow(200)]);
        assert_eq!(metrics.log.slow.get(), 1);
        assert_eq!(metrics.log.recent_p99.get(), 200_000);
    }

    #[test]
    fn one_slow_write_in_a_hundred_is_not_a_slow_disk() {
        let metrics = Metrics::new(0);
        let mut watch = DiskWatch::new(Instant(0));
        let mut now = Instant(0);
        for n in 0..1200 {
            now = now.after(Duration::from_millis(25));
            let took = Duration::from_millis(if n % 110 == 0 { 900 } else { 2 });
            assert_eq!(watch.judge(now, took, &metrics.log), None);
        }
        assert_eq!(metrics.log.slow.get(), 0);
        assert_eq!(metrics.log.recent_p99.get(), 2_000);
    }
}
