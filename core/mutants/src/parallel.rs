//! Judging several at a time.
//!
//! Rule: each is judged once, with a line as it is done; the first that cannot be judged is what
//! the caller hears. Must never: stop before all were tried, for verdicts are kept as they come.

use crate::judge::Verdict;
use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

/// Judges what is in `todo`; `judge` returns the line to print and the verdict.
///
/// # Errors
/// Of the last that could not be judged.
pub fn judge(
    todo: &[usize],
    jobs: usize,
    judge: impl Fn(usize) -> Result<(String, Verdict), String> + Sync,
) -> Result<Vec<(usize, Verdict)>, String> {
    let next = AtomicUsize::new(0);
    let judged = Mutex::new(Vec::new());
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(&at) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match judge(at) {
                        Ok((line, verdict)) => {
                            let mut judged = judged.lock().expect("nobody panics with it");
                            println!("{}/{} {line}", judged.len() + 1, todo.len());
                            judged.push((at, verdict));
                        }
                        Err(what) => *failed.lock().expect("nobody panics with it") = Some(what),
                    }
                }
            });
        }
    });
    match failed.into_inner().expect("nobody panics with it") {
        Some(what) => Err(what),
        None => Ok(judged.into_inner().expect("nobody panics with it")),
    }
}
