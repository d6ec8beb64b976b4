//! Finding a mutant's text in the sources of the core.
//!
//! Rule: what is looked for occurs exactly once in the function or file named; white space does not
//! count, so that the formatter may break a line elsewhere. Must never: guess between two places.

use crate::mutant::Edit;
use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

/// Every source file below `core/src`, by its path from there.
pub type Sources = BTreeMap<String, String>;

/// Reads them.
///
/// # Errors
/// What cannot be read.
pub fn read(root: &Path) -> Result<Sources, String> {
    let source = root.join("core/src");
    let mut sources = Sources::new();
    for path in files(&source)? {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(&source).expect("below it").to_string_lossy();
            let text = fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
            sources.insert(name.replace('\\', "/"), text);
        }
    }
    Ok(sources)
}

/// All files below a directory.
///
/// # Errors
/// What cannot be read.
pub fn files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The file and the bytes an edit means.
///
/// # Errors
/// When that is not exactly one place.
pub fn locate(sources: &Sources, edit: &Edit) -> Result<(String, Range<usize>), String> {
    let wanted = format!("/{}", edit.file);
    let mut named = sources.keys().filter(|file| format!("/{file}").ends_with(&wanted));
    let (file, None) = (named.next(), named.next()) else {
        return Err(format!("{} names more than one file", edit.file));
    };
    let file = file.ok_or_else(|| format!("there is no file {}", edit.file))?;
    let text = &sources[file];
    let region = match &edit.function {
        Some(function) => body(text, function).map_err(|what| format!("{file}: {what}"))?,
        None => 0..text.len(),
    };
    let places = occurrences(&text[region.clone()], &edit.find);
    match &places[..] {
        [place] => Ok((file.clone(), region.start + place.start..region.start + place.end)),
        _ => {
            let place = edit.function.as_deref().unwrap_or("it");
            let find = edit.find.trim();
            Err(format!("{file}: {} times in {place}: {find}", places.len()))
        }
    }
}

/// From the head of a function to the brace that closes it, found by its indentation.
fn body(text: &str, function: &str) -> Result<Range<usize>, String> {
    let is_head = |line: &str| {
        let after = line.split_once(&format!("fn {function}")).map(|(_, after)| after);
        after.is_some_and(|after| after.starts_with(['(', '<']))
    };
    let mut heads = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if is_head(line) {
            heads.push((at, line.len() - line.trim_start().len()));
        }
        at += line.len();
    }
    let [(start, indentation)] = heads[..] else {
        return Err(format!("fn {function} occurs {} times", heads.len()));
    };
    let end = format!("\n{}}}\n", " ".repeat(indentation));
    let length = text[start..].find(&end).ok_or_else(|| format!("fn {function} has no end"))?;
    Ok(start..start + length + end.len())
}

/// Where `find` occurs, white space aside.
fn occurrences(text: &str, find: &str) -> Vec<Range<usize>> {
    let dense = |text: &str| -> Vec<(usize, char)> {
        text.char_indices().filter(|(_, c)| !c.is_whitespace()).collect()
    };
    let (text, find) = (dense(text), dense(find));
    if find.is_empty() {
        return Vec::new();
    }
    let same = |window: &[(usize, char)]| window.iter().zip(&find).all(|(a, b)| a.1 == b.1);
    let range = |window: &[(usize, char)]| {
        let (last, c) = window[window.len() - 1];
        window[0].0..last + c.len_utf8()
    };
    // `end` is not found in `held.end`.
    let whole = |at: usize| {
        let before = at.checked_sub(1).map(|before| text[before]);
        let begins_a_word = find[0].1.is_alphanumeric();
        before.is_none_or(|(place, c)| {
            let joined = place + c.len_utf8() == text[at].0;
            !(begins_a_word && joined && (c.is_alphanumeric() || ['.', '_'].contains(&c)))
        })
    };
    let windows = text.windows(find.len()).enumerate();
    let found = windows.filter(|(at, window)| same(window) && whole(*at));
    found.map(|(_, window)| range(window)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "impl A {\n    fn one(&self) {\n        a(1,\n            2);\n    }\n\n    \
                        pub fn two() {\n        a(1, 2);\n        b();\n        b();\n    }\n}\n";

    fn find(function: Option<&str>, find: &str) -> Result<String, String> {
        let sources = Sources::from([("raft/a.rs".to_owned(), TEXT.to_owned())]);
        let edit = Edit {
            file: "a.rs".to_owned(),
            function: function.map(str::to_owned),
            find: find.to_owned(),
            replace: String::new(),
        };
        locate(&sources, &edit).map(|(_, place)| TEXT[place].to_owned())
    }

    #[test]
    fn a_text_is_found_in_its_function_however_its_lines_break() {
        assert_eq!(find(Some("one"), "a(1, 2);").unwrap(), "a(1,\n            2);");
        assert_eq!(find(Some("two"), "a(1, 2);").unwrap(), "a(1, 2);");
    }

    #[test]
    fn a_text_that_occurs_twice_or_never_is_refused() {
        assert!(find(None, "a(1, 2);").unwrap_err().contains("2 times"));
        assert!(find(Some("two"), "b();").unwrap_err().contains("2 times"));
        assert!(find(Some("one"), "b();").unwrap_err().contains("0 times"));
        assert!(find(Some("three"), "b();").unwrap_err().contains("occurs 0 times"));
    }
}
