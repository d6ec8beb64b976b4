//! Scenarios as scripts: what happens on the left of `---`, what the nodes do about it on the right.
//!
//! Each `golden/<area>/<scenario>.txt` is a list of blocks: commands, `---`, the output, a blank
//! line. `UPDATE_GOLDEN=1 cargo test -p kvorum-core --test golden` writes the outputs anew; read the
//! difference before you commit it. The commands are listed at `World::run` in `golden/world.rs`.

use std::{fs, path::PathBuf};

#[path = "golden/disk.rs"]
mod disk;
#[path = "golden/world.rs"]
mod world;

fn scripts() -> Vec<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let areas = fs::read_dir(root).unwrap().map(|area| area.unwrap().path());
    let mut scripts: Vec<PathBuf> = areas
        .filter(|area| area.is_dir())
        .flat_map(|area| fs::read_dir(area).unwrap().map(|script| script.unwrap().path()))
        .collect();
    scripts.sort();
    scripts
}

/// Runs a script and returns it with the outputs that the nodes gave now.
fn replay(script: &str) -> String {
    let mut world = world::World::default();
    let mut replayed = String::new();
    for block in script.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let commands = block.split_once("\n---").map_or(block, |(commands, _)| commands);
        replayed += commands;
        let is_comment = |line: &str| line.starts_with('#');
        if !commands.lines().all(is_comment) {
            replayed += "\n---\n";
            for command in commands.lines().filter(|line| !is_comment(line)) {
                world.run(command);
            }
            let output = std::mem::take(&mut world.output);
            replayed += if output.is_empty() { "nothing" } else { &output };
        }
        replayed = replayed.trim_end().to_string() + "\n\n";
    }
    replayed.trim_end().to_string() + "\n"
}

#[test]
fn every_scenario_goes_as_it_is_written() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let scripts = scripts();
    assert!(scripts.len() >= 15, "the scripts are found");
    let mut different = Vec::new();
    for path in scripts {
        let script = fs::read_to_string(&path).unwrap();
        println!("{}", path.display());
        let replayed = replay(&script);
        if update {
            fs::write(&path, &replayed).unwrap();
        } else if replayed != script {
            let mut lines = script.lines().zip(replayed.lines());
            let at = lines.position(|(a, b)| a != b).unwrap_or(0);
            let show = |text: &str| text.lines().nth(at).unwrap_or("(end)").to_string();
            different.push(format!(
                "{}:{}\n  expected {}\n  got      {}",
                path.display(),
                at + 1,
                show(&script),
                show(&replayed)
            ));
        }
    }
    assert!(different.is_empty(), "scenarios differ:\n{}", different.join("\n"));
}

#[test]
fn a_scenario_goes_the_same_way_twice() {
    for path in scripts() {
        let script = fs::read_to_string(&path).unwrap();
        assert_eq!(replay(&script), replay(&script), "{}", path.display());
    }
}
