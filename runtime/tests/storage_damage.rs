//! What a log makes of torn and damaged files.
//!
//! The contract: after a tear of the last, unacknowledged frame exactly the frames before it are
//! there. Any other damage leads to the same log, to a refusal that names file and offset, or, in
//! the last frame alone (where it cannot be told from a tear), to the loss of that frame.

mod storage_kit;

use kvorum_core::raft::{Entry, Index, NodeId, Restored};
use kvorum_runtime::storage::{
    Identity, LogChange, StorageError,
    disk::{Dir, DiskOptions, Found, read_log},
};
use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};
use storage_kit::*;

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A log, and what its files looked like before and after its last frame.
struct Scene {
    dir: TempDir,
    options: DiskOptions,
    before: Files,
    after: Files,
    /// What a start finds without and with the last frame.
    without: Restored,
    with: Restored,
    /// Every frame written since the last change of segments and recycling: file and bytes.
    frames: Vec<(PathBuf, Range<usize>)>,
}

/// A small generator, so that every run looks at the same places.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % bound
    }
}

fn files(dir: &Path) -> Files {
    let wal = dir.join("wal");
    fs::read_dir(&wal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

fn put_back(dir: &Path, files: &Files) {
    for entry in fs::read_dir(dir.join("wal")).unwrap() {
        let path = entry.unwrap().path();
        if !files.contains_key(&path) {
            fs::remove_file(path).unwrap();
        }
    }
    for (path, bytes) in files {
        fs::write(path, bytes).unwrap();
    }
}

/// Where two images differ, as one range per file.
fn differences(before: &Files, after: &Files) -> Vec<(PathBuf, Range<usize>)> {
    let mut found = Vec::new();
    for (path, new) in after {
        let Some(old) = before.get(path) else { continue };
        let differs = |at: &usize| old.get(*at) != new.get(*at);
        if let (Some(first), Some(last)) =
            ((0..new.len()).find(differs), (0..new.len()).rfind(differs))
        {
            found.push((path.clone(), first..last + 1));
        }
    }
    found
}

impl Scene {
    /// Four segments or so; with `recycled`, the last of them was used before.
    fn new(recycled: bool) -> Scene {
        let options = small();
        let dir = TempDir::new();
        let mut opened = open_disk(&dir.node(), &options);
        let mut next = 1;
        let mut write = |opened: &mut kvorum_runtime::storage::Opened, sizes: &[usize]| {
            let entries: Vec<Entry> = sizes
                .iter()
                .map(|&size| {
                    next += 1;
                    entry(next - 1, 1 + next / 9, &format!("{next:x}").repeat(size))
                })
                .collect();
            let vote = Some(vote(next, Some(next)));
            opened.log.store(&[LogChange { vote, ..append(&entries) }]).unwrap();
            next - 1
        };
        if recycled {
            // The first segments fill up and go, and come back as later ones.
            for _ in 0..60 {
                write(&mut opened, &[3000, 5, 3000, 40]);
            }
            let base = meta(235, 1 + 236 / 9);
            opened.log.store(&[LogChange { base: Some(&base), ..LogChange::default() }]).unwrap();
            opened.state.commit(&base).unwrap();
            opened.state.checkpoint().unwrap();
        }
        let mut frames = Vec::new();
        let mut image = files(&dir.node());
        for round in 0..30 {
            let large = if recycled { 5000 } else { 9000 };
            let sizes: &[usize] = if round % 3 == 0 { &[large] } else { &[1, 2, 3] };
            write(&mut opened, sizes);
            let now = files(&dir.node());
            frames.extend(differences(&image, &now));
            image = now;
        }
        let at = write(&mut opened, &[10]);
        let two = [entry(at + 1, 40, "replaced"), entry(at + 2, 40, "replaced, too")];
        opened
            .log
            .store(&[LogChange { truncate_from: Some(Index(at + 1)), ..append(&two) }])
            .unwrap();
        drop(opened);
        let before = files(&dir.node());
        frames.extend(differences(&image, &before));
        let without = read_log(&dir.node(), &options).unwrap();

        let mut opened = open_disk(&dir.node(), &options);
        let last: Vec<_> = (3..8).map(|n| entry(at + n, 41, &"last ".repeat(150))).collect();
        let change = LogChange { vote: Some(vote(900, Some(5))), ..append(&last) };
        opened.log.store(&[change]).unwrap();
        drop(opened);
        let after = files(&dir.node());
        let mut changed = differences(&before, &after);
        assert_eq!(changed.len(), 1, "the last frame is in a file of its own");
        // What the frame is filled up with is in no checksum.
        let (path, range) = &mut changed[0];
        while after[path][range.end - 1] == 0 {
            range.end -= 1;
        }
        let used_before = after[path][range.end..].iter().any(|byte| *byte != 0);
        assert_eq!(used_before, recycled, "the last segment is another kind than it should be");
        frames.extend(changed);
        let with = read_log(&dir.node(), &options).unwrap();
        assert_ne!(with, without);
        Scene { dir, options, before, after, without, with, frames }
    }

    fn last_frame(&self) -> &(PathBuf, Range<usize>) {
        self.frames.last().unwrap()
    }

    /// What a start makes of the log with one file changed.
    fn with_file(&self, path: &Path, bytes: &[u8]) -> Result<Restored, StorageError> {
        fs::write(path, bytes).unwrap();
        let found = read_log(&self.dir.node(), &self.options);
        fs::write(path, &self.after[path]).unwrap();
        found
    }

    fn judge(&self, found: &Result<Restored, StorageError>) -> Verdict {
        match found {
            Ok(found) if *found == self.with => Verdict::Same,
            Ok(found) if *found == self.without => Verdict::LastFrameCut,
            Err(StorageError::Corrupt(text) | StorageError::Foreign(text))
                if text.contains(".wal") && !text.contains('\n') =>
            {
                let names_offset = text.contains(" at offset ");
                if names_offset { Verdict::Refused } else { Verdict::Lost }
            }
            _ => Verdict::Lost,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Same,
    LastFrameCut,
    Refused,
    Lost,
}

#[test]
fn a_last_frame_cut_at_any_byte_leaves_exactly_the_frames_before_it() {
    for recycled in [false, true] {
        let scene = Scene::new(recycled);
        let (path, range) = scene.last_frame();
        let (old, new) = (&scene.before[path], &scene.after[path]);
        for cut in (range.start..range.end).step_by(1 + range.len() / 700) {
            // The rest of the frame never reached the disk …
            let torn = [&new[..cut], &old[cut..]].concat();
            assert_eq!(scene.with_file(path, &torn).unwrap(), scene.without, "cut at {cut}");
        }
        for cut in (range.start..range.end).step_by(53) {
            // … or the file ends there.
            let found = scene.with_file(path, &new[..cut]).unwrap();
            assert_eq!(found, scene.without, "shortened to {cut}");
        }
    }
}

#[test]
fn a_last_frame_of_which_any_sectors_are_missing_is_cut_or_whole() {
    let scene = Scene::new(true);
    let (path, range) = scene.last_frame();
    let (old, new) = (&scene.before[path], &scene.after[path]);
    let mut random = Random(7);
    for _ in 0..300 {
        let mut image = old.clone();
        let mut whole = true;
        for sector in range.start / 512..=range.end / 512 {
            let bytes = sector * 512..((sector + 1) * 512).min(new.len());
            if random.below(3) > 0 {
                image[bytes.clone()].copy_from_slice(&new[bytes]);
            } else {
                whole &= old[bytes.clone()] == new[bytes];
            }
        }
        let found = scene.with_file(path, &image).unwrap();
        assert_eq!(found, if whole { scene.with.clone() } else { scene.without.clone() });
    }
}

#[test]
fn a_log_goes_on_after_a_torn_tail_was_cut() {
    let scene = Scene::new(true);
    let (path, range) = scene.last_frame().clone();
    let (old, new) = (&scene.before[&path], &scene.after[&path]);
    for keep in [30, 600] {
        let at = scene.without.last;
        // The end of the torn frame is there, its beginning is not; a shorter frame takes its place
        // and is torn in turn.
        let torn = [&new[..range.start], &old[range.start..][..keep], &new[range.start + keep..]];
        fs::write(&path, torn.concat()).unwrap();
        let mut opened = open_disk(&scene.dir.node(), &scene.options);
        let next = entry(at.index.0 + 1, 50, "after the cut");
        opened.log.store(&[append(std::slice::from_ref(&next))]).unwrap();
        drop(opened);
        let found = read_log(&scene.dir.node(), &scene.options).unwrap();
        assert_eq!(found.last, next.id);
        assert_eq!(found.tail.last(), Some(&next));
        put_back(&scene.dir.node(), &scene.after);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused_unless_it_changes_nothing_or_only_the_last_frame() {
    for recycled in [false, true] {
        let scene = Scene::new(recycled);
        let mut random = Random(1);
        let (last_path, last_range) = scene.last_frame();
        let mut seen = BTreeMap::new();
        let mut flip = |path: &Path, at: usize, bit: usize| {
            let mut bytes = scene.after[path].clone();
            bytes[at] ^= 1 << bit;
            let found = scene.with_file(path, &bytes);
            let verdict = scene.judge(&found);
            let in_last = path == last_path && last_range.contains(&at);
            let fine = match verdict {
                Verdict::Same | Verdict::Refused => true,
                Verdict::LastFrameCut => in_last,
                Verdict::Lost => false,
            };
            assert!(fine, "{} bit {bit} of byte {at}: {verdict:?}, {found:?}", path.display());
            *seen.entry(format!("{verdict:?}")).or_insert(0) += 1;
        };
        for (path, bytes) in &scene.after {
            if path.extension().is_some_and(|kind| kind == "free") {
                continue;
            }
            for at in 0..160 {
                flip(path, at, random.below(8));
            }
            for _ in 0..150 {
                flip(path, random.below(bytes.len()), random.below(8));
            }
        }
        for (path, range) in &scene.frames {
            if !scene.after.contains_key(path) {
                continue;
            }
            for at in range.clone().take(24) {
                flip(path, at, random.below(8));
            }
            for _ in 0..12 {
                flip(path, range.start + random.below(range.len()), random.below(8));
            }
        }
        // All three outcomes occur, or this test looks at nothing.
        assert!(seen.keys().eq(["LastFrameCut", "Refused", "Same"]), "{seen:?}");
    }
}

#[test]
fn the_judge_of_damage_notices_a_reader_that_cuts_too_much() {
    let scene = Scene::new(false);
    // A reader that takes every bad frame for a torn tail sees what is there without the frames
    // from there on.
    let (path, range) = &scene.frames[scene.frames.len() - 3];
    let mut bytes = scene.after[path].clone();
    bytes[range.start..].fill(0);
    let found = scene.with_file(path, &bytes);
    assert!(found.is_ok());
    assert_eq!(scene.judge(&found), Verdict::Lost);
}

#[test]
fn a_missing_renamed_or_foreign_segment_is_refused() {
    let scene = Scene::new(false);
    let dir = scene.dir.node();
    let segments: Vec<_> = scene.after.keys().cloned().collect();
    assert!(segments.len() >= 3, "{segments:?}");
    let refused = |what: &str| {
        let found = read_log(&dir, &scene.options);
        assert_eq!(scene.judge(&found), Verdict::Refused, "{what}: {found:?}");
        put_back(&dir, &scene.after);
    };
    fs::remove_file(&segments[0]).unwrap();
    refused("the first segment is missing");
    fs::remove_file(&segments[1]).unwrap();
    refused("a segment in the middle is missing");
    fs::write(&segments[0], &scene.after[&segments[1]]).unwrap();
    fs::write(&segments[1], &scene.after[&segments[0]]).unwrap();
    refused("two segments have changed names");
    fs::write(&segments[1], &scene.after[&segments[1]][..5000]).unwrap();
    refused("a segment is too short");
    fs::write(&segments[2], b"").unwrap();
    refused("a segment is empty");

    fs::write(dir.join("wal/notes.txt"), "mine").unwrap();
    let found = read_log(&dir, &scene.options).unwrap_err();
    assert!(matches!(&found, StorageError::Foreign(text) if text.contains("notes.txt")));
    fs::remove_file(dir.join("wal/notes.txt")).unwrap();

    let other = TempDir::new();
    let stranger = Identity { node: NodeId(5), ..identity() };
    match Dir::open(&other.node(), "app1", small()).unwrap() {
        Found::Blank(blank) => drop(blank.format(stranger, Restored::default()).unwrap()),
        found @ Found::Formatted(_) => panic!("{found:?}"),
    }
    fs::copy(&segments[0], other.node().join("wal/0000000000000001.wal")).unwrap();
    let found = read_log(&other.node(), &scene.options).unwrap_err();
    assert!(matches!(&found, StorageError::Foreign(text) if text.contains("0000000000000de1")));
}

#[test]
fn segments_of_two_histories_of_one_node_do_not_mix() {
    let (ours, theirs) = (TempDir::new(), TempDir::new());
    let mut opened = open_disk(&ours.node(), &small());
    opened.log.store(&[append(&[entry(1, 1, "common")])]).unwrap();
    drop(opened);
    copy_tree(&ours.node(), &theirs.node());
    for (dir, letter) in [(&ours, "a"), (&theirs, "b")] {
        let mut opened = open_disk(&dir.node(), &small());
        for n in 2..12 {
            opened.log.store(&[append(&[entry(n, 1, &letter.repeat(20_000))])]).unwrap();
        }
    }
    // Every byte of it verifies by itself, and it ends where it should.
    let name = "wal/0000000000000002.wal";
    fs::copy(theirs.node().join(name), ours.node().join(name)).unwrap();
    let found = read_log(&ours.node(), &small()).unwrap_err();
    assert!(matches!(&found, StorageError::Corrupt(text) if text.contains(".wal")), "{found}");
}

#[test]
fn frames_of_two_histories_of_one_segment_do_not_mix() {
    let (ours, theirs) = (TempDir::new(), TempDir::new());
    drop(open_disk(&ours.node(), &small()));
    copy_tree(&ours.node(), &theirs.node());
    for (dir, letter) in [(&ours, "a"), (&theirs, "b")] {
        let mut opened = open_disk(&dir.node(), &small());
        for n in 1..12 {
            opened.log.store(&[append(&[entry(n, 1, &letter.repeat(200))])]).unwrap();
        }
    }
    let name = "wal/0000000000000001.wal";
    let [a, b] = [&ours, &theirs].map(|dir| fs::read(dir.node().join(name)).unwrap());
    // Every frame begins with the same eight bytes.
    let starts: Vec<_> =
        (4096..a.len()).step_by(8).filter(|at| a[*at..].starts_with(&a[4096..4104])).collect();
    assert_eq!(starts.len(), 11);
    for at in &starts[1..] {
        fs::write(ours.node().join(name), [&a[..*at], &b[*at..]].concat()).unwrap();
        let found = read_log(&ours.node(), &small()).unwrap_err();
        let expected = format!(" at offset {at}");
        assert!(matches!(&found, StorageError::Corrupt(text) if text.contains(&expected)));
    }
}

#[test]
fn a_read_of_a_frame_that_was_damaged_since_is_refused_for_ever() {
    let dir = TempDir::new();
    let mut opened = open_disk(&dir.node(), &small());
    opened.log.store(&[append(&[entry(1, 1, "one"), entry(2, 1, "two")])]).unwrap();
    opened.log.store(&[append(&[entry(3, 1, "three")])]).unwrap();
    let path = dir.node().join("wal/0000000000000001.wal");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(3).position(|window| window == b"two").unwrap();
    bytes[at] = b'T';
    fs::write(&path, bytes).unwrap();
    let error = opened.log.read(&read(1, 3, 0, 999)).unwrap_err();
    assert!(matches!(&error, StorageError::Corrupt(text) if text.contains("0001.wal")), "{error}");
    assert_eq!(opened.log.store(&[append(&[entry(4, 1, "four")])]).unwrap_err(), error);
}
