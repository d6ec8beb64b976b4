//! A process that is killed in the middle of its work: nothing it acknowledged is lost.

mod storage_kit;

use bytes::Bytes;
use kvorum_core::{
    kv::{self, Body, Command, Op, Put, Txn},
    raft::{Entry, Index, NodeId},
};
use kvorum_runtime::storage::{
    LogChange, Opened, StateStore,
    disk::{DiskOptions, read_log},
};
use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command as Process, Stdio},
};
use storage_kit::*;

const CHILD: &str = "KVORUM_TEST_STORAGE_DIR";
const PEER: NodeId = NodeId(3);

fn options(workers: usize) -> DiskOptions {
    DiskOptions { verify: true, fjall_workers: workers, memtable_bytes: 64 << 10, ..small() }
}

/// The command of an index: everything is a function of the index, so everything can be checked.
fn command(index: u64) -> Command {
    let put = Put::new(
        Bytes::from(format!("key {}", index % 40)),
        Bytes::from(vec![index as u8; 20 + (index as usize * 37) % 2000]),
    );
    Command {
        time_ms: index,
        ..Command::new(Body::Txn(Txn { then: vec![Op::Put(put)], ..Txn::default() }))
    }
}

fn log_entry(index: u64) -> Entry {
    if index > 1 && chain_at(index - 1).is_none() {
        log_entry(index - 1);
    }
    entry(index, 1 + index / 100, &format!("{index} ").repeat(1 + (index as usize * 31) % 300))
}

fn meta_at(index: u64) -> kvorum_core::raft::SnapshotMeta {
    if index > 0 && chain_at(index).is_none() {
        log_entry(index);
    }
    meta(index, 1 + index / 100)
}

fn apply_up_to(state: &mut dyn StateStore, index: u64) {
    for n in state.applied().last.index.0 + 1..=index {
        kv::apply(state.tables_mut(), &command(n)).unwrap().result.unwrap();
        state.commit(&meta_at(n)).unwrap();
    }
}

/// A node's life until it is killed: says what it has acknowledged, line by line.
fn live(dir: &Path, workers: usize) -> ! {
    let mut opened = open_disk(dir, &options(workers));
    let mut index = opened.restored.last.index.0;
    let mut term = opened.restored.vote.term.0;
    let mut out = std::io::stdout().lock();
    let mut say = |what: &str, number: u64| {
        writeln!(out, "\n{what} {number}").unwrap();
        out.flush().unwrap();
    };
    apply_up_to(&mut *opened.state, index);
    say("ready", index);
    for round in 1u64.. {
        let entries: Vec<_> = (index + 1..=index + 1 + round % 5).map(log_entry).collect();
        index = entries.last().unwrap().index().0;
        term += 1;
        let change = LogChange { vote: Some(vote(term, Some(term))), ..append(&entries) };
        opened.log.store(&[change]).unwrap();
        say("vote", term);
        say("written", index);
        apply_up_to(&mut *opened.state, index);
        if round.is_multiple_of(7) {
            let durable = opened.state.checkpoint().unwrap();
            say("durable", durable.last.index.0);
            let base = LogChange { base: Some(&durable), ..LogChange::default() };
            opened.log.store(&[base]).unwrap();
        }
        if round.is_multiple_of(11) {
            index += 25;
            install(&mut opened, index);
            say("written", index);
            say("durable", index);
        }
    }
    unreachable!("it is killed long before")
}

/// Receives the state of a node that is ahead.
fn install(opened: &mut Opened, index: u64) {
    let Store::Memory(Some(mut ahead)) = Store::memory() else { unreachable!() };
    apply_up_to(&mut *ahead.state, index);
    let (mut offset, mut last) = (0, false);
    while !last {
        let chunk = ahead.state.read_snapshot(PEER, offset, 4096).unwrap();
        offset = opened.state.stage_snapshot(&chunk.0, offset, &chunk.1).unwrap();
        last = chunk.2;
    }
    let meta = meta_at(index);
    opened.state.install_snapshot(&meta).unwrap();
    opened.log.store(&[LogChange { base: Some(&meta), ..LogChange::default() }]).unwrap();
}

/// What a process had acknowledged when it died.
#[derive(Debug, Default, Clone, Copy)]
struct Acknowledged {
    vote: u64,
    written: u64,
    durable: u64,
}

/// Starts a life, kills it after so many lines, and adds up what it said.
fn live_and_die(test: &str, dir: &Path, lines: usize, sum: &mut Acknowledged) {
    let mut child = Process::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut ready = false;
    let mut heard = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let Ok(line) = line else { break };
        let Some((what, number)) = line.split_once(' ') else { continue };
        let Ok(number) = number.parse() else { continue };
        match what {
            "ready" => ready = true,
            "vote" => sum.vote = number,
            "written" => sum.written = number,
            "durable" => sum.durable = number,
            _ => continue,
        }
        heard += 1;
        if heard == lines {
            child.kill().unwrap();
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(ready, "the process did not come up again");
}

fn check(dir: &Path, workers: usize, acknowledged: Acknowledged) {
    let found = read_log(dir, &options(workers)).unwrap();
    assert!(found.vote.term.0 >= acknowledged.vote, "{acknowledged:?}");
    let mut opened = open_disk(dir, &options(workers));
    let restored = &opened.restored;
    assert!(restored.last.index.0 >= acknowledged.written, "{acknowledged:?} {:?}", restored.last);
    assert!(restored.applied.0 >= acknowledged.durable, "{acknowledged:?}");
    let (base, last) = (restored.base.last, restored.last);
    let mut wish = read(base.index.0 + 1, last.index.0 + 1, base.term.0, u64::MAX);
    wish.after = base;
    let entries = if base == last { Vec::new() } else { opened.log.read(&wish).unwrap() };
    assert!(entries.iter().cloned().eq((base.index.0 + 1..=last.index.0).map(log_entry)));

    let applied = opened.state.applied().clone();
    assert_eq!(opened.restored.applied, applied.last.index);
    assert!(applied.last.index == Index::ZERO || applied == meta_at(applied.last.index.0));
    let Store::Memory(Some(mut expected)) = Store::memory() else { unreachable!() };
    apply_up_to(&mut *expected.state, applied.last.index.0);
    let digest = |state: &dyn StateStore| kv::digest(state.tables()).unwrap();
    assert_eq!(digest(&*opened.state), digest(&*expected.state));
}

// One test for both: a process being forked holds the locks of its parent for a moment.
#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    const NAME: &str = "a_killed_process_loses_nothing_it_acknowledged";
    if let Ok(dir) = env::var(CHILD) {
        live(Path::new(&dir), if dir.contains("inline") { 0 } else { 2 });
    }
    for (name, workers) in [("threads", 2), ("inline", 0)] {
        let dir = TempDir::new();
        let node = dir.path().join(name);
        let mut sum = Acknowledged::default();
        for round in 0..8 {
            live_and_die(NAME, &node, 10 + round * 23 % 120, &mut sum);
            check(&node, workers, sum);
        }
        assert!(sum.written > 100, "the processes got hardly anything done: {sum:?}");
    }
}
