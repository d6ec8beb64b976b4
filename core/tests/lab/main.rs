//! An adversarial test bench for the Raft core. See README.md beside this file.

mod check;
mod clients;
mod disk;
mod lab;
mod lives;
mod machine;
mod nemesis;
mod net;
mod node;
mod plan;
mod planted;
mod populate;
mod recovery;
mod requests;
mod rng;
mod seeds;
mod stepping;
mod storing;
mod trace;
mod working;
