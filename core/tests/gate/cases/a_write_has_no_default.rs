use kvorum_core::raft::{Output, Write};

pub fn nothing() -> (Output, Option<Write>) {
    #[cfg(feature = "broken")]
    drop(Write::default()); //~ E0599 default Write
    (Output::default(), None)
}
