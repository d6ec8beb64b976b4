//! The judges of leases, locks and retention accept what was promised, and catch each planted bug.

use kvorum_sim::{
    check::{
        Violation, forgetting,
        forgetting::{Forgotten, RETENTION},
        leases::{self, Held, LEASES, LOCKS},
        ledger::{self, Floor, SERIALIZABILITY},
        watching,
    },
    history::Ticks,
    journal::{Answer, Journal, Message, Notes, Refusal, Session, Told},
    store::{
        Change, Record,
        request::{Attach, Bounds, Condition, Request, lock_key},
        timeline::Timeline,
    },
};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000_000;

/// A story told step by step, at times of its own.
struct Story {
    ticks: Ticks,
    journal: Journal,
    revision: u64,
    messages: Vec<(u64, u64, Message)>,
}

impl Story {
    fn new() -> Story {
        let ticks = Ticks::default();
        let journal = Journal::new(ticks.clone());
        Story { ticks, journal, revision: 1, messages: Vec::new() }
    }

    /// Somebody asks at `at` (seconds, and a half later he is answered).
    fn ask(&mut self, client: &str, at: u64, request: Request, status: u16, body: Json) {
        let entry = self.journal.enter(client, request, None);
        let attempt = self.journal.attempt(entry, "n1", at * SECOND);
        let (index, revision) = (100 + self.ticks.next(), self.revision);
        let answer = Answer { status, index, revision, body: Some(body), replayed: false };
        self.journal.tell(entry, attempt, Told::Answered(answer), at * SECOND + SECOND / 2);
    }

    /// The watcher hears, at `at`, what the next revision did.
    fn hear(&mut self, at: u64, changes: Vec<Change>) {
        self.revision += 1;
        let events = changes.into_iter().map(|change| (change, None)).collect();
        let message = Message::Change { revision: self.revision, more: false, events };
        self.messages.push((self.ticks.next(), at * SECOND, message));
    }

    fn notes(&self) -> Notes {
        let mut notes = self.journal.read();
        notes.sessions.push(Session {
            watcher: "w1".to_owned(),
            node: "n1".to_owned(),
            bounds: Bounds::Prefix(String::new()),
            since: Some(1),
            previous: false,
            invoked: 1,
            refused: None,
            messages: self.messages.clone(),
        });
        notes
    }

    fn judge(&self, apart: u64) -> Result<Held, Violation> {
        let notes = self.notes();
        let mut timeline = Timeline::default();
        watching::learn(&notes.sessions, &mut timeline)?;
        timeline.seal(self.revision);
        let floor = Floor::of(&notes.entries, std::iter::empty());
        let explained = ledger::check(&notes.entries, &timeline, &floor, self.revision)?;
        leases::check(&notes.entries, &notes.sessions, &timeline, &explained, &|_| apart)
    }

    /// The lease 7 of four seconds, granted at 10 with a key.
    fn with_lease() -> Story {
        let mut story = Story::new();
        let ttl = 4_000;
        story.ask("h1", 10, Request::Grant { id: 7, ttl }, 200, json!({"id": "7", "ttl": 4}));
        story.put(11, "e/a", "a", 7);
        story
    }

    fn put(&mut self, at: u64, key: &str, value: &str, lease: u64) {
        let request = Request::Put {
            key: key.to_owned(),
            value: value.to_owned(),
            condition: Condition::Always,
            attach: Attach::Lease(lease),
        };
        let now = record(value, self.revision + 1, lease);
        self.hear(at, vec![Change { key: key.to_owned(), now: Some(now) }]);
        let body = json!({"key": key, "mod_revision": self.revision, "version": 1});
        self.ask("h1", at, request, 201, body);
    }

    fn keep_alive(&mut self, at: u64) {
        self.ask("h1", at, Request::KeepAlive { id: 7 }, 200, json!({"id": "7", "ttl": 4}));
    }

    fn lock(&mut self, client: &str, at: u64, token: u64) {
        let note = format!("{client}.{at}");
        let name = "door".to_owned();
        let request = Request::Lock { name, ttl: 4_000, wait: 0, note };
        let lease = lease_of(client).to_string();
        let body = json!({"name": "door", "token": token, "lease": lease, "ttl": 4});
        self.ask(client, at, request, 200, body);
    }

    /// The watcher hears that the lock was acquired.
    fn hear_lock(&mut self, client: &str, at: u64) {
        let now = record(&format!("{client}.{at}"), self.revision + 1, lease_of(client));
        self.hear(at, vec![Change { key: lock_key("door"), now: Some(now) }]);
    }
}

fn record(value: &str, revision: u64, lease: u64) -> Record {
    let value = value.to_owned();
    Record { value, created: revision, modified: revision, version: 1, lease }
}

fn lease_of(client: &str) -> u64 {
    if client == "h1" { 8 } else { 9 }
}

fn gone(key: &str) -> Vec<Change> {
    vec![Change { key: key.to_owned(), now: None }]
}

fn catches(result: Result<Held, Violation>, promise: &str) {
    let violation = result.expect_err("it must be caught");
    assert_eq!(violation.promise, promise, "{violation}");
}

#[test]
fn a_lease_that_ends_in_time_is_fine_and_one_that_ends_early_is_caught() {
    let mut story = Story::with_lease();
    story.hear(14, gone("e/a"));
    assert_eq!(story.judge(0).map(|held| held.expired), Ok(1));
    let mut early = Story::with_lease();
    early.hear(13, gone("e/a"));
    catches(early.judge(0), LEASES);
    // Clocks that were a second apart explain a second.
    assert!(early.judge(SECOND).is_ok());
}

#[test]
fn a_sign_of_life_gives_the_whole_time_again() {
    let mut story = Story::with_lease();
    story.keep_alive(13);
    story.hear(17, gone("e/a"));
    assert_eq!(story.judge(0).map(|held| (held.expired, held.kept)), Ok((1, 1)));
    let mut early = Story::with_lease();
    early.keep_alive(13);
    early.hear(16, gone("e/a"));
    catches(early.judge(0), LEASES);
}

#[test]
fn a_revocation_is_no_expiry() {
    let mut story = Story::with_lease();
    story.hear(12, gone("e/a"));
    let body = json!({"message": "lease revoked", "id": "7", "deleted": 1});
    story.ask("h1", 12, Request::Revoke { id: 7 }, 200, body);
    assert_eq!(story.judge(0).map(|held| held.expired), Ok(0));
}

#[test]
fn an_expiry_of_half_the_keys_is_caught() {
    let mut story = Story::with_lease();
    story.put(12, "e/b", "b", 7);
    story.hear(20, gone("e/a"));
    catches(story.judge(0), SERIALIZABILITY);
}

#[test]
fn holders_one_after_the_other_are_fine() {
    let mut story = Story::new();
    story.hear_lock("h1", 10);
    story.lock("h1", 10, 2);
    story.hear(15, gone(&lock_key("door")));
    story.hear_lock("h2", 16);
    story.lock("h2", 16, 4);
    assert_eq!(story.judge(0).map(|held| (held.acquired, held.expired)), Ok((2, 1)));
}

#[test]
fn two_holders_of_one_token_are_caught() {
    let mut story = Story::new();
    story.hear_lock("h1", 10);
    story.lock("h1", 10, 2);
    story.lock("h2", 11, 2);
    assert!(story.judge(0).is_err());
    let notes = story.notes();
    let mut timeline = Timeline::default();
    watching::learn(&notes.sessions, &mut timeline).expect("one watcher");
    timeline.seal(2);
    let explained = ledger::Explained::default();
    catches(leases::check(&notes.entries, &notes.sessions, &timeline, &explained, &|_| 0), LOCKS);
}

#[test]
fn a_second_holder_before_the_first_is_gone_is_caught() {
    let mut story = Story::new();
    story.hear_lock("h1", 10);
    story.lock("h1", 10, 2);
    story.hear(12, gone(&lock_key("door")));
    story.hear_lock("h2", 12);
    story.lock("h2", 12, 4);
    catches(story.judge(0), LEASES);
}

#[test]
fn tokens_that_fall_are_caught() {
    let mut story = Story::new();
    story.lock("h1", 10, 9);
    story.lock("h2", 20, 4);
    let notes = story.notes();
    let mut timeline = Timeline::default();
    timeline.learn(50, &[]).expect("nothing else is known");
    timeline.seal(50);
    let explained = ledger::Explained::default();
    let result = leases::check(&notes.entries, &notes.sessions, &timeline, &explained, &|_| 0);
    catches(result, LOCKS);
}

#[test]
fn a_fence_that_lets_a_former_holder_through_is_caught() {
    let fenced = |story: &mut Story, token, status, body| {
        let put = Request::Put {
            key: "e/under".to_owned(),
            value: "f".to_owned(),
            condition: Condition::Always,
            attach: Attach::Nothing,
        };
        let request = Request::Fenced { name: "door".to_owned(), token, request: Box::new(put) };
        story.ask("h1", 20, request, status, body);
    };
    let begin = || {
        let mut story = Story::new();
        story.hear_lock("h1", 10);
        story.lock("h1", 10, 2);
        story.hear(15, gone(&lock_key("door")));
        story
    };
    let mut fine = begin();
    fenced(&mut fine, 2, 412, json!({"code": "fenced"}));
    assert_eq!(fine.judge(0).map(|held| held.fenced_out), Ok(1));
    let mut through = begin();
    let now = Some(record("f", 4, 0));
    through.hear(20, vec![Change { key: "e/under".to_owned(), now }]);
    let body = json!({"key": "e/under", "mod_revision": 4, "version": 1});
    fenced(&mut through, 2, 201, body);
    catches(through.judge(0), SERIALIZABILITY);
    let mut shut = Story::new();
    shut.hear_lock("h1", 10);
    shut.lock("h1", 10, 2);
    fenced(&mut shut, 2, 412, json!({"code": "fenced"}));
    catches(shut.judge(0), SERIALIZABILITY);
}

/// A read of revision 5 that is told, at revision 100, that history begins at `oldest`.
fn forgotten(oldest: u64, asked: Option<u64>) -> Result<Forgotten, Violation> {
    let mut story = Story::new();
    story.revision = 100;
    if let Some(revision) = asked {
        let body = json!({"compacted": revision, "revision": 100});
        story.ask("s1", 1, Request::Compact { revision }, 200, body);
    }
    let get = Request::Get { key: "t/0".to_owned(), at: Some(5), stale: None };
    story.ask("s1", 2, get, 410, json!({"code": "compacted", "oldest": oldest}));
    let notes = story.notes();
    judge_forgetting(&notes, 0, 0)
}

/// Twenty revisions are kept, and what was current within so many seconds; the read was answered
/// at 2.5, and revision 80 was asked for at `made`.
fn judge_forgetting(notes: &Notes, seconds: u64, made: usize) -> Result<Forgotten, Violation> {
    let keep = forgetting::Keep { revisions: 20, nanos: seconds * SECOND, apart: &|_| 0 };
    let makers = BTreeMap::from([(80, made)]);
    forgetting::check(&notes.entries, &notes.sessions, &Floor::default(), &makers, &keep)
}

#[test]
fn history_that_is_too_young_to_be_gone_is_caught() {
    let mut story = Story::new();
    story.revision = 100;
    let put = |value: &str| Request::Put {
        key: "t/0".to_owned(),
        value: value.to_owned(),
        condition: Condition::Always,
        attach: Attach::Nothing,
    };
    story.ask("s1", 10, put("a"), 200, Json::Null);
    let get = Request::Get { key: "t/0".to_owned(), at: Some(5), stale: None };
    story.ask("s1", 14, get, 410, json!({"code": "compacted", "oldest": 80}));
    let notes = story.notes();
    assert_eq!(judge_forgetting(&notes, 4, 0).map(|forgotten| forgotten.reads), Ok(1));
    let violation = judge_forgetting(&notes, 5, 0).expect_err("it must be caught");
    assert_eq!(violation.promise, RETENTION);
}

#[test]
fn history_may_be_gone_when_it_is_old_or_somebody_asked_for_it() {
    assert_eq!(forgotten(80, None).map(|forgotten| forgotten.reads), Ok(1));
    assert!(forgotten(95, Some(95)).is_ok());
    for (oldest, asked) in [(81, None), (95, Some(94)), (5, None), (3, None)] {
        let violation = forgotten(oldest, asked).expect_err("it must be caught");
        assert_eq!(violation.promise, RETENTION, "{oldest} {asked:?}: {violation}");
    }
}

#[test]
fn a_watch_is_refused_only_for_a_past_that_is_gone() {
    for (since, oldest, fine) in [(5, 60, true), (5, 95, false), (60, 60, false)] {
        let mut notes = Story::new().notes();
        let refused = Refusal {
            status: 410,
            code: "compacted".to_owned(),
            oldest: Some(oldest),
            revision: 100,
            ..Refusal::default()
        };
        notes.sessions[0].since = Some(since);
        notes.sessions[0].refused = Some(refused);
        let verdict = judge_forgetting(&notes, 0, 0);
        assert_eq!(verdict.is_ok(), fine, "{since} {oldest}");
    }
}
