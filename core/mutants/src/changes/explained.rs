//! Why a change that nothing finds is none: `core/mutants/survivors.txt`.
//!
//! Rule: one or more `change: <id>` lines and one `because: <reason>`, then a blank line. Must
//! never: hold a reason for a change that is found, or that no longer exists.

use std::{collections::BTreeMap, fs, path::Path};

/// Reasons by the ids of changes.
pub type Reasons = BTreeMap<String, String>;

/// Reads the file.
///
/// # Errors
/// What is wrong with it.
pub fn all(root: &Path) -> Result<Reasons, String> {
    let path = root.join("core/mutants/survivors.txt");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path:?}: {error}"))?;
    parse(&text)
}

/// Reads a text.
///
/// # Errors
/// A line that is neither, a change without a reason, or with two.
pub fn parse(text: &str) -> Result<Reasons, String> {
    let mut reasons = Reasons::new();
    let mut waiting: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim_end).filter(|line| !line.starts_with('#')) {
        if let Some(id) = line.strip_prefix("change: ") {
            waiting.push(id);
        } else if let Some(reason) = line.strip_prefix("because: ") {
            if waiting.is_empty() {
                return Err(format!("a reason for nothing: {reason}"));
            }
            for id in waiting.drain(..) {
                if reasons.insert(id.to_owned(), reason.to_owned()).is_some() {
                    return Err(format!("two reasons for {id}"));
                }
            }
        } else if !line.is_empty() {
            return Err(format!("cannot read {line:?}"));
        }
    }
    if waiting.is_empty() { Ok(reasons) } else { Err(format!("no reason for {}", waiting[0])) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reason_may_serve_several_changes() {
        let reasons = parse("# head\n\nchange: a: b\nchange: c: d\nbecause: why\n").unwrap();
        assert_eq!(reasons.get("a: b"), reasons.get("c: d"));
        assert_eq!(reasons.len(), 2);
    }

    #[test]
    fn a_change_has_one_reason_and_a_reason_has_a_change() {
        assert!(parse("change: a: b\n").unwrap_err().contains("no reason"));
        assert!(parse("because: why\n").unwrap_err().contains("for nothing"));
        let twice = "change: a: b\nbecause: why\n\nchange: a: b\nbecause: what\n";
        assert!(parse(twice).unwrap_err().contains("two reasons"));
        assert!(parse("changed: a: b\n").unwrap_err().contains("cannot read"));
    }
}
