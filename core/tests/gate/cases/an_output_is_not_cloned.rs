use kvorum_core::raft::Output;

pub fn twice(output: Output) -> Output {
    #[cfg(feature = "broken")]
    let _ = output.clone(); //~ E0599 clone Output
    output
}
