use kvorum_core::raft::{Instant, Output, Raft};

pub fn step(raft: &mut Raft) -> Output {
    #[cfg(feature = "broken")]
    raft.poll(Instant(0)); //~ unused Output
    raft.poll(Instant(0))
}
