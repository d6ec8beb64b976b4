//! What is on the disk, what is on the way to it, and what is not yet.
//!
//! Rule: writes complete in the order they were made; a truncation at `i` caps what every write
//! still under way can confirm at `i − 1`. So a receipt for an old entry at an index never confirms
//! the new entry there (the ABA of asynchronous appends cannot be stated). Must never: raise
//! `written` by anything but a receipt.

use crate::raft::types::{Index, Instant, Vote, WriteId};
use alloc::collections::VecDeque;

/// A write under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flight {
    /// Its name.
    pub id: WriteId,
    /// What it makes durable of the log as it is now.
    pub last: Index,
    /// The term and vote that are durable with it.
    pub vote: Vote,
    /// When it was handed out.
    pub at: Instant,
}

/// The cursors.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Writes {
    /// Oldest first. A follower takes no appends while there are too many; beside those, there is
    /// one per vote, per installed snapshot, and per poll that had proposals of a leader.
    flights: VecDeque<Flight>,
    next: WriteId,
    written: Index,
    submitted: Index,
    truncate_from: Option<Index>,
}

impl Writes {
    /// Everything up to `last` is on the disk.
    pub fn new(last: Index) -> Writes {
        Writes {
            flights: VecDeque::new(),
            next: WriteId(1),
            written: last,
            submitted: last,
            truncate_from: None,
        }
    }

    /// The durable prefix of the log.
    pub fn written(&self) -> Index {
        self.written
    }

    /// The prefix that is durable or on its way.
    pub fn submitted(&self) -> Index {
        self.submitted
    }

    /// The oldest write under way.
    pub fn oldest(&self) -> Option<&Flight> {
        self.flights.front()
    }

    /// How many writes are under way.
    pub fn under_way(&self) -> usize {
        self.flights.len()
    }

    /// All writes under way, oldest first.
    pub fn flights(&mut self) -> &mut VecDeque<Flight> {
        &mut self.flights
    }

    /// Numbers the writes under way from one on; says by how much their numbers fell.
    pub fn renumber(&mut self) -> u64 {
        let offset = self.next.0 - 1 - self.flights.len() as u64;
        for flight in &mut self.flights {
            flight.id = WriteId(flight.id.0 - offset);
        }
        self.next = WriteId(self.next.0 - offset);
        offset
    }

    /// The truncation not yet handed to the disk.
    pub fn pending_truncation(&self) -> Option<Index> {
        self.truncate_from
    }

    /// The entries from `from` on are void.
    pub fn truncate(&mut self, from: Index) {
        let kept = from.prev().unwrap_or(Index::ZERO);
        if from <= self.submitted {
            self.truncate_from = Some(self.truncate_from.map_or(from, |earlier| earlier.min(from)));
            self.submitted = kept;
        }
        self.written = self.written.min(kept);
        for flight in &mut self.flights {
            flight.last = flight.last.min(kept);
        }
    }

    /// The log was replaced by a snapshot's base at `base`, to be written next.
    pub fn replace(&mut self, base: Index) {
        self.submitted = base;
    }

    /// A write of everything up to `last` is handed out.
    pub fn submit(&mut self, last: Index, vote: Vote, now: Instant) -> (WriteId, Option<Index>) {
        let id = self.next;
        self.next = WriteId(id.0 + 1);
        self.submitted = last;
        self.flights.push_back(Flight { id, last, vote, at: now });
        (id, self.truncate_from.take())
    }

    /// A write has completed.
    pub fn complete(&mut self, id: WriteId) -> Flight {
        let flight = self.flights.pop_front().expect("order: a receipt belongs to a write");
        assert_eq!(flight.id, id, "order: writes complete in the order they were made");
        self.written = self.written.max(flight.last);
        flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submit(writes: &mut Writes, last: u64) -> (WriteId, Option<Index>) {
        writes.submit(Index(last), Vote::default(), Instant(0))
    }

    #[test]
    fn a_receipt_for_truncated_entries_confirms_nothing_of_what_replaced_them() {
        let mut writes = Writes::new(Index(3));
        let (old, _) = submit(&mut writes, 6);
        writes.truncate(Index(5));
        let (new, truncate_from) = submit(&mut writes, 6);
        assert_eq!(truncate_from, Some(Index(5)), "the disk must forget 5 and 6 of the old log");
        writes.complete(old);
        assert_eq!(writes.written(), Index(4));
        writes.complete(new);
        assert_eq!(writes.written(), Index(6));
    }

    #[test]
    fn a_truncation_below_what_is_written_lowers_it_until_the_next_receipt() {
        let mut writes = Writes::new(Index(9));
        writes.truncate(Index(4));
        assert_eq!((writes.written(), writes.submitted()), (Index(3), Index(3)));
        let (id, truncate_from) = submit(&mut writes, 4);
        assert_eq!(truncate_from, Some(Index(4)));
        writes.complete(id);
        assert_eq!(writes.written(), Index(4));
    }

    #[test]
    fn what_was_never_handed_to_the_disk_need_not_be_truncated_there() {
        let mut writes = Writes::new(Index(3));
        writes.truncate(Index(7));
        assert_eq!(writes.pending_truncation(), None);
        assert_eq!(writes.written(), Index(3));
    }

    #[test]
    #[should_panic(expected = "order: writes complete in the order they were made")]
    fn receipts_out_of_order_stop_the_node() {
        let mut writes = Writes::new(Index(0));
        submit(&mut writes, 1);
        let (second, _) = submit(&mut writes, 2);
        writes.complete(second);
    }
}
