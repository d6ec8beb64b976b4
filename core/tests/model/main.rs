//! Model checking: every state that a small cluster of shipped `Raft`s can get into, within bounds.
//!
//! The type that the product runs is the type that is searched; the search is stateright's, nearest
//! states first, so what it finds is found on a shortest path.
//!
//!     cargo test -p kvorum-core --test model      # small bounds
//!     make model                                  # larger ones too; writes docs/model-checking.md
//!
//! | file | what it is |
//! |---|---|
//! | `searches.rs`, `setup.rs` | which clusters, how much trouble |
//! | `node.rs` | a node: the shipped `Raft`, the lab's disk, a state machine |
//! | `world.rs` | nodes and the network as a model |
//! | `tables.rs` | each node, message and step once, under a number |
//! | `rules.rs` | what must hold in every state |
//! | `sights.rs` | what must be seen somewhere |
//! | `planted.rs` | bugs in the adapters, to prove that the search bites |
//! | `alike.rs` | proof that a node in canonical form behaves like the one it was made from |
//! | `story.rs`, `report.rs` | counterexamples in arrow notation; numbers |

mod alike;
mod node;
mod planted;
mod report;
mod rules;
mod searches;
mod setup;
mod sights;
mod story;
mod tables;
mod world;

use planted::Planted;
use rules::Rule;
use std::env;

#[test]
fn every_state_of_small_clusters_keeps_every_rule() {
    let mut setups = searches::small();
    if env::var("KVORUM_MODEL").is_ok_and(|size| size == "large") {
        setups.extend(searches::large());
    }
    if let Ok(part) = env::var("KVORUM_MODEL_ONLY") {
        setups.retain(|setup| setup.name.contains(&part));
    }
    let founds: Vec<_> = setups.into_iter().map(report::check).collect();
    if let Ok(file) = env::var("KVORUM_MODEL_TABLE") {
        report::write(&file, "searches", &report::table(&founds));
    }
}

#[test]
fn planted_bugs_are_found_on_a_shortest_path_and_told() {
    for (planted, rule) in [
        (Planted::SentBeforeDurable, Rule::CommittedIsDurable),
        (Planted::VoteLost, Rule::ElectionSafety),
        (Planted::TermLost, Rule::ElectionSafety),
        (Planted::TailLost, Rule::CommittedIsDurable),
        (Planted::ForgedMatch, Rule::CommittedIsDurable),
        (Planted::ForgedVote, Rule::ElectionSafety),
        (Planted::ForgedCommit, Rule::CommittedIsDurable),
    ] {
        let found = report::search(searches::planted(planted));
        let (states, broken) = (found.unique, found.broken);
        let (_, steps, story) = broken.unwrap_or_else(|| panic!("{planted:?} was not found"));
        println!("{planted:?} after {states} states, {steps} steps:\n{story}");
        assert!(story.contains(&format!("✗ {rule:?}")), "{planted:?} breaks {rule:?}:\n{story}");
        assert!(story.contains(" → "), "{planted:?} is told in arrow notation:\n{story}");
    }
}
