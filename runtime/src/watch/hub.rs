//! The place where the state machine's lane meets the watchers.
//!
//! Rule: publishing costs a look at who is interested and a pointer each; a queue that is full is
//! emptied and its watcher is *behind*: it reads on from the store. Must never: block the lane, or
//! let a watcher believe that it has heard everything when it has not.

use super::interest::Interest;
use crate::metrics::cell::Counter;
use kvorum_core::kv::{Change, KeyRange};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::sync::Notify;

/// Revisions that wait for one watcher.
pub const MAX_QUEUED: usize = 64;
/// Bytes of keys and values that wait for one watcher.
pub const MAX_QUEUE_BYTES: usize = 1 << 20;
/// Bytes that wait for all watchers together, each counted as often as somebody waits for it.
pub const MAX_TOTAL_BYTES: usize = 64 << 20;

/// All changes of one revision.
#[derive(Debug)]
pub struct Revision {
    /// Which.
    pub revision: u64,
    /// The changes, in order.
    pub changes: Vec<Change>,
    bytes: usize,
}

/// What a watcher hears.
#[derive(Debug)]
pub enum News {
    /// The next revisions with a change that it may be interested in, in order.
    Revisions(Vec<Arc<Revision>>),
    /// It has missed something: everything after the last revision it knows must be read from the
    /// store, up to this one at least.
    Behind(u64),
}

/// Where watchers register and changes are published.
#[derive(Debug, Default)]
pub struct Hub {
    inner: Mutex<Inner>,
    watchers: AtomicUsize,
    /// What is counted of all watches.
    pub stats: WatchCounters,
}

/// What is counted of all watches.
#[derive(Debug, Default)]
pub struct WatchCounters {
    /// Changes told to clients.
    pub events: Counter,
    /// Times that a queue was full and its watcher had to read on from the store.
    pub fell_behind: Counter,
    /// Watches that this node ended with an error.
    pub cut: Counter,
}

/// A watch at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatReport {
    /// Its number.
    pub id: u64,
    /// What it watches.
    pub range: KeyRange,
    /// The last revision its client has been told, roughly.
    pub told: u64,
    /// Revisions since then, if any of them may concern it and is not told yet.
    pub lag: u64,
    /// Revisions that wait for it.
    pub queued: usize,
    /// Bytes of them.
    pub queued_bytes: usize,
}

/// The watches at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchReport {
    /// Open.
    pub open: usize,
    /// Of those, the ones that have something to take.
    pub lagging: usize,
    /// Bytes in their queues.
    pub held_bytes: usize,
    /// See `WatchCounters`.
    pub events: u64,
    /// See `WatchCounters`.
    pub fell_behind: u64,
    /// See `WatchCounters`.
    pub cut: u64,
}

#[derive(Debug, Default)]
struct Inner {
    /// The last revision published.
    revision: u64,
    last_id: u64,
    seats: BTreeMap<u64, Seat>,
    interest: Interest,
    held: usize,
}

#[derive(Debug)]
struct Seat {
    range: KeyRange,
    queue: VecDeque<Arc<Revision>>,
    bytes: usize,
    behind: bool,
    wake: Arc<Notify>,
    /// Up to where its client has been told.
    told: Arc<AtomicU64>,
}

/// A place among the watchers; gives it up when dropped.
#[derive(Debug)]
pub struct Watcher {
    hub: Arc<Hub>,
    id: u64,
    wake: Arc<Notify>,
    told: Arc<AtomicU64>,
}

impl Hub {
    /// A hub without watchers. `seed` is random: it keeps the index of ranges in shape whatever
    /// ranges clients choose.
    #[must_use]
    pub fn new(seed: u64) -> Hub {
        let inner = Inner { interest: Interest::new(seed), ..Inner::default() };
        Hub { inner: Mutex::new(inner), ..Hub::default() }
    }

    /// How many watch now.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Relaxed)
    }

    /// How the watches stand. Looks at every seat: for people.
    #[must_use]
    pub fn report(&self) -> WatchReport {
        let inner = self.lock();
        let lagging = inner.seats.values().filter(|seat| seat.behind || !seat.queue.is_empty());
        WatchReport {
            open: inner.seats.len(),
            lagging: lagging.count(),
            held_bytes: inner.held,
            events: self.stats.events.get(),
            fell_behind: self.stats.fell_behind.get(),
            cut: self.stats.cut.get(),
        }
    }

    /// The revision, and every watch. Looks at every seat: for people.
    #[must_use]
    pub fn seats(&self) -> (u64, Vec<SeatReport>) {
        let inner = self.lock();
        let report = |(&id, seat): (&u64, &Seat)| {
            let told = seat.told.load(Ordering::Relaxed);
            let idle = seat.queue.is_empty() && !seat.behind;
            SeatReport {
                id,
                range: seat.range.clone(),
                told,
                lag: if idle { 0 } else { inner.revision.saturating_sub(told) },
                queued: seat.queue.len(),
                queued_bytes: seat.bytes,
            }
        };
        (inner.revision, inner.seats.iter().map(report).collect())
    }

    /// Takes a seat, if fewer than `most` are taken. The watcher hears of what is published from now
    /// on; the revision that was last published before comes with it.
    #[must_use]
    pub fn watch(self: &Arc<Hub>, range: KeyRange, most: usize) -> Option<(Watcher, u64)> {
        let mut inner = self.lock();
        if inner.seats.len() >= most {
            return None;
        }
        inner.last_id += 1;
        let id = inner.last_id;
        inner.interest.add(id, &range);
        let wake = Arc::new(Notify::new());
        let told = Arc::new(AtomicU64::new(inner.revision));
        let seat = Seat {
            range,
            queue: VecDeque::new(),
            bytes: 0,
            behind: false,
            wake: Arc::clone(&wake),
            told: Arc::clone(&told),
        };
        inner.seats.insert(id, seat);
        self.watchers.store(inner.seats.len(), Ordering::Relaxed);
        Some((Watcher { hub: Arc::clone(self), id, wake, told }, inner.revision))
    }

    /// The store stands at `revision`. `read` gives the changes after the revision it is given, or
    /// nothing when they are too many to be handed around; it is called only when somebody watches.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn advance<E>(
        &self,
        revision: u64,
        read: impl FnOnce(u64) -> Result<Option<Vec<Change>>, E>,
    ) -> Result<(), E> {
        let from = {
            let mut inner = self.lock();
            if inner.seats.is_empty() || inner.revision >= revision {
                inner.revision = inner.revision.max(revision);
                return Ok(());
            }
            inner.revision
        };
        let Some(changes) = read(from)? else {
            self.replace(revision);
            return Ok(());
        };
        let news = by_revision(changes);
        let mut inner = self.lock();
        for one in news {
            inner.publish(&one, &self.stats);
        }
        inner.revision = revision;
        Ok(())
    }

    /// The store stands at `revision`, and everybody must read there how it came to it.
    pub fn replace(&self, revision: u64) {
        let mut inner = self.lock();
        inner.revision = revision;
        let Inner { seats, held, .. } = &mut *inner;
        for seat in seats.values_mut() {
            seat.fall_behind(held, &self.stats);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn publish(&mut self, news: &Arc<Revision>, stats: &WatchCounters) {
        let mut interested = Vec::new();
        for change in &news.changes {
            self.interest.find(&change.key, &mut interested);
        }
        if news.changes.len() > 1 {
            interested.sort_unstable();
            interested.dedup();
        }
        for id in interested {
            let Some(seat) = self.seats.get_mut(&id).filter(|seat| !seat.behind) else { continue };
            let full = seat.queue.len() == MAX_QUEUED
                || seat.bytes + news.bytes > MAX_QUEUE_BYTES
                || self.held + news.bytes > MAX_TOTAL_BYTES;
            if full {
                seat.fall_behind(&mut self.held, stats);
            } else {
                seat.queue.push_back(Arc::clone(news));
                seat.bytes += news.bytes;
                self.held += news.bytes;
                seat.wake.notify_one();
            }
        }
    }
}

impl Seat {
    fn fall_behind(&mut self, held: &mut usize, stats: &WatchCounters) {
        stats.fell_behind.one();
        *held -= self.bytes;
        self.bytes = 0;
        self.queue = VecDeque::new();
        self.behind = true;
        self.wake.notify_one();
    }
}

impl Watcher {
    /// What is new; waits for it.
    pub async fn next(&self) -> News {
        loop {
            if let Some(news) = self.take() {
                return news;
            }
            self.wake.notified().await;
        }
    }

    /// Notes up to where the client has been told.
    pub fn told(&self, revision: u64) {
        self.told.store(revision, Ordering::Relaxed);
    }

    /// The last revision published, if the watcher has heard of everything up to it.
    #[must_use]
    pub fn idle(&self) -> Option<u64> {
        let inner = self.hub.lock();
        let seat = inner.seats.get(&self.id)?;
        (seat.queue.is_empty() && !seat.behind).then_some(inner.revision)
    }

    fn take(&self) -> Option<News> {
        let mut inner = self.hub.lock();
        let revision = inner.revision;
        let Inner { seats, held, .. } = &mut *inner;
        let seat = seats.get_mut(&self.id)?;
        if std::mem::take(&mut seat.behind) {
            return Some(News::Behind(revision));
        }
        if seat.queue.is_empty() {
            return None;
        }
        *held -= seat.bytes;
        seat.bytes = 0;
        Some(News::Revisions(std::mem::take(&mut seat.queue).into()))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut inner = self.hub.lock();
        if let Some(seat) = inner.seats.remove(&self.id) {
            inner.held -= seat.bytes;
            inner.interest.remove(self.id, &seat.range);
        }
        self.hub.watchers.store(inner.seats.len(), Ordering::Relaxed);
    }
}

impl Revision {
    /// The changes of `revision`.
    #[must_use]
    pub fn new(revision: u64, changes: Vec<Change>) -> Revision {
        let bytes = changes.iter().map(size).sum();
        Revision { revision, changes, bytes }
    }
}

fn size(change: &Change) -> usize {
    const OVERHEAD: usize = 128;
    let values = change.now.iter().chain(&change.before).map(|item| item.value.len());
    OVERHEAD + change.key.len() + values.sum::<usize>()
}

fn by_revision(changes: Vec<Change>) -> Vec<Arc<Revision>> {
    let mut news: Vec<Arc<Revision>> = Vec::new();
    let mut rest = changes.into_iter().peekable();
    while let Some(first) = rest.next() {
        let revision = first.revision;
        let mut same = vec![first];
        while let Some(next) = rest.next_if(|change| change.revision == revision) {
            same.push(next);
        }
        news.push(Arc::new(Revision::new(revision, same)));
    }
    news
}
