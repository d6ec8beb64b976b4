//! Durations as people write them: `30s`, `500ms`, `5m`, or bare seconds.
//!
//! Rule: whole numbers and one unit. Must never: round or wrap.

use std::time::Duration;

/// Reads a duration; `None` when it is not one.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" | "" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    }
}
