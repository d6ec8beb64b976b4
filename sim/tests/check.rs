//! The judges accept what is consistent and catch what is not.

use kvorum_sim::{
    check::{
        Violation,
        blackbox::{self, Coverage},
        invariants::{ELECTION_SAFETY, Invariants, STATE_MACHINE_SAFETY},
        witness::{self, DURABILITY, LINEARIZABILITY, TRUTH},
    },
    history::{Answer, Call, Guard, History, Outcome, Reply},
    rng::Rng,
};
use std::collections::BTreeMap;

const STEPS: u64 = 100_000;

/// Writes histories down one line at a time.
#[derive(Default)]
struct Script {
    history: History,
}

fn done(index: u64, revision: u64, result: Reply) -> Outcome {
    Outcome::Done(Answer { index, revision, result })
}

fn get(key: u32) -> Call {
    Call::Get { key, stale: false }
}

fn set(key: u32, value: u64) -> Call {
    Call::Set { pairs: vec![(key, value)], guard: Guard::Always }
}

fn delete(key: u32) -> Call {
    Call::Delete { key, guard: Guard::Always }
}

fn found(value: u64, modified: u64) -> Reply {
    Reply::Found { value, modified }
}

impl Script {
    /// An operation that returns before the next begins.
    fn at_once(&mut self, call: Call, outcome: Outcome) -> &mut Script {
        let operation = self.history.invoke(1, "n1", call);
        self.history.finish(operation, outcome);
        self
    }

    fn begin(&mut self, call: Call) -> usize {
        self.history.invoke(2, "n2", call)
    }

    fn end(&mut self, operation: usize, outcome: Outcome) {
        self.history.finish(operation, outcome);
    }

    fn witness(&self) -> Result<(), Violation> {
        witness::check(&self.history)
    }

    fn blackbox(&self) -> Result<Coverage, Violation> {
        blackbox::check(&self.history, STEPS)
    }

    fn is_fine(&self) {
        assert_eq!(self.witness(), Ok(()));
        assert_eq!(self.blackbox().map(|coverage| coverage.undecided), Ok(0));
    }

    fn witness_objects(&self, promise: &str) {
        let violation = self.witness().expect_err("it must be caught");
        assert_eq!(violation.promise, promise, "{violation}");
    }

    fn both_object(&self) {
        self.witness_objects(LINEARIZABILITY);
        self.blackbox_objects();
    }

    fn blackbox_objects(&self) {
        let violation = self.blackbox().expect_err("it must be caught");
        assert_eq!(violation.promise, LINEARIZABILITY);
    }
}

#[test]
fn writes_and_reads_in_order_are_fine() {
    let mut script = Script::default();
    script
        .at_once(get(1), done(1, 1, Reply::Missing))
        .at_once(set(1, 10), done(2, 2, Reply::Written))
        .at_once(get(1), done(2, 2, found(10, 2)))
        .at_once(delete(1), done(3, 3, Reply::Written))
        .at_once(delete(1), done(4, 3, Reply::Missing))
        .at_once(get(1), done(4, 3, Reply::Missing));
    script.is_fine();
}

#[test]
fn a_read_of_an_overwritten_value_is_caught() {
    let mut script = Script::default();
    script
        .at_once(set(1, 10), done(2, 2, Reply::Written))
        .at_once(set(1, 11), done(3, 3, Reply::Written))
        .at_once(get(1), done(2, 2, found(10, 2)));
    script.both_object();
}

#[test]
fn a_stale_read_with_a_made_up_revision_is_caught() {
    let mut script = Script::default();
    script
        .at_once(set(1, 10), done(2, 2, Reply::Written))
        .at_once(set(1, 11), done(3, 3, Reply::Written))
        .at_once(get(1), done(3, 3, found(10, 2)));
    script.both_object();
}

#[test]
fn a_read_that_asks_for_any_state_may_be_old_but_not_wrong() {
    let stale = Call::Get { key: 1, stale: true };
    let mut script = Script::default();
    script
        .at_once(set(1, 10), done(2, 2, Reply::Written))
        .at_once(set(1, 11), done(3, 3, Reply::Written))
        .at_once(stale.clone(), done(2, 2, found(10, 2)));
    script.is_fine();
    script.at_once(stale, done(2, 2, found(11, 3)));
    script.witness_objects(LINEARIZABILITY);
}

#[test]
fn concurrent_operations_may_take_effect_in_any_order() {
    for (value, modified) in [(10, 2), (11, 3)] {
        let mut script = Script::default();
        let first = script.begin(set(1, 10));
        let second = script.begin(set(1, 11));
        let read = script.begin(get(1));
        script.end(read, done(modified, modified, found(value, modified)));
        script.end(second, done(3, 3, Reply::Written));
        script.end(first, done(2, 2, Reply::Written));
        script.is_fine();
    }
}

#[test]
fn two_reads_that_see_concurrent_writes_in_opposite_orders_are_caught() {
    let mut script = Script::default();
    let first = script.begin(set(1, 10));
    let second = script.begin(set(1, 11));
    script
        .at_once(get(1), done(2, 2, found(10, 2)))
        .at_once(get(1), done(3, 3, found(11, 3)))
        .at_once(get(1), done(2, 2, found(10, 2)));
    script.end(first, done(2, 2, Reply::Written));
    script.end(second, done(3, 3, Reply::Written));
    script.both_object();
}

#[test]
fn an_acknowledged_write_that_is_gone_is_caught() {
    let mut script = Script::default();
    script
        .at_once(set(1, 10), done(2, 2, Reply::Written))
        .at_once(get(1), done(3, 2, Reply::Missing));
    script.witness_objects(DURABILITY);
    script.blackbox_objects();
}

#[test]
fn a_store_that_forgot_everything_and_counts_anew_is_caught() {
    let mut script = Script::default();
    script
        .at_once(set(1, 10), done(2, 2, Reply::Written))
        .at_once(set(2, 20), done(2, 2, Reply::Written));
    script.witness_objects(LINEARIZABILITY);
}

#[test]
fn an_unknown_write_may_be_seen_or_not_but_not_come_and_go() {
    let mut never = Script::default();
    never.begin(set(1, 10));
    never.at_once(get(1), done(1, 1, Reply::Missing));
    never.is_fine();

    let mut late = Script::default();
    late.begin(set(1, 10));
    late.at_once(get(1), done(1, 1, Reply::Missing)).at_once(get(1), done(2, 2, found(10, 2)));
    late.is_fine();

    late.at_once(get(1), done(3, 2, Reply::Missing));
    late.witness_objects(DURABILITY);
    late.blackbox_objects();
}

#[test]
fn an_unknown_delete_explains_a_missing_key() {
    let mut script = Script::default();
    script.at_once(set(1, 10), done(2, 2, Reply::Written));
    script.begin(delete(1));
    script.at_once(get(1), done(3, 3, Reply::Missing));
    script.is_fine();
}

#[test]
fn a_write_that_was_refused_must_never_be_seen() {
    let mut script = Script::default();
    script.at_once(set(1, 10), Outcome::Refused).at_once(get(1), done(2, 2, found(10, 2)));
    script.witness_objects(TRUTH);
    script.blackbox_objects();
}

#[test]
fn a_write_that_was_refused_but_left_a_revision_is_caught() {
    let mut script = Script::default();
    script.at_once(set(1, 10), Outcome::Refused).at_once(set(2, 20), done(3, 3, Reply::Written));
    script.witness_objects(LINEARIZABILITY);
}

#[test]
fn an_unknown_write_seen_before_it_was_invoked_is_caught() {
    let mut script = Script::default();
    script.at_once(get(1), done(2, 2, found(10, 2)));
    script.begin(set(1, 10));
    script.blackbox_objects();
}

#[test]
fn an_unknown_write_placed_before_what_had_returned_is_caught() {
    let mut script = Script::default();
    script.at_once(set(2, 20), done(3, 3, Reply::Written));
    script.begin(set(1, 10));
    script.at_once(get(1), done(3, 3, found(10, 2)));
    script.witness_objects(LINEARIZABILITY);
}

#[test]
fn a_swap_needs_what_it_expects() {
    let swap = |revision, value, new| Call::Set {
        pairs: vec![(1, new)],
        guard: Guard::At { revision, value },
    };
    let mut script = Script::default();
    script
        .at_once(set(1, 10), done(2, 2, Reply::Written))
        .at_once(swap(2, 10, 11), done(3, 3, Reply::Written))
        .at_once(swap(2, 10, 12), done(4, 3, Reply::Conflict))
        .at_once(get(1), done(4, 3, found(11, 3)));
    script.is_fine();
    let mut wrong = Script::default();
    wrong
        .at_once(set(1, 10), done(2, 2, Reply::Written))
        .at_once(set(1, 11), done(3, 3, Reply::Written))
        .at_once(swap(2, 10, 12), done(4, 4, Reply::Written));
    wrong.both_object();
    let mut shy = Script::default();
    shy.at_once(set(1, 10), done(2, 2, Reply::Written))
        .at_once(swap(2, 10, 11), done(3, 2, Reply::Conflict));
    shy.both_object();
}

#[test]
fn an_unseen_unknown_write_explains_a_conflict() {
    let mut script = Script::default();
    script.at_once(set(1, 10), done(2, 2, Reply::Written));
    script.begin(set(1, 11));
    let guard = Guard::At { revision: 2, value: 10 };
    script
        .at_once(Call::Set { pairs: vec![(1, 12)], guard }, done(4, 3, Reply::Conflict))
        .at_once(set(1, 13), done(5, 4, Reply::Written));
    script.is_fine();
}

#[test]
fn creating_a_key_needs_its_absence() {
    let create = |value| Call::Set { pairs: vec![(1, value)], guard: Guard::Absent };
    let mut script = Script::default();
    script
        .at_once(create(10), done(2, 2, Reply::Written))
        .at_once(create(11), done(3, 2, Reply::Conflict))
        .at_once(delete(1), done(4, 3, Reply::Written))
        .at_once(create(12), done(5, 4, Reply::Written));
    script.is_fine();
    script.at_once(create(13), done(6, 5, Reply::Written));
    script.both_object();
}

#[test]
fn keys_set_together_are_seen_together() {
    let both = Call::Set { pairs: vec![(1, 10), (2, 20)], guard: Guard::Always };
    let mut script = Script::default();
    script
        .at_once(both, done(2, 2, Reply::Written))
        .at_once(get(1), done(2, 2, found(10, 2)))
        .at_once(get(2), done(2, 2, found(20, 2)));
    script.is_fine();
    script.at_once(get(2), done(3, 2, Reply::Missing));
    script.witness_objects(DURABILITY);
}

#[test]
fn answers_out_of_the_order_of_the_log_are_caught() {
    let mut script = Script::default();
    script
        .at_once(set(1, 10), done(5, 2, Reply::Written))
        .at_once(set(1, 11), done(4, 3, Reply::Written));
    script.witness_objects(LINEARIZABILITY);
}

/// A correct store of one register per key, asked by clients that overlap at random.
fn random_history(seed: u64) -> History {
    let mut rng = Rng::stream(seed, "history", 0);
    let mut history = History::default();
    let mut state: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let (mut index, mut revision, mut value) = (0, 1, 100);
    // (operation, its outcome once it has taken effect)
    let mut open: Vec<(usize, Call, Option<Outcome>)> = Vec::new();
    for _ in 0..120 {
        let choice = rng.below(3);
        if choice == 0 && open.len() < 5 {
            let key = rng.below(2) as u32;
            value += 1;
            let current = state.get(&key).copied();
            let guard = match (rng.below(3), current) {
                (0, Some((value, revision))) => Guard::At { revision, value },
                (1, _) => Guard::Absent,
                _ => Guard::Always,
            };
            let call = match rng.below(4) {
                0 => delete(key),
                1 => get(key),
                _ => Call::Set { pairs: vec![(key, value)], guard },
            };
            open.push((history.invoke(0, "n", call.clone()), call, None));
        } else if choice == 1 {
            let waiting: Vec<usize> = (0..open.len()).filter(|n| open[*n].2.is_none()).collect();
            if waiting.is_empty() {
                continue;
            }
            let (_, call, outcome) = &mut open[*rng.pick(&waiting)];
            index += 1;
            let result = apply(&mut state, &mut revision, call);
            *outcome = Some(done(index, revision, result));
        } else if !open.is_empty() {
            let at = rng.index(open.len());
            if open[at].2.is_some() || rng.chance(0.1) {
                let (operation, _, outcome) = open.swap_remove(at);
                let lost = rng.chance(0.1);
                let told = outcome.filter(|_| !lost).unwrap_or(Outcome::Unknown);
                history.finish(operation, told);
            }
        }
    }
    history
}

fn apply(state: &mut BTreeMap<u32, (u64, u64)>, revision: &mut u64, call: &Call) -> Reply {
    match call {
        Call::Get { key, .. } => match state.get(key) {
            Some((value, modified)) => found(*value, *modified),
            None => Reply::Missing,
        },
        Call::Delete { key, .. } => match state.remove(key) {
            Some(_) => {
                *revision += 1;
                Reply::Written
            }
            None => Reply::Missing,
        },
        Call::Set { pairs, guard } => {
            let (key, value) = pairs[0];
            let current = state.get(&key);
            let holds = match guard {
                Guard::Always => true,
                Guard::Absent => current.is_none(),
                Guard::At { revision, .. } => current.is_some_and(|(_, at)| at == revision),
            };
            if !holds {
                return Reply::Conflict;
            }
            *revision += 1;
            state.insert(key, (value, *revision));
            Reply::Written
        }
    }
}

#[test]
fn random_histories_of_a_correct_store_are_accepted() {
    for seed in 0..500 {
        let history = random_history(seed);
        assert_eq!(witness::check(&history), Ok(()), "seed {seed}");
        let verdict = blackbox::check(&history, STEPS).map(|coverage| coverage.undecided);
        assert_eq!(verdict, Ok(0), "seed {seed}");
    }
}

#[test]
fn a_read_turned_back_in_a_random_history_is_caught_by_both_or_harmless_to_both() {
    let (mut caught, mut blind) = (0, 0);
    for seed in 0..300 {
        let mut history = random_history(seed);
        // The last read of a value tells of an older one of the same key.
        let reads: Vec<(usize, u32)> = history
            .operations()
            .iter()
            .enumerate()
            .filter_map(|(n, operation)| match (&operation.call, operation.answer()) {
                (Call::Get { key, .. }, Some(Answer { result: Reply::Found { .. }, .. })) => {
                    Some((n, *key))
                }
                _ => None,
            })
            .collect();
        let Some((last, key)) = reads.last().copied() else { continue };
        let older = reads.iter().rev().skip(1).find(|(n, k)| {
            *k == key && history.operations()[*n].answer() != history.operations()[last].answer()
        });
        let Some((older, _)) = older else { continue };
        let outcome = history.operations()[*older].outcome.clone();
        if outcome == history.operations()[last].outcome {
            continue;
        }
        history.operations_mut()[last].outcome = outcome;
        let (by_order, by_search) =
            (witness::check(&history).is_err(), blackbox::check(&history, STEPS).is_err());
        assert!(
            by_order || !by_search,
            "seed {seed}: the certificate missed what the search found"
        );
        caught += u32::from(by_search);
        blind += u32::from(by_order && !by_search);
    }
    assert!(caught > 30, "the search caught {caught}, the certificate {blind} more");
}

#[test]
fn a_search_that_takes_too_long_says_so() {
    let mut script = Script::default();
    let open: Vec<usize> = (0..40).map(|n| script.begin(set(1, 100 + n))).collect();
    for (n, operation) in open.into_iter().enumerate() {
        let n = n as u64;
        script.end(operation, done(n + 1, n + 2, Reply::Written));
    }
    script.at_once(get(1), done(50, 41, found(120, 22)));
    let coverage = blackbox::check(&script.history, 5).expect("it cannot know");
    assert_eq!(coverage, Coverage { decided: 0, undecided: 1 });
}

#[test]
fn two_leaders_of_one_term_are_caught() {
    let mut invariants = Invariants::default();
    assert_eq!(invariants.leads("a", 1), Ok(()));
    assert_eq!(invariants.leads("b", 2), Ok(()));
    assert_eq!(invariants.leads("a", 1), Ok(()));
    let violation = invariants.leads("b", 1).expect_err("two leaders");
    assert_eq!(violation.promise, ELECTION_SAFETY);
}

#[test]
fn two_states_at_one_index_are_caught() {
    let mut invariants = Invariants::default();
    assert_eq!(invariants.applied("a", 1, "x"), Ok(()));
    assert_eq!(invariants.applied("b", 1, "x"), Ok(()));
    assert_eq!(invariants.applied("b", 2, "y"), Ok(()));
    let violation = invariants.applied("a", 2, "z").expect_err("they differ");
    assert_eq!(violation.promise, STATE_MACHINE_SAFETY);
    assert_eq!(invariants.compared(), 2);
}
