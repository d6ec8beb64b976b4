use kvorum_core::raft::{Event, Written};

pub fn report(mut receipts: Vec<Written>) -> Event {
    let first = receipts.remove(0);
    #[cfg(feature = "broken")]
    receipts.remove(0); //~ unused Written
    Event::Written(first)
}
