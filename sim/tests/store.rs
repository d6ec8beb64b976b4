//! The judges of the whole store accept what a correct one says, and catch each planted bug.

use kvorum_sim::{
    check::{
        Violation,
        ledger::{self, EXACTLY_ONCE, Explained, Floor, SERIALIZABILITY},
        once,
        watching::{self, WATCH},
        witness::TRUTH,
    },
    history::Ticks,
    journal::{Answer, Attempt, Entry, Journal, Message, Notes, Refusal, Session, Told},
    rng::Rng,
    store::{
        evaluate::evaluate,
        request::{Attach, Bounds, Condition, Guard, Op, Relation, Request, Scan, Test, Txn},
        timeline::Timeline,
    },
};
use serde_json::json;

/// What a watcher was told, as the journal has it.
type Messages = Vec<(u64, u64, Message)>;

/// A store that is right, asked one request after the other.
struct Shop {
    journal: Journal,
    timeline: Timeline,
    revision: u64,
    index: u64,
}

impl Shop {
    fn new() -> Shop {
        let (journal, timeline) = (Journal::new(Ticks::default()), Timeline::default());
        Shop { journal, timeline, revision: 1, index: 1 }
    }

    /// Carries out a request; what the client would be told.
    fn carry_out(&mut self, request: &Request) -> Told {
        let at = match request {
            Request::Scan(Scan { at: Some(at), .. }) => *at,
            _ => self.revision,
        };
        let way = evaluate(self.timeline.view(at), request).swap_remove(0);
        if request.is_write() {
            self.index += 1;
        }
        if !way.changes.is_empty() {
            self.revision += 1;
            self.timeline.learn(self.revision, &way.changes).expect("a new revision");
            self.timeline.seal(self.revision);
        }
        let (index, revision, body) = (self.index, self.revision, Some(way.body));
        Told::Answered(Answer { status: way.status, index, revision, body, replayed: false })
    }

    /// One request with one answer; its number.
    fn ask(&mut self, request: Request) -> usize {
        let entry = self.journal.enter("s1", request.clone(), None);
        let attempt = self.journal.attempt(entry, "n1", 0);
        let told = self.carry_out(&request);
        self.journal.tell(entry, attempt, told, 0);
        entry
    }

    /// A request that takes effect, and whose answer nobody hears.
    fn ask_in_vain(&mut self, request: Request) -> usize {
        let entry = self.journal.enter("s2", request.clone(), None);
        self.journal.attempt(entry, "n2", 0);
        self.carry_out(&request);
        entry
    }

    /// Everything, with one watcher who heard all of it.
    fn notes(&self) -> Notes {
        let messages = self
            .timeline
            .all()
            .map(|(revision, changes)| {
                let events = changes.iter().map(|change| (change.clone(), None)).collect();
                (u64::MAX, 0, Message::Change { revision, more: false, events })
            })
            .collect();
        let mut notes = self.journal.read();
        notes.sessions.push(session("", Some(1), messages));
        notes
    }
}

fn session(prefix: &str, since: Option<u64>, messages: Messages) -> Session {
    Session {
        watcher: "w1".to_owned(),
        node: "n1".to_owned(),
        bounds: Bounds::Prefix(prefix.to_owned()),
        since,
        previous: false,
        invoked: 1,
        refused: None,
        messages,
    }
}

fn judge(notes: &Notes, top: u64) -> Result<Explained, Violation> {
    let mut timeline = Timeline::default();
    watching::learn(&notes.sessions, &mut timeline)?;
    timeline.seal(top);
    let floor = Floor::of(&notes.entries, std::iter::empty());
    let explained = ledger::check(&notes.entries, &timeline, &floor, top)?;
    watching::check(&notes.sessions, &timeline, &floor)?;
    once::check(&notes.entries)?;
    Ok(explained)
}

fn caught(notes: &Notes, top: u64, promise: &str) {
    let violation = judge(notes, top).expect_err("it must be caught");
    assert_eq!(violation.promise, promise, "{violation}");
}

fn put(key: &str, value: &str) -> Request {
    let (key, value) = (key.to_owned(), value.to_owned());
    Request::Put { key, value, condition: Condition::Always, attach: Attach::Nothing }
}

fn delete(key: &str) -> Request {
    Request::Delete { key: key.to_owned(), condition: Condition::Always }
}

fn get(key: &str) -> Request {
    Request::Get { key: key.to_owned(), at: None, stale: None }
}

fn scan(at: Option<u64>) -> Request {
    Request::Scan(Scan {
        prefix: "t/".to_owned(),
        limit: 2,
        reverse: false,
        keys_only: false,
        at,
        after: None,
        stale: false,
    })
}

/// "If `t/0` is there, set it and remove what is below `t/a/`; else look."
fn txn(value: &str) -> Request {
    let prefix = || Bounds::Prefix("t/a/".to_owned());
    let get = Op::Get { bounds: prefix(), limit: 5, reverse: false, keys_only: false };
    let put = Op::Put {
        key: "t/0".to_owned(),
        value: value.to_owned(),
        attach: Attach::Nothing,
        previous: true,
    };
    let test = Test::Version(Relation::Greater, 0);
    Request::Txn(Txn {
        guards: vec![Guard { bounds: Bounds::One("t/0".to_owned()), test }],
        then: vec![put, Op::Delete { bounds: prefix(), previous: false }, get.clone()],
        otherwise: vec![get],
    })
}

/// A morning in the shop: revisions 2 to 6, and reads between them.
fn morning() -> Shop {
    let mut shop = Shop::new();
    shop.ask(txn("never"));
    shop.ask(put("t/0", "a"));
    shop.ask(put("t/a/1", "b"));
    shop.ask(scan(None));
    shop.ask(txn("c"));
    shop.ask(get("t/a/1"));
    shop.ask(put("t/9", "d"));
    shop.ask(scan(Some(3)));
    shop.ask(delete("t/9"));
    shop.ask(delete("t/9"));
    assert_eq!(shop.revision, 6);
    shop
}

fn answer_of(notes: &mut Notes, entry: usize) -> &mut Answer {
    match &mut notes.entries[entry].attempts[0].told {
        Told::Answered(answer) => answer,
        other => panic!("not answered: {other:?}"),
    }
}

#[test]
fn what_a_correct_store_says_is_accepted() {
    let shop = morning();
    let explained = judge(&shop.notes(), 6).expect("it is right");
    assert_eq!(explained.answers, 10);
    assert_eq!(explained.makers.len(), 5);
}

#[test]
fn a_write_after_a_stretch_that_nobody_heard_of_is_believed_and_not_judged() {
    let mut shop = Shop::new();
    shop.ask(put("t/0", "a"));
    shop.ask(put("t/0", "b"));
    let last = shop.ask(put("t/1", "c"));
    let mut notes = shop.notes();
    let session = &mut notes.sessions[0];
    session.since = Some(2);
    session.messages.remove(0);
    let explained = judge(&notes, 4).expect("what it was before is not known");
    assert_eq!((explained.answers, explained.makers.len()), (0, 2));
    answer_of(&mut notes, last).revision = 3;
    caught(&notes, 4, SERIALIZABILITY);
}

#[test]
fn requests_nobody_was_answered_explain_what_they_did() {
    let mut shop = Shop::new();
    shop.ask(put("t/0", "a"));
    shop.ask_in_vain(txn("b"));
    shop.ask_in_vain(delete("t/0"));
    shop.ask(get("t/0"));
    let notes = shop.notes();
    assert_eq!(judge(&notes, 4).map(|explained| explained.unknown), Ok(2));
    let mut gone = notes.clone();
    gone.entries.remove(2);
    caught(&gone, 4, SERIALIZABILITY);
}

#[test]
fn one_unknown_delete_does_not_explain_two() {
    let mut shop = Shop::new();
    shop.ask(put("t/0", "a"));
    shop.ask_in_vain(delete("t/0"));
    shop.ask(put("t/0", "b"));
    shop.ask_in_vain(delete("t/0"));
    let mut notes = shop.notes();
    assert!(judge(&notes, 5).is_ok());
    notes.entries.pop();
    caught(&notes, 5, SERIALIZABILITY);
}

#[test]
fn answers_of_another_branch_revision_or_state_are_caught() {
    let wrong: [fn(&mut Notes); 6] = [
        // The transaction says that its conditions failed.
        |notes| {
            answer_of(notes, 4).body =
                Some(json!({"succeeded": false, "revision": 4, "results": []}))
        },
        // A page at a pinned revision shows what came later.
        |notes| {
            let newer = answer_of(notes, 3).body.clone();
            answer_of(notes, 7).body = newer.map(|mut body| {
                body["items"][0]["version"] = json!(2);
                body
            });
        },
        // A key that is gone is found.
        |notes| *answer_of(notes, 5) = answer_of(notes, 1).clone(),
        // A write says that it made another's revision.
        |notes| answer_of(notes, 6).revision = 4,
        // A version is miscounted.
        |notes| {
            answer_of(notes, 2).body =
                Some(json!({"key": "t/a/1", "mod_revision": 3, "version": 2}))
        },
        // The past comes after what had been told.
        |notes| {
            answer_of(notes, 5).revision = 1;
            answer_of(notes, 5).index = 1;
        },
    ];
    for (number, wrong) in wrong.into_iter().enumerate() {
        let mut notes = morning().notes();
        wrong(&mut notes);
        let violation = judge(&notes, 6).expect_err(&format!("bug {number} must be caught"));
        assert_eq!(violation.promise, SERIALIZABILITY, "{number}: {violation}");
    }
}

#[test]
fn a_write_that_was_acknowledged_and_is_nowhere_is_caught() {
    let mut shop = morning();
    let entry = shop.journal.enter("s1", put("t/5", "lost"), None);
    let attempt = shop.journal.attempt(entry, "n1", 0);
    let body = Some(json!({"key": "t/5", "mod_revision": 7, "version": 1}));
    let (index, revision) = (90, 7);
    let answer = Answer { status: 201, index, revision, body, replayed: false };
    shop.journal.tell(entry, attempt, Told::Answered(answer), 0);
    caught(&shop.notes(), 6, SERIALIZABILITY);
    shop.ask(put("t/6", "e"));
    caught(&shop.notes(), 7, SERIALIZABILITY);
}

#[test]
fn a_write_that_was_refused_and_yet_shows_is_caught() {
    let mut notes = morning().notes();
    notes.entries[6].attempts[0].told = Told::Refused { code: "no_leader".to_owned() };
    caught(&notes, 6, TRUTH);
}

#[test]
fn a_value_that_shows_twice_is_caught() {
    let mut shop = Shop::new();
    let entry = shop.ask(put("t/0", "a"));
    // Applied a second time, as if it had never been.
    shop.carry_out(&put("t/0", "a"));
    caught(&shop.notes(), 3, EXACTLY_ONCE);
    let mut notes = shop.notes();
    notes.entries[entry].attempts[0].told = Told::Unknown;
    caught(&notes, 3, EXACTLY_ONCE);
}

/// A keyed put, told `told` one after the other.
fn repeated(tell: impl Fn(Answer) -> Vec<Told>) -> Notes {
    let mut shop = Shop::new();
    let entry = shop.journal.enter("s1", put("t/0", "a"), Some("key".to_owned()));
    let Told::Answered(answer) = shop.carry_out(&put("t/0", "a")) else { panic!("answered") };
    for told in tell(answer) {
        let attempt = shop.journal.attempt(entry, "n1", 0);
        shop.journal.tell(entry, attempt, told, 0);
    }
    shop.notes()
}

#[test]
fn repeats_are_told_the_same_and_say_so() {
    let replayed = |answer: &Answer| {
        Told::Answered(Answer { replayed: true, index: answer.index + 7, ..answer.clone() })
    };
    let fine = repeated(|answer| vec![Told::Unknown, replayed(&answer), replayed(&answer)]);
    assert!(judge(&fine, 2).is_ok());
    let twice = repeated(|answer| vec![Told::Answered(answer.clone()), Told::Answered(answer)]);
    caught(&twice, 2, EXACTLY_ONCE);
    let other = repeated(|answer| {
        let body = Some(json!({"key": "t/0", "mod_revision": 2, "version": 9}));
        let other = Answer { body, replayed: true, ..answer.clone() };
        vec![Told::Answered(answer), Told::Answered(other)]
    });
    let violation = once::check(&other.entries).expect_err("it must be caught");
    assert_eq!(violation.promise, EXACTLY_ONCE);
}

#[test]
fn another_request_under_a_used_key_is_never_carried_out() {
    let mut shop = Shop::new();
    shop.ask(put("t/0", "a"));
    let misuse = |told| {
        let attempt =
            Attempt { node: "n1".to_owned(), invoked: (90, 0), returned: Some((91, 0)), told };
        let key = Some("key".to_owned());
        let entry = Entry {
            client: "s1".to_owned(),
            request: put("t/1", "misused"),
            key,
            misused: true,
            attempts: vec![attempt],
        };
        let mut notes = shop.notes();
        notes.entries.push(entry);
        notes
    };
    let refused = misuse(Told::Refused { code: "idempotency_mismatch".to_owned() });
    assert!(judge(&refused, 2).is_ok());
    let body = Some(json!({"key": "t/0", "mod_revision": 2, "version": 1}));
    let replayed = Answer { status: 201, index: 9, revision: 2, body, replayed: true };
    let carried_out = misuse(Told::Answered(replayed));
    let violation = once::check(&carried_out.entries).expect_err("it must be caught");
    assert_eq!(violation.promise, EXACTLY_ONCE);
    shop.carry_out(&put("t/1", "misused"));
    let mut silent = shop.notes();
    let attempt =
        Attempt { node: "n1".to_owned(), invoked: (2, 0), returned: None, told: Told::Unknown };
    silent.entries.push(Entry {
        client: "s1".to_owned(),
        request: put("t/1", "misused"),
        key: Some("key".to_owned()),
        misused: true,
        attempts: vec![attempt],
    });
    caught(&silent, 3, EXACTLY_ONCE);
}

/// Another watcher who heard the same, changed by `bug`.
fn heard(prefix: &str, since: Option<u64>, bug: impl Fn(&mut Messages)) -> Notes {
    let mut notes = morning().notes();
    let bounds = Bounds::Prefix(prefix.to_owned());
    let mut messages = Vec::new();
    for message in &notes.sessions[0].messages {
        let (event, at, Message::Change { revision, more, events }) = message else { continue };
        let mine = events.iter().filter(|(change, _)| bounds.contains(&change.key));
        let events: Vec<_> = mine.cloned().collect();
        if !events.is_empty() && since.is_none_or(|since| *revision > since) {
            let (revision, more) = (*revision, *more);
            messages.push((*event, *at, Message::Change { revision, more, events }));
        }
    }
    bug(&mut messages);
    notes.sessions.push(session(prefix, since, messages));
    notes
}

#[test]
fn watchers_of_parts_and_of_later_times_are_fine() {
    for (prefix, since) in [("", 1), ("t/", 3), ("t/a/", 1), ("t/9", 4), ("none", 1)] {
        assert!(judge(&heard(prefix, Some(since), |_| {}), 6).is_ok(), "{prefix} {since}");
    }
    let sync = heard("t/", None, |messages| {
        messages.retain(|m| matches!(m.2, Message::Change { revision: 5.., .. }));
        messages.insert(0, (0, 0, Message::Sync(4)));
        messages.push((0, 0, Message::Progress(6)));
    });
    assert!(judge(&sync, 6).is_ok());
}

#[test]
fn a_watch_that_drops_repeats_reorders_or_invents_is_caught() {
    let bugs: [fn(&mut Messages); 9] = [
        |messages| drop(messages.remove(1)),
        |messages| {
            let again = messages[1].clone();
            messages.insert(2, again);
        },
        |messages| messages.swap(1, 2),
        // Half of a revision.
        |messages| {
            let Message::Change { events, .. } = &mut messages[2].2 else { return };
            events.pop();
        },
        // Another value.
        |messages| {
            let Message::Change { events, .. } = &mut messages[0].2 else { return };
            if let Some(record) = &mut events[0].0.now {
                record.value = "x".to_owned();
            }
        },
        // A revision that nobody made.
        |messages| {
            let mut made_up = messages[4].clone();
            if let Message::Change { revision, .. } = &mut made_up.2 {
                *revision = 7;
            }
            messages.push(made_up);
        },
        // Silence, although something had happened.
        |messages| {
            messages.truncate(3);
            messages.push((0, 0, Message::Progress(6)));
        },
        // Back to where it was.
        |messages| messages.push((0, 0, Message::Progress(2))),
        // It begins anew in the middle.
        |messages| messages.insert(2, (0, 0, Message::Sync(3))),
    ];
    for (number, bug) in bugs.into_iter().enumerate() {
        let violation =
            judge(&heard("", Some(1), bug), 6).expect_err(&format!("bug {number} must be caught"));
        let fine = [WATCH, SERIALIZABILITY].contains(&violation.promise);
        assert!(fine, "{number}: {violation}");
    }
}

#[test]
fn a_watch_that_begins_in_the_past_of_what_was_told_is_caught() {
    let mut notes = morning().notes();
    let mut late = session("t/", None, vec![(0, 0, Message::Sync(2))]);
    late.invoked = 1000;
    notes.sessions.push(late);
    caught(&notes, 6, WATCH);
}

#[test]
fn a_watch_refused_without_need_is_caught() {
    for (status, code, fine) in
        [(410, "compacted", true), (503, "stopping", true), (400, "future_revision", false)]
    {
        let mut notes = morning().notes();
        let mut refused = session("t/", Some(6), Vec::new());
        refused.refused = Some(Refusal { status, code: code.to_owned(), ..Refusal::default() });
        notes.sessions.push(refused);
        assert_eq!(judge(&notes, 6).is_ok(), fine, "{code}");
    }
}

/// Random requests against the correct shop are accepted; with one revision's answer turned into
/// that of another state, they are not, or the answer was the same.
#[test]
fn random_mornings_are_accepted_and_their_lies_are_not() {
    let (mut caught, mut tried) = (0, 0);
    for seed in 0..200 {
        let mut rng = Rng::stream(seed, "morning", 0);
        let mut shop = Shop::new();
        for step in 0..30 {
            let key = format!("t/{}", rng.below(3));
            let value = format!("{step}");
            let request = match rng.below(6) {
                0 => get(&key),
                1 => scan(Some(rng.within(&(1..shop.revision + 1)))),
                2 => delete(&key),
                3 => txn(&value),
                _ => put(&key, &value),
            };
            if rng.chance(0.1) && request.is_write() {
                shop.ask_in_vain(request);
            } else {
                shop.ask(request);
            }
        }
        let mut notes = shop.notes();
        assert!(
            judge(&notes, shop.revision).is_ok(),
            "seed {seed}: {:?}",
            judge(&notes, shop.revision)
        );
        let at = rng.index(notes.entries.len());
        let Told::Answered(answer) = &mut notes.entries[at].attempts[0].told else { continue };
        if answer.revision < 2 || answer.body.is_none() {
            continue;
        }
        answer.revision -= 1;
        tried += 1;
        caught += u32::from(judge(&notes, shop.revision).is_err());
    }
    assert!(tried > 100 && caught * 10 > tried * 9, "{caught} of {tried} lies were caught");
}
