//! `GET /watch`: what changes, as server-sent events or lines of JSON.
//!
//! Rule: one message per revision, in order, none missing and none twice; a client that comes back
//! with the last id it saw goes on right after it. A client that is too slow is told how far it is
//! behind and reads on from the store. Must never: end without saying why, or begin in the past of
//! what another node has already shown.

use super::{
    Api, Content, Reply,
    content::Pieces,
    params::{Params, invalid},
    problem::{
        FUTURE_REVISION, INVALID_PARAMETER, OVERLOADED, Problem, SLOW_WATCHER, STOPPING,
        TOO_MANY_WATCHES,
    },
    range,
    read::{consistency_of, refused, stamps, told},
    watch_text::{Style, Text},
};
use crate::{
    handle::QueryError,
    watch::{News, Watcher},
    world::World,
};
use bytes::Bytes;
use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use kvorum_core::kv::{Change, KeyRange, Query};
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// What `GET /watch` takes.
pub(super) const PARAMETERS: [&str; 8] =
    ["prefix", "key", "start", "end", "since", "prev", "consistency", "timeout"];

/// Where a client that was cut off stopped (the name is that of the HTML standard).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How long a client has to take the reason for the end, and how long when the node stops.
const LAST_PATIENCE: Duration = Duration::from_secs(10);
const STOPPING_PATIENCE: Duration = Duration::from_secs(1);
/// Changes read from the store at once.
const PAGE: usize = 512;
/// Changes in one message; a revision with more comes in parts.
const PART: usize = 1024;

/// A watch under way.
struct Watch<W: World> {
    api: Arc<Api<W>>,
    watcher: Watcher,
    range: KeyRange,
    text: Text,
    pieces: Pieces,
    /// Everything up to here has been told.
    told: u64,
}

/// Why a watch ends.
enum End {
    /// Nobody listens any more.
    Left,
    /// This.
    Problem(Problem),
}

impl<W: World> Api<W> {
    /// Answers `GET /watch`.
    pub(super) async fn get_watch(self: &Arc<Self>, head: &Parts) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &PARAMETERS)?;
        let range = watched(&params)?;
        let since = since(&params, &head.headers)?;
        let style = Style::of(&head.headers);
        let text = Text { style, previous: params.flag("prev")? };
        let consistency = consistency_of(&params)?;
        let deadline = self.deadline(self.timeout(&params)?);
        // Where the store stands: with a linearizable look, no node lags behind what others showed.
        let look = Query { limit: 1, keys_only: true, ..Query::of(KeyRange::all()) };
        let answer = self.query(look, consistency, deadline).await?;
        let mut headers = told(stamps(answer.applied, answer.revision), consistency);
        let most = self.limits.watches;
        let Some((watcher, now)) = self.handle.hub().watch(range.clone(), most) else {
            let message = format!("{most} watches are open, the limit");
            return Err(Problem::new(TOO_MANY_WATCHES, message));
        };
        let told = since.unwrap_or(now);
        watcher.told(told);
        if told > now {
            let message = format!("the store stands at revision {now}, not yet at {told}");
            return Err(Problem::new(FUTURE_REVISION, message).headers(headers));
        }
        if told < now {
            // What is gone is said before the stream begins.
            self.changes((told + 1, 0), 1).await.map_err(|p| p.headers(headers.clone()))?;
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(style.media_type()));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let (pieces, content) = Content::stream();
        let watch = Watch { api: Arc::clone(self), watcher, range, text, pieces, told };
        tokio::spawn(watch.run(since.is_none(), now));
        let mut reply = Reply::new(content);
        *reply.headers_mut() = headers;
        Ok(reply)
    }

    async fn changes(&self, from: (u64, u32), limit: usize) -> Result<Vec<Change>, Problem> {
        match self.handle.changes(from, limit).await {
            Ok(Ok(changes)) => Ok(changes),
            Ok(Err(error)) => Err(refused(error)),
            Err(QueryError::Stopping) => Err(Problem::new(STOPPING, "the node is stopping")),
            Err(QueryError::NoLeader | QueryError::Overloaded) => {
                Err(Problem::new(OVERLOADED, "too many reads are under way"))
            }
        }
    }
}

impl<W: World> Watch<W> {
    async fn run(mut self, sync: bool, now: u64) {
        let stop = Arc::clone(&self.api.stop);
        let ended = tokio::select! {
            biased;
            () = stop.stopped() => End::Problem(Problem::new(STOPPING, "the node is stopping")),
            ended = self.tell(sync, now) => ended,
        };
        if let End::Problem(problem) = ended {
            let patience =
                if problem.kind() == STOPPING { STOPPING_PATIENCE } else { LAST_PATIENCE };
            let instance = format!("req-{:016x}", self.api.world.entropy());
            if problem.kind() != STOPPING {
                self.api.handle.hub().stats.cut.one();
            }
            let problem = problem.respond(&instance, false);
            let problem = problem.body().whole().cloned().unwrap_or_default();
            let last = self.text.error(&problem);
            self.api.until(self.api.deadline(patience), self.pieces.send(last)).await;
        }
    }

    /// Tells everything there is to tell; returns when that cannot go on.
    async fn tell(&mut self, sync: bool, now: u64) -> End {
        let began =
            if sync { self.send(self.text.sync(now)).await } else { self.catch_up(now).await };
        if let Err(end) = began {
            return end;
        }
        loop {
            let quiet = self.api.deadline(self.api.limits.watch_progress);
            let news = tokio::select! {
                biased;
                () = self.pieces.abandoned() => return End::Left,
                news = self.watcher.next() => Some(news),
                () = self.api.world.sleep_until(quiet) => None,
            };
            let done = match news {
                None => self.progress().await,
                Some(News::Revisions(revisions)) => self.pass_on(&revisions).await,
                Some(News::Behind(published)) => {
                    let lag = self.text.lag(self.told, published);
                    match self.send(lag).await {
                        Ok(()) => self.catch_up(published).await,
                        Err(end) => Err(end),
                    }
                }
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn progress(&mut self) -> Result<(), End> {
        if let Some(revision) = self.watcher.idle() {
            self.told = self.told.max(revision);
            self.watcher.told(self.told);
        }
        self.send(self.text.progress(self.told)).await
    }

    async fn pass_on(&mut self, revisions: &[Arc<crate::watch::Revision>]) -> Result<(), End> {
        for one in revisions {
            // What the store has already given may come again here.
            if one.revision <= self.told {
                continue;
            }
            let mine: Vec<&Change> =
                one.changes.iter().filter(|change| self.range.contains(&change.key)).collect();
            self.revision(one.revision, &mine).await?;
        }
        Ok(())
    }

    /// One revision's changes, in parts if they are many. Only the last part moves the client's
    /// position, so that a cut in between loses nothing.
    async fn revision(&mut self, revision: u64, mine: &[&Change]) -> Result<(), End> {
        self.api.handle.hub().stats.events.add(mine.len() as u64);
        let mut parts = mine.chunks(PART).peekable();
        while let Some(part) = parts.next() {
            let message = self.text.changes(revision, part, parts.peek().is_some());
            self.send(message).await?;
        }
        self.told = revision;
        self.watcher.told(revision);
        Ok(())
    }

    /// Reads from the store what lies after the last revision told, up to `target` at least.
    async fn catch_up(&mut self, target: u64) -> Result<(), End> {
        let mut from = (self.told + 1, 0);
        // Changes of the revision that the page may have cut; of other ranges only the position.
        let mut open: VecDeque<Change> = VecDeque::new();
        while self.told < target {
            let page = self.api.changes(from, PAGE).await.map_err(End::Problem)?;
            let whole = page.len() < PAGE;
            let Some(last) = page.last().map(|change| (change.revision, change.sub)) else {
                self.told = self.told.max(target);
                break;
            };
            from = (last.0, last.1 + 1);
            for change in page {
                if open.front().is_some_and(|first| first.revision != change.revision) {
                    self.flush(&mut open).await?;
                }
                if self.range.contains(&change.key) {
                    open.push_back(change);
                    if open.len() > 2 * PART {
                        self.part(&mut open).await?;
                    }
                }
            }
            if whole {
                self.flush(&mut open).await?;
                self.told = self.told.max(last.0).max(target);
            }
        }
        Ok(())
    }

    /// Sends all of one revision's changes.
    async fn flush(&mut self, open: &mut VecDeque<Change>) -> Result<(), End> {
        let changes: Vec<Change> = std::mem::take(open).into();
        let Some(revision) = changes.first().map(|change| change.revision) else { return Ok(()) };
        let mine: Vec<&Change> = changes.iter().collect();
        self.revision(revision, &mine).await
    }

    /// Sends a part of a revision that has too many changes to be held.
    async fn part(&mut self, open: &mut VecDeque<Change>) -> Result<(), End> {
        let changes: Vec<Change> = open.drain(..PART).collect();
        self.api.handle.hub().stats.events.add(changes.len() as u64);
        let mine: Vec<&Change> = changes.iter().collect();
        self.send(self.text.changes(changes[0].revision, &mine, true)).await
    }

    async fn send(&self, message: impl Into<Bytes>) -> Result<(), End> {
        let patience = self.api.limits.watch_patience;
        match self.api.until(self.api.deadline(patience), self.pieces.send(message)).await {
            Some(true) => Ok(()),
            Some(false) => Err(End::Left),
            None => Err(End::Problem(Problem::new(
                SLOW_WATCHER,
                format!("the client read nothing for {patience:?}"),
            ))),
        }
    }
}

/// The keys to watch.
fn watched(params: &Params) -> Result<KeyRange, Problem> {
    let bounds = ["prefix", "start", "end"].iter().any(|name| params.bytes(name).is_some());
    match params.bytes("key") {
        None => range::range(params),
        Some(_) if bounds => {
            Err(Problem::new(INVALID_PARAMETER, "key stands together with prefix, start or end"))
        }
        Some(b"") => Err(invalid("key", "", "a key; drop it to watch every key")),
        Some(key) => Ok(KeyRange::One(Bytes::copy_from_slice(key))),
    }
}

/// The last revision the client knows.
fn since(params: &Params, headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    // A browser that comes back keeps the query it began with.
    if let Some(value) = headers.get(LAST_EVENT_ID) {
        let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
        return number.map(Some).ok_or_else(|| {
            let message = "Last-Event-ID is not a revision";
            Problem::new(INVALID_PARAMETER, message)
                .hint("send the id of the last event as it came")
        });
    }
    params.number("since")
}
