//! What one seed does: sizes, limits, speeds, and which faults are on.
//!
//! Rule: swarm testing. Each seed draws *which* faults exist, and how tiny each limit is, so that
//! no fault hides behind another. Must never: read anything but the seed.

use crate::planted::Planted;
use crate::rng::{Purpose, Rng};
use kvorum_core::raft::Config;
use std::time::Duration;

/// Nanoseconds.
pub const MS: u64 = 1_000_000;

/// Slots (machines) that exist in a run, at most.
pub const MAX_SLOTS: usize = 7;

/// How the links look after the chaos is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heal {
    /// Everything works; every member must converge.
    Full,
    /// A minority stays cut off, in both directions.
    MinorityCut,
    /// A minority sends and hears nothing.
    MinorityDeaf,
    /// A minority hears and cannot make itself heard.
    MinorityMute,
    /// Two halves that only meet in one node.
    Bridge,
    /// One disk never completes another write.
    DiskStall,
}

/// Everything a seed decides before its first event.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub config: Config,
    /// Voters at the start.
    pub voters: usize,
    /// Slots that are blank at the start and may join.
    pub spares: usize,
    /// Start as a cluster of one that the other voters join, instead of all at once.
    pub grow: bool,
    /// End of the chaos, in nanoseconds.
    pub chaos: u64,
    /// What the liveness phase looks like.
    pub heal: Heal,
    /// Time the liveness phase may take.
    pub patience: u64,

    /// One-way delay of a message: usual range in microseconds.
    pub delay_us: (u64, u64),
    /// Of 1,000 messages: lost, duplicated, held back for up to `held_back` nanoseconds.
    pub lost: u64,
    pub doubled: u64,
    pub slow: u64,
    pub held_back: u64,
    /// Of 1,000 sends over a cut link: the transport tells.
    pub hints: u64,

    /// Duration of one sync in microseconds, and of a stalled one.
    pub sync_us: (u64, u64),
    pub stalls: u64,
    pub stall: u64,
    /// Receipts for writes reach the node this much after its messages have left, in microseconds.
    pub receipt_us: (u64, u64),
    /// Short answers to cold reads.
    pub short_reads: bool,

    /// One apply job takes this long, in microseconds.
    pub apply_us: (u64, u64),
    /// Entries between two checkpoints of the state machine.
    pub checkpoint_every: u64,
    /// Of 1,000 snapshot jobs: fail.
    pub snapshot_failures: u64,
    /// Snapshot streams differ each time they are taken.
    pub streams_vary: bool,

    /// Inputs handled before one poll, at most.
    pub batch: usize,
    /// Clock rates in permille around 1,000.
    pub skew: u64,
    /// `now` sometimes steps back a little.
    pub clock_steps: bool,

    /// Time between two operations of the clients, in microseconds.
    pub client_us: (u64, u64),
    /// Of 1,000 operations: reads.
    pub reads: u64,
    /// Command padding.
    pub padding: u64,
    /// Commands per proposal, at most.
    pub burst: u64,

    /// Mean time between faults of each kind in nanoseconds; 0: never.
    pub crash: u64,
    pub power_cut: u64,
    pub partition: u64,
    pub pause: u64,
    pub wipe: u64,
    /// Mean time between membership changes; 0: never.
    pub churn: u64,
    /// Mean time between transfers; 0: never.
    pub transfer: u64,
    /// Of 1,000 moments of interest: strike.
    pub traps: u64,
    /// Early deadlines and false hints.
    pub noise: bool,

    /// The bug planted at the boundary, if any.
    pub planted: Option<Planted>,
    /// Checkers that look away, to prove that another one sees the bug, too.
    pub without: &'static [&'static str],
}

impl Plan {
    /// What `seed` does.
    pub fn draw(seed: u64) -> Plan {
        let rng = &mut Rng::stream(seed, Purpose::Plan, 0, 0);
        let election = rng.pick(&[100, 150, 300]) * MS;
        let config = draw_config(rng, election);
        let voters = rng.pick(&[1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 7]);
        let churning = rng.chance(500);
        let room = (MAX_SLOTS - voters).min(3) as u64;
        let spares = if churning && room > 0 { rng.between(1, room) as usize } else { 0 };
        let every = |rng: &mut Rng, on: u64, low: u64, high: u64| {
            if rng.chance(on) { rng.between(low, high) * election } else { 0 }
        };
        let rough_net = rng.chance(700);
        let heals = [
            Heal::Full,
            Heal::Full,
            Heal::Full,
            Heal::Full,
            Heal::MinorityCut,
            Heal::MinorityDeaf,
            Heal::MinorityMute,
            Heal::Bridge,
            Heal::DiskStall,
        ];
        Plan {
            seed,
            voters,
            spares,
            grow: rng.chance(250),
            chaos: rng.between(15, 60) * election,
            heal: rng.pick(&heals),
            patience: 60 * election,
            delay_us: rng.pick(&[(50, 150), (100, 3_000), (500, 12_000), (5_000, 30_000)]),
            lost: if rough_net { rng.pick(&[0, 5, 30, 150]) } else { 0 },
            doubled: if rough_net { rng.pick(&[0, 5, 50, 300]) } else { 0 },
            slow: if rough_net { rng.pick(&[0, 5, 50, 200]) } else { 0 },
            held_back: rng.pick(&[1, 4, 12]) * election,
            hints: rng.pick(&[0, 100, 1_000]),
            sync_us: rng.pick(&[(20, 100), (200, 3_000), (1_000, 20_000), (10_000, 120_000)]),
            stalls: if rng.chance(300) { rng.pick(&[2, 20]) } else { 0 },
            stall: rng.between(1, 5) * election,
            short_reads: rng.chance(300),
            receipt_us: rng.pick(&[(0, 0), (0, 100), (0, 20_000)]),
            apply_us: rng.pick(&[(1, 10), (100, 2_000), (5_000, 40_000)]),
            checkpoint_every: rng.pick(&[1, 3, 10, 40]),
            snapshot_failures: if rng.chance(300) { 50 } else { 0 },
            streams_vary: rng.chance(500),
            batch: rng.pick(&[1, 1, 2, 8, 64]),
            skew: rng.pick(&[0, 10, 100, 200]),
            clock_steps: rng.chance(200),
            client_us: rng.pick(&[(1_000, 5_000), (5_000, 40_000), (20_000, 150_000)]),
            reads: rng.pick(&[0, 200, 500]),
            padding: rng.pick(&[0, 8, 100]),
            burst: rng.pick(&[1, 1, 3, 12]),
            crash: every(rng, 600, 2, 12),
            power_cut: every(rng, 300, 4, 20),
            partition: every(rng, 600, 2, 10),
            pause: every(rng, 300, 3, 15),
            wipe: if churning { every(rng, 400, 6, 20) } else { 0 },
            churn: if churning { every(rng, 900, 1, 6) } else { 0 },
            transfer: every(rng, 300, 2, 10),
            traps: if rng.chance(600) { rng.pick(&[3, 10, 40]) } else { 0 },
            noise: rng.chance(300),
            config,
            planted: None,
            without: &[],
        }
    }

    /// The same seed with a bug planted.
    pub fn with(mut self, planted: Planted) -> Plan {
        self.planted = Some(planted);
        planted.prepare(&mut self);
        self
    }

    /// Whether the bug `planted` is in this run.
    pub fn plants(&self, planted: Planted) -> bool {
        self.planted == Some(planted)
    }

    /// How long something takes that usually takes `micros`; after the heal, everything is quick.
    pub fn takes(&self, calm: bool, rng: &mut Rng, micros: (u64, u64)) -> u64 {
        let time = 1_000 * rng.between(micros.0, micros.1);
        if calm { time.min(self.election() / 100) } else { time }
    }

    /// The election timeout in nanoseconds.
    pub fn election(&self) -> u64 {
        u64::try_from(self.config.election_timeout.as_nanos()).expect("a short timeout")
    }
}

fn draw_config(rng: &mut Rng, election: u64) -> Config {
    let mut config = Config {
        election_timeout: Duration::from_nanos(election),
        heartbeat_interval: Duration::from_nanos(election / rng.pick(&[4, 5, 10])),
        ..Config::default()
    };
    config.max_entry_bytes = 4_096;
    config.max_append_entries = rng.pick(&[1, 1, 2, 5, 64]);
    config.max_append_bytes = rng.pick(&[1, 100, 10_000]);
    config.max_inflight_appends = rng.pick(&[1, 2, 8]);
    config.max_inflight_bytes = rng.pick(&[1, 500, 100_000]);
    config.max_uncommitted_bytes = rng.pick(&[1_000, 5_000, 1_000_000]);
    config.max_apply_bytes = rng.pick(&[1, 300, 100_000]);
    config.cache_bytes = rng.pick(&[0, 1, 200, 2_000, 1_000_000]);
    config.max_pending_reads = rng.pick(&[1, 8, 1_000]);
    config.snapshot_chunk_bytes = rng.pick(&[1, 7, 40, 1_000]);
    config.compact_after_bytes = rng.pick(&[1, 200, 2_000, 1_000_000]);
    config.keep_entries = rng.pick(&[0, 1, 5, 50]);
    config.promote_learners = !rng.chance(100);
    config
}
