//! Prints what a durable append, a commit and a read of the tables cost on this machine's disk:
//! `cargo run --release -p kvorum-runtime --example storage [DIRECTORY]`.

use bytes::Bytes;
use kvorum_core::{
    kv::{self, Body, Command, Op, Put, Table, Txn},
    raft::{Chain, Entry, EntryId, Index, NodeId, Payload, Restored, SnapshotMeta, Term},
};
use kvorum_runtime::storage::{
    Identity, LogChange, Opened,
    disk::{Dir, DiskOptions, Found},
};
use std::{fs, path::PathBuf, time::Instant};

const VALUE_BYTES: usize = 256;
const KEYS: u64 = 200_000;
const COMMIT: u64 = 100;
const CHECKPOINT_BYTES: u64 = 64 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = parent.join(format!("kvorum-storage-example-{}", std::process::id()));
    let result = run(&dir);
    fs::remove_dir_all(&dir)?;
    result
}

fn run(dir: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let options = DiskOptions::default();
    let Found::Blank(blank) = Dir::open(dir, "example", options.clone())? else {
        return Err("the directory is not blank".into());
    };
    let identity = Identity { cluster: 1, node: NodeId(1), name: "example".into() };
    let mut opened = blank.format(identity, Restored::default())?;
    let (mut index, mut chain) = (0, Chain::START);
    for batch in [1, 10, 100, 1000] {
        append(&mut opened, &mut index, &mut chain, batch)?;
    }
    apply(&mut opened)?;
    drop(opened);
    let start = Instant::now();
    let Found::Formatted(opened) = Dir::open(dir, "example", options)? else {
        return Err("the directory lost its node".into());
    };
    println!(
        "start             {:>9.2?} for {} log entries and {} keys, verified",
        start.elapsed(),
        opened.restored.last.index,
        KEYS
    );
    Ok(())
}

/// Durable appends; the log is compacted behind them, as a checkpoint does.
fn append(
    opened: &mut Opened,
    index: &mut u64,
    chain: &mut Chain,
    batch: u64,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..(3000 / batch.isqrt()).max(300) {
        let entries: Vec<Entry> = (0..batch)
            .map(|n| {
                let id = EntryId { term: Term(1), index: Index(*index + 1 + n) };
                let payload = Payload::Command(Bytes::from(vec![7; VALUE_BYTES]));
                let entry = Entry::new(*chain, id, payload);
                *chain = entry.chain;
                entry
            })
            .collect();
        let start = Instant::now();
        opened.log.store(&[LogChange { append: &entries, ..LogChange::default() }])?;
        times.push(start.elapsed());
        *index += batch;
        bytes += batch * VALUE_BYTES as u64;
        if bytes > CHECKPOINT_BYTES / 4 {
            bytes = 0;
            let base = meta(*index, *chain);
            opened.state.commit(&base)?;
            opened.log.store(&[LogChange { base: Some(&base), ..LogChange::default() }])?;
        }
    }
    let base = meta(*index, *chain);
    opened.state.commit(&base)?;
    report(&format!("append {batch:>4}"), &mut times, batch);
    Ok(())
}

/// Puts through the state machine, then reads.
fn apply(opened: &mut Opened) -> Result<(), Box<dyn std::error::Error>> {
    let state = &mut opened.state;
    let applied = state.applied().clone();
    let (mut commits, mut reads, mut checkpoints) = (Vec::new(), Vec::new(), Vec::new());
    for first in (0..KEYS).step_by(COMMIT as usize) {
        let start = Instant::now();
        for n in first..first + COMMIT {
            kv::apply(state.tables_mut(), &put(n))
                .map_err(|f| f.0)?
                .result
                .map_err(|e| format!("{e:?}"))?;
        }
        state.commit(&applied)?;
        commits.push(start.elapsed());
        let key = format!("key {:08}", (first * 7_919) % (first + 1));
        let start = Instant::now();
        state
            .tables()
            .get(Table::Latest, key.as_bytes())
            .map_err(|f| f.0)?
            .ok_or("a key is gone")?;
        reads.push(start.elapsed());
        if first % (KEYS / 8) == 0 {
            let start = Instant::now();
            state.checkpoint()?;
            checkpoints.push(start.elapsed());
        }
    }
    report("apply+commit  100", &mut commits, COMMIT);
    report("get under load", &mut reads, 1);
    report("checkpoint", &mut checkpoints, 1);
    let start = Instant::now();
    let (mut offset, mut last) = (0, false);
    while !last {
        let (_, chunk, end) = state.read_snapshot(NodeId(2), offset, 1 << 20)?;
        offset += chunk.len() as u64;
        last = end;
    }
    println!("snapshot read     {:>9.2?} for {} MiB", start.elapsed(), offset >> 20);
    Ok(())
}

fn put(n: u64) -> Command {
    let put = Put::new(Bytes::from(format!("key {n:08}")), Bytes::from(vec![n as u8; VALUE_BYTES]));
    Command {
        time_ms: n,
        ..Command::new(Body::Txn(Txn { then: vec![Op::Put(put)], ..Txn::default() }))
    }
}

fn meta(index: u64, chain: Chain) -> SnapshotMeta {
    let last = EntryId { term: Term(1), index: Index(index) };
    SnapshotMeta { last, chain, ..SnapshotMeta::default() }
}

fn report(what: &str, times: &mut [std::time::Duration], each: u64) {
    times.sort_unstable();
    let total: std::time::Duration = times.iter().sum();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{what:<17} p50 {:>9.2?}  p99 {:>9.2?}  p99.9 {:>9.2?}  max {:>9.2?}  {:>9.0} per second",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        (times.len() as u64 * each) as f64 / total.as_secs_f64()
    );
}
