//! Reading who found a bug from what a test binary said.
//!
//! Rule: the first finding counts, by the name a person would look for: a script, a rule, a test.
//! Must never: take a failed build or a missing file for a finding.

/// The first script that went another way, and how many did: `area/name ... FAILED`.
#[must_use]
pub fn script(said: &str) -> Option<(String, usize)> {
    let failed = |line: &str| {
        let name = line.trim().strip_suffix(" ... FAILED")?.to_owned();
        (name.contains('/') && !name.contains(' ')).then_some(name)
    };
    let mut different: Vec<String> = Vec::new();
    for name in said.lines().filter_map(failed) {
        if !different.contains(&name) {
            different.push(name);
        }
    }
    let count = different.len();
    different.into_iter().next().map(|first| (first, count))
}

/// The rule of the lab that was broken, what it said, and the seed.
#[must_use]
pub fn seed(said: &str) -> Option<(String, String, u64)> {
    said.lines().find_map(|line| {
        let (seed, rest) = line.trim().strip_prefix("seed ")?.split_once(": ")?;
        let (rule, what) = rest.split_once(": ")?;
        let what = what.rsplit_once(" (at ").map_or(what, |(what, _)| what);
        Some((rule.to_owned(), what.to_owned(), seed.parse().ok()?))
    })
}

/// The first test that failed.
#[must_use]
pub fn failed_test(said: &str) -> Option<String> {
    let failed = |line: &str| {
        let name = line.trim().strip_prefix("test ")?.strip_suffix("... FAILED")?;
        Some(name.trim().trim_end_matches(" - should panic").to_owned())
    };
    said.lines().find_map(failed).or_else(|| {
        // A process that died took the rest of the line with it.
        let started = said.lines().rev().find_map(|line| line.trim().strip_prefix("test "));
        started.and_then(|line| line.split_once(" ...")).map(|(name, _)| name.to_owned())
    })
}

/// The law that was broken, the rule in it, and the schedule: `loss, schedule 3: rule: what`.
#[must_use]
pub fn schedule(said: &str) -> Option<(String, String, u64)> {
    said.lines().find_map(|line| {
        let (law, rest) = line.trim().split_once(", schedule ")?;
        let (schedule, rest) = rest.split_once(": ")?;
        let (rule, _) = rest.split_once(": ")?;
        Some((law.to_owned(), rule.to_owned(), schedule.parse().ok()?))
    })
}

/// Seeds by bug of the lab's adapters: `Name without [..]: seed 3: rule`, in order.
#[must_use]
pub fn adapters(said: &str) -> Vec<(String, u64, String)> {
    let parse = |line: &str| {
        let (name, rest) = line.trim().split_once(" without ")?;
        let (_, rest) = rest.split_once("]: seed ")?;
        let (seed, rule) = rest.split_once(": ")?;
        Some((name.to_owned(), seed.parse().ok()?, rule.to_owned()))
    };
    said.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_read() {
        let golden = "test x ... FAILED\na/b ... ok\na/c ... FAILED\na/d ... FAILED\n";
        assert_eq!(script(golden), Some(("a/c".to_owned(), 2)));
        assert_eq!(script("test x ... FAILED\n"), None);
        let lab = "seed 12: log matching: n1 and n2 differ (at 3.000 ms, event 9)\nplan: ";
        let found = ("log matching".to_owned(), "n1 and n2 differ".to_owned(), 12);
        assert_eq!(seed(lab), Some(found));
        assert_eq!(
            failed_test("test a::b ... ok\ntest a::c ... FAILED\n"),
            Some("a::c".to_owned())
        );
        assert_eq!(failed_test("test a::b ... "), Some("a::b".to_owned()));
        let law = "loss, schedule 3: one vote per term: n1 votes twice";
        let found = ("loss".to_owned(), "one vote per term".to_owned(), 3);
        assert_eq!(schedule(law), Some(found));
        let line = "VoteLost without [\"x\"]: seed 4: one vote per term";
        let found = ("VoteLost".to_owned(), 4, "one vote per term".to_owned());
        assert_eq!(adapters(line), [found]);
    }
}
