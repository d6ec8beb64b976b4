//! The key-value state machine against a plain reference model, the measured facts of etcd, its
//! codecs, and tables that are broken on purpose.

mod agree;
mod broken;
mod chores;
mod codec;
mod compaction;
mod cost;
mod facts;
mod generate;
mod keys;
mod leases;
mod model;
mod paging;
mod repeats;
mod run;
mod shorthand;
mod sorted;
