//! What the wire does to a segment: latency, loss, cuts; and which name leads to which host.
//!
//! Rule: every direction of every pair of hosts draws from its own random stream. Must never: decide
//! at sending time what only landing time can tell (a cut made meanwhile holds what is in flight).

use super::HostId;
use crate::rng::Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// How one direction of the wire behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Weather {
    /// Nanoseconds a segment takes.
    pub latency: Range<u64>,
    /// Probability that a segment is lost and must be sent again.
    pub loss: f64,
    /// Bytes per second; 0 is without limit.
    pub bytes_per_second: u64,
}

/// Largest payload of a segment.
pub const SEGMENT_BYTES: usize = 16 * 1024;
/// First retransmission timeout; doubles at every further one (RFC 6298 with Linux' minimum).
pub const RTO_MIN: u64 = 200_000_000;
/// Largest retransmission timeout (Linux: 120 s; less here, so that a heal phase can be short).
pub const RTO_MAX: u64 = 10_000_000_000;

impl Default for Weather {
    fn default() -> Weather {
        Weather { latency: 100_000..600_000, loss: 0.0, bytes_per_second: 0 }
    }
}

/// The wires between all hosts.
#[derive(Debug)]
pub(super) struct Wires {
    seed: u64,
    everywhere: Weather,
    links: BTreeMap<(HostId, HostId), Weather>,
    cuts: BTreeSet<(HostId, HostId)>,
    streams: BTreeMap<(HostId, HostId), Rng>,
}

impl Wires {
    pub(super) fn new(seed: u64) -> Wires {
        Wires {
            seed,
            everywhere: Weather::default(),
            links: BTreeMap::new(),
            cuts: BTreeSet::new(),
            streams: BTreeMap::new(),
        }
    }

    pub(super) fn set(&mut self, weather: Weather) {
        self.everywhere = weather;
    }

    pub(super) fn set_link(&mut self, from: HostId, to: HostId, weather: Option<Weather>) {
        match weather {
            Some(weather) => self.links.insert((from, to), weather),
            None => self.links.remove(&(from, to)),
        };
    }

    pub(super) fn cut(&mut self, from: HostId, to: HostId) {
        self.cuts.insert((from, to));
    }

    pub(super) fn mend(&mut self, from: HostId, to: HostId) {
        self.cuts.remove(&(from, to));
    }

    pub(super) fn calm(&mut self) {
        self.cuts.clear();
        self.links.clear();
        self.everywhere = Weather::default();
    }

    /// Whether nothing passes from one host to the other now. A host always reaches itself.
    pub(super) fn is_cut(&self, from: HostId, to: HostId) -> bool {
        from != to && self.cuts.contains(&(from, to))
    }

    /// The random stream of a direction.
    pub(super) fn stream(&mut self, from: HostId, to: HostId) -> &mut Rng {
        let id = (u64::from(from.0) << 32) | u64::from(to.0);
        let seed = self.seed;
        self.streams.entry((from, to)).or_insert_with(|| Rng::stream(seed, "wire", id))
    }

    /// Nanoseconds until a segment of `bytes` lands, retransmissions of lost ones included.
    pub(super) fn flight_time(&mut self, from: HostId, to: HostId, bytes: usize) -> u64 {
        let weather = self.links.get(&(from, to)).unwrap_or(&self.everywhere).clone();
        let rng = self.stream(from, to);
        let mut time = rng.within(&weather.latency);
        let mut rto = RTO_MIN;
        while weather.loss > 0.0 && rng.chance(weather.loss) {
            time += rto;
            rto = (rto * 2).min(RTO_MAX);
        }
        let transfer =
            (bytes as u64 * 1_000_000_000).checked_div(weather.bytes_per_second).unwrap_or(0);
        time + transfer
    }
}
