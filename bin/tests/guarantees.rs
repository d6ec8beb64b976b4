//! What docs/guarantees.md promises is checked by tests that exist.

use std::{fs, path::Path};

#[test]
fn every_promise_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's root");
    let text = fs::read_to_string(root.join("docs/guarantees.md")).expect("it is there");
    let mut named = 0;
    for section in text.split("\n### ").skip(1) {
        let title = section.lines().next().unwrap_or_default();
        let tests: Vec<&str> = section
            .lines()
            .filter(|line| line.starts_with("Checked by: "))
            .flat_map(|line| line.split('`').skip(1).step_by(2))
            .collect();
        assert!(tests.iter().any(|name| !name.ends_with(".rs")), "no test checks {title:?}");
        let mut source = (String::new(), "no file");
        for name in tests {
            if name.ends_with(".rs") {
                let read = fs::read_to_string(root.join(name));
                source = (read.unwrap_or_else(|why| panic!("{title}: {name}: {why}")), name);
                continue;
            }
            named += 1;
            let (text, file) = &source;
            let found =
                text.match_indices(&format!("fn {name}(")).any(|(at, _)| is_test(&text[..at]));
            assert!(found, "{title}: {file} has no test {name}");
        }
    }
    assert!(named > 10, "only {named} tests were found in the text");
}

/// Whether what follows `before` is marked as a test.
fn is_test(before: &str) -> bool {
    let mut lines = before.lines().rev().skip_while(|line| {
        line.trim().is_empty() || line.trim() == "async" || line.trim().starts_with("//")
    });
    lines.next().is_some_and(|line| line.trim().ends_with("test]") || line.contains("::test("))
}
