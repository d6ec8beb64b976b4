//! How bytes, records and tables are printed.
//!
//! Rule: what one program writes another can read back: a value alone is written as its bytes, and
//! what shares a line with something else has its control characters, backslashes and bytes that
//! are not UTF-8 escaped. Must never: let a stored byte act on a terminal.

use crate::client::Failure;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::io::{self, IsTerminal, Write};

/// Writes to standard output, at once.
///
/// # Errors
/// When standard output does not take it.
pub fn print(bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes.as_ref()).and_then(|()| out.flush()).map_err(|e| Failure::output(&e))
}

/// A line of standard output.
///
/// # Errors
/// As `print`.
pub fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    print(format!("{}\n", text.as_ref()))
}

/// Tells what a change did. The change is done, so a reader that is gone is no failure any more.
pub fn told(text: impl AsRef<str>) {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush());
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        crate::exit::say(&format!("done, but standard output does not take it: {error}"));
    }
}

/// A value for whoever reads it: bytes as they are, and for a person's eyes a line without control
/// characters.
pub fn value(bytes: &[u8]) -> Vec<u8> {
    let mut out = if io::stdout().is_terminal() {
        let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
        match std::str::from_utf8(bytes) {
            Ok(text) if text.chars().all(harmless) => bytes.to_vec(),
            _ => escaped(bytes).into_bytes(),
        }
    } else {
        bytes.to_vec()
    };
    out.push(b'\n');
    out
}

/// Bytes as a part of a line: text stays text; `\\`, `\n`, `\t`, `\r` and `\xNN` stand for the rest.
pub fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                c if c.is_control() => {
                    let mut utf8 = [0; 4];
                    for byte in c.encode_utf8(&mut utf8).bytes() {
                        out.push_str(&format!("\\x{byte:02x}"));
                    }
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// The key of a record, in bytes.
pub fn key_of(record: &Value) -> Vec<u8> {
    bytes_of(&record["key"], &record["key_base64"])
}

/// The value of a record, in bytes.
pub fn value_of(record: &Value) -> Vec<u8> {
    match record.get("value_json") {
        Some(json) => json.to_string().into_bytes(),
        None => bytes_of(&record["value"], &record["value_base64"]),
    }
}

fn bytes_of(text: &Value, base64: &Value) -> Vec<u8> {
    match (text.as_str(), base64.as_str()) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(encoded)) => STANDARD.decode(encoded).unwrap_or_default(),
        (None, None) => Vec::new(),
    }
}

/// Rows under a head, in columns as wide as they must be; nothing stands behind the last one.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut out = String::new();
    let head = head.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// A member of an object as text: strings without quotes, null as a dash.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => escaped(text.as_bytes()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{escaped, table};

    #[test]
    fn a_part_of_a_line_stays_on_it_and_can_be_read_back() {
        assert_eq!(escaped("ä b".as_bytes()), "ä b");
        assert_eq!(escaped(b"a\tb\nc\\d\r"), "a\\tb\\nc\\\\d\\r");
        assert_eq!(escaped(b"\x1b[31m\x80\xff\x00"), "\\x1b[31m\\x80\\xff\\x00");
        assert_eq!(escaped("\u{85}".as_bytes()), "\\xc2\\x85");
    }

    #[test]
    fn a_table_has_columns() {
        let rows = [vec!["app1".to_owned(), "leader".to_owned()], vec!["b".to_owned()]];
        assert_eq!(table(&["NAME", "ROLE"], &rows), "NAME  ROLE\napp1  leader\nb\n");
    }
}
