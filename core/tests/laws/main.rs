//! The ten laws of the core as properties over random schedules, one file per law.
//!
//! Rule: a law is stated at the head of its file, with how it is observed and what would break it;
//! each holds for thousands of schedules and fails, shrunk to a few steps, for a violation planted
//! on purpose. See README.md beside this file.

mod batching;

mod bounded;
mod clock;
mod cluster;
mod crash;
mod draw;
mod gate;
mod hostile;
mod law;
mod loss;
mod network;
mod node;
mod order;
mod plan;
mod planted;
mod replay;
mod schedule;
mod settle;
mod shrink;
mod silent;
mod starting;
mod stepping;
mod total;
mod walk;
mod watch;
mod working;

// The models and the checkers are the lab's: it needs more of them than the laws do.
#[allow(dead_code)]
#[path = "../lab/check/mod.rs"]
mod check;
#[allow(dead_code)]
#[path = "../lab/disk.rs"]
mod disk;
#[allow(dead_code)]
#[path = "../lab/machine.rs"]
mod machine;
#[allow(dead_code)]
#[path = "../lab/rng.rs"]
mod rng;
#[allow(dead_code)]
#[path = "../lab/trace.rs"]
mod trace;
