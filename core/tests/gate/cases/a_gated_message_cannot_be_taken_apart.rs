use kvorum_core::raft::Write;

pub fn take(write: Write) -> usize {
    let Write { append, .. } = &write;
    let entries = append.len();
    #[cfg(feature = "broken")]
    let Write { gated, .. } = write; //~ E0451 gated Write
    #[cfg(feature = "broken")]
    drop(gated);
    entries
}
