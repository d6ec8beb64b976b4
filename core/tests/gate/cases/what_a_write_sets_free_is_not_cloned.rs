use kvorum_core::raft::{Durable, Event, Raft, Write, Instant, Envelope};

pub fn complete(raft: &mut Raft, write: Write) -> Vec<Envelope> {
    let durable = write.durable();
    #[cfg(feature = "broken")]
    let _ = durable.clone(); //~ E0599 clone Durable
    let Durable { messages, written } = durable;
    raft.handle(Instant(0), Event::Written(written));
    messages
}
