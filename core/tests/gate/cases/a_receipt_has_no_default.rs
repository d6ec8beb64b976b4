use kvorum_core::raft::{Vote, Written};

pub fn receipt(durable: Written) -> (Vote, Written) {
    #[cfg(feature = "broken")]
    let durable = <Written as Default>::default(); //~ E0277 Written: Default
    (Vote::default(), durable)
}
