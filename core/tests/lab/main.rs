//! An adversarial test bench for the Raft core. See README.md beside this file.

mod check;
mod clients;
mod disk;
mod lab;
mod laws;
mod machine;
mod nemesis;
mod net;
mod node;
mod plan;
mod planted;
mod rng;
mod seeds;
mod stepping;
mod trace;
mod working;
