//! A request under an idempotency key takes effect once, and every repeat is told the same.
//!
//! Rule: all answers that settle a request are one answer, and at most one of them is not marked as
//! a repeat; another request under the key is refused. (That no effect comes twice is seen in the
//! ledger: every value is written by one request.) Must never: take a refusal for an answer that
//! must be repeated.

use super::{Violation, ledger::EXACTLY_ONCE};
use crate::journal::{Answer, Entry, Told};

/// What was judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repeats {
    /// Requests that were sent more than once under one key.
    pub repeated: u64,
    /// Answers that said so themselves.
    pub replayed: u64,
    /// Other requests under a used key.
    pub misused: u64,
}

/// The status of answers that settle nothing: the state was not right, and may be the next time.
const UNSETTLED: [&str; 7] = [
    "lease_not_found",
    "lease_exists",
    "lock_held",
    "lock_lost",
    "fenced",
    "quota_exceeded",
    "quota_exceeded",
];

/// Checks every request that has a key.
///
/// # Errors
/// The first violation found.
pub fn check(entries: &[Entry]) -> Result<Repeats, Violation> {
    let mut repeats = Repeats::default();
    for entry in entries.iter().filter(|entry| entry.key.is_some()) {
        if entry.misused {
            repeats.misused += 1;
            misused(entry)?;
            continue;
        }
        repeats.repeated += u64::from(entry.attempts.len() > 1);
        let settled: Vec<&Answer> =
            entry.answers().map(|(_, answer)| answer).filter(|answer| settles(answer)).collect();
        repeats.replayed += settled.iter().filter(|answer| answer.replayed).count() as u64;
        let Some(first) = settled.first() else { continue };
        let same = |answer: &&Answer| {
            (answer.status, answer.revision, &answer.body)
                == (first.status, first.revision, &first.body)
        };
        if !settled.iter().all(same) {
            return Err(wrong("repeats were answered differently", entry));
        }
        if settled.iter().filter(|answer| !answer.replayed).count() > 1 {
            return Err(wrong("a repeat was not recognised", entry));
        }
    }
    Ok(repeats)
}

fn settles(answer: &Answer) -> bool {
    let code = answer.body.as_ref().and_then(|body| body.get("code")?.as_str());
    !code.is_some_and(|code| UNSETTLED.contains(&code))
}

fn misused(entry: &Entry) -> Result<(), Violation> {
    let fine = entry.attempts.iter().all(|attempt| match &attempt.told {
        Told::Answered(_) => false,
        Told::Unknown | Told::Refused { .. } => true,
    });
    if fine {
        Ok(())
    } else {
        Err(wrong("another request under a used key was carried out", entry))
    }
}

fn wrong(what: &str, entry: &Entry) -> Violation {
    Violation::new(EXACTLY_ONCE, format!("{what}: {entry:?}"))
}
