use kvorum_core::raft::{Durable, Write};

pub fn complete(write: Write) -> Durable {
    let durable = write.durable();
    #[cfg(feature = "broken")]
    let _ = write.durable(); //~ E0382 write
    durable
}
