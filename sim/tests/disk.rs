//! The simulated disk loses exactly what a disk may lose, and nothing that was synced.
#![cfg(madsim)]

use kvorum_sim::{
    disk::{SECTOR, SimDisk},
    rng::Rng,
};
use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// Linux' number for an I/O error.
const EIO: i32 = 5;

/// Runs `body` on a fresh, mounted disk for many seeds.
fn disks(name: &str, seeds: u64, mut body: impl FnMut(&SimDisk, PathBuf)) {
    for seed in 0..seeds {
        let base = std::env::temp_dir().join(format!("kvorum-disk-{}-{name}", std::process::id()));
        let disk = SimDisk::new(&base, Rng::stream(seed, "disk", 0)).expect("a blank disk");
        disk.mount(|| {}).expect("it mounts");
        body(&disk, disk.root());
        disk.scrap().expect("it can be removed");
    }
}

fn after_cut(disk: &SimDisk) -> PathBuf {
    disk.cut().expect("the image can be written");
    disk.mount(|| {}).expect("it mounts again");
    disk.root()
}

fn sync_dir(path: &PathBuf) {
    File::open(path).and_then(|dir| dir.sync_all()).expect("a directory can be synced");
}

#[test]
fn what_was_synced_survives_and_what_was_not_sometimes_does_not() {
    let mut lost = 0;
    disks("synced", 200, |disk, root| {
        let mut file = File::create(root.join("f")).expect("created");
        file.write_all(&[1; 10_000]).expect("written");
        file.sync_all().expect("synced");
        sync_dir(&root);
        file.write_all(&[2; 10_000]).expect("written");
        let got = fs::read(after_cut(disk).join("f")).expect("its name was synced");
        assert!(got.len() >= 10_000 && got.len() <= 20_000);
        assert!(got[..10_000] == [1; 10_000], "the synced part is as it was");
        assert!(got[10_000..].iter().all(|byte| *byte == 0 || *byte == 2));
        lost += u32::from(got[10_000..] != [2; 10_000]);
    });
    assert!((50..200).contains(&lost), "lost in {lost} of 200");
}

#[test]
fn an_unsynced_overwrite_is_old_or_new_in_each_sector() {
    let (mut old, mut new, mut torn) = (0, 0, 0);
    disks("overwrite", 200, |disk, root| {
        let file = File::create(root.join("f")).expect("created");
        file.write_all_at(&[1; 4096], 0).expect("written");
        file.sync_data().expect("synced");
        sync_dir(&root);
        file.write_all_at(&[2; 4096], 0).expect("written");
        let got = fs::read(after_cut(disk).join("f")).expect("its name was synced");
        assert_eq!(got.len(), 4096);
        let sectors: BTreeSet<u8> = got
            .chunks(SECTOR)
            .map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is atomic");
                sector[0]
            })
            .collect();
        match sectors.into_iter().collect::<Vec<_>>()[..] {
            [1] => old += 1,
            [2] => new += 1,
            [1, 2] => torn += 1,
            ref other => panic!("bytes nobody wrote: {other:?}"),
        }
    });
    assert!(old > 20 && new > 20 && torn > 20, "old {old}, new {new}, torn {torn}");
}

#[test]
fn a_name_may_be_missing_until_its_directory_is_synced() {
    let mut missing = 0;
    disks("names", 200, |disk, root| {
        let mut file = File::create(root.join("a")).expect("created");
        file.write_all(b"a").expect("written");
        file.sync_all().expect("synced");
        sync_dir(&root);
        let mut file = File::create(root.join("b")).expect("created");
        file.write_all(b"b").expect("written");
        file.sync_all().expect("synced");
        let root = after_cut(disk);
        assert_eq!(fs::read(root.join("a")).expect("its name was synced"), b"a");
        match fs::read(root.join("b")) {
            Ok(bytes) => assert_eq!(bytes, b"b", "its bytes were synced"),
            Err(_) => missing += 1,
        }
    });
    assert!((50..200).contains(&missing), "missing in {missing} of 200");
}

#[test]
fn a_rename_is_atomic_and_old_until_its_directory_is_synced() {
    let (mut old, mut new) = (0, 0);
    disks("rename", 200, |disk, root| {
        for (name, text) in [("current", "old"), ("next", "new")] {
            let mut file = File::create(root.join(name)).expect("created");
            file.write_all(text.as_bytes()).expect("written");
            file.sync_all().expect("synced");
        }
        sync_dir(&root);
        fs::rename(root.join("next"), root.join("current")).expect("renamed");
        let root = after_cut(disk);
        let current = fs::read_to_string(root.join("current")).expect("one of the two");
        let next = fs::read_to_string(root.join("next"));
        match (current.as_str(), next.as_deref()) {
            ("old", Ok("new")) => old += 1,
            ("new", Err(_)) => new += 1,
            other => panic!("half a rename: {other:?}"),
        }
    });
    assert!(old > 20 && new > 20, "old {old}, new {new}");
    disks("renamed", 20, |disk, root| {
        fs::write(root.join("next"), "new").expect("written");
        File::open(root.join("next")).and_then(|f| f.sync_all()).expect("synced");
        fs::rename(root.join("next"), root.join("current")).expect("renamed");
        sync_dir(&root);
        let root = after_cut(disk);
        assert_eq!(fs::read_to_string(root.join("current")).expect("durable"), "new");
        assert!(!root.join("next").exists());
    });
}

#[test]
fn a_removed_file_may_come_back_whole_until_its_directory_is_synced() {
    let mut back = 0;
    disks("removed", 100, |disk, root| {
        let mut file = File::create(root.join("f")).expect("created");
        file.write_all(&[7; 9000]).expect("written");
        file.sync_all().expect("synced");
        sync_dir(&root);
        drop(file);
        fs::remove_file(root.join("f")).expect("removed");
        let root = after_cut(disk);
        if let Ok(bytes) = fs::read(root.join("f")) {
            assert!(bytes == [7; 9000]);
            back += 1;
        }
        let _ = fs::remove_file(root.join("f"));
        sync_dir(&root);
        assert!(!after_cut(disk).join("f").exists(), "now it is gone for good");
    });
    assert!((20..80).contains(&back), "back in {back} of 100");
}

#[test]
fn an_unsynced_truncation_may_be_undone_but_never_half_undone() {
    let mut undone = 0;
    disks("truncated", 100, |disk, root| {
        let mut file = File::create(root.join("f")).expect("created");
        file.write_all(&[7; 20_000]).expect("written");
        file.sync_all().expect("synced");
        sync_dir(&root);
        file.set_len(100).expect("truncated");
        let got = fs::read(after_cut(disk).join("f")).expect("its name was synced");
        assert!(got == [7; 20_000] || got == [7; 100], "{} bytes", got.len());
        undone += u32::from(got.len() == 20_000);
    });
    assert!((20..80).contains(&undone), "undone in {undone} of 100");
}

#[test]
fn emptying_a_file_by_opening_it_is_a_truncation() {
    let mut undone = 0;
    disks("emptied", 100, |disk, root| {
        let path = root.join("f");
        fs::write(&path, [7; 5000]).expect("written");
        File::open(&path).and_then(|f| f.sync_all()).expect("synced");
        sync_dir(&root);
        let _again = File::create(&path).expect("emptied");
        let got = fs::read(after_cut(disk).join("f")).expect("its name was synced");
        assert!(got == [7; 5000] || got.is_empty());
        undone += u32::from(!got.is_empty());
    });
    assert!((20..80).contains(&undone), "undone in {undone} of 100");
}

#[test]
fn an_armed_cut_strikes_at_every_boundary_and_only_the_synced_prefix_is_sure() {
    let mut seen = BTreeSet::new();
    for boundary in 1..=20 {
        disks("armed", 4, |disk, root| {
            let struck = Arc::new(AtomicU32::new(0));
            let count = Arc::clone(&struck);
            disk.mount(move || {
                count.fetch_add(1, Ordering::Relaxed);
            })
            .expect("it mounts");
            let mut file =
                OpenOptions::new().create(true).append(true).open(root.join("log")).expect("open");
            file.sync_all().expect("synced");
            sync_dir(&root);
            disk.cut_after(boundary);
            let mut acknowledged = 0;
            for frame in 1..=10u8 {
                file.write_all(&[frame; 600]).expect("written");
                file.sync_data().expect("synced");
                if struck.load(Ordering::Relaxed) == 0 {
                    acknowledged = frame;
                }
            }
            assert_eq!(struck.load(Ordering::Relaxed), 1);
            disk.mount(|| {}).expect("it mounts again");
            let got = fs::read(disk.root().join("log")).expect("its name was synced");
            let sure = usize::from(acknowledged) * 600;
            assert!(got.len() >= sure, "{} of {sure} bytes", got.len());
            assert!(got[..sure].chunks(600).zip(1..).all(|(f, n)| f == [n; 600]));
            seen.insert(acknowledged);
        });
    }
    assert_eq!(seen.len(), 10, "cuts fall between any two syncs: {seen:?}");
}

#[test]
fn a_failed_sync_loses_its_pages_even_if_the_next_sync_succeeds() {
    let mut lost = 0;
    disks("failed", 100, |disk, root| {
        let mut file = File::create(root.join("f")).expect("created");
        file.sync_all().expect("synced");
        sync_dir(&root);
        file.write_all(&[1; 4096]).expect("written");
        disk.set_faults(|faults| faults.fail_next_sync = true);
        let error = file.sync_data().expect_err("it fails");
        assert_eq!(error.raw_os_error(), Some(EIO));
        file.sync_data().expect("and says nothing the second time");
        let got = fs::read(after_cut(disk).join("f")).expect("its name was synced");
        lost += u32::from(got != [1; 4096]);
    });
    assert!(lost > 30, "lost in {lost} of 100");
}

#[test]
fn a_full_disk_refuses_writes() {
    disks("full", 1, |disk, root| {
        let mut file = File::create(root.join("f")).expect("created");
        disk.set_faults(|faults| faults.full = true);
        let error = file.write_all(b"x").expect_err("no space");
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    });
}

#[test]
fn a_lying_disk_syncs_nothing() {
    let mut lost = 0;
    disks("lying", 100, |disk, root| {
        let mut file = File::create(root.join("f")).expect("created");
        file.sync_all().expect("synced");
        sync_dir(&root);
        disk.set_faults(|faults| faults.lies = true);
        file.write_all(&[1; 4096]).expect("written");
        file.sync_all().expect("or so it says");
        let got = fs::read(after_cut(disk).join("f")).expect("its name was synced");
        lost += u32::from(got != [1; 4096]);
    });
    assert!(lost > 30, "lost in {lost} of 100");
}

#[test]
fn a_killed_process_loses_nothing_and_its_last_breath_is_not_seen() {
    disks("killed", 20, |disk, root| {
        let mut file = File::create(root.join("f")).expect("created");
        file.write_all(&[3; 7000]).expect("written");
        disk.abandon().expect("the image can be written");
        file.write_all(b"last words").expect("into the void");
        disk.mount(|| {}).expect("it mounts again");
        assert!(fs::read(disk.root().join("f")).expect("it is there") == [3; 7000]);
    });
}

#[test]
fn a_sparse_file_stays_sparse() {
    use std::os::unix::fs::MetadataExt;
    disks("sparse", 4, |disk, root| {
        let mut file = File::create(root.join("journal")).expect("created");
        file.set_len(64 << 20).expect("sized");
        file.seek(SeekFrom::Start(1 << 20)).expect("sought");
        file.write_all(&[1; 5000]).expect("written");
        file.sync_all().expect("synced");
        sync_dir(&root);
        let metadata = fs::metadata(after_cut(disk).join("journal")).expect("durable");
        assert_eq!(metadata.len(), 64 << 20);
        assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
    });
}

#[test]
fn files_elsewhere_are_left_alone() {
    disks("elsewhere", 1, |disk, _| {
        let before = disk.stats();
        let path = std::env::temp_dir().join(format!("kvorum-elsewhere-{}", std::process::id()));
        fs::write(&path, b"x").expect("written");
        fs::remove_file(&path).expect("removed");
        assert_eq!(disk.stats(), before);
    });
}
