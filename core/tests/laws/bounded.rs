//! **Bounded**: whatever peers do, the bytes a node holds stay within a budget computed from its
//! `Config`, its members and what its own disk retains.
//!
//! After every poll, with `C` the configuration, `m` the members known, and an entry counting
//! `Entry::size`:
//!
//! ```text
//! held ≤ fixed
//!      + C.cache_bytes + C.max_uncommitted_bytes + C.max_inflight_bytes + one message    the log's end
//!      + C.max_apply_bytes + C.max_append_bytes + one entry                              apply
//!      + m · (C.max_inflight_appends + reads of a peer + …)                              progress
//!      + m · (max(C.max_append_bytes, C.snapshot_chunk_bytes) + one entry)               cold reads, chunks
//!      + C.max_pending_reads                                                             reads
//!      + writes under way + entries retained (an index of each) + configurations retained
//! ```
//!
//! and, before the poll, in addition what each input since the last poll has brought or caused. The
//! last line is not the peers' to grow beyond what the disk holds: it is what the runtime's disk and
//! compaction decide.
//!
//! Observed: members and strangers say anything, from hundreds of made-up ids; limits are tiny; after
//! every input and every poll the node is walked (`walk.rs`), independently of any count of its own.
//!
//! Would break it: a map keyed by whoever sends, a queue that only a good peer empties, a buffer for
//! what cannot be used yet, a counter per something that peers choose.

use crate::cluster::{Run, Terms, Verdict, execute};
use crate::disk::Image;
use crate::draw::{Mix, entropy};
use crate::hostile::{MAX_DATA, MAX_ENTRIES};
use crate::law::Law;
use crate::node::Input;
use crate::planted::Planted;
use crate::rng::{Purpose, Rng};
use crate::schedule::Schedule;
use crate::total::HOSTILE;
use crate::walk;
use crate::watch::{Taken, Watch};
use kvorum_core::raft::{Config, Envelope, Event, Instant, Raft};

/// A node without anything: its numbers, its configuration, its timers, its counters.
const FIXED: u64 = 768;
/// What a member costs beyond its windows: progress, a vote, sixteen forwarded reads.
const MEMBER: u64 = 192 + 16 * READ;
/// A read that waits.
const READ: u64 = 40;
/// A write under way.
const WRITE: u64 = 96;
/// An entry retained on the disk: at most a run of terms, a mark of weight, and what rounds.
const RETAINED: u64 = 48;
/// An answer.
const ANSWER: u64 = 192;

/// The largest entry: a hostile configuration of eight members, or a command.
const ENTRY: u64 = MAX_DATA + 256;
/// The largest message.
const MESSAGE: u64 = MAX_ENTRIES * ENTRY + 256;

/// See the module.
fn budget(config: &Config, members: u64, log: &Image, writes: u64) -> u64 {
    let window = 24 * config.max_inflight_appends as u64;
    let cold = config.max_append_bytes.max(config.snapshot_chunk_bytes) + ENTRY;
    let tail = config.cache_bytes + config.max_uncommitted_bytes + config.max_inflight_bytes;
    let configurations: u64 = log.memberships().map(|(_, m)| 16 + walk::bytes(m)).sum();
    FIXED
        + tail
        + tail / 4
        + MESSAGE
        + config.max_apply_bytes
        + config.max_append_bytes
        + ENTRY
        + members * (MEMBER + window + cold)
        + config.max_pending_reads as u64 * READ
        + writes * WRITE
        + log.entries.len() as u64 * RETAINED
        + configurations
        + walk::bytes(&log.base)
}

/// Walks nodes.
struct Scales {
    config: Config,
    planted: Option<Planted>,
    /// The budget of each node as of its last poll.
    budgets: Vec<u64>,
    hoard: Vec<Envelope>,
    /// The fullest a node has been, in percent of its budget.
    fullest: u64,
}

impl Scales {
    fn weigh(&mut self, raft: &Raft, budget: u64) -> Result<(), String> {
        let held = walk::bytes(raft) + walk::bytes(&self.hoard);
        self.fullest = self.fullest.max(100 * held / budget);
        if held <= budget {
            return Ok(());
        }
        Err(format!("{} holds {held} bytes of {budget}: {raft:?}", raft.status().id))
    }
}

impl Watch for Scales {
    fn rule(&self) -> &'static str {
        "bounded"
    }

    fn before(&mut self, _: usize, raft: &Raft, _: Instant, input: &Input) -> Result<(), String> {
        if self.planted == Some(Planted::Hoard)
            && let Input::Event(Event::Received(envelope)) = input
            && !raft.status().membership.contains(envelope.from)
        {
            self.hoard.extend(vec![envelope.clone(); 4]);
        }
        Ok(())
    }

    fn after(&mut self, slot: usize, raft: &Raft, handled: usize) -> Result<(), String> {
        let members = raft.status().membership.members().count() as u64;
        let each = MESSAGE + (members + 4) * ANSWER + members * MEMBER;
        self.weigh(raft, self.budgets[slot] + handled as u64 * each)
    }

    fn polled(&mut self, taken: &Taken) -> Result<(), String> {
        let members = taken.raft.status().membership.members().count() as u64;
        let writes = taken.disk.queue.len() as u64;
        let budget = budget(&self.config, members, &taken.disk.shadow, writes);
        self.budgets[taken.slot] = budget;
        self.weigh(taken.raft, budget)
    }
}

static LAW: Law = Law {
    name: "bounded",
    draw: |g| {
        let rng = &mut Rng::stream(entropy(g), Purpose::Plan, 0, 0);
        let mut schedule = crate::draw::draw(rng, &Mix { say: 80, steps: 160, ..HOSTILE });
        let limits = &mut schedule.limits;
        limits.append_entries = 2;
        limits.append_bytes = limits.append_bytes.min(100);
        limits.inflight_appends = 2;
        limits.inflight_bytes = limits.inflight_bytes.min(100);
        limits.uncommitted_bytes = limits.uncommitted_bytes.min(500);
        limits.apply_bytes = limits.apply_bytes.min(100);
        limits.cache_bytes = limits.cache_bytes.min(100);
        limits.pending_reads = limits.pending_reads.min(4);
        limits.chunk_bytes = limits.chunk_bytes.min(40);
        schedule
    },
    holds,
    must_happen: &["a quarter", "leader elected", "snapshot installed"],
};

fn holds(schedule: &Schedule, planted: Option<Planted>, run: &mut Run) -> Verdict {
    let config = schedule.limits.config();
    let fresh = budget(&config, schedule.ids.len() as u64, &Image::default(), 0);
    let budgets = vec![fresh; schedule.ids.len()];
    let mut scales = Scales { config, planted, budgets, hoard: Vec::new(), fullest: 0 };
    let terms = Terms { hostile: true, batched: true, planted };
    execute(schedule, terms, &mut scales, run)?;
    const USE: [&str; 4] = ["below a quarter", "a quarter", "half", "three quarters"];
    let full = USE[usize::try_from(scales.fullest / 25).expect("small").min(3)];
    *run.cover.entry(full).or_default() += 1;
    Ok(())
}

#[test]
fn bounded() {
    LAW.holds();
}

#[test]
fn bounded_bites() {
    LAW.finds(Planted::Hoard, &["bounded"], 10);
}
