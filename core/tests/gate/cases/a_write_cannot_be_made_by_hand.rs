use kvorum_core::raft::Write;

pub fn change(mut write: Write) -> Write {
    write.vote = None;
    #[cfg(feature = "broken")]
    let write = Write { vote: None, ..write }; //~ E0451 id life gated Write
    write
}
