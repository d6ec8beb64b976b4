//! Whose a data directory is, and what happens to one that is not ours, in use, or half made.

mod storage_kit;

use kvorum_core::raft::{Entry, NodeId, Restored};
use kvorum_runtime::storage::{
    Identity, StorageError,
    disk::{Dir, Found, read_log},
};
use std::{fs, path::Path};
use storage_kit::*;

fn blank(path: &Path) -> kvorum_runtime::storage::disk::BlankDir {
    match Dir::open(path, "app1", small()).unwrap() {
        Found::Blank(blank) => blank,
        found @ Found::Formatted(_) => panic!("{found:?}"),
    }
}

/// What a node that starts a cluster begins with.
fn newborn() -> Restored {
    let tail: Vec<Entry> = vec![membership_entry(1, 1, "app1"), entry(2, 1, "x")];
    Restored { vote: vote(1, Some(7)), base: meta(0, 0), tail, ..Restored::default() }
}

#[test]
fn a_new_directory_becomes_a_nodes_and_says_so_in_words() {
    let dir = TempDir::new();
    let path = dir.path().join("deep/down/app1");
    let opened = blank(&path).format(identity(), newborn()).unwrap();
    let expected = Restored {
        runs: vec![id(1, 1)],
        last: id(2, 1),
        chain: chain_at(2).unwrap(),
        memberships: opened.restored.memberships.clone(),
        ..newborn()
    };
    assert_eq!(opened.restored, expected);
    assert_eq!(opened.restored.memberships.len(), 1);
    assert_eq!(*opened.state.applied(), newborn().base);
    drop(opened);
    let text = fs::read_to_string(path.join("VERSION")).unwrap();
    let begins = "kvorum data directory; do not edit, do not copy to another node\nformat 2\n\
                  cluster 000000000000c1c1\nnode 0000000000000de1\nname app1\nchecksum ";
    assert!(text.starts_with(begins), "{text}");
    let opened = open_disk(&path, &small());
    assert_eq!(opened.identity, identity());
    assert_eq!(opened.restored, expected);
}

#[test]
fn a_directory_in_use_is_refused_with_who_has_it() {
    let dir = TempDir::new();
    let opened = open_disk(&dir.node(), &small());
    let expected = format!(
        "{} is locked by a running kvorum (pid {}, NODE_ID app1); stop it, or choose another \
         NODE_ID or RAFT_DIR",
        dir.node().display(),
        std::process::id()
    );
    assert_eq!(open_error(&dir.node(), "app1"), expected);
    // Half of it is still in use.
    let log = opened.log;
    drop(opened.state);
    assert_eq!(open_error(&dir.node(), "app1"), expected);
    drop(log);
    open_disk(&dir.node(), &small());
    let held = blank(&dir.path().join("app2"));
    assert!(open_error(&dir.path().join("app2"), "app1").contains("is locked"));
    drop(held);
}

#[test]
fn a_directory_of_another_node_is_refused_with_whose_it_is() {
    let dir = TempDir::new();
    drop(open_disk(&dir.node(), &small()));
    let expected = format!(
        "{} belongs to NODE_ID app1 of cluster 000000000000c1c1, but NODE_ID=app3 was given",
        dir.node().display()
    );
    assert_eq!(open_error(&dir.node(), "app3"), expected);
    assert_eq!(open_disk(&dir.node(), &small()).identity, identity());
}

#[test]
fn a_directory_of_a_newer_format_is_refused() {
    let dir = TempDir::new();
    drop(open_disk(&dir.node(), &small()));
    let version = dir.node().join("VERSION");
    let text = fs::read_to_string(&version).unwrap();
    fs::write(&version, text.replace("format 2", "format 3")).unwrap();
    let expected = format!(
        "{} has format 3; this kvorum knows format 2: start a newer version",
        dir.node().display()
    );
    assert_eq!(open_error(&dir.node(), "app1"), expected);
}

#[test]
fn a_version_file_with_any_byte_altered_is_refused() {
    let dir = TempDir::new();
    drop(open_disk(&dir.node(), &small()));
    let version = dir.node().join("VERSION");
    let good = fs::read(&version).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&version, &bad).unwrap();
        open_error(&dir.node(), "app1");
        fs::write(&version, &good[..at]).unwrap();
        open_error(&dir.node(), "app1");
    }
    fs::write(&version, &good).unwrap();
    open_disk(&dir.node(), &small());
}

#[test]
fn a_directory_with_somebody_elses_files_is_left_alone() {
    let dir = TempDir::new();
    fs::create_dir(dir.node()).unwrap();
    fs::write(dir.node().join("thesis.tex"), "important").unwrap();
    let error = open_error(&dir.node(), "app1");
    assert!(error.contains("thesis.tex") && error.contains("RAFT_DIR"), "{error}");
    assert_eq!(fs::read_to_string(dir.node().join("thesis.tex")).unwrap(), "important");
}

#[test]
fn what_an_interrupted_formatting_left_is_wiped() {
    // Whatever part of a formatting is there: without VERSION it never happened.
    let whole = TempDir::new();
    drop(blank(&whole.node()).format(identity(), newborn()).unwrap());
    for case in 0..5 {
        let dir = TempDir::new();
        copy_tree(&whole.node(), &dir.node());
        let node = dir.node();
        fs::rename(node.join("VERSION"), node.join("VERSION.tmp")).unwrap();
        match case {
            0 => {}
            1 => fs::remove_dir_all(node.join("fjall")).unwrap(),
            2 => fs::remove_file(node.join("fjall/1/version")).unwrap(),
            3 => {
                let segment = node.join("wal/0000000000000001.wal");
                fs::rename(segment, node.join("wal/new.tmp")).unwrap();
            }
            _ => fs::remove_dir_all(node.join("wal")).unwrap(),
        }
        let another = Identity { node: NodeId(77), ..identity() };
        drop(blank(&node).format(another.clone(), Restored::default()).unwrap());
        let opened = open_disk(&node, &small());
        assert_eq!(opened.identity, another);
        assert_eq!(opened.restored, Restored::default());
        assert!(!node.join("VERSION.tmp").exists());
    }
}

#[test]
fn the_log_of_a_node_that_has_lived_is_never_wiped_for_want_of_a_version() {
    let dir = TempDir::new();
    let mut opened = blank(&dir.node()).format(identity(), newborn()).unwrap();
    opened.log.store(&[append(&[entry(3, 1, "a promise")])]).unwrap();
    drop(opened);
    let version = fs::read(dir.node().join("VERSION")).unwrap();
    fs::remove_file(dir.node().join("VERSION")).unwrap();
    let error = open_error(&dir.node(), "app1");
    assert!(error.contains("no VERSION"), "{error}");
    fs::write(dir.node().join("VERSION"), version).unwrap();
    assert_eq!(open_disk(&dir.node(), &small()).restored.last, id(3, 1));
}

#[test]
fn a_missing_half_is_refused() {
    for half in ["wal", "fjall"] {
        let dir = TempDir::new();
        drop(open_disk(&dir.node(), &small()));
        fs::remove_dir_all(dir.node().join(half)).unwrap();
        let error = open_error(&dir.node(), "app1");
        assert!(error.contains(half) && error.contains("is gone"), "{error}");
    }
}

#[test]
fn tables_of_which_a_part_is_missing_are_refused_and_not_made_anew() {
    for part in [
        "fjall/1/version",
        "fjall/1/keyspaces/0/current",
        "fjall/1/keyspaces/1/current",
        "fjall/1/0.jnl",
    ] {
        let dir = TempDir::new();
        drop(open_disk(&dir.node(), &small()));
        let path = dir.node().join(part);
        assert!(path.is_file(), "{part} is not where this test looks for it");
        fs::remove_file(path).unwrap();
        let error = open_error(&dir.node(), "app1");
        assert!(error.contains("fjall/1 is damaged"), "{part}: {error}");
        assert!(!error.contains('\n'));
    }
}

#[test]
fn a_log_that_was_exchanged_for_an_older_one_is_refused() {
    let dir = TempDir::new();
    let mut opened = open_disk(&dir.node(), &small());
    let old = TempDir::new();
    copy_tree(&dir.node().join("wal"), &old.path().join("wal"));
    opened.log.store(&[append(&[entry(1, 1, "x")])]).unwrap();
    opened.state.commit(&meta(1, 1)).unwrap();
    opened.state.checkpoint().unwrap();
    drop(opened);
    fs::remove_dir_all(dir.node().join("wal")).unwrap();
    copy_tree(&old.path().join("wal"), &dir.node().join("wal"));
    let error = open_error(&dir.node(), "app1");
    assert!(error.contains("entries that were durable are gone"), "{error}");
}

#[test]
fn tables_that_were_exchanged_for_older_ones_are_refused_once_the_log_has_gone_on() {
    let dir = TempDir::new();
    let mut opened = open_disk(&dir.node(), &small());
    let old = TempDir::new();
    copy_tree(&dir.node().join("fjall"), &old.path().join("fjall"));
    opened.log.store(&[append(&[entry(1, 1, "x"), entry(2, 1, "y")])]).unwrap();
    opened.state.commit(&meta(2, 1)).unwrap();
    let base = opened.state.checkpoint().unwrap();
    let change = kvorum_runtime::storage::LogChange { base: Some(&base), ..Default::default() };
    opened.log.store(&[change]).unwrap();
    drop(opened);
    fs::remove_dir_all(dir.node().join("fjall")).unwrap();
    copy_tree(&old.path().join("fjall"), &dir.node().join("fjall"));
    let error = open_error(&dir.node(), "app1");
    assert!(error.contains("tables that were durable are gone"), "{error}");
}

#[test]
fn a_torn_tail_of_the_tables_journal_is_cut_and_the_log_makes_up_for_it() {
    let dir = TempDir::new();
    let mut opened = open_disk(&dir.node(), &small());
    let entries: Vec<_> = (1..=3).map(|n| entry(n, 1, "x")).collect();
    opened.log.store(&[append(&entries)]).unwrap();
    let put = |opened: &mut kvorum_runtime::storage::Opened, n: u64| {
        let value = bytes::Bytes::from(vec![n as u8 + 1; 20_000]);
        opened.state.tables_mut().put(kvorum_core::kv::Table::Latest, &[n as u8], value);
        opened.state.commit(&meta(n, 1)).unwrap();
    };
    put(&mut opened, 1);
    put(&mut opened, 2);
    opened.state.checkpoint().unwrap();
    put(&mut opened, 3);
    drop(opened);
    // A page in the middle of the last batch never reached the disk, those after it did: fjall by
    // itself does not open such a journal.
    let journal = dir.node().join("fjall/1/0.jnl");
    let mut bytes = fs::read(&journal).unwrap();
    let page =
        bytes.windows(20_000).rposition(|window| window.iter().all(|byte| *byte == 4)).unwrap();
    bytes[page + 4096..page + 8192].fill(0);
    fs::write(&journal, bytes).unwrap();
    let opened = open_disk(&dir.node(), &small());
    assert_eq!(opened.restored.applied.0, 2);
    assert_eq!(opened.restored.last, id(3, 1));
    let row = |n: u8| opened.state.tables().get(kvorum_core::kv::Table::Latest, &[n]).unwrap();
    assert_eq!(row(2).map(|row| row.len()), Some(20_000));
    assert_eq!(row(3), None);
}

#[test]
fn a_log_is_read_without_a_start_only_where_there_is_a_node() {
    let dir = TempDir::new();
    assert!(matches!(read_log(&dir.node(), &small()), Err(StorageError::Foreign(_))));
    drop(open_disk(&dir.node(), &small()));
    assert_eq!(read_log(&dir.node(), &small()).unwrap(), Restored::default());
}
