use kvorum_core::raft::Write;

pub fn peek(write: &Write) {
    let _ = write.id();
    #[cfg(feature = "broken")]
    let _ = &write.gated; //~ E0616 gated Write
}
