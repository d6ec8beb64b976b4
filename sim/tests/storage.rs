//! The store on the simulated disk: whatever the power does, nothing acknowledged is lost, and the
//! node always starts again.
#![cfg(madsim)]

use bytes::Bytes;
use kvorum_core::{
    kv::{self, Body, Command, Op, Put, Txn},
    raft::{
        Chain, Entry, EntryId, Index, LogRead, LogReader, Membership, NodeId, Payload, Restored,
        SnapshotMeta, Term, Vote,
    },
};
use kvorum_runtime::storage::{
    Identity, LogChange, Opened, StateStore, StorageError,
    disk::{Dir, DiskOptions, Found},
    memory,
};
use kvorum_sim::{disk::SimDisk, rng::Rng};
use std::{
    cell::RefCell,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

const PEER: NodeId = NodeId(3);

fn identity() -> Identity {
    Identity { cluster: 0xc1c1, node: NodeId(0x0de1), name: "app1".into() }
}

fn options() -> DiskOptions {
    DiskOptions {
        segment_bytes: 64 << 10,
        fjall_workers: 0,
        cache_bytes: 1 << 20,
        memtable_bytes: 48 << 10,
        ..DiskOptions::default()
    }
}

fn open(path: &Path) -> Result<Opened, StorageError> {
    match Dir::open(path, "app1", options())? {
        Found::Blank(blank) => blank.format(identity(), Restored::default()),
        Found::Formatted(opened) => Ok(opened),
    }
}

fn id_at(index: u64) -> EntryId {
    EntryId { term: Term(1 + index / 100), index: Index(index) }
}

fn meta_at(index: u64) -> SnapshotMeta {
    if index == 0 {
        return SnapshotMeta::default();
    }
    SnapshotMeta {
        last: id_at(index),
        chain: chain_at(index),
        membership: Membership::sole(NodeId(7), Bytes::from_static(b"app1 somewhere:7000")),
        membership_index: Index(1),
    }
}

/// The entry of an index: everything is a function of the index, so everything can be checked.
fn entry(index: u64) -> Entry {
    let len = (index as usize * 31) % 900 + if index.is_multiple_of(37) { 90_000 } else { 0 };
    let payload = Bytes::from(vec![index as u8; len]);
    Entry::new(chain_at(index - 1), id_at(index), Payload::Command(payload))
}

/// The chain of the entry of an index, from those before it.
fn chain_at(index: u64) -> Chain {
    thread_local! {
        static CHAINS: RefCell<Vec<Chain>> = const { RefCell::new(Vec::new()) };
    }
    if index == 0 {
        return Chain::START;
    }
    let known = || CHAINS.with_borrow(|chains| chains.len() as u64);
    while known() < index {
        let next = entry(known() + 1).chain;
        CHAINS.with_borrow_mut(|chains| chains.push(next));
    }
    CHAINS.with_borrow(|chains| chains[index as usize - 1])
}

fn command(index: u64) -> Command {
    let len = (index as usize * 37) % 2000 + if index.is_multiple_of(29) { 30_000 } else { 0 };
    let put =
        Put::new(Bytes::from(format!("key {}", index % 40)), Bytes::from(vec![index as u8; len]));
    Command {
        time_ms: index,
        ..Command::new(Body::Txn(Txn { then: vec![Op::Put(put)], ..Txn::default() }))
    }
}

fn apply_up_to(state: &mut dyn StateStore, index: u64) -> Result<(), StorageError> {
    for n in state.applied().last.index.0 + 1..=index {
        let reply = kv::apply(state.tables_mut(), &command(n));
        reply.map_err(|failure| StorageError::Io(failure.0))?.result.expect("a put succeeds");
        state.commit(&meta_at(n))?;
    }
    Ok(())
}

fn ahead(index: u64) -> Opened {
    let mut ahead = memory::open(identity(), Restored::default());
    apply_up_to(&mut *ahead.state, index).expect("memory does not fail");
    ahead
}

/// What was acknowledged while the power was on.
#[derive(Debug, Default, Clone, Copy)]
struct Acknowledged {
    term: u64,
    last: u64,
    durable: u64,
    rounds: u64,
    installs: u64,
}

struct Life<'a> {
    dead: &'a AtomicBool,
    sum: &'a mut Acknowledged,
}

impl Life<'_> {
    /// Counts an acknowledgement, unless the power was gone by then.
    fn note(&mut self, note: impl FnOnce(&mut Acknowledged)) {
        if !self.dead.load(Ordering::Relaxed) {
            note(self.sum);
        }
    }

    /// A node's life until the power goes or something fails.
    fn live(&mut self, path: &Path, rng: &mut Rng) -> Result<(), StorageError> {
        let mut opened = open(path)?;
        let mut index = opened.restored.last.index.0;
        let mut term = opened.restored.vote.term.0;
        apply_up_to(&mut *opened.state, index)?;
        while !self.dead.load(Ordering::Relaxed) {
            let entries: Vec<_> = (index + 1..=index + 1 + rng.below(4)).map(entry).collect();
            index += entries.len() as u64;
            term += 1;
            let vote = Some(Vote { term: Term(term), voted_for: Some(NodeId(term)) });
            opened.log.store(&[LogChange { vote, append: &entries, ..LogChange::default() }])?;
            self.note(|sum| (sum.term, sum.last, sum.rounds) = (term, index, sum.rounds + 1));
            apply_up_to(&mut *opened.state, index)?;
            if rng.chance(0.2) {
                let durable = opened.state.checkpoint()?;
                self.note(|sum| sum.durable = durable.last.index.0);
                opened.log.store(&[LogChange { base: Some(&durable), ..LogChange::default() }])?;
            }
            if rng.chance(0.08) {
                index += 1 + rng.below(30);
                install(&mut opened, index)?;
                self.note(|sum| {
                    (sum.last, sum.durable, sum.installs) = (index, index, sum.installs + 1);
                });
            }
        }
        Ok(())
    }
}

/// Receives the state of a node that is ahead.
fn install(opened: &mut Opened, index: u64) -> Result<(), StorageError> {
    let mut ahead = ahead(index);
    let (mut offset, mut last) = (0, false);
    while !last {
        let chunk = ahead.state.read_snapshot(PEER, offset, 16 << 10)?;
        offset = opened.state.stage_snapshot(&chunk.0, offset, &chunk.1)?;
        last = chunk.2;
    }
    let meta = meta_at(index);
    opened.state.install_snapshot(&meta)?;
    opened.log.store(&[LogChange { base: Some(&meta), ..LogChange::default() }])
}

fn check(path: &Path, sum: Acknowledged, at: &str) {
    let mut opened = open(path).unwrap_or_else(|error| panic!("{at}: {error}"));
    let restored = &opened.restored;
    assert!(restored.vote.term.0 >= sum.term, "{at}: {sum:?}, found {:?}", restored.vote);
    assert!(restored.last.index.0 >= sum.last, "{at}: {sum:?}, found {}", restored.last);
    assert!(restored.applied.0 >= sum.durable, "{at}: {sum:?}, found {}", restored.applied);
    let (base, last) = (restored.base.last, restored.last);
    if base != last {
        let wish = LogRead {
            reader: LogReader::Apply,
            range: base.index.next()..last.index.next(),
            max_bytes: u64::MAX,
            after: base,
            chain: Some(restored.base.chain),
        };
        let entries = opened.log.read(&wish).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert!(entries.into_iter().eq((base.index.0 + 1..=last.index.0).map(entry)), "{at}");
    }
    let applied = opened.state.applied().clone();
    assert_eq!(applied, meta_at(applied.last.index.0), "{at}");
    let digest = |state: &dyn StateStore| kv::digest(state.tables()).expect("readable");
    let expected = ahead(applied.last.index.0);
    assert_eq!(digest(&*opened.state), digest(&*expected.state), "{at}");
}

fn disk(name: &str, seed: u64) -> SimDisk {
    // In memory where the system has such a place: the syncs that count are simulated.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let base = parent.join(format!("kvorum-store-{}-{name}", std::process::id()));
    SimDisk::new(&base, Rng::stream(seed, "disk", 0)).expect("a blank disk")
}

fn mount(disk: &SimDisk) -> Arc<AtomicBool> {
    let dead = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&dead);
    disk.mount(move || flag.store(true, Ordering::Relaxed)).expect("it mounts");
    dead
}

/// `KVORUM_STORE_SEEDS` runs more of them.
fn seeds(default: u64) -> u64 {
    std::env::var("KVORUM_STORE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn a_power_cut_between_any_two_system_calls_loses_nothing_acknowledged() {
    let mut total = Acknowledged::default();
    let mut early = 0;
    for seed in 0..seeds(12) {
        let disk = disk("cuts", seed);
        let mut rng = Rng::stream(seed, "cuts", 0);
        let mut sum = Acknowledged::default();
        for cut in 0..25 {
            let dead = mount(&disk);
            let path = disk.root().join("data/app1");
            // Some right in the formatting, some in a start, some far on.
            disk.cut_after(1 + rng.below(*rng.clone().pick(&[20, 150, 1500])));
            let lived = Life { dead: &dead, sum: &mut sum }.live(&path, &mut rng);
            let at = format!("seed {seed} cut {cut}");
            assert!(dead.load(Ordering::Relaxed), "{at}: {lived:?}");
            early += u64::from(sum.rounds == 0);
            let dead = mount(&disk);
            check(&disk.root().join("data/app1"), sum, &at);
            assert!(!dead.load(Ordering::Relaxed));
            disk.abandon().expect("the image can be written");
        }
        total.rounds += sum.rounds;
        total.installs += sum.installs;
        disk.scrap().expect("it can be removed");
    }
    assert!(total.rounds > 200 && total.installs > 5 && early > 5, "{total:?} {early}");
}

#[test]
fn a_failed_sync_or_a_full_disk_stops_the_store_and_loses_nothing_acknowledged() {
    let mut failures = 0;
    for seed in 0..seeds(12) {
        let disk = disk("faults", seed);
        let mut rng = Rng::stream(seed, "faults", 0);
        let mut sum = Acknowledged::default();
        for fault in 0..10 {
            let dead = mount(&disk);
            let path = disk.root().join("data/app1");
            if fault > 0 {
                let full = rng.chance(0.5);
                disk.set_faults(|faults| {
                    faults.fail_next_sync = !full;
                    faults.full = full;
                });
            } else {
                disk.cut_after(400);
            }
            let lived = Life { dead: &dead, sum: &mut sum }.live(&path, &mut rng);
            failures += u32::from(matches!(lived, Err(StorageError::Io(_))));
            assert!(fault == 0 || lived.is_err(), "seed {seed} fault {fault}: {lived:?}");
            disk.set_faults(|faults| *faults = Default::default());
            disk.cut().expect("the image can be written");
            let dead = mount(&disk);
            check(&disk.root().join("data/app1"), sum, &format!("seed {seed} fault {fault}"));
            assert!(!dead.load(Ordering::Relaxed));
            disk.abandon().expect("the image can be written");
        }
        disk.scrap().expect("it can be removed");
    }
    assert!(failures > 20, "{failures}");
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out_by_these_checks() {
    let mut caught = 0;
    for seed in 0..20 {
        let disk = disk("lies", seed);
        let mut rng = Rng::stream(seed, "lies", 0);
        let mut sum = Acknowledged::default();
        let dead = mount(&disk);
        disk.cut_after(300);
        let lived = Life { dead: &dead, sum: &mut sum }.live(&disk.root().join("app1"), &mut rng);
        lived.expect("no fault yet");
        let dead = mount(&disk);
        disk.set_faults(|faults| faults.lies = true);
        disk.cut_after(500);
        let path = disk.root().join("app1");
        let lived = Life { dead: &dead, sum: &mut sum }.live(&path, &mut rng);
        lived.expect("it lies");
        disk.set_faults(|faults| *faults = Default::default());
        let _dead = mount(&disk);
        let path = disk.root().join("app1");
        let look = std::panic::AssertUnwindSafe(|| check(&path, sum, "lies"));
        caught += u32::from(std::panic::catch_unwind(look).is_err());
        disk.scrap().expect("it can be removed");
    }
    assert!(caught >= 10, "caught {caught} of 20");
}
