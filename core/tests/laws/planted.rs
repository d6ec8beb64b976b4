//! Violations planted in the bench's own adapters, one or two per law, to prove that the law bites.
//!
//! Rule: the product stays as it is; what is around it breaks its word. Must never: be on in a run
//! that is to hold.

/// A broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Replay: the second time, messages leave in another order.
    OtherOrder,
    /// Batching: a proposal that is not the first input before a poll is forgotten.
    ForgottenInTheBatch,
    /// Loss: the copy of a doubled message arrives as somebody else's.
    DoubledAsSomebodyElse,
    /// Crash: it takes the vote along.
    VoteLost,
    /// Crash: it takes the last durable entry along.
    TailLost,
    /// Gate: gated messages leave when the write is submitted.
    SentBeforeDurable,
    /// Order: a disk that sorts its receipts hides that they came in another order.
    SortedReceipts,
    /// Bounded: a queue in front of the node keeps what strangers say, for four attempts.
    Hoard,
    /// Total: an adapter computes with a number that a peer has sent.
    TrustsTheCommit,
    /// Silent: something is handled between two polls that follow each other.
    HandlesBetween,
    /// Clock: a timer wheel fires up to a minute early and tells the node a later time.
    EagerWheel,
    /// Clock: an adapter subtracts times.
    Subtracts,
}
