//! The state machine on the stores of a node: the same replies, revisions, leases and history as
//! the reference model's, across commits, checkpoints, restarts and installed snapshots.

// The reference and the random commands are the core's own.
#[path = "../../core/tests/kv_machine/agree.rs"]
#[allow(dead_code, unused_imports)] // The core's tests use more of it.
mod agree;
#[path = "../../core/tests/kv_machine/generate.rs"]
#[allow(dead_code)] // The core's tests use more of it.
mod generate;
#[path = "../../core/tests/kv_machine/model/mod.rs"]
#[allow(dead_code)] // The core's tests use more of it.
mod model;
mod storage_kit;

use agree::{Pair, Verdict, check};
use generate::Commands;
use kvorum_core::raft::NodeId;
use kvorum_runtime::storage::{StateStore, disk::DiskOptions};
use quickcheck::Gen;
use storage_kit::*;

/// Applies the commands, and does to the store what a node does to it in between.
fn lives(mut store: Store, commands: &Commands) -> Verdict {
    let seed = commands.0.len() as u64;
    let (mut pair, mut g) = (Pair::new(seed), Gen::from_size_and_seed(50, seed));
    let (mut index, mut logged) = (0, 0);
    for command in &commands.0 {
        pair.step(command, store.get().state.tables_mut())?;
        index += 1;
        store.get().state.commit(&meta(index, 1)).unwrap();
        match generate::below(&mut g, 12) {
            0 => {
                store.get().state.checkpoint().unwrap();
            }
            1 => {
                // The log reaches as far as the tables, as it does in a node.
                let missing: Vec<_> = (logged + 1..=index).map(|n| entry(n, 1, "")).collect();
                store.get().log.store(&[append(&missing)]).unwrap();
                logged = index;
                store.get().state.commit(&meta(index, 1)).unwrap();
                store.reopen();
            }
            2 => {
                let mut other = Store::memory();
                transfer(&mut *store.get().state, &mut *other.get().state);
                pair.agree_on_the_past(other.get().state.tables())?;
            }
            _ => {}
        }
    }
    pair.agree_on_the_past(store.get().state.tables())
}

fn transfer(from: &mut dyn StateStore, to: &mut dyn StateStore) {
    let (mut offset, peer) = (0, NodeId(99));
    loop {
        let (meta, chunk, last) = from.read_snapshot(peer, offset, 1000).unwrap();
        offset = to.stage_snapshot(&meta, offset, &chunk).unwrap();
        if last {
            from.close_snapshot(peer);
            to.install_snapshot(&meta).unwrap();
            return;
        }
    }
}

#[test]
fn the_machine_in_memory_agrees_with_the_model() {
    check(|commands| lives(Store::memory(), &commands), 60);
}

#[test]
fn the_machine_on_disk_agrees_with_the_model() {
    // A tiny table in memory, so that rows come from files, too.
    let property = |commands: Commands| {
        let options = DiskOptions { memtable_bytes: 4 << 10, verify: true, ..small() };
        lives(Store::disk(options), &commands)
    };
    check(property, 20);
}
