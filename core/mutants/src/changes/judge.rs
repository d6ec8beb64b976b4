//! Judging a change: the checks in order, until one finds it.
//!
//! Rule: scripts, then unit and property tests; for what these do not find, when all have been
//! through them, the laws, then the lab; the first finding ends it. A run that does not end is a finding. Must never: judge with a check that the unchanged
//! core does not pass.

use crate::judge::{Bench, Bounds, Verdict};
use std::time::Instant;

/// Seeds of the lab that a change gets that nothing else finds.
pub const SEEDS: u64 = 20;

/// What a run may take. An ordinary one takes a fraction of it, but a change makes many a loop
/// endless.
pub const BOUNDS: Bounds =
    Bounds { golden: 4, unit: 10, laws: 60, lab: 20, schedules: 50, memory: 2 << 20, first: true };

/// Property tests that take longer than all others: a change meets them only when no script and no
/// other test has found it, or when it is in the file that they are about.
const SLOW: [(&str, &[&str]); 2] =
    [("recovery", &["raft/recovery.rs", "raft/epoch.rs", "raft/restore.rs"]), ("nonsense", &[])];

impl Bench {
    /// Runs the scripts and the unit and property tests against the change of this number: nearly
    /// all are found by these, in a second.
    ///
    /// # Errors
    /// When a binary cannot be run at all.
    pub fn judge_by_scripts(&self, number: usize, file: &str) -> Result<Verdict, String> {
        let began = Instant::now();
        let mut first = self.golden(number)?;
        if first.is_none() {
            let slow =
                |target: &str| SLOW.iter().any(|slow| slow.0 == target && !slow.1.contains(&file));
            first = self.units_of(number, |target| !slow(target))?;
        }
        Ok(Verdict { first, seconds: began.elapsed().as_secs_f64(), ..Verdict::default() })
    }

    /// Runs random schedules against a change that no script has found.
    ///
    /// # Errors
    /// When a binary cannot be run at all.
    pub fn judge_by_chance(&self, number: usize) -> Result<Verdict, String> {
        let began = Instant::now();
        let first = self.units_of(number, |target| SLOW.iter().any(|slow| slow.0 == target))?;
        let mut verdict = Verdict { first, ..Verdict::default() };
        if verdict.first.is_none() {
            verdict.first = self.laws(number)?;
        }
        if verdict.first.is_none() {
            (verdict.lab, verdict.seeds) = self.lab(number, SEEDS)?;
            verdict.first.clone_from(&verdict.lab);
        }
        verdict.seconds = began.elapsed().as_secs_f64();
        Ok(verdict)
    }
}
