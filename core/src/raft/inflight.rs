//! The appends under way to one peer, bounded by count and by bytes.
//!
//! Rule: an append leaves the window when the peer has acknowledged its last entry or anything
//! after it. Must never: leak bytes (then the window never opens again): both bounds are computed
//! from the same queue.

use super::types::Index;
use alloc::collections::VecDeque;

/// The window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Inflight {
    /// Last index and bytes of each append, oldest first. At most `Config::max_inflight_appends`.
    appends: VecDeque<(Index, u64)>,
    bytes: u64,
}

impl Inflight {
    /// An append left.
    pub fn push(&mut self, last: Index, bytes: u64) {
        self.appends.push_back((last, bytes));
        self.bytes += bytes;
    }

    /// The peer has everything up to `matched`.
    pub fn acknowledge(&mut self, matched: Index) {
        while let Some(&(last, bytes)) = self.appends.front() {
            if last > matched {
                break;
            }
            self.appends.pop_front();
            self.bytes -= bytes;
        }
    }

    /// Whether another append must wait.
    pub fn is_full(&self, max_appends: usize, max_bytes: u64) -> bool {
        self.appends.len() >= max_appends || self.bytes >= max_bytes
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    /// Appends and bytes under way.
    pub fn held(&self) -> (usize, u64) {
        (self.appends.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn bytes_are_always_the_sum_of_what_is_not_acknowledged(
            steps: std::vec::Vec<(bool, u8)>
        ) -> bool {
            let mut window = Inflight::default();
            let mut oracle: std::vec::Vec<(u64, u64)> = std::vec::Vec::new();
            let mut last = 0;
            for (push, n) in steps {
                if push {
                    last += 1 + u64::from(n % 3);
                    window.push(Index(last), u64::from(n));
                    oracle.push((last, u64::from(n)));
                } else {
                    let matched = last.saturating_sub(u64::from(n % 8));
                    window.acknowledge(Index(matched));
                    oracle.retain(|&(last, _)| last > matched);
                }
                let bytes = oracle.iter().map(|&(_, bytes)| bytes).sum();
                if window.held() != (oracle.len(), bytes) {
                    return false;
                }
            }
            true
        }
    }

    #[test]
    fn the_window_closes_by_count_and_by_bytes_and_opens_again() {
        let mut window = Inflight::default();
        assert!(window.is_empty() && !window.is_full(2, 100));
        window.push(Index(3), 10);
        window.push(Index(5), 10);
        assert!(window.is_full(2, 100) && window.is_full(9, 20) && !window.is_full(3, 21));
        window.acknowledge(Index(4));
        assert_eq!(window.held(), (1, 10));
        window.acknowledge(Index(9));
        assert!(window.is_empty());
    }
}
