//! What the transport counts.
//!
//! Rule: whatever is dropped, refused or lost is counted under a name. Must never: decide anything.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters, as they count.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)*
        }

        /// The counters at one moment. All only grow.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// The values now.
            pub(super) fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.0.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Messages handed to a socket.
    sent_messages,
    /// Writes they took: one write carries everything that waited.
    sent_batches,
    /// Bytes written, frames included.
    sent_bytes,
    /// Messages delivered to the driver.
    received_messages,
    /// Bytes read, frames included.
    received_bytes,
    /// Messages dropped because the peer's queue was full.
    dropped_full,
    /// Messages dropped because the connection they waited for failed.
    dropped_stale,
    /// Messages dropped because nobody knows an address of the addressee.
    dropped_unknown,
    /// Messages dropped because they exceed the largest frame.
    dropped_too_large,
    /// Dials tried.
    dials,
    /// Dials, handshake included, that failed.
    dials_failed,
    /// Outgoing connections that stood.
    connected,
    /// Connections accepted from the socket.
    accepted,
    /// Accepted connections closed at once: too many.
    refused_inbound,
    /// Callers turned away in the handshake.
    rejected,
    /// Callers that never finished the handshake.
    unfinished,
    /// Callers that spoke HTTP or something else.
    strangers,
    /// Connections closed because of a frame or message that does not verify.
    corrupt,
    /// Connections closed because a message named a sender or addressee that the handshake did not.
    impostors,
    /// Connections closed because nothing arrived for too long.
    idle_closed,
}

/// What is counted of one connection after another to a peer.
#[derive(Debug, Default)]
pub(super) struct LinkCounters {
    pub(super) connections: Counter,
    pub(super) sent_messages: Counter,
    pub(super) sent_bytes: Counter,
}

/// The connection to a peer at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Messages that wait.
    pub waiting_messages: usize,
    /// Bytes that wait.
    pub waiting_bytes: usize,
    /// Connections made so far.
    pub connections: u64,
    /// Messages handed to a socket so far.
    pub sent_messages: u64,
    /// Bytes written so far, frames included.
    pub sent_bytes: u64,
}

impl LinkCounters {
    pub(super) fn snapshot(&self) -> LinkStats {
        LinkStats {
            connections: self.connections.0.load(Relaxed),
            sent_messages: self.sent_messages.0.load(Relaxed),
            sent_bytes: self.sent_bytes.0.load(Relaxed),
            ..LinkStats::default()
        }
    }
}

/// One counter.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub(super) fn one(&self) {
        self.add(1);
    }

    /// `n` more.
    pub(super) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Relaxed);
    }
}
