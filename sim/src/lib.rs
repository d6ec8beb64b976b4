//! Deterministic simulation of whole kvorum nodes.
//!
//! Rule: one seed decides everything; the same seed gives the same trace. The nodes are the shipped
//! ones; only their `World` and the disk under them are modelled. Must never: read a real clock,
//! draw from a random source that the seed does not own, or run two simulations on one thread.
//!
//! Run with `cargo sim`. What needs no simulator (the checkers and the random streams) also builds
//! and is tested without `--cfg madsim`.

pub mod check;
pub mod history;
pub mod journal;
pub mod rng;
pub mod store;

#[cfg(madsim)]
pub mod campaign;
#[cfg(madsim)]
pub mod client;
#[cfg(madsim)]
pub mod clock;
#[cfg(madsim)]
pub mod cluster;
#[cfg(madsim)]
pub mod disk;
#[cfg(madsim)]
pub mod judge;
#[cfg(madsim)]
pub mod nemesis;
#[cfg(madsim)]
pub mod net;
#[cfg(madsim)]
pub mod plan;
#[cfg(madsim)]
pub mod run;
#[cfg(madsim)]
pub mod simulate;
#[cfg(madsim)]
pub mod trace;
#[cfg(madsim)]
pub mod workload;
#[cfg(madsim)]
pub mod world;

/// `cargo sim` sets `KVORUM_SIM`; without the cfg it would test nothing and say "ok".
#[cfg(not(madsim))]
const _: () = assert!(
    option_env!("KVORUM_SIM").is_none(),
    "cargo sim lost `--cfg madsim`, because RUSTFLAGS or CARGO_ENCODED_RUSTFLAGS is set and \
     overrides the alias; run `env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS cargo sim`"
);
