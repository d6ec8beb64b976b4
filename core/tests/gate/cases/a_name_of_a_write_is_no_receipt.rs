use kvorum_core::raft::{Event, Write};

pub fn receipt(write: Write) -> Event {
    #[cfg(feature = "broken")]
    return Event::Written(write.id()); //~ E0308 mismatched
    #[cfg(not(feature = "broken"))]
    return Event::Written(write.durable().written);
}
