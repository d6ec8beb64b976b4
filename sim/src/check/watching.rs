//! What watchers must hear: every change of their keys, once, in order, and nothing else.
//!
//! Rule: a watch that begins after revision N hears each later revision that touches its keys, as
//! one message with all of it, whichever node it asks and however often it was cut off; a watch
//! without a beginning begins no earlier than what anybody had been told. Must never: excuse a gap
//! by a reconnect.

use super::{Violation, ledger::Floor};
use crate::{
    journal::{Message, Refusal, Session},
    store::{Change, Record, request::Bounds, timeline::Timeline},
};

/// A watcher that heard too much, too little, or in another order.
pub const WATCH: &str = "a watch hears everything once, in order";

/// What was judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// Streams that began.
    pub sessions: u64,
    /// Of these, those that went on at another node than the one before.
    pub elsewhere: u64,
    /// Messages that told changes.
    pub changes: u64,
    /// Messages in silence.
    pub progress: u64,
    /// Times a watcher was told that it is behind.
    pub lags: u64,
    /// Watches that were refused because their past is forgotten.
    pub compacted: u64,
}

/// Learns what every revision did from those who watched everything.
///
/// # Errors
/// Two of them were told different things of one revision.
pub fn learn(sessions: &[Session], timeline: &mut Timeline) -> Result<(), Violation> {
    for session in sessions.iter().filter(|s| s.bounds == Bounds::Prefix(String::new())) {
        let mut parts: Vec<Change> = Vec::new();
        let mut part_of = 0;
        for (_, _, message) in &session.messages {
            let Message::Change { revision, more, events } = message else { continue };
            if part_of != *revision {
                parts.clear();
                part_of = *revision;
            }
            parts.extend(events.iter().map(|(change, _)| change.clone()));
            if *more {
                continue;
            }
            timeline.learn(*revision, &parts).map_err(|known| {
                let who = name(session);
                let text =
                    format!("{who} was told that {revision} did {parts:?}, and another {known:?}");
                Violation::new(WATCH, text)
            })?;
            part_of = 0;
        }
    }
    Ok(())
}

/// Checks every session.
///
/// # Errors
/// The first violation found.
pub fn check(sessions: &[Session], timeline: &Timeline, floor: &Floor) -> Result<Heard, Violation> {
    let mut heard = Heard::default();
    for (number, session) in sessions.iter().enumerate() {
        if let Some(refused) = &session.refused {
            refusal(session, refused)?;
            heard.compacted += u64::from(refused.oldest.is_some());
            continue;
        }
        let before = sessions[..number].iter().rev().find(|s| s.watcher == session.watcher);
        heard.sessions += 1;
        heard.elsewhere += u64::from(
            session.since.is_some() && before.is_some_and(|before| before.node != session.node),
        );
        Listener { session, timeline, told: session.since, parts: Vec::new() }
            .listen(floor, &mut heard)?;
    }
    Ok(heard)
}

/// A watcher asks for nothing that the store has not shown it: the future is no excuse.
fn refusal(session: &Session, refused: &Refusal) -> Result<(), Violation> {
    let Refusal { status, code, .. } = refused;
    if matches!(status, 0 | 410 | 429 | 503 | 504) {
        return Ok(());
    }
    Err(Violation::new(WATCH, format!("{} was refused with {status} {code}", name(session))))
}

fn name(session: &Session) -> String {
    let Session { watcher, node, bounds, since, .. } = session;
    format!("{watcher} at {node}, watching {bounds:?} since {since:?},")
}

struct Listener<'a> {
    session: &'a Session,
    timeline: &'a Timeline,
    /// Everything up to here was told; `None` before the watch has begun.
    told: Option<u64>,
    parts: Vec<(Change, Option<Record>)>,
}

impl Listener<'_> {
    fn wrong(&self, what: impl std::fmt::Display) -> Violation {
        let told = self.told;
        Violation::new(WATCH, format!("{} knows {told:?} and {what}", name(self.session)))
    }

    fn listen(mut self, floor: &Floor, heard: &mut Heard) -> Result<(), Violation> {
        for (_, _, message) in &self.session.messages {
            match message {
                Message::Sync(revision) => {
                    let least = floor.before(self.session.invoked).0;
                    if self.told.is_some() || *revision < least {
                        let text = format!("is told to begin after {revision}, not {least}");
                        return Err(self.wrong(text));
                    }
                    self.told = Some(*revision);
                }
                Message::Change { revision, more, events } => {
                    heard.changes += 1;
                    self.parts.extend(events.iter().cloned());
                    if !more {
                        self.change(*revision)?;
                    }
                }
                Message::Progress(revision) => {
                    heard.progress += 1;
                    let Some(told) = self.told else {
                        return Err(self.wrong("hears progress before it has begun"));
                    };
                    self.silent(told + 1, *revision)?;
                    if *revision < told {
                        return Err(self.wrong(format!("goes back to {revision}")));
                    }
                    self.told = Some(*revision);
                }
                Message::Lag => heard.lags += 1,
                Message::Error(_) => {}
            }
        }
        Ok(())
    }

    fn change(&mut self, revision: u64) -> Result<(), Violation> {
        let parts = std::mem::take(&mut self.parts);
        let Some(told) = self.told else {
            return Err(self.wrong(format!("hears {revision} before it has begun")));
        };
        if revision <= told {
            return Err(self.wrong(format!("hears {revision} again or too late")));
        }
        self.silent(told + 1, revision - 1)?;
        if let Some(changes) = self.timeline.changes(revision) {
            let mine = changes.iter().filter(|c| self.session.bounds.contains(&c.key));
            let same = mine.clone().count() == parts.len()
                && mine.clone().zip(&parts).all(|(change, (heard, _))| change == heard);
            if !same {
                let mine: Vec<&Change> = mine.collect();
                return Err(
                    self.wrong(format!("hears that {revision} did {parts:?}, not {mine:?}"))
                );
            }
        } else if revision > self.timeline.top() {
            return Err(self.wrong(format!("hears of {revision}, which nobody else knows")));
        } else if self.timeline.knows(revision) {
            // Nobody heard all of it, but somebody listed the store right after it.
            let after = self.timeline.view(revision);
            if let Some((change, _)) =
                parts.iter().find(|(change, _)| after.get(&change.key) != change.now.as_ref())
            {
                return Err(self.wrong(format!("hears that {revision} did {change:?}")));
            }
        }
        if self.session.previous && self.timeline.knows(revision - 1) {
            let before = self.timeline.view(revision - 1);
            for (change, previous) in &parts {
                if before.get(&change.key) != previous.as_ref() {
                    let was = before.get(&change.key);
                    let text = format!(
                        "hears at {revision} that {change:?} was {previous:?}, not {was:?}"
                    );
                    return Err(self.wrong(text));
                }
            }
        }
        self.told = Some(revision);
        Ok(())
    }

    /// Nothing of `first..=last` may concern this watcher.
    fn silent(&self, first: u64, last: u64) -> Result<(), Violation> {
        let mut missed = self
            .timeline
            .between(first, last)
            .filter(|(_, changes)| changes.iter().any(|c| self.session.bounds.contains(&c.key)));
        match missed.next() {
            None => Ok(()),
            Some((revision, changes)) => {
                Err(self.wrong(format!("never hears of {revision}, which did {changes:?}")))
            }
        }
    }
}
