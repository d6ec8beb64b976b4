use kvorum_core::raft::Write;

pub fn submit(mut writes: Vec<Write>) -> Vec<Write> {
    let first = writes.remove(0);
    #[cfg(feature = "broken")]
    writes.remove(0); //~ unused Write
    writes.push(first);
    writes
}
