use kvorum_core::raft::{Durable, Write};

pub fn complete(write: Write, other: Write) -> Durable {
    #[cfg(feature = "broken")]
    other.durable(); //~ unused Durable
    #[cfg(not(feature = "broken"))]
    drop(other.durable());
    write.durable()
}
