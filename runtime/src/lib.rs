//! Binds the core of kvorum to tokio, hyper and fjall.
//!
//! Data flows one way: bytes in → request or event → core → output → bytes out. The world (network,
//! clock, blocking work, entropy) is reached only through [`world::World`], so the simulator runs
//! this very code.

pub mod config;
pub mod handle;
pub mod http;
pub mod metrics;
pub mod node;
pub mod report;
pub mod storage;
pub mod sync;
pub mod transport;
pub mod watch;
pub mod world;
