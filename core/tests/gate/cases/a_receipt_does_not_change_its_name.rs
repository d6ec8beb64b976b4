use kvorum_core::raft::{WriteId, Written};

pub fn forge(written: Written, id: WriteId) -> (Written, WriteId) {
    #[cfg(feature = "broken")]
    let written = Written { id, ..written }; //~ E0451 id life Written
    (written, id)
}
