//! The rows of the bug list: `rows.txt`.
//!
//! Rule: every row has mutants, or says why it has none: `types` (it cannot be written down here),
//! `node` (it belongs to disk, network, HTTP or clock of a whole node, which the node-level
//! simulator has), `design` (what it is about does not exist here). Must never: be silently left out.

use crate::mutant::Mutant;
use std::{fs, path::Path};

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `EL-6`.
    pub id: String,
    /// A, B or C.
    pub priority: char,
    /// What went wrong.
    pub what: String,
    /// The heading it stands under.
    pub section: String,
    /// Why it has no mutant: the kind and the reason.
    pub absent: Option<(String, String)>,
}

/// Reads the rows.
///
/// # Errors
/// What cannot be read.
pub fn all(root: &Path) -> Result<Vec<Row>, String> {
    let path = root.join("core/mutants/rows.txt");
    let text = fs::read_to_string(&path).map_err(|error| format!("rows.txt: {error}"))?;
    let mut rows: Vec<Row> = Vec::new();
    let mut section = String::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let wrong = || format!("rows.txt: cannot read {line:?}");
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.to_owned();
        } else if let Some(reason) = line.strip_prefix("  ") {
            let (kind, reason) = reason.split_once(": ").ok_or_else(wrong)?;
            if !["types", "node", "design"].contains(&kind) {
                return Err(wrong());
            }
            let row = rows.last_mut().ok_or_else(wrong)?;
            row.absent = Some((kind.to_owned(), reason.to_owned()));
        } else {
            let mut parts = line.splitn(3, ' ');
            let (Some(id), Some(priority), Some(what)) = (parts.next(), parts.next(), parts.next())
            else {
                return Err(wrong());
            };
            let priority =
                priority.chars().next().filter(|p| "ABC".contains(*p)).ok_or_else(wrong)?;
            let (id, what) = (id.to_owned(), what.to_owned());
            rows.push(Row { id, priority, what, section: section.clone(), absent: None });
        }
    }
    Ok(rows)
}

/// What does not fit between rows and mutants.
#[must_use]
pub fn misfits(rows: &[Row], mutants: &[Mutant]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let planted = mutants.iter().any(|mutant| mutant.row == row.id);
        match &row.absent {
            None if !planted => wrong.push(format!("{}: neither a mutant nor a reason", row.id)),
            Some(_) if planted => wrong.push(format!("{}: a mutant and a reason", row.id)),
            _ => {}
        }
        if rows[..at].iter().any(|earlier| earlier.id == row.id) {
            wrong.push(format!("{}: twice", row.id));
        }
    }
    for mutant in mutants {
        if !rows.iter().any(|row| row.id == mutant.row) {
            wrong.push(format!("{}: there is no row {}", mutant.id, mutant.row));
        }
        if !mutant.id.starts_with(&format!("{}-", mutant.row)) {
            wrong.push(format!("{}: its name does not begin with its row", mutant.id));
        }
    }
    wrong
}
