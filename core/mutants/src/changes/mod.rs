//! Every change that cargo-mutants knows to make to the consensus rules, judged by the core's tests.
//!
//! Rule: what is changed is cargo-mutants' list; how it is built is ours (docs/decisions/0092). Each
//! function gets all its changes as alternatives behind one switch, so that a thousand changes are
//! one build. Must never: leave out a change that compiles, or call one that does not a finding.

pub mod explained;
pub mod judge;
pub mod list;
pub mod table;
pub mod viable;
pub mod weave;
