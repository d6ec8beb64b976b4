//! The contract on real processes: every hard case of starting, joining, dying, coming back and
//! stopping, with the binary as it is shipped and signals as they are sent.
//!
//! Each test has its own directory and its own loopback address, so nothing collides; every process
//! is ended by its own pid. A failing test prints the logs of its nodes.

mod bed;
mod cli;
mod cli_cluster;
mod cli_codes;
mod cli_keys;
mod cli_leases;
mod cli_lock;
mod cli_watch;
mod docs_cli;
mod docs_coming;
mod failover;
mod fake;
mod golden;
mod http;
mod identity;
mod join;
mod lease;
mod members;
mod metrics;
mod node;
mod once;
mod page;
mod refuse;
mod restart;
mod stop;
