use kvorum_core::raft::{Durable, Write};

pub fn complete_twice(write: Write) -> Durable {
    let entries = write.append.clone();
    #[cfg(feature = "broken")]
    let _ = write.clone().durable(); //~ E0599 clone Write
    drop(entries);
    write.durable()
}
