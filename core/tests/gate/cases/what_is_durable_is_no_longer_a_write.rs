use kvorum_core::raft::{Durable, Write};

pub fn complete(write: Write) -> Durable {
    let id = write.id();
    let durable = write.durable();
    assert!(id.0 > 0);
    #[cfg(feature = "broken")]
    assert!(write.id().0 > 0); //~ E0382 write
    durable
}
