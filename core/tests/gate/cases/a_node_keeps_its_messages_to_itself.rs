use kvorum_core::raft::{Instant, Raft};

pub fn peek(raft: &mut Raft) -> usize {
    let outbox = raft.poll(Instant(0)).messages;
    #[cfg(feature = "broken")]
    let outbox = core::mem::take(&mut raft.gated); //~ E0616 gated Raft
    outbox.len()
}
