use kvorum_core::raft::{WriteId, Written};

pub fn receipt(id: WriteId, written: Written) -> (WriteId, Written) {
    #[cfg(feature = "broken")]
    let written = { drop(written); Written { id, life: 0 } }; //~ E0451 id life Written
    (id, written)
}
