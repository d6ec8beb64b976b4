//! "Persist before send" cannot be got wrong from outside: what would break it does not compile.
//!
//! Each file in `cases` compiles as it stands, and with the feature `broken`, which adds one
//! statement, it fails: in the line that ends in `//~ …`, with that error (its code or first word,
//! and the names in it), and no other.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const MARK: &str = "//~ ";
/// What each case is compiled under besides its own text: one line, so that lines keep numbers.
const HEAD: &str = "#![deny(warnings)] #![allow(clippy::all)]";

/// Where and what the compiler says, by the name of the case.
type Errors = BTreeMap<String, Vec<(usize, String)>>;

fn cases() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gate/cases");
    let files = fs::read_dir(dir).expect("the cases").map(|file| file.expect("a case").path());
    let mut cases: Vec<_> = files
        .map(|path| {
            let name = path.file_stem().expect("a name").to_str().expect("letters").to_owned();
            (name, fs::read_to_string(path).expect("a readable case"))
        })
        .collect();
    cases.sort();
    cases
}

/// What a case says of itself.
fn expected(cases: &[(String, String)]) -> Errors {
    let marked = |text: &str| -> Vec<(usize, String)> {
        let lines = (1..).zip(text.lines());
        lines.filter_map(|(at, line)| Some((at, line.split_once(MARK)?.1.to_owned()))).collect()
    };
    cases.iter().map(|(name, text)| (name.clone(), marked(text))).collect()
}

/// Whether `E0616 gated` or `unused Write` is what the compiler says.
fn is(mark: &str, error: &str) -> bool {
    let (kind, names) = mark.split_once(' ').expect("an error, and names in it");
    let code = kind.strip_prefix('E').is_some_and(|number| number.parse::<u32>().is_ok());
    let begins = if code { format!("error[{kind}]: ") } else { format!("error: {kind} ") };
    error.starts_with(&begins) && names.split(' ').all(|name| error.contains(name))
}

/// A package with every case as an example: one run of cargo checks them all.
fn package(cases: &[(String, String)]) -> PathBuf {
    let core = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gate");
    let _ = fs::remove_dir_all(dir.join("examples"));
    fs::create_dir_all(dir.join("examples")).expect("a directory for the cases");
    let manifest = format!(
        "[package]\nname = \"gate\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [lib]\npath = \"lib.rs\"\n[features]\nbroken = []\n\
         [dependencies]\nkvorum-core = {{ path = {core:?} }}\n[workspace]\n"
    );
    fs::write(dir.join("Cargo.toml"), manifest).expect("a manifest");
    fs::write(dir.join("lib.rs"), "").expect("an empty library");
    fs::copy(core.join("../Cargo.lock"), dir.join("Cargo.lock")).expect("the locked versions");
    for (name, text) in cases {
        let text = format!("{HEAD} {text}fn main() {{}}\n");
        fs::write(dir.join("examples").join(format!("{name}.rs")), text).expect("a case");
    }
    dir
}

/// What the compiler says of every case, and all of its words for a reader.
fn check(dir: &Path, broken: bool) -> (Errors, String) {
    let mut command = Command::new(env!("CARGO"));
    command.args(["check", "--offline", "--quiet", "--examples", "--keep-going"]);
    command.args(["--message-format", "short"]).arg("--target-dir").arg(dir.join("target"));
    command.args(if broken { &["--features", "broken"][..] } else { &[] });
    for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
        command.env_remove(flags);
    }
    let output = command.current_dir(dir).output().expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut errors = Errors::new();
    for line in said.lines() {
        // examples/a_case.rs:6:19: error[E0616]: field `gated` of struct `Write` is private
        let Some((name, rest)) =
            line.strip_prefix("examples/").and_then(|line| line.split_once(".rs:"))
        else {
            continue;
        };
        let (at, what) = rest.split_once(": ").expect("a place and what is wrong there");
        let at = at.split(':').next().and_then(|at| at.parse().ok()).expect("a line");
        errors.entry(name.to_owned()).or_default().push((at, what.to_owned()));
    }
    assert_eq!(output.status.success(), errors.is_empty(), "{said}");
    (errors, said)
}

#[test]
fn what_would_break_the_gate_does_not_compile_and_nothing_else_is_the_reason() {
    let cases = cases();
    let expected = expected(&cases);
    let dir = package(&cases);
    let (errors, said) = check(&dir, false);
    assert!(errors.is_empty(), "without its marked line every case compiles:\n{said}");
    let (errors, said) = check(&dir, true);
    let mut wrong = String::new();
    for (name, marks) in &expected {
        let errors = errors.get(name).map_or(&[][..], |errors| errors);
        let fits = match (&marks[..], errors) {
            ([(marked, mark)], [(at, error)]) => marked == at && is(mark, error),
            _ => false,
        };
        if !fits {
            writeln!(wrong, "{name}: marked {marks:?}, the compiler says {errors:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}\n{said}");
    assert!(cases.len() >= 15, "the cases are there");
}
