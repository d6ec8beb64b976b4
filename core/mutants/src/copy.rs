//! A copy of the core with one layer of bugs in it, as a workspace of its own.
//!
//! Rule: everything of `core` but this package, the sources replaced by the layer's; a file that is
//! the same already is not touched, so that cargo builds only what changed. Must never: write
//! outside `target/mutants`.

use crate::{binaries::Extent, source, weave::Layer};
use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
};

/// Where everything of the runner lies.
#[must_use]
pub fn workshop(root: &Path) -> PathBuf {
    root.join("target/mutants")
}

/// A copy on the disk.
#[derive(Debug, Clone)]
pub struct Copy {
    /// The root of its workspace.
    pub root: PathBuf,
    /// A number of all that is in it.
    pub fingerprint: u64,
}

/// Makes or renews the copy for a layer, with this name and this switch.
///
/// # Errors
/// What cannot be read or written.
pub fn make(
    root: &Path,
    name: &str,
    layer: &Layer,
    switch: &str,
    extent: Extent,
) -> Result<Copy, String> {
    let to = workshop(root).join(name);
    let core = root.join("core");
    let (mutants, target) = (core.join("mutants"), core.join("target"));
    let mut kept = BTreeSet::new();
    let mut hasher = DefaultHasher::new();
    let mut put = |path: PathBuf, content: &[u8]| {
        path.hash(&mut hasher);
        content.hash(&mut hasher);
        kept.insert(path.clone());
        write(&to.join(&path), content)
            .map_err(|error| format!("{}: {error}", to.join(path).display()))
    };
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let manifest = String::from_utf8(read(&root.join("Cargo.toml"))?).map_err(|e| e.to_string())?;
    put(PathBuf::from("Cargo.toml"), alone(&manifest).as_bytes())?;
    for path in source::files(&core)? {
        if path.starts_with(&mutants) || path.starts_with(&target) {
            continue;
        }
        let name = path.strip_prefix(root).expect("below it").to_owned();
        let below = path.strip_prefix(core.join("src")).ok();
        let woven = below.and_then(|below| layer.sources.get(below.to_str()?));
        match (below, woven) {
            (Some(below), Some(woven)) if below == Path::new("lib.rs") => {
                put(name, with_switch(woven).as_bytes())?;
            }
            (_, Some(woven)) => put(name, woven.as_bytes())?,
            // Cargo builds what tests need whether it builds those tests or not.
            (_, None) if name == Path::new("core/Cargo.toml") && extent != Extent::Model => {
                let manifest = String::from_utf8(read(&path)?).map_err(|e| e.to_string())?;
                let kept = manifest.lines().filter(|line| !line.starts_with("stateright"));
                put(name, kept.collect::<Vec<_>>().join("\n").as_bytes())?;
            }
            (_, None) => put(name, &read(&path)?)?,
        }
    }
    put(PathBuf::from("core/src/planted.rs"), switch.as_bytes())?;
    let fingerprint = hasher.finish();
    for path in source::files(&to)? {
        let name = path.strip_prefix(&to).expect("below it");
        if !kept.contains(name) && name != Path::new("Cargo.lock") {
            fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    // The versions stay the locked ones; cargo drops from the copy what the core does not use.
    let lock = to.join("Cargo.lock");
    if !lock.exists() {
        fs::copy(root.join("Cargo.lock"), lock).map_err(|error| error.to_string())?;
    }
    Ok(Copy { root: to, fingerprint })
}

/// The workspace's manifest with the core as its only member.
fn alone(manifest: &str) -> String {
    let member = |line: &str| {
        if line.starts_with("members") {
            "members = [\"core\"]".to_owned()
        } else {
            line.to_owned()
        }
    };
    let profiles = "\n[profile.mutants]\ninherits = \"dev\"\nopt-level = 1\ndebug = false\n";
    manifest.lines().map(member).collect::<Vec<_>>().join("\n") + profiles
}

/// The core's first file with the switch, which needs the standard library.
fn with_switch(lib: &str) -> String {
    let kept = lib.lines().filter(|line| !(line.starts_with("#![") && line.contains("no_std")));
    kept.collect::<Vec<_>>().join("\n") + "\nmod planted;\n"
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, content)
}
