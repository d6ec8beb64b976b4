//! One suite for both logs: what was written is what is read, before and after a restart.

mod storage_kit;

use kvorum_core::raft::{Entry, EntryId, Index, Payload, Restored, SnapshotMeta, Vote};
use kvorum_runtime::storage::{LogChange, StorageError, disk::DiskOptions};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use storage_kit::*;

/// The plainest log there is.
#[derive(Clone, Default)]
struct Model {
    vote: Vote,
    base: SnapshotMeta,
    entries: Vec<Entry>,
}

impl Model {
    fn last(&self) -> EntryId {
        self.entries.last().map_or(self.base.last, |entry| entry.id)
    }

    fn apply(&mut self, change: &Change) {
        if let Some(vote) = change.vote {
            self.vote = vote;
        }
        if let Some(from) = change.truncate_from {
            self.entries.retain(|entry| entry.index() < from);
        }
        self.entries.extend(change.append.iter().cloned());
        if let Some(base) = &change.base {
            let at = self.entries.iter().find(|entry| entry.index() == base.last.index);
            if at.is_none_or(|entry| entry.id != base.last) {
                self.entries.clear();
            }
            self.entries.retain(|entry| entry.index() > base.last.index);
            self.base = base.clone();
        }
    }

    fn restored(&self, tail: Vec<Entry>) -> Restored {
        let mut runs: Vec<EntryId> = Vec::new();
        for entry in &self.entries {
            if runs.last().is_none_or(|run| run.term != entry.term()) {
                runs.push(entry.id);
            }
        }
        let membership = |entry: &Entry| match &entry.payload {
            Payload::Membership(membership) => Some((entry.index(), membership.clone())),
            _ => None,
        };
        Restored {
            vote: self.vote,
            base: self.base.clone(),
            runs,
            last: self.last(),
            chain: self.entries.last().map_or(self.base.chain, |entry| entry.chain),
            tail,
            memberships: self.entries.iter().filter_map(membership).collect(),
            applied: self.base.last.index,
            commit_hint: Index::ZERO,
            staged: None,
        }
    }
}

/// A change that owns its parts.
#[derive(Clone, Debug, Default)]
struct Change {
    vote: Option<Vote>,
    truncate_from: Option<Index>,
    append: Vec<Entry>,
    base: Option<SnapshotMeta>,
}

impl Change {
    fn borrowed(&self) -> LogChange<'_> {
        LogChange {
            vote: self.vote,
            truncate_from: self.truncate_from,
            append: &self.append,
            base: self.base.as_ref(),
            commit: None,
        }
    }
}

/// What a random history is made of; numbers are taken modulo what is possible.
#[derive(Clone, Debug)]
enum Step {
    Append {
        count: u8,
        bytes: u16,
        new_term: bool,
        membership: bool,
    },
    Overwrite {
        back: u8,
        count: u8,
    },
    Truncate {
        back: u8,
    },
    Vote {
        for_whom: u8,
    },
    Base {
        forward: u8,
    },
    /// A snapshot beyond the end of the log, or in conflict with it.
    Replace {
        beyond: u8,
        conflict: bool,
    },
    Sync,
    Reopen,
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Step {
        match u8::arbitrary(g) % 16 {
            0..=5 => Step::Append {
                count: u8::arbitrary(g) % 12,
                bytes: u16::arbitrary(g) % 5000,
                new_term: u8::arbitrary(g).is_multiple_of(4),
                membership: u8::arbitrary(g).is_multiple_of(8),
            },
            6 => Step::Overwrite { back: u8::arbitrary(g), count: u8::arbitrary(g) % 12 },
            7 => Step::Truncate { back: u8::arbitrary(g) },
            8 => Step::Vote { for_whom: u8::arbitrary(g) },
            9..=11 => Step::Base { forward: u8::arbitrary(g) },
            12 => Step::Replace { beyond: u8::arbitrary(g) % 40, conflict: bool::arbitrary(g) },
            13 | 14 => Step::Sync,
            _ => Step::Reopen,
        }
    }
}

/// Makes the step possible for the log it meets.
fn change(model: &Model, step: &Step) -> Change {
    let base = model.base.last.index.0;
    let len = model.entries.len() as u64;
    let mut change = Change::default();
    let entries = |from: u64, count: u8, term: u64, bytes: u16, membership: bool| {
        let one = |n: u64| {
            if membership && n == 0 {
                return membership_entry(from, term, &format!("context {from}"));
            }
            entry(from + n, term, &"x".repeat(usize::from(bytes)))
        };
        (0..u64::from(count)).map(one).collect()
    };
    let term = model.last().term.0.max(1);
    match *step {
        Step::Append { count, bytes, new_term, membership } => {
            let term = term + u64::from(new_term);
            change.append = entries(base + len + 1, count, term, bytes, membership);
        }
        Step::Overwrite { back, count } if len > 0 => {
            let from = base + len - u64::from(back) % len;
            change.truncate_from = Some(Index(from));
            change.append = entries(from, count, term + 1, 10, false);
        }
        Step::Truncate { back } if len > 0 => {
            change.truncate_from = Some(Index(base + len - u64::from(back) % len));
        }
        Step::Vote { for_whom } => {
            change.vote = Some(vote(model.vote.term.0 + 1, Some(u64::from(for_whom))));
        }
        Step::Base { forward } if len > 0 => {
            let index = base + 1 + u64::from(forward) % len;
            let term = model.entries[(index - base - 1) as usize].term().0;
            change.base = Some(meta(index, term));
        }
        Step::Replace { beyond, conflict } => {
            let index =
                if conflict && len > 0 { base + len } else { base + len + u64::from(beyond) };
            change.base = Some(meta(index, term + 1));
        }
        _ => {}
    }
    change
}

fn check(store: &mut Store, model: &Model) {
    let base = model.base.last;
    let opened = store.get();
    let mut found = Vec::new();
    let mut after = base;
    // In steps, as a reader with a small window does.
    while after != model.last() {
        let mut wish = read(after.index.0 + 1, u64::MAX, after.term.0, 3000);
        wish.after = after;
        let some = opened.log.read(&wish).unwrap();
        assert!(!some.is_empty(), "the entries after {after} are gone");
        after = some.last().unwrap().id;
        found.extend(some);
    }
    assert!(found == model.entries, "other entries came back than were written");
}

fn holds(mut store: Store, steps: &[Step]) {
    let mut model = Model::default();
    let mut batch: Vec<Change> = Vec::new();
    for step in steps {
        let next = change(&model, step);
        model.apply(&next);
        batch.push(next);
        if matches!(step, Step::Sync | Step::Reopen) {
            let changes: Vec<_> = batch.iter().map(Change::borrowed).collect();
            store.get().log.store(&changes).unwrap();
            batch.clear();
            check(&mut store, &model);
        }
        if matches!(step, Step::Reopen) {
            // The tables reach at least as far as the log is gone, as they do in a node.
            store.get().state.commit(&model.base).unwrap();
        }
        if matches!(step, Step::Reopen) && store.reopen() {
            let tail = store.get().restored.tail.clone();
            let held = model.entries.len() - tail.len();
            assert!(tail == model.entries[held..], "the tail is no suffix of the log");
            assert_eq!(store.get().restored, model.restored(tail));
            check(&mut store, &model);
        }
    }
}

#[test]
fn random_histories_read_back_as_written_from_memory() {
    fn property(steps: Vec<Step>) -> bool {
        holds(Store::memory(), &steps);
        true
    }
    QuickCheck::new().tests(200).quickcheck(property as fn(Vec<Step>) -> bool);
}

#[test]
fn random_histories_read_back_as_written_from_disk_and_after_restarts() {
    fn property(steps: Vec<Step>) -> bool {
        let options = DiskOptions { log_cache_bytes: 10_000, ..small() };
        holds(Store::disk(options), &steps);
        true
    }
    QuickCheck::new().tests(30).quickcheck(property as fn(Vec<Step>) -> bool);
}

#[test]
fn a_read_is_bounded_but_never_empty_while_the_range_is_there() {
    for mut store in Store::both() {
        let entries: Vec<_> = (1..=9).map(|n| entry(n, 1, &"v".repeat(100))).collect();
        let log = &mut store.get().log;
        log.store(&[append(&entries)]).unwrap();
        let len = |log: &mut dyn kvorum_runtime::storage::LogStore, max| {
            log.read(&read(3, 9, 1, max)).unwrap().len()
        };
        assert_eq!(len(&mut **log, 0), 1);
        assert_eq!(len(&mut **log, entries[0].size()), 1);
        assert_eq!(len(&mut **log, entries[0].size() * 3), 3);
        assert_eq!(len(&mut **log, u64::MAX), 6);
    }
}

#[test]
fn a_read_of_a_range_that_is_gone_or_was_replaced_is_empty() {
    for mut store in Store::both() {
        let log = &mut store.get().log;
        let old: Vec<_> = (1..=9).map(|n| entry(n, 1, "old")).collect();
        log.store(&[append(&old)]).unwrap();
        let new = [entry(5, 2, "new"), entry(6, 2, "new")];
        let truncated = LogChange { truncate_from: Some(Index(5)), ..append(&new) };
        log.store(&[truncated]).unwrap();
        assert!(log.read(&read(7, 9, 1, 999)).unwrap().is_empty(), "entry 6 is of term 2 now");
        assert!(log.read(&read(7, 9, 2, 999)).unwrap().is_empty(), "there is no entry 7");
        assert_eq!(log.read(&read(5, 9, 1, 999)).unwrap(), new);
        let base = meta(5, 2);
        log.store(&[LogChange { base: Some(&base), ..LogChange::default() }]).unwrap();
        assert!(log.read(&read(5, 9, 1, 999)).unwrap().is_empty(), "entry 5 is compacted");
        assert_eq!(log.read(&read(6, 9, 2, 999)).unwrap(), new[1..]);
    }
}

#[test]
fn a_change_with_a_gap_is_refused_and_so_is_everything_after_it() {
    for mut store in Store::both() {
        let log = &mut store.get().log;
        log.store(&[append(&[entry(1, 1, "first")])]).unwrap();
        let refused = log.store(&[append(&[entry(3, 1, "third")])]);
        assert!(matches!(refused, Err(StorageError::Corrupt(_))), "{refused:?}");
        assert_eq!(log.store(&[append(&[entry(2, 1, "second")])]), refused);
        assert_eq!(log.read(&read(1, 2, 0, 99)).unwrap_err(), refused.unwrap_err());
    }
}

#[test]
fn a_vote_is_never_given_twice_in_a_term() {
    for mut store in Store::both() {
        let log = &mut store.get().log;
        let say = |vote| LogChange { vote: Some(vote), ..LogChange::default() };
        log.store(&[say(vote(3, Some(1)))]).unwrap();
        assert!(log.store(&[say(vote(3, Some(2)))]).is_err());
    }
}

#[test]
fn a_restart_returns_the_vote_of_a_log_without_entries() {
    let mut store = Store::disk(small());
    let say = LogChange { vote: Some(vote(9, Some(4))), ..LogChange::default() };
    store.get().log.store(&[say]).unwrap();
    store.reopen();
    assert_eq!(store.get().restored, Restored { vote: vote(9, Some(4)), ..Restored::default() });
}

#[test]
fn an_entry_larger_than_a_segment_is_kept() {
    let mut store = Store::disk(small());
    let entries = [entry(1, 1, "a"), entry(2, 1, &"b".repeat(300_000)), entry(3, 1, "c")];
    for entry in &entries {
        store.get().log.store(&[append(std::slice::from_ref(entry))]).unwrap();
    }
    store.reopen();
    assert_eq!(store.get().restored.tail, entries);
    assert_eq!(store.get().log.read(&read(1, 4, 0, u64::MAX)).unwrap(), entries);
}

#[test]
fn a_batch_too_large_for_one_frame_is_kept_whole() {
    let mut store = Store::disk(small());
    let entries: Vec<_> = (1..=5).map(|n| entry(n, 1, &"y".repeat(9 << 20))).collect();
    let changes: Vec<_> = entries.chunks(1).map(append).collect();
    store.get().log.store(&changes).unwrap();
    for _ in 0..2 {
        let found = store.get().log.read(&read(1, 6, 0, u64::MAX)).unwrap();
        assert!(found == entries);
        store.reopen();
    }
}
