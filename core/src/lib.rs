//! The core of kvorum: Raft and the key-value state machine, without I/O.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod codec;
pub mod kv;
pub mod raft;
