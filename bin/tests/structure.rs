//! The shape of the workspace: which crate may use which, under which licences the crates beneath
//! it come, and that the core needs no standard library.

use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// The licences under which code may be linked into an Apache-2.0 binary without further duties
/// than naming them.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's root")
}

fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root());
    for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
        command.env_remove(flags);
    }
    command
}

fn metadata() -> Value {
    let host = host();
    let mut command = cargo();
    command.args(["metadata", "--locked", "--offline", "--format-version", "1"]);
    command.args(["--filter-platform", &host]);
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

fn host() -> String {
    let output = Command::new(env!("CARGO")).arg("-vV").output().expect("cargo runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("cargo names its host").to_owned()
}

/// The names of what each of our crates depends on (not for tests or builds), as its manifest says.
fn dependencies(metadata: &Value) -> BTreeMap<String, Vec<String>> {
    let ours: Vec<&Value> = metadata["workspace_members"].as_array().unwrap().iter().collect();
    let packages = metadata["packages"].as_array().unwrap();
    let manifest = |package: &&Value| ours.contains(&&package["id"]);
    let needs = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        let linked = all.filter(|needed| needed["kind"].is_null());
        linked.map(|needed| needed["name"].as_str().unwrap().to_owned()).collect()
    };
    let named = |package: &Value| (package["name"].as_str().unwrap().to_owned(), needs(package));
    packages.iter().filter(manifest).map(named).collect()
}

#[test]
fn dependencies_go_one_way() {
    let all = dependencies(&metadata());
    assert_eq!(
        all.keys().map(String::as_str).collect::<Vec<_>>(),
        ["kvorum", "kvorum-core", "kvorum-mutants", "kvorum-runtime", "kvorum-sim"]
    );
    let allowed: [(&str, &[&str]); 4] = [
        ("kvorum", &["kvorum-runtime"]),
        ("kvorum-runtime", &["kvorum-core"]),
        ("kvorum-sim", &["kvorum-core", "kvorum-runtime"]),
        ("kvorum-core", &[]),
    ];
    for (name, may) in allowed {
        for needed in all[name].iter().filter(|needed| needed.starts_with("kvorum")) {
            assert!(may.contains(&needed.as_str()), "{name} depends on {needed}");
        }
    }
    // Neither a reactor nor I/O: what the core may use is named one by one.
    for needed in &all["kvorum-core"] {
        assert!(["bytes", "xxhash-rust"].contains(&needed.as_str()), "core depends on {needed}");
    }
}

#[test]
fn the_crates_beneath_have_licences_that_fit() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let (name, licence) = (&package["name"], package["license"].as_str().unwrap_or(""));
        // `MIT OR Apache-2.0`, `(A OR B) AND C`, the old `MIT/Apache-2.0`.
        let expression = licence.replace('/', " OR ").replace(['(', ')'], "");
        let fits = !licence.is_empty()
            && expression
                .split(" AND ")
                .all(|all| all.split(" OR ").any(|one| LICENCES.contains(&one.trim())));
        if !fits {
            wrong.push(format!("{name}: {licence:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// A program without the standard library that uses the core: if the core, or anything it depends
/// on, linked the standard library, there would be two panic handlers, which is an error.
const NO_STD: &str = r#"
#![no_std]
extern crate kvorum_core;
use core::alloc::{GlobalAlloc, Layout};
struct None;
unsafe impl GlobalAlloc for None {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 { core::ptr::null_mut() }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
#[global_allocator]
static NONE: None = None;
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
"#;

#[test]
fn the_core_builds_without_the_standard_library() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_std");
    fs::create_dir_all(dir.join("src")).expect("a directory for the check");
    let manifest = format!(
        "[package]\nname = \"no-std-check\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\
         [lib]\ncrate-type = [\"staticlib\"]\n\
         [dependencies]\nkvorum-core = {{ path = {:?} }}\n\
         [profile.dev]\npanic = \"abort\"\n[workspace]\n",
        root().join("core")
    );
    fs::write(dir.join("Cargo.toml"), manifest).expect("a manifest");
    fs::copy(root().join("Cargo.lock"), dir.join("Cargo.lock")).expect("the locked versions");
    let build = |source: &str| {
        fs::write(dir.join("src/lib.rs"), source).expect("a source");
        let mut command = cargo();
        command.args(["build", "--offline", "--manifest-path"]).arg(dir.join("Cargo.toml"));
        let output = command.arg("--target-dir").arg(dir.join("target")).output();
        let output = output.expect("cargo runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (fine, said) = build(NO_STD);
    assert!(fine, "{said}");
    // The check itself works: with the standard library it fails, and for this reason.
    let (fine, said) = build(&format!("{NO_STD}\nextern crate std;"));
    assert!(!fine && said.contains("panic_impl"), "{said}");
}
